"""Which scales make the map and which the image score, and that both are in units of good images."""

import pytest
import torch

from adtool.layers.gaussian_residual import GaussianResidual


def scales(count, images=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 2 + scale, 16 >> scale, 16 >> scale, generator=generator) for scale in range(count)]


@pytest.mark.parametrize(("count", "fine", "deep"), [(1, [0], [0]), (2, [0], [1]), (3, [0, 1], [1, 2])])
def test_the_map_is_made_of_fine_scales_and_the_score_of_deep_ones(count, fine, deep):
    residual = GaussianResidual([2 + scale for scale in range(count)])
    taught, generated = scales(count), scales(count, seed=1)
    residual.fit([(taught, generated)])
    before = residual(taught, generated, (16, 16))
    for scale in range(count):
        changed = [features + 9 * (index == scale) for index, features in enumerate(taught)]
        after = residual(changed, generated, (16, 16))
        assert torch.equal(before[0], after[0]) != (scale in fine)
        assert torch.equal(before[1], after[1]) != (scale in deep)


def test_each_scale_counts_in_units_of_good_images():
    residual = GaussianResidual([2, 3, 4])
    pairs = [(scales(3, 20, seed), scales(3, 20, seed + 1)) for seed in (2, 4)]
    residual.fit(pairs)
    for gaussian, scale in zip(residual.gaussians, residual.scales, strict=True):
        given = [torch.nn.functional.normalize(pair[1][scale], dim=1) for pair in pairs]
        distances = torch.cat([gaussian(pair[0][scale], g) for pair, g in zip(pairs, given, strict=True)])
        assert distances.square().mean().item() == pytest.approx(1, abs=1e-3)


def test_only_the_direction_of_the_students_features_counts():
    residual = GaussianResidual([2, 3])
    taught, generated = scales(2), scales(2, seed=1)
    residual.fit([(taught, generated)])
    torch.testing.assert_close(
        residual(taught, generated, (8, 8)), residual(taught, [7 * features for features in generated], (8, 8))
    )


def test_the_finest_scale_counts_twice_averaged_and_once_as_it_is():
    residual = GaussianResidual([2, 3, 4])
    taught, generated = scales(3), scales(3, seed=1)
    residual.fit([(taught, generated)])
    parts = {"averaged": 0, "plain": 1, "next": 2}
    distances = {
        name: residual.gaussians[at](
            taught[residual.scales[at]], torch.nn.functional.normalize(generated[residual.scales[at]], dim=1)
        )
        for name, at in parts.items()
    }
    assert [residual.gaussians[at].side for at in parts.values()] == [3, 1, 1]
    coarse = torch.nn.functional.interpolate(distances["next"], (16, 16), mode="bilinear", align_corners=True)
    expected = 2 * distances["averaged"] + distances["plain"] + coarse
    torch.testing.assert_close(residual(taught, generated, (16, 16))[0], expected)
