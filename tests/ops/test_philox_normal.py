from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest
import torch
from scipy import stats

from adtool.ops._native import CAPABILITIES, native_info
from adtool.ops.philox_normal import normals, philox, philox_normal, reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(2, 3, 5, 7), (3, 1), (4,), (1, 20000), (2, 40, 3, 3), (1, 70, 20, 31), (2, 3, 16, 16)]
# Random123's known answers for philox4x32-10: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
BITS = """
import sys, torch
from adtool.ops._native import native_info
from adtool.ops import denoise_step, philox_normal, q_sample
assert native_info()["cpu"] == sys.argv[1], native_info()
for op in (denoise_step, philox_normal, q_sample):
    native = getattr(torch.ops.adtool, op.__name__.split(".")[-1])
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for arguments in op.inputs("cpu", dtype):
            assert torch.equal(native(*arguments), op.reference(*arguments)), (op.__name__, dtype)
"""


def keys(count, seed=0):
    """Steps of either sign, and sample numbers that fill 64 bits."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.randint(-(2**31), 2**31, (count,), generator=generator)
    return t, torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)


def drawn(elements, t=3, seed=11, sample_id=5):
    return philox_normal(torch.empty(1, elements), torch.tensor([t]), seed, torch.tensor([sample_id]))[0]


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_philox_gives_the_published_words(counter, key, words):
    found = philox(tuple(torch.tensor([word]) for word in counter), key)
    assert tuple(int(word) for word in found) == words


def box_muller(first, second):
    """In float64, as the formulas say."""
    u1 = torch.tensor((2 * (first // 4) + 1) / 2**31, dtype=torch.float32).item()
    radius = math.sqrt(-2 * math.log(u1))
    angle = 2 * math.pi * second / 2**32
    return radius * math.cos(angle), radius * math.sin(angle)


def test_normals_of_the_published_words():
    words = KNOWN[0][2]
    expected = torch.tensor([*box_muller(*words[:2]), *box_muller(*words[2:])])
    found = philox_normal(torch.empty(1, 4), torch.tensor([0]), 0, torch.tensor([0]))[0]
    torch.testing.assert_close(found, expected, rtol=3e-7, atol=3e-7)


def test_normals_at_the_edges_of_the_words():
    eighths = [i << 29 for i in range(8)]
    first, second = [0, 3, 4, 2**31, 2**32 - 1], [*eighths, *(i - 1 for i in eighths[1:]), 2**32 - 1]
    pairs = [(a, b) for a in first for b in second]
    a, b = (torch.tensor(words) for words in zip(*pairs, strict=True))
    found = normals((a, b, a, b))
    expected = torch.tensor([box_muller(*pair) * 2 for pair in pairs])
    torch.testing.assert_close(found, expected, rtol=3e-7, atol=1e-6)


def test_a_million_normals_are_normal():
    z = drawn(1_000_000).double().numpy()
    assert stats.kstest(z, "norm").pvalue > 0.01
    moments = [(z**k).mean() for k in (1, 2, 3, 4)]
    deviation = [math.sqrt(v / len(z)) for v in (1, 2, 15, 96)]  # of the mean of z^k: E z^2k - (E z^k)^2
    for found, expected, sigma in zip(moments, (0, 1, 0, 3), deviation, strict=True):
        assert abs(found - expected) < 4 * sigma


def test_tails_are_as_heavy_as_they_should_be():
    z = drawn(4_000_000).abs()
    for bound in (3.0, 4.0, 5.0):
        expected = len(z) * 2 * stats.norm.sf(bound)
        assert abs(int((z > bound).sum()) - expected) < 4 * math.sqrt(expected) + 1


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 64])
def test_neighbouring_elements_are_uncorrelated(lag):
    z = drawn(1_000_000).double()
    for power in (1, 2):
        a = z**power - (z**power).mean()
        correlation = (a[lag:] * a[:-lag]).mean() / a.square().mean()
        assert abs(correlation) < 4e-3


@pytest.mark.parametrize("change", [{"t": 4}, {"t": -3}, {"seed": 12}, {"seed": 11 + (1 << 32)}, {"sample_id": 6}])
def test_another_key_gives_independent_noise(change):
    a, b = drawn(100_000), drawn(100_000, **change)
    assert abs((a * b).mean()) < 4 / math.sqrt(len(a))
    assert not (a == b).any()


def test_sample_numbers_count_in_all_their_bits():
    assert not torch.equal(drawn(8, sample_id=5), drawn(8, sample_id=5 + (1 << 32)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_native_noise_has_the_bits_of_the_reference(shape, dtype):
    like, (t, sample_id) = torch.empty(shape, dtype=dtype), keys(shape[0])
    seed = 0x0123456789ABCDEF
    z = philox_normal(like, t, seed, sample_id)
    assert z.dtype == dtype and z.shape == shape
    assert torch.equal(z, reference(like, t, seed, sample_id))


@pytest.mark.skipif(not native_info()["built"], reason="the native library is not built")
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_instruction_set_has_the_bits_of_the_reference(capability):
    if CAPABILITIES.index(capability) > CAPABILITIES.index(native_info()["cpu"]):
        pytest.skip(f"this processor has no {capability}")
    environment = os.environ | {"ADTOOL_CPU_CAPABILITY": capability}
    run = subprocess.run([sys.executable, "-c", BITS, capability], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_noise_of_an_element_is_the_same_in_any_layout(layout):
    like, (t, sample_id) = torch.empty(2, 21, 19, 23), keys(2)
    assert torch.equal(philox_normal(layout(like), t, 1, sample_id), philox_normal(like, t, 1, sample_id))


def test_noise_keeps_the_memory_format():
    like, (t, sample_id) = torch.empty(2, 3, 4, 5), keys(2)
    assert philox_normal(like, t, 1, sample_id).is_contiguous()
    last = like.contiguous(memory_format=torch.channels_last)
    assert philox_normal(last, t, 1, sample_id).is_contiguous(memory_format=torch.channels_last)


def test_noise_of_a_sample_ignores_its_batch_and_the_threads(layout, set_threads):
    like, (t, sample_id) = layout(torch.empty(5, 3, 65, 67)), keys(5)
    set_threads(1)
    whole = philox_normal(like, t, 9, sample_id)
    set_threads(3)
    assert torch.equal(whole, philox_normal(like, t, 9, sample_id))
    order = torch.tensor([3, 0, 4])
    assert torch.equal(whole[order], philox_normal(like[order], t[order], 9, sample_id[order]))


def test_larger_samples_begin_with_the_noise_of_smaller_ones():
    assert torch.equal(drawn(1001)[:37], drawn(37))


def test_gaps_between_keys_are_stepped_over():
    like, (t, sample_id) = torch.empty(3, 10), keys(6)
    strided = philox_normal(like, t[::2], 1, sample_id[::2])
    assert torch.equal(strided, philox_normal(like, t[::2].clone(), 1, sample_id[::2].clone()))


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (3, 0, 4, 4), (2, 3, 0, 4), (0,)])
def test_noise_of_nothing_is_nothing(shape):
    like, (t, sample_id) = torch.empty(shape), keys(shape[0])
    assert philox_normal(like, t, 1, sample_id).shape == shape


def test_noise_is_a_constant_to_what_is_learnt():
    x, (t, sample_id) = torch.ones(2, 3, requires_grad=True), keys(2)
    z = philox_normal(x, t, 1, sample_id)
    assert not z.requires_grad
    (x * z).sum().backward()
    assert torch.equal(x.grad, z)


def test_noise_compiles_without_graph_breaks():
    like, (t, sample_id) = torch.empty(2, 3, 4, 5), keys(2)
    compiled = torch.compile(lambda x: 2 * philox_normal(x, t, 1, sample_id), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(like), 2 * philox_normal(like, t, 1, sample_id))


@pytest.mark.parametrize("like", [torch.tensor(1.0), torch.zeros(2, 3, dtype=torch.int64)])
def test_what_has_no_samples_is_refused(like):
    with pytest.raises(ValueError, match=r"^like: expected floating-point \(N, ...\), got"):
        philox_normal(like, keys(2)[0], 1, keys(2)[1])


@pytest.mark.parametrize("bad", [torch.zeros(3, dtype=torch.int64), torch.zeros(2), torch.tensor(1)])
@pytest.mark.parametrize("argument", ["t", "sample_id"])
def test_keys_that_do_not_go_with_the_samples_are_named(argument, bad):
    arguments = {"t": torch.zeros(2, dtype=torch.int64), "sample_id": torch.zeros(2, dtype=torch.int64)}
    with pytest.raises(ValueError, match=rf"^{argument}: expected int64 \(2,\), one for each sample of like, got"):
        philox_normal(torch.zeros(2, 3), seed=1, **arguments | {argument: bad})


@pytest.mark.parametrize("seed", [-1, 1 << 63])
def test_a_seed_that_does_not_fit_is_named(seed):
    with pytest.raises(ValueError, match=rf"^seed: expected 0 to 2\^63 - 1, got {seed}"):
        philox_normal(torch.zeros(2, 3), keys(2)[0], seed, keys(2)[1])


@pytest.mark.skipif(not native_info()["built"], reason="the native library is not built")
def test_the_native_kernel_checks_what_it_is_given():
    two = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(RuntimeError, match=r"t: expected \(2,\), one for each sample, got \(3\)"):
        torch.ops.adtool.philox_normal(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), 1, two)
    with pytest.raises(RuntimeError, match="sample_id: expected int64"):
        torch.ops.adtool.philox_normal(torch.zeros(2, 3), two, 1, torch.zeros(2))
    with pytest.raises(RuntimeError, match="like: expected float32, float64, float16 or bfloat16 elements"):
        torch.ops.adtool.philox_normal(torch.zeros(2, 3, dtype=torch.int32), two, 1, two)
