"""What scoring leaves on disk: a row per image and pictures named after the images, written beside the model's work.

A row is written after the pictures of its image. When a run is stopped, everything scored by then is written.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from adtool import heatmaps
from adtool.data.images import image_size, read_image
from adtool.errors import AdtoolError, ImageError

if TYPE_CHECKING:
    from adtool.calibration import Calibration
    from adtool.rows import Rows
    from adtool.scoring import Scored

Report = Callable[[str, int, int], None]

SPLITS = ("train", "validation", "test")
"""Folders between category and defect type in the layout of MVTec AD and MVTec LOCO."""

WINDOW = 16
"""Images whose pictures may be waiting to be written."""


@dataclass(frozen=True)
class Pictures:
    """Writes the pictures that were asked for, each folder mirroring the folders of the images."""

    names: dict[str, PurePath]
    """Sample name -> path inside each folder, without suffix; see `output_names`."""
    calibration: Calibration | None = None
    heatmaps: Path | None = None
    maps: Path | None = None
    masks: Path | None = None

    def __post_init__(self) -> None:
        for option, folder in (("--heatmaps", self.heatmaps), ("--masks", self.masks)):
            if folder and self.calibration is None:
                raise AdtoolError(
                    f"{option}: this model was trained on too few good images to know the scale of its maps; "
                    "train it with more, or write raw maps with --maps"
                )
        if self.heatmaps and self.heatmaps == self.masks:
            raise AdtoolError(f"--masks {self.masks}: would overwrite the heat maps; choose another folder")
        for folder in self.folders:
            _check_folder(folder)

    @property
    def folders(self) -> list[Path]:
        """The folders that are written to."""
        return [folder for folder in (self.heatmaps, self.maps, self.masks) if folder]

    def write(self, scored: Scored) -> Scored:
        """Write the pictures of one image and return its result, which is an error if the image is gone by now."""
        if scored.map is None or not self.folders:
            return scored
        try:
            self._write(scored, self.names[scored.sample.name])
        except ImageError as error:
            return replace(
                scored, score=None, normalized_score=None, p_value=None, is_anomalous=None, error=error.reason
            )
        return scored

    def _write(self, scored: Scored, name: PurePath) -> None:
        assert scored.map is not None
        if self.heatmaps and self.calibration:
            image = read_image(scored.sample)
            low, high = self.calibration.map_low, self.calibration.map_high
            heatmaps.write_heatmap(_file(self.heatmaps, name, ".png"), image, scored.map, low, high)
        if self.maps:
            heatmaps.write_map(_file(self.maps, name, ".tiff"), scored.map, image_size(scored.sample))
        if self.masks and self.calibration:
            size, threshold = image_size(scored.sample), self.calibration.pixel_threshold
            heatmaps.write_mask(_file(self.masks, name, ".png"), scored.map, size, threshold)


def _file(folder: Path, name: PurePath, suffix: str) -> Path:
    return folder / name.with_name(name.name + suffix)


def _check_folder(folder: Path) -> None:
    """Find out before the work, not after it, that nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise AdtoolError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from error


@dataclass
class Summary:
    """What a run came to."""

    images: int = 0
    anomalous: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of each image without a score."""
    seconds: float = 0.0

    def count(self, scored: Scored) -> None:
        """Add one result."""
        self.images += 1
        self.anomalous += bool(scored.is_anomalous)
        if scored.error is not None:
            self.unreadable.append((scored.sample.name, scored.error))


def write_results(
    results: Iterable[Scored], rows: Rows, pictures: Pictures, *, total: int, report: Report, workers: int = 2
) -> Summary:
    """Write every result, pictures in threads beside the model and rows in order, and say what it came to.

    When the run is stopped, what has been scored still gets its pictures and its row.
    """
    summary = Summary()
    started = time.perf_counter()
    pending: deque[Future[Scored]] = deque()

    def finish_first() -> None:
        scored = pending[0].result()
        pending.popleft()
        rows.add(scored.row)
        summary.count(scored)
        report("score", summary.images, total)

    with ThreadPoolExecutor(workers, thread_name_prefix="adtool-write") as pool:
        try:
            for scored in results:
                pending.append(pool.submit(pictures.write, scored))
                while pending and (len(pending) > WINDOW or pending[0].done()):
                    finish_first()
        finally:
            while pending:
                finish_first()
    summary.seconds = time.perf_counter() - started
    return summary


def output_names(paths: Sequence[tuple[str, Path]], arguments: Sequence[Path]) -> dict[str, PurePath]:
    """Names without suffix for the pictures of each (sample name, image path), no two alike.

    They are relative to the folder that the arguments have in common. Images in the layout of MVTec AD get
    `<category>/<split>/<defect>/<stem>`, as its evaluation expects. Images that differ only in suffix keep it.
    """
    root = os.path.commonpath([_folder(argument) for argument in arguments])
    full = [_relative(Path(os.path.abspath(path)), root) for _, path in paths]
    names = [path.with_suffix("") for path in full]
    while True:
        seen: dict[str, int] = {}
        for name in names:
            seen[str(name).casefold()] = seen.get(str(name).casefold(), 0) + 1
        told_apart = [f if seen[str(n).casefold()] > 1 else n for n, f in zip(names, full, strict=True)]
        if told_apart == names:
            return {sample: name for (sample, _), name in zip(paths, names, strict=True)}
        names = told_apart


def _folder(argument: Path) -> str:
    """The deepest folder that surely holds what an argument (file, folder or glob) means."""
    path = os.path.abspath(argument)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _relative(path: Path, root: str) -> PurePath:
    if len(path.parents) > 3 and path.parents[1].name in SPLITS:
        category = path.parents[2]
        if (category / "train").is_dir():
            return path.relative_to(category.parent)
    return PurePath(os.path.relpath(path, root))
