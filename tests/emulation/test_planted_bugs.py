"""Kernels with a mistake are caught, each by the tools that can see it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from compiled import built, output_of
from emulated import emulated

SOURCE = Path(__file__).with_name("planted_bugs.cu").read_text(encoding="utf-8")

PLACE = r"tests/emulation/planted_bugs\.cu:\d+"
RACE = rf"data race(?s:.*){PLACE}"

# case: {variant: what it says}
CAUGHT = {
    "missing_barrier": {"plain": "reversed: element .* is -?nan", "address": "is -?nan", "thread": RACE},
    "write_after_read": {"thread": RACE},
    "read_past_the_end": {"address": rf"use-after-poison(?s:.*)READ of size 4(?s:.*){PLACE}"},
    "index_past_the_end": {"address": rf"{PLACE}.*index 64 out of bounds for type 'float \[64\]'"},
    "write_past_the_dynamic_end": {"address": rf"use-after-poison(?s:.*)WRITE of size 4(?s:.*){PLACE}"},
    "write_past_the_tensor": {"address": rf"heap-buffer-overflow(?s:.*)WRITE of size 4(?s:.*){PLACE}"},
    "unaligned_pack": {"address": rf"{PLACE}.*misaligned address"},
    "missing_warp_barrier": {"thread": RACE},
    "blocks_add_to_one_sum": {"thread": RACE},
}
# Whatever the kernels are compiled with:
REFUSED = {
    "source_outside_the_mask": "__shfl_xor_sync with mask 0x0000ffff: lane 0 reads lane 16, which is not in the mask",
    "half_a_warp": "threads 0-15 waiting in __shfl_xor_sync with mask 0xffffffff at PLACE; threads 16-31 returned",
    "caller_outside_the_mask": "__ballot_sync with mask 0x0000ffff: lane 16 calls it and is not in the mask",
    "beyond_the_width": "a shuffle reaches beyond its width",
    "different_shuffles": "__shfl_xor_sync with mask 0xffffffff: lane 0 is elsewhere: thread 0 waiting",
    "shuffle_after_return": "__shfl_down_sync with mask 0xffffffff",
    "divergent_barrier": "different barriers meet: threads 0-31 waiting in __syncthreads at PLACE; threads 32-63",
    "barrier_after_return": "threads 0-39 waiting in __syncthreads at PLACE; threads 40-63 returned",
    "much_shared_memory": "the shared memory of a block takes more than 49152 bytes",
}
LAUNCH_ERRORS = {"too_many_threads": "invalid configuration argument", "too_much_dynamic_memory": "invalid argument"}


@pytest.mark.parametrize(("case", "variant"), [(case, variant) for case in CAUGHT for variant in CAUGHT[case]])
def test_mistake_is_caught(case, variant):
    status, output = output_of(f"planted_bugs_{variant}", case)
    assert status != 0
    assert re.search(CAUGHT[case][variant], output), output


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("variant", ["plain", "ucontext", "address", "thread"])
def test_mistake_ends_the_launch(case, variant):
    status, output = output_of(f"planted_bugs_{variant}", case)
    launch = rf"^{case}: CUDA emulation: {case}, launched at {PLACE}, block \(0, 0, 0\): "
    assert status == 1, output
    assert re.search(launch + ".*" + re.escape(REFUSED[case]).replace("PLACE", PLACE), output), output
    assert re.search(PLACE, output.split("block (0, 0, 0)")[1]), "the place in the kernel"


@pytest.mark.parametrize("case", LAUNCH_ERRORS)
def test_launch_no_device_accepts_is_an_error(case):
    assert output_of("planted_bugs_plain", case) == (1, f"{case}: {LAUNCH_ERRORS[case]}")


@pytest.fixture(scope="module")
def planted():
    torch.ops.load_library(built("planted_operators.so"))
    return torch.ops.adtool_planted


def test_a_mistake_in_a_kernel_is_an_exception_in_python(planted):
    kernel = r"CUDA emulation: .*diverge, launched at tests/emulation/planted_operators\.cpp:\d+, block \(0, 0, 0\)"
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=rf"{kernel}: threads? 0 waiting in __syncthreads at .*cpp:\d+; thread 1"
        ):
            planted.divergent(torch.ones(64))
    assert planted.unfinished(torch.ones(64))[:63].eq(1).all(), "the next kernel runs"


def test_an_element_that_a_kernel_forgets_is_nan(planted):
    with emulated("forward"):
        assert planted.unfinished(torch.ones(64)).isnan().tolist() == [False] * 63 + [True]


def test_every_planted_bug_is_tested():
    cases = set(re.findall(r"^__global__ void (\w+)\(", SOURCE, re.MULTILINE)) - {"nothing", "print_order"}
    assert cases == set(CAUGHT) | set(REFUSED)
