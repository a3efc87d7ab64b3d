"""Batches of every kind on their device, pictures alone in the device's layout."""

from __future__ import annotations

import pytest
import torch

from adtool import devices
from adtool.devices import placed
from adtool.models._detector import Pairs

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "memory_format", lambda device: torch.channels_last)


def is_last(images: torch.Tensor) -> bool:
    return images.is_contiguous(memory_format=torch.channels_last)


def test_pictures_take_the_layout() -> None:
    images = torch.rand(2, 3, 4, 5)
    assert is_last(placed(images, CPU)) and torch.equal(placed(images, CPU), images)


def test_lists_and_pairs_keep_their_kind() -> None:
    images, seeds = torch.rand(2, 3, 4, 5), torch.arange(2)
    both = placed([images, images[:, 0, 0]], CPU)
    assert isinstance(both, list) and is_last(both[0]) and torch.equal(both[1], images[:, 0, 0])
    pairs = placed(Pairs(images, images + 1, seeds), CPU)
    assert isinstance(pairs, Pairs) and is_last(pairs.images) and is_last(pairs.others)
    assert torch.equal(pairs.seeds, seeds) and torch.equal(pairs.others, images + 1)
