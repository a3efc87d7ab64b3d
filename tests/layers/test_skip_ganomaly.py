import pytest
import torch
from torch import nn

from adtool.layers.cbam import CBAM
from adtool.layers.skip_ganomaly import FeatureDiscriminator, UNetAutoencoder, halvings


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "depth"), [((256, 256), 8), ((128, 128), 7), ((64, 96), 5), ((512, 512), 8), ((96, 160), 5)]
)
def test_both_sides_are_halved_down_to_a_pixel_of_256(size, depth):
    assert halvings(size) == depth


def test_levels_are_those_of_the_specification():
    with torch.device("meta"):
        network = UNetAutoencoder((256, 256))
        shapes, x = [], torch.empty(2, 3, 256, 256)
        for level in network.encoder:
            x = level(x)
            shapes.append(tuple(x.shape[1:]))
        restored = network(torch.empty(2, 3, 256, 256))
    channels = [64, 128, 256, 512, 512, 512, 512, 512]
    assert shapes == [(c, 128 >> level, 128 >> level) for level, c in enumerate(channels)]
    assert [level[1].in_channels for level in network.decoder] == [512, 1024, 512, 512, 512, 256, 128, 64]
    assert [level[1].out_channels for level in network.decoder] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert restored.shape == (2, 3, 256, 256)
    kinds = [[type(part).__name__ for part in level] for level in (*network.encoder, *network.decoder)]
    lowered = ["LeakyReLU", "Conv2d", "BatchNorm2d", "CBAM"]
    assert kinds[:8] == [["Conv2d", "CBAM"]] + [lowered] * 6 + [lowered[:2]]
    assert kinds[8:] == [["ReLU", "ConvTranspose2d", "BatchNorm2d"]] * 7 + [["ReLU", "ConvTranspose2d", "Tanh"]]


@pytest.mark.parametrize(("skip", "doubled"), [("none", []), ("deepest", [6]), ("all", [0, 1, 2, 3, 4, 5, 6])])
@pytest.mark.parametrize("reduction", [0, 16])
def test_parameters_are_those_of_the_specification(skip, doubled, reduction):
    with torch.device("meta"):
        network = UNetAutoencoder((256, 256), skip=skip, reduction=reduction)
    c = [64, 128, 256, 512, 512, 512, 512, 512]
    down = 16 * sum(a * b for a, b in zip([3, *c[:-1]], c, strict=True))
    up = 16 * sum(
        (a * 2 if level in doubled else a) * b for level, (a, b) in enumerate(zip(c, [3, *c[:-1]], strict=True))
    )
    norms = 2 * sum(c[1:-1]) + 2 * sum(c[:-1])
    attention = sum(2 * x * (x // 16) + x // 16 + x + 100 for x in c[:-1]) if reduction else 0
    assert numbers(network) == down + up + norms + 3 + attention
    assert sum(isinstance(part, CBAM) for part in network.modules()) == 7 * bool(reduction)


@pytest.mark.parametrize(("skip", "seen"), [("none", []), ("deepest", [3]), ("all", [0, 1, 2, 3])])
def test_the_decoder_sees_only_joined_levels_and_the_code(skip, seen):
    """Levels of five whose features still count when the next level's input is cut off from them."""
    torch.manual_seed(0)
    network = UNetAutoencoder((32, 32), 4, 8, skip, 2).eval()
    x, counted, features = torch.rand(2, 3, 32, 32), [], {}
    for cut in range(4):
        network.encoder[cut + 1].register_forward_pre_hook(lambda _, inputs: (torch.zeros_like(inputs[0]),))
        network.encoder[cut].register_forward_hook(
            lambda _, inputs, output, cut=cut: features.setdefault(cut, output.detach().requires_grad_())
        )
        restored = network(x)
        (grad,) = torch.autograd.grad(restored.sum(), features[cut], allow_unused=True)
        counted += [cut] if grad is not None and grad.any() else []
        for level in network.encoder:
            level._forward_hooks.clear()
            level._forward_pre_hooks.clear()
    assert counted == seen


def test_weights_begin_small_and_images_stay_in_range():
    torch.manual_seed(0)
    network = UNetAutoencoder((64, 64), 8, 0, "all")
    assert network.encoder[-1][1].out_channels == 8 << 5  # no cap
    assert network.decoder[0][1].weight.std().item() == pytest.approx(0.02, rel=0.02)
    restored = network(2 * torch.rand(2, 3, 64, 64) - 1)
    assert restored.shape == (2, 3, 64, 64) and restored.abs().max() <= 1


def test_discriminator_has_the_parameters_and_shapes_of_the_specification():
    with torch.device("meta"):
        network = FeatureDiscriminator((256, 256), 64, 0, 100)
        features, judged = network.judge(torch.empty(2, 3, 256, 256))
        shapes = [tuple(level.shape[1:]) for level in network.features(torch.empty(2, 3, 256, 256))]
    c = [3, 64, 128, 256, 512, 1024, 2048]
    assert shapes == [(x, 128 >> level, 128 >> level) for level, x in enumerate(c[1:])]
    convs = 16 * sum(a * b for a, b in zip(c[:-1], c[1:], strict=True))
    assert numbers(network) == convs + 2 * sum(c[2:]) + 16 * 2048 * 100 + 9 * 100 + 1
    assert features.shape == (2, 100) and judged.shape == (2, 1)


def test_the_judgement_follows_from_the_features():
    """A 3 x 3 convolution of a single place has one tap on it."""
    torch.manual_seed(0)
    network = FeatureDiscriminator((32, 32), 4, 8, 6).eval()
    features, judged = network.judge(torch.rand(3, 3, 32, 32))
    middle = network.verdict.weight[:, :, 1, 1]
    torch.testing.assert_close(judged, features @ middle.T + network.verdict.bias)
    network.judge_frozen(torch.rand(3, 3, 32, 32, requires_grad=True))[0].sum().backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
