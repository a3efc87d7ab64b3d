"""What the models that learn from simulated defects have in common: the switches of `adtool.layers.simulation`."""

from __future__ import annotations

from dataclasses import dataclass

from adtool.errors import AdtoolError
from adtool.models._detector import DetectorConfig


@dataclass(frozen=True)
class SimulatorConfig(DetectorConfig):
    """Switches by the names of the simulation's; but for the first two they are ours, and off as they stand here."""

    category: str = ""
    """What the pictures show, for what is known of it; that of the data set where it is empty."""
    anomaly_source: str = ""
    """A folder of textures that defects are cut from; textures are drawn where it is empty."""
    turned: float = 1.0
    """Share of the logical defects that are turned; the others are moved, or lie as in the other image."""
    own: float = 0.0
    """Share of the logical defects that are cut from the image itself, and none of them lies as it is."""
    bent: float = 0.0
    """Share of those, unless turned, that stay in place, turned by a few degrees."""
    recoloured: float = 0.0
    """Share of the same that stay in place with their colour channels in another order."""
    rectangular: float = 0.0
    """Share of the logical defects that are rectangles."""
    logical_jitter: float = 1.0
    """How much of the change of light that structural defects have logical ones have."""
    logical_delta: tuple[float, float] | None = None
    """Range of the share of the filling in a logical defect; None is that of all."""
    shaded: float = 0.0
    """Share of the structural defects that are a darker or lighter part of the image."""
    feather: float = 0.0
    """Over how many pixels, at most, at 256 logical defects and shades fade in."""
    least_change: float = 0.0
    """What counts as a defect changes the image by more."""
    views: float = 0.0
    """Share of the images that are shown in a random view."""

    def check_simulation(self) -> None:
        """AdtoolError for a share or a range of shares that is none, or a negative width or change."""
        self.shares("turned", "own", "bent", "recoloured", "rectangular", "logical_jitter", "shaded", "views")
        self.at_least(0, "feather", "least_change")
        low, high = self.logical_delta or (0.0, 1.0)
        if not 0 <= low <= high <= 1:
            raise AdtoolError(f"--set logical_delta={low},{high}: expected two shares from 0 to 1, the smaller first")
