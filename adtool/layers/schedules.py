"""Learning rates over the steps of a stage."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_up_cosine(optimizer: Optimizer, steps: int, warm_up: float, floor: float) -> LambdaLR:
    """The rate rises linearly over the share `warm_up` of the steps, then falls as a cosine to its share `floor`."""
    rising = max(1, round(warm_up * steps))

    def share(step: int) -> float:
        fallen = min(1.0, max(0, step - rising) / max(1, steps - rising))
        return min(1.0, (step + 1) / rising) * (floor + (1 - floor) * (1 + math.cos(math.pi * fallen)) / 2)

    return LambdaLR(optimizer, share)


def constant_then_linear(optimizer: Optimizer, steps: int) -> LambdaLR:
    """The rate stays for the first half of the steps, then falls linearly to nothing at their end."""
    return LambdaLR(optimizer, lambda step: min(1.0, max(0.0, 2 * (steps - step) / steps)))
