"""Losses on maps of logits, and the structural similarity of images.

Every loss is a scalar mean in at least float32, whatever the precision around it. Logits are (N, 1, H, W) and masks,
(N, 1, H, W), are 1 where anomalous and 0 elsewhere; p = sigmoid(logit).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adtool.ops.gaussian_blur import gaussian_blur

SIGMA = 1.5
"""Of the Gaussian window in which structural similarity is measured, pixels."""
K1, K2 = 0.01, 0.03
CLAMP = 1e-6
"""How near to 0 and 1 the share of anomalous pixels may come in the sparsity prior."""


def _wide(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def flat_error(images: Tensor) -> Tensor:
    """Mean of |x - c| where c is the mean colour of the batch (N, C, H, W): the error of restorations of one colour."""
    wide = _wide(images)
    return (wide - wide.mean((0, 2, 3), keepdim=True)).abs().mean()


def focal_loss(logits: Tensor, masks: Tensor, gamma: float = 2.0) -> Tensor:
    """-(1 - p_t)^gamma log p_t, p_t being the probability of what the mask says (Lin et al. 2017, without alpha).

    From logarithms, so that neither values nor gradients overflow where p_t is 0 or 1, with any gamma from 0 on.
    """
    said = _wide(logits) * (2 * masks - 1)  # logit of p_t
    return -((gamma * F.logsigmoid(-said)).exp() * F.logsigmoid(said)).mean()


def l1_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """|p - mask|."""
    return F.l1_loss(_wide(logits).sigmoid(), _wide(masks))


def sparsity_loss(logits: Tensor, good: Tensor, rho: float = 0.1, mode: str = "area") -> Tensor:
    """m log(m / rho) + (1 - m) log((1 - m) / (1 - rho)): the share m of anomalous pixels is a priori near `rho`.

    m is the mean of p over an image with mode "area", and p itself with "pixel". `good` (N,) tells which images have no
    anomaly; they are not drawn up to `rho`: only where m is larger do they count.
    """
    p = _wide(logits).sigmoid()
    m = (p.mean((1, 2, 3), keepdim=True) if mode == "area" else p).clamp(CLAMP, 1 - CLAMP)
    divergence = m * (m / rho).log() + (1 - m) * ((1 - m) / (1 - rho)).log()
    return torch.where(good.view(-1, 1, 1, 1) & (m <= rho), 0, divergence).mean()


def ssim_map(images: Tensor, others: Tensor, span: float = 2.0) -> Tensor:
    """Structural similarity (Wang et al. 2004) of (N, C, H, W) images at every pixel, 1 where they are the same.

    Means, variances and covariance are those of a Gaussian window, mirrored at the border. `span` is the distance of
    black and white: 2 for images in [-1, 1].
    """
    x, y = _wide(images), _wide(others)
    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    mean_x, mean_y = gaussian_blur(x, SIGMA), gaussian_blur(y, SIGMA)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    covariance = gaussian_blur(x * y, SIGMA) - product
    variances = gaussian_blur(x * x + y * y, SIGMA) - squares
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def ssim_loss(images: Tensor, others: Tensor, span: float = 2.0) -> Tensor:
    """1 - structural similarity."""
    return 1 - ssim_map(images, others, span).mean()
