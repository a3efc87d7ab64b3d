import pytest
import torch

from adtool.layers.features import ChannelStatistics, StageFeatures
from adtool.layers.patches import PatchFeatures


def test_statistics_of_batches_are_those_of_all_values():
    features = torch.randn(7, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 3 + 100
    statistics = ChannelStatistics()
    for batch in features.split(2):
        statistics.add(batch)
    mean, std = statistics.mean_std()
    flat = features.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean.double(), flat.mean(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(std.double(), flat.std(1, unbiased=False), rtol=1e-5, atol=1e-6)


def test_a_channel_that_never_varies_keeps_its_scale():
    statistics = ChannelStatistics()
    statistics.add(torch.full((2, 1, 3, 3), 7.25))
    mean, std = statistics.mean_std()
    assert (mean.item(), std.item()) == (7.25, 1.0)
    with pytest.raises(ValueError, match="no features"):
        ChannelStatistics().mean_std()


def test_standardised_stages_have_zero_mean_and_unit_variance():
    torch.manual_seed(0)
    stages = StageFeatures("resnet18", (4, 8))
    batches = [torch.rand(4, 3, 64, 64) for _ in range(3)]
    stages.standardise(batches)
    for values in zip(*(stages(batch) for batch in batches), strict=True):
        channels = torch.cat(values).transpose(0, 1).flatten(1)
        assert channels.mean(1).abs().max() < 1e-3 and (channels.std(1) - 1).abs().max() < 1e-2


def test_patches_are_neighbourhood_means_over_zero_padding():
    torch.manual_seed(0)
    patches = PatchFeatures("resnet18", (8,), neighbourhood=3)
    images = torch.rand(1, 3, 32, 32)
    (stage,), (pooled,) = patches.stages(images), patches(images)
    assert torch.allclose(pooled[0, :, 1, 1], stage[0, :, 0:3, 0:3].mean((1, 2)), atol=1e-5)
    assert torch.allclose(pooled[0, :, 0, 0], stage[0, :, 0:2, 0:2].sum((1, 2)) / 9, atol=1e-5)


def test_mirrored_features_turn_with_the_image():
    torch.manual_seed(0)
    patches = PatchFeatures("efficientnet_lite0", (8, 16), mirrored=True)
    images = torch.rand(1, 3, 48, 80)
    for stage, turned in zip(patches(images), patches(images.flip(3)), strict=True):
        assert torch.allclose(stage, turned.flip(3), atol=1e-4)


def test_join_brings_coarser_stages_to_the_finest_grid():
    joined = PatchFeatures.join([torch.zeros(2, 3, 8, 6), torch.ones(2, 4, 4, 3)])
    assert joined.shape == (2, 7, 8, 6) and joined[:, 3:].eq(1).all() and joined[:, :3].eq(0).all()
