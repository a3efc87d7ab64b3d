import torch

from adtool.layers.resnet import BasicBlock, Bottleneck, ResNet


def test_the_base_scales_every_layer_and_the_last_stride_keeps_its_resolution():
    network = ResNet(BasicBlock, (2, 2, 2, 2), base=24, last_stride=1)
    levels = network.levels(torch.rand(1, 3, 128, 128))
    sides = [tuple(level.shape[1:]) for level in levels]
    assert sides == [(24, 64, 64), (24, 32, 32), (48, 16, 16), (96, 8, 8), (192, 8, 8)]
    assert network.strides == [2, 4, 8, 16, 16]
    assert network.channels == {2: 24, 4: 24, 8: 48, 16: 192}


def test_stages_of_one_stride_are_the_deeper_ones():
    network = ResNet(BasicBlock, (1, 1, 1, 1), base=8, last_stride=1).eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(network.stages(images)[16], network.levels(images)[-1])


def test_images_may_have_other_channels():
    network = ResNet(Bottleneck, (1, 1, 1, 1), base=8, inputs=6, deepest=8)
    assert [level.shape[1] for level in network.levels(torch.rand(1, 6, 32, 32))] == [8, 32, 64]


def test_the_classifier_follows_the_base():
    assert ResNet(BasicBlock, (1, 1, 1, 1), base=8).logits(torch.rand(2, 3, 32, 32)).shape == (2, 1000)
