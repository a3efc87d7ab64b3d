import copy

import pytest
import torch
from torch import nn

from adtool.layers.backbones import ARCHITECTURES, Backbone
from adtool.layers.folded import folded


def drawn(module):
    """The module with weights and statistics that leave no norm an identity."""
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(generator=generator)
            norm.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(norm.bias, generator=generator)
    return module


def unfolded(backbone, images):
    found = backbone.network.stages((images - backbone.mean) / backbone.std)
    return [found[stride] for stride in backbone.strides]


def close(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_folding_by_hand():
    convolution, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    with torch.no_grad():
        for tensor, value in (
            (convolution.weight, 3.0),
            (convolution.bias, 1.0),
            (norm.running_mean, 5.0),
            (norm.running_var, 4.0),
            (norm.weight, 6.0),
            (norm.bias, 7.0),
        ):
            tensor.fill_(value)
    ours = folded(nn.Sequential(convolution, norm))
    assert isinstance(ours[1], nn.Identity)
    assert ours[0].weight.item() == 9.0 and ours[0].bias.item() == -5.0  # 6 / 2 * 3, and 7 + 6 / 2 * (1 - 5)


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_a_folded_backbone_computes_what_its_network_does(name):
    torch.manual_seed(0)
    backbone = drawn(Backbone(name, (4, 8, 16)))
    images = torch.rand(2, 3, 70, 45)
    with torch.inference_mode():
        close(backbone(images), unfolded(backbone, images))
        close(backbone(images), backbone(images))  # nothing found is written over by what follows
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone._folded().modules())


def test_folding_follows_the_network():
    torch.manual_seed(0)
    backbone = drawn(Backbone("resnet18", (4, 8)))
    images = torch.rand(1, 3, 40, 40)
    with torch.inference_mode():
        before = backbone(images)
    changes = [
        lambda: backbone.network.bn1.running_mean.add_(1),
        lambda: nn.init.ones_(backbone.network.conv1.weight),
        lambda: backbone.load_state_dict(drawn(Backbone("resnet18", (4, 8))).state_dict()),
        lambda: backbone.measure_norms([images]),
        lambda: backbone.double().float(),
    ]
    for change in changes:
        change()
        with torch.inference_mode():
            close(backbone(images), unfolded(backbone, images))
            assert not torch.equal(backbone(images)[0], before[0])


def test_the_folded_copy_is_no_part_of_the_model():
    backbone = Backbone("efficientnet_lite0", (8,))
    keys, count = set(backbone.state_dict()), len(list(backbone.parameters()))
    backbone(torch.rand(1, 3, 32, 32))
    assert set(backbone.state_dict()) == keys and len(list(backbone.parameters())) == count
    other = copy.deepcopy(backbone)
    nn.init.zeros_(other.network._conv_stem.weight)
    images = torch.rand(1, 3, 32, 32)
    assert not torch.equal(other(images)[0], backbone(images)[0])


def test_a_backbone_first_used_in_inference_mode_serves_with_gradients_too():
    backbone, images = Backbone("resnet18", (4,)), torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        backbone(images)
    images.requires_grad_()
    backbone(images)[0].sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_norm_without_its_convolution_is_refused():
    for layers in ([nn.BatchNorm2d(3)], [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5)]):
        with pytest.raises(ValueError, match="expected a convolution to"):
            folded(nn.Sequential(*layers))
