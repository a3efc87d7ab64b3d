"""The kernels of every operator under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer."""

from __future__ import annotations

import pytest
from compiled import SANITIZERS, output_of
from emulated import NAMES, ORDERS, library
from op_cases import LAYOUTS, cases, dtypes, operator, results
from recording import Recording


@pytest.fixture(scope="module", params=NAMES)
def recorded(request, tmp_path_factory):
    """Every call that the operator's example inputs lead to, forward and backward."""
    library()
    recording = Recording()
    for dtype in dtypes(request.param):
        for layout in LAYOUTS:
            for arguments in cases(request.param, dtype, layout):
                with recording:
                    results(request.param, operator(request.param), arguments)
    path = tmp_path_factory.mktemp("recorded") / request.param
    path.write_bytes(recording.bytes())
    return path, len(recording.calls)


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_kernels_give_a_sanitizer_nothing_to_report(recorded, sanitizer):
    path, calls = recorded
    status, output = output_of(f"recorded_calls_{sanitizer}", str(path), *ORDERS)
    assert status == 0, output
    lines = output.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"{order}: {calls} calls" for order in ORDERS]
    assert int(lines[-1].split()[-2]) >= calls, "each call of a non-empty input launches a kernel"
