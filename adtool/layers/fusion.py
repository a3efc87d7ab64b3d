"""Two restorations of an image as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

WAYS = ("mean", "sum", "max_res", "fitted")


class Fusion(nn.Module):
    """Images and their two restorations (N, C, H, W), in [-1, 1] -> one restoration.

    `how` is "mean", "sum" (cut off at -1 and 1), "max_res": of each value the restoration that is farther from it, or
    "fitted" (ours): the mixture that is nearest to good images, the mean before `fit`.
    """

    share: Tensor

    def __init__(self, how: str) -> None:
        super().__init__()
        if how not in WAYS:
            raise ValueError(f"how: expected one of {', '.join(WAYS)}, got {how}")
        self.how = how
        if how == "fitted":
            self.register_buffer("share", torch.tensor(0.5))

    @torch.no_grad()
    def fit(
        self,
        batches: Iterable[Tensor],
        restored: Callable[[Tensor], Sequence[Tensor]],
        report: Callable[[str, int, int], None] = lambda *progress: None,
    ) -> None:
        """Take the share of the first restoration with the least squares; only "fitted" has one.

        `restored` gives first a batch's images and both restorations. With the images x and restorations a and b it is
        (x - b) . (a - b) / |a - b|^2, between 0 and 1.
        """
        if self.how != "fitted":
            return
        above, below, number = 0.0, 0.0, 0
        for batch in batches:
            images, first, second = restored(batch)[:3]
            apart = (first - second).double()
            above += float(((images - second) * apart).sum())
            below += float(apart.square().sum())
            number += len(batch)
            report("mixture", number, 0)
        self.share.fill_(min(1.0, max(0.0, above / below)) if below else 0.5)

    def forward(self, images: Tensor, first: Tensor, second: Tensor) -> Tensor:
        if self.how == "sum":
            return (first + second).clamp(-1, 1)
        if self.how == "max_res":
            return torch.where((images - first).abs() > (images - second).abs(), first, second)
        if self.how == "mean":
            return (first + second) / 2
        return torch.lerp(second, first, self.share)
