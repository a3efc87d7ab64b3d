"""The kernels of every operator under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer."""

from __future__ import annotations

import re

import pytest
from compiled import ROOT, SANITIZERS, output_of
from emulated import NAMES, ORDERS, library
from op_cases import LAYOUTS, cases, dtypes, operator, results
from recording import Recording

BARRIERS = [
    f"{file.relative_to(ROOT)}:{number}"
    for file in sorted((ROOT / "csrc/kernels").glob("*.cuh"))
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    if re.search(r"^[^/]*__sync(threads|warp)\w*\(", line)
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The file and number of every call that an operator's example inputs lead to, forward and backward."""
    library()
    files = {}
    for name in NAMES:
        recording = Recording()
        for dtype, layout in [(dtype, layout) for dtype in dtypes(name) for layout in LAYOUTS]:
            for arguments in cases(name, dtype, layout):
                with recording:
                    results(name, operator(name), arguments)
        path = tmp_path_factory.mktemp("recorded") / name
        path.write_bytes(recording.bytes())
        files[name] = str(path), len(recording.calls)
    return files


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_kernels_give_a_sanitizer_nothing_to_report(name, sanitizer, recorded):
    path, calls = recorded[name]
    status, output = output_of(f"recorded_calls_{sanitizer}", path, *ORDERS)
    assert status == 0, output
    lines = output.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{order}: {calls} calls" for order in ORDERS]
    assert int(lines[-1].split()[-2]) >= calls, "each call of a non-empty input launches a kernel"


@pytest.mark.parametrize("barrier", BARRIERS)
def test_without_any_one_barrier_there_is_a_race(barrier, recorded):
    """The inputs would show it if the barrier were forgotten, and no barrier is there for nothing."""
    stem = barrier.split("/")[-1].split(".")[0]
    users = [stem] if stem in NAMES else NAMES
    outputs = (output_of("recorded_calls_thread", recorded[name][0], "forward", without=barrier) for name in users)
    assert any(status != 0 and "data race" in output for status, output in outputs)
