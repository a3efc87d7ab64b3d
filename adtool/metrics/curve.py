"""One sort, every metric: what happens at each distinct score of anomalous pixels (or images).

Between two such scores only false positives are added, so ROC, precision-recall and region-overlap curves are known
exactly from the number of normal scores below and at each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adtool.errors import AdtoolError


def area(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Area under straight lines between points of ascending x."""
    return float((np.diff(x) * (y[1:] + y[:-1])).sum()) / 2


class OperatingPoint(NamedTuple):
    """The threshold of the largest F1, chosen on the evaluated labels themselves: an oracle, not for deployment."""

    f1: float
    threshold: float
    """Alarm where score >= threshold; the largest threshold that attains the F1."""
    precision: float
    recall: float
    accuracy: float


@dataclass(frozen=True)
class Curve:
    """The steps in ascending order of their score; all arrays are (D,) for D distinct anomalous scores."""

    thresholds: NDArray[np.float64]
    normal_below: NDArray[np.int64]
    """Normal pixels with a smaller score."""
    normal_tied: NDArray[np.int64]
    """Normal pixels with this very score."""
    anomalous_tied: NDArray[np.int64]
    """Anomalous pixels with this score."""
    overlap_gain: NDArray[np.float64]
    """Sum over all regions of the share of the region that is found at this score."""
    normals: int
    regions: int

    @property
    def anomalous(self) -> int:
        """Number of anomalous pixels."""
        return int(self.anomalous_tied.sum())

    def auroc(self) -> float | None:
        """P(anomalous > normal) + P(equal) / 2 over all pairs (Mann and Whitney); None without both classes."""
        pairs = self.anomalous * self.normals
        if pairs == 0:
            return None
        twice_won = int((self.anomalous_tied * (2 * self.normal_below + self.normal_tied)).sum())
        return twice_won / (2 * pairs)

    def average_precision(self) -> float | None:
        """Sum of precision times the step in recall over distinct scores, descending; None without anomalous pixels."""
        if self.anomalous == 0:
            return None
        true, false = self._alarms()
        return float((self.anomalous_tied[::-1] * (true / (true + false))).sum() / self.anomalous)

    def oracle(self) -> OperatingPoint | None:
        """The threshold with the largest F1 = 2 TP / (2 TP + FP + FN), and what holds there; None without anomalous."""
        if self.anomalous == 0:
            return None
        true, false = self._alarms()
        f1 = 2 * true / (true + false + self.anomalous)
        best = int(f1.argmax())  # the first of equals: the largest threshold
        tp, fp = int(true[best]), int(false[best])
        correct = tp + self.normals - fp
        return OperatingPoint(
            f1=float(f1[best]),
            threshold=float(self.thresholds[::-1][best]),
            precision=tp / (tp + fp),
            recall=tp / self.anomalous,
            accuracy=correct / (self.anomalous + self.normals),
        )

    def f1_max(self) -> tuple[float, float] | None:
        """The largest F1 and the largest threshold that attains it; None without anomalous pixels."""
        point = self.oracle()
        return None if point is None else (point.f1, point.threshold)

    def overlap(self, limit: float) -> float | None:
        """Area under mean region overlap against false-positive rate up to `limit`, divided by `limit`.

        AUPRO when regions are components, sPRO-AUC when they are channels with saturation. Trapezoid between (0, 0) and
        (1, 1), ties merged, interpolated at `limit`. None without regions or without normal pixels.
        """
        if not 0 < limit <= 1:
            raise AdtoolError(f"limit {limit}: expected a false-positive rate above 0 and at most 1")
        if self.regions == 0 or self.normals == 0:
            return None
        false, overlap = self._overlap_points()
        end = limit * self.normals
        inside = int(np.searchsorted(false, end, side="right"))
        last = np.interp(end, false[inside - 1 : inside + 1], overlap[inside - 1 : inside + 1])
        x, y = np.append(false[:inside], end), np.append(overlap[:inside], last)
        return area(x, y) / end

    def _alarms(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """True and false positives at each threshold, descending: alarm where score >= threshold."""
        return self.anomalous_tied[::-1].cumsum(), self.normals - self.normal_below[::-1]

    def _overlap_points(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """False positives and mean overlap at the corners of the curve: before and after each step, and both ends."""
        above = self.normals - self.normal_below[::-1] - self.normal_tied[::-1]
        found = np.minimum(self.overlap_gain[::-1].cumsum() / self.regions, 1.0)
        found[-1] = 1.0  # every region is found in full; only rounding says otherwise
        false = np.concatenate([[0], np.column_stack([above, above + self.normal_tied[::-1]]).ravel(), [self.normals]])
        overlap = np.concatenate([[0.0], np.column_stack([np.append(0.0, found[:-1]), found]).ravel(), [1.0]])
        return false.astype(np.float64), overlap
