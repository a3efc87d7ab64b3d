"""Runs the tests of a module that asks for `sorter` once with the NumPy reference and once with the native sorter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adtool.metrics import _reference, native, pixels

NATIVE = pixels.PixelSorter if native() else None


@pytest.fixture(params=["reference", "native"], scope="module")
def sorter(request: pytest.FixtureRequest) -> Iterator[type]:
    """The class that sorts during the test."""
    kind = _reference.PixelSorter if request.param == "reference" else NATIVE
    if kind is None:
        pytest.skip("the native sorter is not built")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, "PixelSorter", kind)
        yield kind
