import torch
import torch.nn.functional as F

from adtool.layers.fpn import PyramidSegmentation


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
