"""The model contract: what every detector offers to training, scoring and the command line.

A model file `adtool/models/<name>.py` exposes exactly two names: `Config`, a frozen dataclass derived from
`DetectorConfig`, and `Model`, an `nn.Module` derived from `Detector`. Nothing registers them:
`adtool.models.load(name)` imports the file of that name.

`images` are always (N, 3, H, W) float32 RGB in [0, 1] at `config.size`; normalisation belongs to the model. Training
fills a configuration's empty field `category: str`, where it has one, with the category of the data set, and reads the
folder that a field `anomaly_source: str` names into `Detector.textures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from adtool.errors import AdtoolError
from adtool.layers.defects import Simulated

Batches = Iterable[Tensor]
"""Good images as (N, 3, H, W) float batches; may be iterated several times, always in the same order."""

Report = Callable[[str, int, int], None]
"""Progress of a pass: (what, done, total)."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


class Pairs(NamedTuple):
    """Good images, each with another one to take things from, as simulated defects need them."""

    images: Tensor
    """(N, 3, H, W)"""
    others: Tensor
    """(N, 3, H, W): for each image another good one, or itself where there is only one."""
    seeds: Tensor
    """(N,) int64 below 2^63: all that is random about a sample follows from its seed."""


class Prediction(NamedTuple):
    """What a model says of a batch; larger is more anomalous."""

    maps: Tensor
    """(N, 1, H, W) float32 anomaly maps at the model's input size."""
    scores: Tensor
    """(N,) float32 image scores."""


@dataclass
class Stage:
    """One thing that is trained: its optimisers, how long, and its losses.

    `losses(images)` is a generator which yields one loss per optimiser, in their order. Training steps the k-th
    optimiser on the k-th loss before it asks for the next one, so a later loss sees the earlier steps. Where there is
    an `encode`, `losses` and `validate` are given what it returns in place of the images; where the stage is `paired`,
    `Pairs`. A stage is not both (ValueError).
    """

    name: str
    losses: Callable[[Any], Iterator[Tensor]]
    optimizers: Sequence[Optimizer]
    epochs: int
    batch_size: int
    schedules: Sequence[LRScheduler] = field(default_factory=tuple)
    """Stepped once per optimisation step."""
    validate: Callable[[Any], Tensor] | None = None
    """(N, 3, H, W) held-out good images -> scalar loss; the stage ends with the weights of the epoch where it was
    lowest. Without it early stopping watches the training loss."""
    untaught: Callable[[Any], Tensor] | None = None
    """What `validate` says of a network that has learnt nothing; training says so where its lowest is no lower."""
    encode: Callable[[Tensor], list[Tensor]] | None = None
    """What a frozen part makes of (N, 3, H, W) images, tensors (N, ...); done once per image where memory allows."""
    patience: int | None = None
    """Epochs without an improvement of `min_delta` before training stops; None trains to the end."""
    min_delta: float = 1e-4
    max_steps: int | None = None
    """A limit on optimisation steps, whatever `epochs` says."""
    clip: float | None = None
    """The largest norm of an optimiser's gradient; longer ones are shortened to it."""
    paired: bool = False
    """The other image and the seed of an image follow from training seed, stage, epoch and image alone; `validate` is
    given the same pairs every time."""

    def __post_init__(self) -> None:
        if self.paired and self.encode is not None:
            raise ValueError(f"stage {self.name}: images are paired or encoded, not both")


@dataclass(frozen=True)
class DetectorConfig:
    """Switches that every model has. Sizes are pixels."""

    PAPER: ClassVar[str] = ""
    """One-line citation with link."""
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"default": {}}
    """Preset name -> the fields in which it differs from the class defaults."""

    height: int = 256
    width: int = 256

    @property
    def size(self) -> tuple[int, int]:
        """Input size (height, width) in pixels."""
        return self.height, self.width

    @classmethod
    def preset(cls, name: str = "default") -> Self:
        """The named preset; an unknown name is an AdtoolError that lists the known ones."""
        if name not in cls.PRESETS:
            known = ", ".join(sorted(cls.PRESETS))
            raise AdtoolError(f"--preset {name}: not a preset of this model; known presets: {known}")
        return cls(**cls.PRESETS[name])

    def override(self, **values: Any) -> Self:
        """A copy with some fields replaced; an unknown field is an AdtoolError that lists the known ones."""
        known = [f.name for f in fields(self)]
        for name in values:
            if name not in known:
                raise AdtoolError(f"--set {name}: not a field of this model; fields: {', '.join(known)}")
        return replace(self, **values)

    def one_of(self, **choices: Sequence[Any]) -> None:
        """AdtoolError unless every field named has one of the values given."""
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise AdtoolError(f"--set {name}={value}: expected one of {', '.join(map(str, allowed))}")

    def at_least(self, least: float, *names: str) -> None:
        """AdtoolError where a field named is below `least`; None is not."""
        for name in names:
            if (value := getattr(self, name)) is not None and value < least:
                raise AdtoolError(f"--set {name}={value}: expected at least {least}")

    def shares(self, *names: str) -> None:
        """AdtoolError unless every field named is from 0 to 1."""
        for name in names:
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise AdtoolError(f"--set {name}={value}: expected a share from 0 to 1")


class Detector(nn.Module):
    """Base of every model. Subclasses take their `Config` as only constructor argument and hold it as `config`."""

    config: DetectorConfig
    textures: Tensor | None = None
    """(T, 3, H, W) uint8 pictures to paint defects with, where the configuration has an `anomaly_source` that is not
    empty: set before training, and no part of the model file."""
    notices: tuple[str, ...] = ()
    """What happened in a step of training that a person should know; training tells and clears them after the step."""

    @property
    def backbones(self) -> dict[str, nn.Module]:
        """Frozen feature extractors by attribute name, whose published weights training loads."""
        return {}

    def stages(self) -> list[Stage]:
        """What is trained by gradient, in order; empty for memory banks."""
        return []

    def prepare(self, batches: Batches, report: Report = silent) -> None:
        """A pass over good images before the stages (statistics)."""

    def finish(self, batches: Batches, report: Report = silent) -> None:
        """A pass over good images after the stages (memory bank, score scale)."""

    def preview(self, pairs: Pairs) -> Simulated:
        """The simulated defects that training shows the model; AdtoolError where it is shown none."""
        raise AdtoolError(f"--model {self._name}: simulates no defects, so there is nothing to preview")

    def restorations(self, images: Tensor) -> dict[str, Tensor]:
        """What the model makes of (N, 3, H, W) images on its way to the map, by name, as images in [0, 1].

        The last one is what an image is compared with; AdtoolError where there is none. Call it as `predict`.
        """
        raise AdtoolError(f"--model {self._name}: restores no images, so there is no gallery to draw")

    @property
    def _name(self) -> str:
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def discard(self) -> None:
        """Drop the parts that only training needs: a model file holds what predicts, a training's state all of them."""

    def predict(self, images: Tensor) -> Prediction:
        """Maps and scores of (N, 3, H, W) images in [0, 1]; call in eval mode under `torch.inference_mode()`."""
        raise NotImplementedError
