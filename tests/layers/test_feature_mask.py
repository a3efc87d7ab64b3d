import pytest
import torch

from adtool.layers.feature_mask import MaskGeneration, checkerboard, random_mask


def test_the_mask_hides_the_share_asked_for_at_whole_positions():
    torch.manual_seed(0)
    mask = random_mask(torch.zeros(4, 7, 100, 100), 0.3)
    assert mask.shape == (4, 1, 100, 100)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask.mean().item() == pytest.approx(0.7, abs=0.01)
    assert not torch.equal(mask[0], mask[1])


def test_a_mask_rate_of_zero_is_no_mask():
    fmm = MaskGeneration(3, 5)
    features = torch.rand(2, 3, 8, 8)
    assert torch.equal(fmm(features, random_mask(features, 0.0)), fmm(features))


def test_a_hidden_position_is_regenerated_from_its_neighbours_only():
    fmm = MaskGeneration(3, 5)
    features = torch.rand(1, 3, 9, 9)
    mask = torch.ones(1, 1, 9, 9)
    mask[..., 4, 4] = 0
    changed = features.clone()
    changed[..., 4, 4] += 10
    assert torch.equal(fmm(features, mask), fmm(changed, mask))
    assert not torch.equal(fmm(features), fmm(changed))


def test_switched_off_it_is_the_features_themselves_or_a_1x1_convolution():
    features = torch.rand(1, 4, 5, 5)
    assert torch.equal(MaskGeneration(4, 4, enabled=False).align(features), features)
    assert MaskGeneration(4, 6, enabled=False).align(features).shape == (1, 6, 5, 5)


def test_a_checkerboard_and_its_complement_cover_every_position_once():
    board = checkerboard(torch.zeros(2, 3, 4, 5))
    assert board.shape == (1, 1, 4, 5) and board[0, 0, 0].tolist() == [0, 1, 0, 1, 0]
    assert set((board + (1 - board)).unique().tolist()) == {1.0}
