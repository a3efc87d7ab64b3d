"""Fields of a configuration are checked with an error that names the field, what it is and what it may be."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from adtool.errors import AdtoolError
from adtool.models._detector import DetectorConfig


@dataclass(frozen=True)
class Fields(DetectorConfig):
    kind: str = "round"
    sides: int | None = None
    share: float = 0.5


def test_fields_that_are_right_pass() -> None:
    config = Fields()
    config.one_of(kind=("round", "square"), height=(256, 512))
    config.at_least(1, "sides", "height")
    Fields(sides=1).at_least(1, "sides")
    config.shares("share")
    Fields(share=0.0).shares("share")
    Fields(share=1.0).shares("share")


def test_fields_that_are_wrong_are_named_with_what_they_may_be() -> None:
    with pytest.raises(AdtoolError, match="^--set kind=flat: expected one of round, square$"):
        Fields(kind="flat").one_of(height=(256,), kind=("round", "square"))
    with pytest.raises(AdtoolError, match="^--set sides=0: expected at least 1$"):
        Fields(sides=0).at_least(1, "height", "sides")
    for share in (-0.1, 1.1):
        with pytest.raises(AdtoolError, match=f"^--set share={share}: expected a share from 0 to 1$"):
            Fields(share=share).shares("share")
