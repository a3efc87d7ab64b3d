"""Images on disk as Sample records: `open_dataset(path)` finds the layout and returns a Dataset."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One image of a data set."""

    path: Path
    split: str = "test"
    """"train", "val" or "test"."""
    label: int | None = None
    """0 good, 1 anomalous, None unknown."""
    defect_type: str = "good"
    mask_paths: tuple[Path, ...] = ()
    """None, one, or (LOCO) one per defect channel."""
    category: str = ""
    index: int | None = None
    """Row inside `path` where one file holds many images (CIFAR batches)."""

    @property
    def name(self) -> str:
        """The path as text, with `#row` where one file holds many images."""
        return f"{self.path}" if self.index is None else f"{self.path}#{self.index}"


@dataclass(frozen=True)
class Saturation:
    """When a defect channel counts as found (MVTec LOCO's defects_config.json)."""

    defect_name: str
    pixel_value: int
    threshold: float
    """Pixels at original resolution, or a share of the channel's area when `relative`."""
    relative: bool


@dataclass(frozen=True)
class Dataset:
    """One category of a data set: its samples in natural order of their paths."""

    root: Path
    layout: str
    """"loco", "mvtec", "btad", "visa", "cifar" or "folder"."""
    category: str
    samples: tuple[Sample, ...]
    saturation: dict[int, Saturation] = field(default_factory=dict)
    """pixel value -> saturation rule; empty except for LOCO."""
    notes: tuple[str, ...] = ()
    """Things a person should know about what was found (missing masks, seeded splits)."""

    def split(self, name: str) -> list[Sample]:
        """The samples of "train", "val" or "test"."""
        return [sample for sample in self.samples if sample.split == name]
