"""How simulated defects are made: the switches of `adtool.layers.defects`, and what two models have of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from adtool.errors import AdtoolError
from adtool.layers import foreground as objects


@dataclass(frozen=True)
class Simulation:
    """Every switch of the simulation; AdtoolError for one that means nothing."""

    structural: bool = True
    logical: bool = True
    """With both, each is as likely."""
    shape: str = "perlin"
    """"perlin" or "rectangles"."""
    rectangular: float = 0.0
    """Share of the logical defects that are rectangles in any case."""
    structural_exponents: tuple[int, int] = (0, 5)
    """Perlin noise has 2^e cells along each axis, e drawn from these and what is between them."""
    structural_threshold: float = 0.5
    logical_exponents: tuple[int, int] = (1, 2)
    logical_threshold: float = 0.3
    foreground: str = "auto"
    """Where defects may be: see `adtool.layers.foreground`."""
    category: str = ""
    """What the object is, for the foreground's known thresholds."""
    least_area: int = 16
    """A mask of fewer pixels is drawn again, `redraws` times, and then not confined to the foreground."""
    redraws: int = 10
    turned: float = 1.0
    """Share of logical fillings that are turned freely; of the others half are moved, and half lie as they are."""
    own: float = 0.0
    """Share of logical fillings that are cut from the image itself, elsewhere: none lies as it is."""
    bent: float = 0.0
    """Share of those of the image itself, but for the turned ones, that stay in place, turned by a few degrees."""
    recoloured: float = 0.0
    """Share of the same that stay in place with their channels in another order."""
    moved: float = 0.3
    """By what share of the height and of the width a moved one is at most, either way."""
    least_change: float = 0.0
    """A pixel counts as defective if one within 2 pixels, in some channel, changed by more."""
    source: str = "mixed"
    """What structural defects are filled with: "texture", "self" or, each as likely, "mixed"."""
    shaded: float = 0.0
    """Share of structural defects that are the image itself, darker or lighter."""
    feather: float = 0.0
    """Over about so many pixels at 256 px, at most, logical defects and shades fade in from the edge of their mask."""
    augmented: bool = False
    """Whether textures are changed at random as the image itself always is."""
    tiles: int = 8
    """The image itself is shuffled in so many tiles each way."""
    jitter: float = 0.2
    """Brightness and contrast of the filling change by factors of up to so much more or less."""
    logical_jitter: float = 1.0
    """So much of that for logical ones."""
    delta: tuple[float, float] = (0.15, 1.0)
    """Range of the share of the filling in a defect."""
    logical_delta: tuple[float, float] | None = None
    """The same of logical ones, where it is another."""
    intact: float = 0.0
    """Share of images that are left as they are."""

    def __post_init__(self) -> None:
        objects.check(self.foreground)
        for name, allowed in (("shape", ("perlin", "rectangles")), ("source", ("mixed", "texture", "self"))):
            if (value := getattr(self, name)) not in allowed:
                raise AdtoolError(f"{name} {value!r} of simulated defects: expected one of {', '.join(allowed)}")
        if not self.structural and not self.logical:
            raise AdtoolError("simulated defects: neither structural nor logical ones are asked for; allow one kind")


def simulation_of(config: Any, base: Simulation) -> Simulation:
    """`base` with every switch that a model's configuration has by the same name."""
    return replace(
        base, **{each.name: getattr(config, each.name) for each in fields(base) if hasattr(config, each.name)}
    )


SLSG = Simulation()
"""slsg: structural and logical defects on the object, in every image."""
WADS = Simulation(
    logical=False,
    foreground="none",
    redraws=0,
    source="texture",
    augmented=True,
    jitter=0.0,
    delta=(0.2, 1.0),
    intact=0.5,
)
"""wads: textures anywhere, in every second image, as DRAEM has it."""
