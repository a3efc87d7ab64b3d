import pytest
import torch

from adtool.layers.memory_bank import MemoryBank, sampled
from adtool.models._detector import silent


def filled(patches, covering=3, common=2, neighbours=1, seed=0):
    bank = MemoryBank(patches.shape[1])
    bank.fill(patches, covering, common, neighbours, 128, seed, silent)
    return bank


def test_the_bank_holds_distinct_patches_and_the_corners_of_their_cloud():
    generator = torch.Generator().manual_seed(0)
    cloud = torch.rand(50, 2, generator=generator) * 0.1
    corners = torch.tensor([[5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    bank = filled(torch.cat([cloud, corners]), covering=4, common=10)
    assert bank.rows.shape == (14, 2) and len(bank.rows.unique(dim=0)) == 14
    for corner in corners:  # the coreset takes the outlying rows first
        assert (bank.rows == corner).all(1).any()


def test_distance_is_the_mean_over_the_nearest_rows():
    bank = MemoryBank(1)
    bank.rows = torch.tensor([[0.0], [1.0], [4.0]])
    distance, index = bank.distance(torch.tensor([[0.9], [10.0]]), 2)
    torch.testing.assert_close(distance, torch.tensor([(0.1 + 0.9) / 2, (6.0 + 9.0) / 2]))
    assert index.tolist() == [1, 2]
    everything, _ = bank.distance(torch.tensor([[0.0]]), 99)
    assert everything.item() == pytest.approx(5 / 3)


def test_the_unit_is_what_good_patches_outside_the_bank_have():
    patches = torch.arange(100.0)[:, None]
    bank = filled(patches, covering=10, common=0)
    inside = (patches[:, 0][:, None] == bank.rows[:, 0]).any(1)
    expected = (patches[~inside] - bank.rows.T).abs().min(dim=1).values.mean()
    assert bank.unit.item() == pytest.approx(expected.item(), rel=1e-6)


def test_more_rows_than_patches_keep_all_of_them():
    patches = torch.rand(5, 3)
    bank = filled(patches, covering=10, common=10)
    assert torch.equal(bank.rows.sort(dim=0).values, patches.sort(dim=0).values) and bank.unit.item() == 1


def test_the_neighbourhood_of_a_row_starts_with_itself():
    bank = MemoryBank(1)
    bank.rows = torch.tensor([[0.0], [1.0], [4.0]])
    assert bank.neighbourhood(torch.tensor([2, 0]), 2)[:, :, 0].tolist() == [[4.0, 1.0], [0.0, 1.0]]


def test_a_share_of_every_image_is_drawn_and_repeats_with_its_seed():
    batch = torch.arange(40.0).view(4, 10, 1)
    drawn = sampled([batch], 3, seed=1)
    assert drawn.shape == (12, 1)
    for number, image in enumerate(drawn.view(4, 3)):
        assert set(image.tolist()) <= set(batch[number, :, 0].tolist())
    assert torch.equal(drawn, sampled([batch], 3, seed=1)) and not torch.equal(drawn, sampled([batch], 3, seed=2))
    assert torch.equal(sampled([batch], 10, seed=1), batch.view(-1, 1))
