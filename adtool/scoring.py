"""The streaming pipeline: decode ahead in threads, batch, predict, one result per image in the order given.

At most two batches of images are in memory, however many there are. An image that cannot be read gives a result with
`error` set and nothing else is lost because of it. A result does not depend on batch size, neighbours or threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adtool.data import Sample
from adtool.data.batches import ahead
from adtool.data.images import load, to_float
from adtool.errors import ImageError

if TYPE_CHECKING:
    from adtool.calibration import Calibration
    from adtool.checkpoint import LoadedModel

BATCH_SIZE = 8
"""Images per forward pass; on a CPU larger batches gain nothing and cost memory."""


@dataclass(frozen=True)
class Scored:
    """What a model says of one image; without a calibrated threshold the fields after `score` are None."""

    sample: Sample
    score: float | None = None
    normalized_score: float | None = None
    p_value: float | None = None
    threshold: float | None = None
    is_anomalous: bool | None = None
    error: str | None = None
    """Why there is no score."""
    map: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)
    """(H, W) anomaly map at the model's input size."""

    @property
    def row(self) -> dict[str, str | float | bool | None]:
        """The fields of `adtool score`, in their order."""
        return {
            "path": self.sample.name,
            "score": self.score,
            "normalized_score": self.normalized_score,
            "p_value": self.p_value,
            "threshold": self.threshold,
            "is_anomalous": self.is_anomalous,
            "error": self.error,
        }


class Decoded(NamedTuple):
    """An image at the model's size, or why there is none."""

    sample: Sample
    pixels: Tensor | None
    """(3, H, W) uint8."""
    error: str | None = None


def score(
    loaded: LoadedModel,
    samples: Iterable[Sample],
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 2,
    threshold: float | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Scored]:
    """Score samples one batch at a time; `threshold` replaces the calibrated one, `workers` is the number of decoders.

    `loaded` is on `device`. Results come in the order of `samples`.
    """
    verdict = _verdict(loaded.calibration, threshold)
    size = loaded.model.config.size
    decoded = ahead(lambda sample: _decode(sample, size), samples, workers=workers, window=max(batch_size, workers))
    while batch := list(islice(decoded, batch_size)):
        yield from _score_batch(loaded, batch, verdict, device)


def _decode(sample: Sample, size: tuple[int, int]) -> Decoded:
    try:
        return Decoded(sample, load(sample, size))
    except ImageError as error:
        return Decoded(sample, None, error.reason)
    except MemoryError:
        return Decoded(sample, None, "is too large for the memory of this machine; scale it down or cut it into tiles")


def _score_batch(
    loaded: LoadedModel, batch: list[Decoded], verdict: Verdict, device: torch.device | str
) -> Iterator[Scored]:
    pixels = [decoded.pixels for decoded in batch if decoded.pixels is not None]
    if pixels:
        with torch.inference_mode():
            prediction = loaded.model.predict(to_float(torch.stack(pixels).to(device)))
            maps = prediction.maps.float().cpu().numpy()  # (N, 1, H, W)
            scores = iter(zip(prediction.scores.tolist(), maps, strict=True))
    for decoded in batch:
        if decoded.pixels is None:
            yield Scored(decoded.sample, error=decoded.error)
        else:
            value, anomaly_map = next(scores)
            yield verdict.on(decoded.sample, value, anomaly_map[0])


@dataclass(frozen=True)
class Verdict:
    """Turns raw scores into results."""

    calibration: Calibration | None
    threshold: float | None

    def on(self, sample: Sample, value: float, anomaly_map: NDArray[np.float32]) -> Scored:
        """The result for one image; a score that is not a number is an error, never "good"."""
        if not np.isfinite(value):
            return Scored(sample, error=f"the model gave the score {value}; its weights or this image are damaged")
        if self.calibration is None:
            anomalous = None if self.threshold is None else value > self.threshold
            return Scored(sample, value, threshold=self.threshold, is_anomalous=anomalous, map=anomaly_map)
        return Scored(
            sample,
            value,
            self.calibration.normalized(value),
            self.calibration.p_value(value),
            self.calibration.threshold,
            self.calibration.is_anomalous(value),
            map=anomaly_map,
        )


def _verdict(calibration: Calibration | None, threshold: float | None) -> Verdict:
    if calibration is not None and threshold is not None:
        calibration = calibration.with_threshold(threshold)
    return Verdict(calibration, threshold)
