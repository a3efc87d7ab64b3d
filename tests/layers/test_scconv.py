import pytest
import torch

from adtool.layers.scconv import ChannelReconstruction, SCConv, SpatialReconstruction


def reconstruct(features, hard):
    """Eq. 2-5 position by position, without a ramp at the threshold; gamma is 1, so every share is 1/C."""
    count, channels = features.shape[:2]
    grouped = features.view(count, 2, -1)
    normed = (grouped - grouped.mean(-1, keepdim=True)) / (grouped.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    weight = torch.sigmoid(normed.view_as(features) / channels)
    above = weight > 0.5
    kept = torch.where(above, 1.0, 0.0 if hard else weight)
    rest = torch.where(above, 0.0, torch.tensor(1.0) if hard else weight)
    half = channels // 2
    result = torch.empty_like(features)
    for channel in range(channels):
        partner = (channel + half) % channels
        result[:, channel] = kept[:, channel] * features[:, channel] + rest[:, partner] * features[:, partner]
    return result


@pytest.mark.parametrize("hard", [False, True])
def test_spatial_reconstruction_is_the_equations_away_from_the_threshold(hard):
    features = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    unit = SpatialReconstruction(8, groups=2, hard=hard).double()
    difference = (unit(features) - reconstruct(features, hard)).abs()
    normed = unit.norm(features).abs()
    near = normed < 0.03
    near = near | near.roll(4, dims=1)  # an entry's partner is C / 2 channels away
    assert difference[~near].max() < 1e-12
    assert near.float().mean() < 0.1


@pytest.mark.parametrize("hard", [False, True])
def test_the_gate_has_no_jump(hard):
    """Moving one value across the threshold by a rounding error moves the result by no more than its like."""
    unit = SpatialReconstruction(8, groups=2, hard=hard).double()
    features = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(1)).double()
    nudged = unit(features + 1e-9)
    assert (nudged - unit(features)).abs().max() < 1e-6


def test_soft_gates_train_the_norm():
    unit = SpatialReconstruction(8, groups=2)
    unit(torch.randn(2, 8, 4, 4)).square().sum().backward()
    assert unit.norm.weight.grad.abs().sum() > 0 and unit.norm.bias.grad.abs().sum() > 0


def test_norm_weights_that_sum_to_zero_give_equal_shares():
    unit = SpatialReconstruction(4, groups=2)
    torch.nn.init.zeros_(unit.norm.weight)
    assert torch.isfinite(unit(torch.randn(1, 4, 3, 3))).all()


def test_channel_attention_is_a_softmax_over_the_two_halves():
    unit = ChannelReconstruction(16).double()
    features = torch.randn(2, 16, 6, 6, dtype=torch.float64)
    up, low = unit.squeeze_up(features[:, :8]), unit.squeeze_low(features[:, 8:])
    rich = unit.grouped(up) + unit.pointwise_up(up)
    cheap = torch.cat([unit.pointwise_low(low), low], 1)
    pooled = torch.stack([rich.mean((2, 3)), cheap.mean((2, 3))])
    beta = torch.softmax(pooled, dim=0)[..., None, None]
    torch.testing.assert_close(unit(features), beta[0] * rich + beta[1] * cheap)


def test_gradients_of_the_whole_convolution():
    unit = SCConv(16, groups=4).double()
    features = torch.randn(1, 16, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit, (features,), eps=1e-7, atol=1e-4)
