import pytest
import torch
import torch.nn.functional as F

from adtool.layers.ms_cam import MSCAM


def features(number: int = 3, channels: int = 8) -> torch.Tensor:
    return torch.randn(number, channels, 5, 7, generator=torch.Generator().manual_seed(0))


def attention(channels: int = 8, reduction: int = 4) -> MSCAM:
    torch.manual_seed(0)
    module = MSCAM(channels, reduction)
    for norm in (layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)):
        for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            torch.nn.init.uniform_(values, 0.5, 1.5)
    return module


def by_hand(module: MSCAM, x: torch.Tensor) -> torch.Tensor:
    """Equations 1 to 3 in eval mode, pixel by pixel as matrix products."""

    def branch(layers: torch.nn.Sequential, pixels: torch.Tensor) -> torch.Tensor:
        first, norm, _, second, last = layers
        pixels = pixels @ first.weight[:, :, 0, 0].T + first.bias
        pixels = (pixels - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        pixels = F.relu(pixels) @ second.weight[:, :, 0, 0].T + second.bias
        return (pixels - last.running_mean) / (last.running_var + last.eps).sqrt() * last.weight + last.bias

    pixels = x.permute(0, 2, 3, 1)
    weights = branch(module.local, pixels) + branch(module.whole, pixels.mean((1, 2), keepdim=True))
    return (pixels * torch.sigmoid(weights)).permute(0, 3, 1, 2)


def test_it_is_equations_1_to_3():
    module = attention().eval()
    torch.testing.assert_close(module(features()), by_hand(module, features()))


def test_it_halves_what_its_last_norms_say_nothing_of():
    module = attention()
    for branch in (module.local, module.whole):
        torch.nn.init.zeros_(branch[-1].weight)
        torch.nn.init.zeros_(branch[-1].bias)
    assert torch.equal(module(features()), features() / 2)


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(64, 4, 16), (8, 8, 1), (2, 4, 1)])
def test_parameters_are_those_of_two_bottlenecks(channels, reduction, hidden):
    one = 2 * channels * hidden + hidden + channels + 2 * (hidden + channels)
    assert sum(parameter.numel() for parameter in MSCAM(channels, reduction).parameters()) == 2 * one


def test_the_whole_reaches_every_pixel_and_gradients_are_right():
    module = attention(4, 2).double().eval()
    x = features(2, 4).double().requires_grad_()
    torch.nn.init.constant_(module.whole[0].bias, 10)  # no rectifier is off
    assert torch.autograd.gradcheck(module, (x[..., :2, :3],))
    (pull,) = torch.autograd.grad(module(x)[0, :, 0, 0].sum(), x)
    assert (pull[0] != 0).all() and (pull[1] == 0).all()
