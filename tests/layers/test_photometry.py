"""Curves by hand; a picture's changes are three, its own, and the same in any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adtool.layers.photometry import CURVES, _changed, apply_curves, augment, jitter


def pictures(number: int = 5, size: tuple[int, int] = (17, 13)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (number, 3, *size), generator=generator) / 255


def test_a_curve_replaces_each_level_of_its_channel() -> None:
    curves = (torch.arange(256) / 255).repeat(1, 3, 1)
    image = pictures(1)
    assert torch.equal(apply_curves(image, curves), image)
    curves[0, 1] = 1 - curves[0, 1]
    changed = apply_curves(image, curves)
    assert torch.equal(changed[:, [0, 2]], image[:, [0, 2]])
    torch.testing.assert_close(changed[:, 1], 1 - image[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "drawn", "expected"),  # of the levels 0, 0.2, 0.4, 0.8
    [
        (0, 1.0, [0, 0.04, 0.16, 0.64]),  # gamma 2
        (1, 0.0, [0, 0.04, 0.2, 0.52]),  # 0.8 x - 0.12
        (2, 1.0, [0, 0, 0.32, 1]),  # 1.8 (x - 0.5) + 0.5
        (3, 0.0, [0, 0.8, 0.6, 0.2]),  # inverted from 0.12 on
        (4, 0.0, [0, 0, 1 / 3, 1]),  # 4 levels
        (5, 0.3, [1, 0.8, 0.6, 0.2]),
        (6, 1.0, [0.2, 0.4, 0.6, 1]),
        (CURVES, 0.7, [0, 0.2, 0.4, 0.8]),
    ],
)
def test_changes_by_hand(kind: int, drawn: float, expected: list[float]) -> None:
    levels = torch.tensor([0, 0.2, 0.4, 0.8]).expand(1, 3, 4)
    changed = _changed(levels, torch.tensor([kind]), torch.full((1, 11), drawn))
    for channel in changed[0]:
        assert channel.tolist() == pytest.approx(expected, abs=1e-6)


def test_brightness_and_contrast_by_hand() -> None:
    image = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    lit = jitter(image, torch.tensor([0.5]), torch.tensor([1.0]))
    assert lit[0, 0].flatten().tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-6)
    flat = jitter(image, torch.tensor([1.0]), torch.tensor([0.0]))
    assert flat.flatten().tolist() == pytest.approx([0.5] * 12, abs=0.5 / 255)
    both = jitter(image, torch.tensor([1.0]), torch.tensor([2.0]))  # 0.5 + 2 (x - 0.5), within [0, 1]
    assert both[0, 0].flatten().tolist() == pytest.approx([0, 0.3, 0.7, 1], abs=0.5 / 255)


def test_an_augmented_picture_depends_on_itself_and_its_seed() -> None:
    images, seeds = pictures(), torch.tensor([3, 1, 4, 1, 5])
    together = augment(images, seeds, 2)
    assert torch.equal(augment(images[[4, 1]], seeds[[4, 1]], 2), together[[4, 1]])
    assert together.min() >= 0 and together.max() <= 1
    again = augment(images[:1].expand(5, -1, -1, -1), seeds, 2)
    assert torch.equal(again[1], again[3])  # the same seed
    assert len({tuple(image.flatten().tolist()) for image in again}) == 4


def test_augmenting_makes_three_different_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def noting(curves: Tensor, kinds: Tensor, drawn: Tensor) -> Tensor:
        seen.append(kinds)
        return curves

    monkeypatch.setattr("adtool.layers.photometry._changed", noting)
    images = pictures(64)
    unchanged = augment(images, torch.arange(64), 0)
    kinds = torch.stack(seen, 1)
    assert kinds.shape == (64, 3) and all(len(set(row)) == 3 for row in kinds.tolist())
    assert set(kinds.flatten().tolist()) == set(range(CURVES + 1))
    turned = (unchanged != images).flatten(1).any(1)
    assert torch.equal(turned, (kinds == CURVES).any(1))
