import pytest
import torch
import torch.nn.functional as F

from adtool.layers.fpn import PairSegmentation, PublishedPairSegmentation, PyramidSegmentation


def features(*channels: int) -> list[torch.Tensor]:
    """One image's levels, finest 16 x 16."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, c, 16 >> k, 16 >> k, generator=generator) for k, c in enumerate(channels)]


def test_the_pyramid_adds_deep_to_fine_as_the_formula_says():
    torch.manual_seed(0)
    pyramid = PyramidSegmentation((3, 5, 7), 8).eval()
    first, second, third = features(3, 5, 7)

    def double(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3]), mode="bilinear", align_corners=False)

    hidden = pyramid.groups[1](double(pyramid.laterals[2](third)) + pyramid.laterals[1](second))
    hidden = pyramid.groups[0](double(hidden) + pyramid.laterals[0](first))
    expected = pyramid.logits(double(pyramid.narrow(hidden)))
    assert torch.equal(pyramid([first, second, third]), expected) and expected.shape == (1, 1, 32, 32)


def test_every_level_has_a_say():
    levels = [level.requires_grad_() for level in features(3, 5, 7)]
    grads = torch.autograd.grad(PyramidSegmentation((3, 5, 7), 8)(levels).square().sum(), levels)
    assert all(grad.abs().max() > 0 for grad in grads)


def test_the_pyramid_of_resnet50_has_three_and_a_half_million_parameters():
    with torch.device("meta"):
        pyramid = PyramidSegmentation((64, 256, 512, 1024, 2048), 256)
    assert round(sum(parameter.numel() for parameter in pyramid.parameters()) / 1e6, 1) == 3.5


def test_an_untrained_pyramid_gives_every_pixel_the_prior():
    torch.manual_seed(0)
    with torch.no_grad():
        probabilities = PyramidSegmentation((3, 5, 7), 32)(features(3, 5, 7)).sigmoid()
    assert 0.05 < probabilities.min() and probabilities.max() < 0.2


@pytest.mark.parametrize("siamese", [False, True])
def test_two_images_are_compared(siamese):
    """By one ResNet of six channels, or of three for both, which tells nothing but the two apart."""
    torch.manual_seed(0)
    network = PairSegmentation((1, 1, 1, 1), 4, 8, bottleneck=False, siamese=siamese).eval()
    images, others = torch.rand(2, 2, 3, 32, 32)
    assert network.encoder.conv1.in_channels == (3 if siamese else 6)
    assert network(images, others).shape == (2, 1, 32, 32)
    assert torch.equal(network(images, others), network(others, images)) == siamese
    assert torch.equal(network(images, images)[:1], network(others, others)[:1]) == siamese


@pytest.mark.parametrize("siamese", [False, True])
def test_a_published_network_compares_two_images_and_stays_as_it_is(siamese):
    torch.manual_seed(0)
    network = PublishedPairSegmentation("efficientnet_lite0", 8, siamese=siamese).eval()
    images, others = (part.requires_grad_() for part in 2 * torch.rand(2, 2, 3, 64, 64) - 1)
    found = network(images, others)
    assert found.shape == (2, 1, 64, 64)
    assert torch.equal(found, network(others, images)) == siamese
    ours, theirs = (network.encoder((part + 1) / 2) for part in (images, others))
    joined = [(a - b).abs() if siamese else torch.cat([a, b], 1) for a, b in zip(ours, theirs, strict=True)]
    torch.testing.assert_close(found, network.pyramid(joined))
    found.sum().backward()
    trained = {name.split(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert trained == {"pyramid"} and images.grad is None
