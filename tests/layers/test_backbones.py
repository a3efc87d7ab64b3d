import pytest
import torch

from adtool.errors import AdtoolError
from adtool.layers.backbones import ARCHITECTURES, Backbone
from adtool.layers.efficientnet_lite import SameConv2d

PARAMETERS = {  # published counts
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "mobilenet_v2": 3_504_872,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "wide_resnet50_2": 68_883_240,
}
CHANNELS = {
    "efficientnet_lite0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "efficientnet_lite1": {2: 16, 4: 24, 8: 40, 16: 112, 32: 320},
    "efficientnet_lite2": {2: 16, 4: 24, 8: 48, 16: 120, 32: 352},
    "mobilenet_v2": {2: 16, 4: 24, 8: 32, 16: 96, 32: 320},
    "resnet18": {2: 64, 4: 64, 8: 128, 16: 256, 32: 512},
    "resnet34": {2: 64, 4: 64, 8: 128, 16: 256, 32: 512},
    "resnet50": {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048},
    "wide_resnet50_2": {2: 64, 4: 256, 8: 512, 16: 1024, 32: 2048},
}


def test_every_architecture_is_listed_here():
    assert set(ARCHITECTURES) == set(PARAMETERS)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_whole_network_has_the_published_parameters_and_stages(name):
    with torch.device("meta"):
        network = ARCHITECTURES[name].build(None)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    assert network.channels == CHANNELS[name]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_stages_have_the_stride_and_channels_they_claim(name, size):
    with torch.device("meta"):
        backbone = Backbone(name, (4, 8, 16))
        features = backbone(torch.empty(2, 3, *size))
    for stride, channels, stage in zip((4, 8, 16), backbone.channels, features, strict=True):
        assert tuple(stage.shape) == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_logits_and_deepest_stage_come_from_one_network():
    for name in ("efficientnet_lite0", "mobilenet_v2", "resnet18"):
        network = ARCHITECTURES[name].build(None).eval()
        with torch.inference_mode():
            assert network.logits(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_a_trimmed_backbone_computes_what_the_whole_network_does():
    whole = ARCHITECTURES["efficientnet_lite0"].build(None).eval()
    backbone = Backbone("efficientnet_lite0", (4, 8))
    backbone.network.load_state_dict(whole.state_dict(), strict=False)
    images = torch.rand(1, 3, 50, 50)
    with torch.inference_mode():
        trimmed = backbone(images)
        full = whole.stages((images - backbone.mean) / backbone.std)
    torch.testing.assert_close(trimmed, [full[4], full[8]], rtol=1e-4, atol=1e-5)


def test_same_padding_puts_the_odd_pixel_last():
    convolution = SameConv2d(1, 1, 3, stride=2)
    torch.nn.init.ones_(convolution.weight)
    ramp = torch.arange(1.0, 5.0).repeat(4, 1)[None, None]  # columns 1 2 3 4
    # even length: one column of padding, at the right; windows 1+2+3 and 3+4+0, over rows 3 and 2
    expected = torch.tensor([[[[18.0, 21.0], [12.0, 14.0]]]])
    assert torch.equal(convolution(ramp), expected)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (8, 11), (7, 5), (1, 2)])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(4, 4, 4), (2, 12, 1)])  # result or input is the smaller
def test_same_padding_is_zeros_around_the_image(size, kernel, inputs, outputs, groups):
    convolution = SameConv2d(inputs, outputs, kernel, stride=2, groups=groups).double()
    images = torch.randn(2, inputs, *size, dtype=torch.float64)
    missing = [2 * -(-length // 2) - 2 + kernel - length for length in size]
    (top, bottom), (left, right) = ((lacks // 2, lacks - lacks // 2) for lacks in missing)
    around = torch.nn.functional.pad(images, (left, right, top, bottom))
    expected = torch.nn.functional.conv2d(around, convolution.weight, stride=2, groups=groups)
    found = convolution(images)
    assert found.shape[2:] == tuple(-(-length // 2) for length in size)
    torch.testing.assert_close(found, expected)


def test_a_backbone_stays_in_eval_mode_and_takes_no_gradient():
    backbone = Backbone("resnet18", (4,)).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 32, 32))
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_measured_norms_are_those_of_the_images():
    torch.manual_seed(0)
    backbone = Backbone("resnet18", (4,))
    batches = [torch.rand(3, 3, 32, 32) for _ in range(2)]
    backbone.measure_norms(batches)
    with torch.inference_mode():
        stems = [backbone.network.conv1((batch - backbone.mean) / backbone.std) for batch in batches]
    expected = torch.stack([stem.mean((0, 2, 3)) for stem in stems]).mean(0)
    torch.testing.assert_close(backbone.network.bn1.running_mean, expected, rtol=1e-4, atol=1e-5)
    assert not any(module.training for module in backbone.modules()) and backbone.network.bn1.momentum == 0.1


def test_unknown_names_and_strides_are_explained():
    with pytest.raises(AdtoolError, match="resnet99.*efficientnet_lite0"):
        Backbone("resnet99", (4,))
    with pytest.raises(AdtoolError, match="stride 3"):
        Backbone("resnet18", (3, 4))
