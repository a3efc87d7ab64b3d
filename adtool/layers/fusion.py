"""Two restorations of an image as one, and how far the image is from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from adtool.layers.residual_scale import ResidualScale, fit_all

WAYS = ("mean", "sum", "max_res", "weighed")


class Fusion(nn.Module):
    """Images of `size` and their two restorations (N, C, H, W), in [-1, 1] -> one restoration.

    `how` is "mean", "sum" (cut off at -1 and 1), "max_res": of each value the restoration that is farther from it, or
    "weighed" (ours): each restoration by the inverse of what it misses of good images at the same place.
    """

    def __init__(self, how: str, size: tuple[int, int]) -> None:
        super().__init__()
        if how not in WAYS:
            raise ValueError(f"how: expected one of {', '.join(WAYS)}, got {how}")
        self.how = how
        self.first, self.second = (ResidualScale(size) if how == "weighed" else None for _ in range(2))

    def fit(
        self,
        batches: Iterable[Tensor],
        restored: Callable[[Tensor], Sequence[Tensor]],
        report: Callable[[str, int, int], None] = lambda *progress: None,
    ) -> None:
        """Measure what both restorations miss of good images; `restored` gives a batch's images and both, first."""
        if self.first is None or self.second is None:
            return

        def missed(batch: Tensor) -> list[Tensor]:
            images, first, second, *_ = restored(batch)
            return [images - first, images - second]

        fit_all([self.first, self.second], batches, missed, report)

    def forward(self, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
        if self.how == "sum":
            return (first + second).clamp(-1, 1)
        if self.how == "max_res":
            return torch.where((images - first).abs() > (images - second).abs(), first, second)
        if self.how == "mean":
            return (first + second) / 2
        _, share = self._shares()
        return torch.lerp(first, second, share)

    def residual(self, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """(N, C, H, W): how far the images are from both, in units of good images; of "weighed" alone.

        Sum of w |x - x'| / u over both restorations x', where u is what x' misses of good images, and w, of sum one, as
        1 / u.
        """
        assert self.first is not None and self.second is not None
        ours, theirs = self._shares()
        residual: Tensor = ours * self.first((images - first).abs()) + theirs * self.second((images - second).abs())
        return residual

    def _shares(self) -> tuple[Tensor, Tensor]:
        """Of both restorations at every place, (1, 1, H, W), of sum one."""
        assert self.first is not None and self.second is not None
        both = self.first.usual + self.second.usual
        return self.second.usual / both, self.first.usual / both
