"""The native sorter, built from csrc/metrics; the same interface as `_reference.PixelSorter`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]

class PixelSorter:
    def add(self, scores: Array, mask: Mask | None) -> None: ...
    def add_channels(self, scores: Array, masks: Sequence[Mask], saturation: Sequence[int]) -> None: ...
    def steps(self) -> tuple[Array, Array, Array, Array, Array, int, int]: ...
