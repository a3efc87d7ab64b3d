"""Thresholds and p-values from the scores of good images that the model has not seen (split conformal prediction).

If a new good image is exchangeable with the n held-out ones, the chance that its score exceeds their k-th smallest is
at most 1 - k / (n + 1), whatever the distribution (Vovk et al., Algorithmic Learning in a Random World, 2005). With
k = ceil((n + 1)(1 - rate)) false alarms stay at or below `rate`. The guarantee is over the draw of the held-out images
too: it holds on average over calibrations, not for each.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from statistics import median
from typing import Any, Self

from adtool.errors import AdtoolError, ModelFileError


@dataclass(frozen=True)
class Calibration:
    """What held-out good images say about scores and maps."""

    scores: tuple[float, ...]
    """Image scores of the held-out good images, ascending."""
    false_alarm_rate: float
    """Share of good images that may be called anomalous, as asked for."""
    threshold: float
    """An image is anomalous when its score is larger."""
    pixel_threshold: float
    """A pixel is anomalous when its value is larger; the threshold of the map maxima, so that on at most
    `false_alarm_rate` of the good images any pixel is."""
    map_low: float
    """Bottom of the colour scale: what a pixel of a good image usually has (median over images of the map's median)."""
    map_high: float
    """Top of the colour scale, as far above `pixel_threshold` as `map_low` is below."""

    @classmethod
    def fit(
        cls,
        scores: Iterable[float],
        map_medians: Iterable[float],
        map_maxima: Iterable[float],
        false_alarm_rate: float = 0.01,
    ) -> Self:
        """Calibrate on held-out good images: of each its score and the median and maximum of its map, in any order."""
        if not 0 < false_alarm_rate < 1:
            raise AdtoolError(
                f"--false-alarm-rate {false_alarm_rate}: expected a share above 0 and below 1, such as 0.01"
            )
        values = _finite("score", scores)
        medians, maxima = _finite("map median", map_medians), _finite("map maximum", map_maxima)
        if not len(values) == len(medians) == len(maxima):
            raise AdtoolError(
                f"calibration: {len(values)} scores, {len(medians)} map medians, {len(maxima)} map maxima; "
                "expected one of each for every held-out good image"
            )
        low, pixel_threshold = median(medians), conformal_quantile(maxima, false_alarm_rate)
        return cls(
            scores=tuple(sorted(values)),
            false_alarm_rate=float(false_alarm_rate),
            threshold=conformal_quantile(values, false_alarm_rate),
            pixel_threshold=pixel_threshold,
            map_low=low,
            map_high=low + 2 * _first_positive(pixel_threshold - low, abs(pixel_threshold)),
        )

    @property
    def supported_rate(self) -> float:
        """The smallest false alarm rate that so many images can guarantee: 1 / (n + 1)."""
        return 1 / (len(self.scores) + 1)

    @property
    def note(self) -> str:
        """What to know when there are too few good images for the rate asked for; empty otherwise."""
        count, rate = len(self.scores), _exact(self.false_alarm_rate)
        if rate * (count + 1) >= 1:
            return ""
        return (
            f"{count} held-out good images support a false alarm rate of {self.supported_rate:.2g} at best, "
            f"not {self.false_alarm_rate:g}: the threshold is their largest score; "
            f"hold out at least {math.ceil(1 / rate) - 1} for {self.false_alarm_rate:g}"
        )

    def is_anomalous(self, score: float) -> bool:
        """Whether the score is above the threshold; equal to it is still good."""
        return _number("score", score) > self.threshold

    def p_value(self, score: float) -> float:
        """Conformal p-value (1 + number of good scores >= score) / (n + 1): how rarely a good image scores so high.

        At the calibrated threshold an image is anomalous exactly when its p-value is at most the false alarm rate,
        provided the rate is supported.
        """
        at_least = len(self.scores) - bisect_left(self.scores, _number("score", score))
        return (1 + at_least) / (len(self.scores) + 1)

    def normalized(self, score: float) -> float:
        """The score on a scale from 0 to 1, strictly increasing, above 0.5 exactly where it is above the threshold.

        0.5 + 0.5 d / (spread + |d|) with d = score - threshold: half a `spread` above the threshold is 2/3, a whole one
        0.75; it approaches 1 slowly, so strong anomalies stay apart.
        """
        distance = _number("score", score) - self.threshold
        share = 0.5 + 0.5 * distance / (self._spread() + abs(distance))
        return max(share, math.nextafter(0.5, 1)) if distance > 0 else share

    def with_threshold(self, threshold: float) -> Self:
        """The same calibration with an image threshold chosen by hand."""
        return replace(self, threshold=_number("--threshold", threshold))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` gives back an equal calibration."""
        return {**asdict(self), "scores": list(self.scores)}

    @classmethod
    def from_json(cls, record: Any) -> Self:
        """The calibration of a `to_json` record; a missing, unknown or senseless entry is a ModelFileError."""
        names = {field.name for field in fields(cls)}
        if not isinstance(record, dict) or set(record) != names:
            found = ", ".join(sorted(record)) if isinstance(record, dict) else type(record).__name__
            raise ModelFileError(f"calibration: found {found}; expected the entries {', '.join(sorted(names))}")
        try:
            numbers = {name: _number(name, record[name]) for name in names - {"scores"}}
            scores = tuple(_finite("score", record["scores"]))
        except (AdtoolError, TypeError, ValueError) as error:
            raise ModelFileError(f"calibration: {error}; the model file is damaged, train again") from None
        if list(scores) != sorted(scores):
            raise ModelFileError(
                "calibration: the scores are not in ascending order; the model file is damaged, train again"
            )
        return cls(scores=scores, **numbers)

    def _spread(self) -> float:
        """How far good scores lie apart, in score units: from their median to their 95 % quantile.

        Where most are equal, their whole range; where all are, the size of the threshold, or 1.
        """
        high = self.scores[math.ceil(0.95 * len(self.scores)) - 1]
        middle = median(self.scores)
        return _first_positive(high - middle, self.scores[-1] - self.scores[0], abs(self.threshold))


def conformal_quantile(scores: Iterable[float], false_alarm_rate: float) -> float:
    """The ceil((n + 1)(1 - rate))-th smallest of n scores, or the largest where n is too small for the rate.

    An image that scores more is anomalous; tied scores stay below.
    """
    ascending = sorted(scores)
    rank = math.ceil((len(ascending) + 1) * (1 - _exact(false_alarm_rate)))
    return ascending[min(rank, len(ascending)) - 1]


def _exact(rate: float) -> Fraction:
    """The decimal number that the rate prints as, so that 0.1 is one tenth and (n + 1)(1 - rate) is not off by one."""
    return Fraction(str(float(rate)))


def _finite(what: str, values: Iterable[float]) -> list[float]:
    """Finite floats, at least one."""
    numbers = [_number(f"{what} of image {index}", value) for index, value in enumerate(values)]
    if not numbers:
        raise AdtoolError(f"calibration: no {what}s; expected those of at least one held-out good image")
    return numbers


def _number(what: str, value: float) -> float:
    if not math.isfinite(value):
        raise AdtoolError(f"{what} is {value}, expected a finite number")
    return float(value)


def _first_positive(*candidates: float) -> float:
    """The first candidate above 0, or 1."""
    return next((value for value in candidates if value > 0), 1.0)
