"""How far good images are from their restorations, place by place: the unit of residuals (ours).

A network restores some places worse than others, edges of a part and borders of the picture above all. Divided by what
good images leave there, a residual says how unusual it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from adtool.ops.gaussian_blur import gaussian_blur

SPREAD = 8.0
"""Gaussian smoothing of the unit, pixels at 256 px."""
LEAST = 0.75
"""No place has less of a unit than this share of the mean."""


class ResidualScale(nn.Module):
    """Residuals (N, C, H, W) in units of the mean of good images at the same place; as they are before `fit`."""

    usual: Tensor

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("usual", torch.ones(1, 1, *size))

    def fit(
        self,
        batches: Iterable[Tensor],
        difference: Callable[[Tensor], Tensor],
        report: Callable[[str, int, int], None] = lambda *progress: None,
    ) -> None:
        """To good images, at least one: `difference` is (N, C, H, W), that of a batch from its restorations."""
        fit_all([self], batches, lambda batch: [difference(batch)], report)

    def forward(self, residuals: Tensor) -> Tensor:
        return residuals / self.usual


@torch.no_grad()
def fit_all(
    scales: Sequence[ResidualScale],
    batches: Iterable[Tensor],
    differences: Callable[[Tensor], Sequence[Tensor]],
    report: Callable[[str, int, int], None] = lambda *progress: None,
) -> None:
    """Several scales in one pass: `differences` gives a batch's, (N, C, H, W) each, in their order."""
    totals, number = [torch.zeros_like(scale.usual, dtype=torch.float64) for scale in scales], 0
    for batch in batches:
        for total, difference in zip(totals, differences(batch), strict=True):
            total += difference.double().abs().mean(1, keepdim=True).sum(0, keepdim=True)
        number += len(batch)
        report("residuals", number, 0)
    for scale, total in zip(scales, totals, strict=True):
        mean = (total / number).float()
        smooth = gaussian_blur(mean, SPREAD * mean.shape[2] / 256)
        scale.usual.copy_(smooth.clamp(min=max(LEAST * float(mean.mean()), torch.finfo(torch.float32).tiny)))
