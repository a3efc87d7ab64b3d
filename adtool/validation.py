"""A stage's loss over held-out good images; every loss is finite, and every step has a seed of its own."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from adtool.devices import autocast, placed
from adtool.encoding import images_in
from adtool.errors import AdtoolError


def held_out_loss(
    validate: Callable[[Any], Tensor],
    batches: Any,
    device: torch.device,
    precision: torch.dtype,
    where: tuple[str, str],
) -> float:
    """Mean of `validate` over the images of all batches, without gradients; AdtoolError unless it is finite.

    `where` names the training and the moment in the error.
    """
    total = 0.0
    with torch.no_grad(), autocast(device, precision):
        for batch in batches:
            total += images_in(batch) * finite(validate(placed(batch, device)), *where)
    return total / len(batches)


def learnt_nothing(best: float, nothing: float) -> str:
    """What to tell a person when the lowest held-out loss is no lower than what a network without knowledge has."""
    return (
        f"has learnt nothing that held-out good images show: {best:.3g} from them at best, and {nothing:.3g} is what "
        "knowing nothing gives; train longer, with another learning rate or a lower adversarial weight (--set)"
    )


def finite(loss: Tensor, what: str, when: str) -> float:
    """The loss as a number; AdtoolError unless it is finite."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise AdtoolError(
            f"{what}: the loss became {value} at {when}; train with a lower learning rate (--set), or look for images "
            "that are not pictures of good parts (`adtool data check`)"
        )
    return value


def derived_seed(seed: int, stage: str, step: int) -> int:
    """A seed for one step that no other step, stage or seed shares."""
    digest = hashlib.sha256(f"{seed}/{stage}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
