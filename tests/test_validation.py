"""A loss over held-out images by hand; seeds that are all their own."""

from __future__ import annotations

import itertools

import pytest
import torch
from toys import Batched

from adtool.errors import AdtoolError
from adtool.validation import derived_seed, finite, held_out_loss

CPU = torch.device("cpu")


def test_every_image_counts_the_same_and_no_gradient_is_kept() -> None:
    scale = torch.ones((), requires_grad=True)
    graphs: list[bool] = []

    def validate(images: torch.Tensor) -> torch.Tensor:
        loss = scale * len(images)
        graphs.append(loss.requires_grad)
        return loss

    batches = Batched(5, batch_size=3)
    assert held_out_loss(validate, batches, CPU, torch.float32, ("training x", "validation")) == (3 * 3 + 2 * 2) / 5
    assert graphs == [False, False]


def test_a_loss_that_is_not_finite_is_named_with_its_place() -> None:
    with pytest.raises(AdtoolError, match=r"training x: the loss became nan at step 7; .*learning rate"):
        finite(torch.tensor(float("nan")), "training x", "step 7")
    with pytest.raises(AdtoolError, match="training x: the loss became inf at validation after step 2"):
        infinite = torch.tensor(float("inf"))
        where = ("training x", "validation after step 2")
        held_out_loss(lambda images: infinite, Batched(2), CPU, torch.float32, where)
    assert finite(torch.tensor(0.5), "training x", "step 7") == 0.5


def test_seeds_differ_with_seed_stage_and_step() -> None:
    keys = list(itertools.product((0, 1), ("a", "b"), (-1, 0, 1)))
    assert len({derived_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= derived_seed(*key) < 2**63 for key in keys)
