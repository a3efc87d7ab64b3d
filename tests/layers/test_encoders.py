"""What the encoders give a decoder, and what of them is trained."""

from __future__ import annotations

import pytest
import torch

from adtool.layers.backbones import IMAGENET
from adtool.layers.encoders import LearntEncoder, PublishedEncoder


def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stride", [16, 32])
def test_levels_have_the_widths_that_are_promised_and_halve_the_resolution(stride: int) -> None:
    for encoder in (LearntEncoder(8, stride), PublishedEncoder("efficientnet_lite0", stride, 24)):
        shapes = [tuple(level.shape) for level in encoder.levels(images())]
        sides = [32, 16, 8, 4, 64 // stride]
        assert shapes == [(2, width, side, side) for width, side in zip(encoder.widths, sides, strict=True)]


def test_of_a_published_encoder_the_last_step_alone_is_trained_and_its_levels_are_the_backbones() -> None:
    encoder = PublishedEncoder("efficientnet_lite0", 32, 24).train()
    learnt = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert learnt == {"narrow.0.weight", "narrow.1.weight", "narrow.1.bias"}
    before = {name: value.clone() for name, value in encoder.backbone.state_dict().items()}
    *finer, deepest = encoder.levels(images())
    deepest.sum().backward()
    assert encoder.narrow[0].weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in encoder.backbone.state_dict().items())
    assert all(map(torch.equal, finer, encoder.backbone(images())[:4]))


def test_a_learnt_encoder_sees_images_from_minus_one_to_one_or_as_the_published_weights_ask() -> None:
    grey = torch.full((1, 3, 64, 64), 0.5)
    plain = LearntEncoder(4, 32).eval()
    assert all(not level.any() for level in plain.levels(grey))  # grey is 0, and nothing has a bias
    published = LearntEncoder(4, 32, published=True).eval()
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in IMAGENET)
    plain.load_state_dict(published.state_dict())
    shown = images()
    expected = plain.levels(((shown - mean) / std + 1) / 2)
    for ours, theirs in zip(published.levels(shown), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
