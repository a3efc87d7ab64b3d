import pytest
import torch

from adtool.layers.inpainting_masks import grid_masks, large_masks


def seeds(count, start=0):
    return torch.arange(start, start + count) * 7919 + (1 << 40)


@pytest.mark.parametrize(
    ("size", "cell", "ratio", "cells"),
    [((256, 256), 8, 0.8, 819), ((256, 256), 4, 0.6, 2458), ((128, 128), 4, 0.8, 819), ((48, 32), 16, 0.9, 5)],
)
def test_exactly_the_share_of_cells_is_hidden_and_each_whole(size, cell, ratio, cells):
    masks = grid_masks(seeds(3), size, (cell, cell), ratio)
    assert masks.shape == (3, 1, *size) and masks.sum((1, 2, 3)).tolist() == [cells * cell * cell] * 3
    blocks = masks.unfold(2, cell, cell).unfold(3, cell, cell)
    assert torch.equal(blocks.amin((-1, -2)), blocks.amax((-1, -2)))


def test_cells_at_an_edge_that_they_do_not_divide_are_cut():
    masks = grid_masks(seeds(2), (20, 30), (8, 8), 1.0)
    assert masks.shape == (2, 1, 20, 30) and masks.all()


def test_every_cell_is_hidden_about_as_often():
    often = grid_masks(seeds(2000), (16, 16), (4, 4), 0.75)[:, 0, ::4, ::4].mean(0)
    assert (often - 0.75).abs().max() < 0.05


@pytest.mark.parametrize("masks", [lambda s: grid_masks(s, (32, 32), (4, 4), 0.5), lambda s: large_masks(s, (32, 32))])
def test_a_mask_follows_from_its_seed_alone(masks):
    together = masks(seeds(6))
    assert torch.equal(masks(seeds(1, 4)), together[4:5])
    assert len({tuple(mask.flatten().tolist()) for mask in together}) == 6


def test_seeds_differ_in_all_their_bits():
    pair = torch.tensor([5, 5 + (1 << 33)])
    first, second = grid_masks(pair, (32, 32), (4, 4), 0.5)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("size", [(256, 256), (128, 192)])
def test_one_rectangle_lies_inside_and_has_the_sides_it_may_have(size):
    masks = large_masks(seeds(300), size, most=1)
    for axis, extent in ((3, size[0]), (2, size[1])):
        sides = masks.amax(axis)[:, 0].sum(1)
        assert sides.min() >= 40 * extent // 256 and sides.max() <= 150 * extent // 256
        assert sides.unique().numel() > 40 * extent // 256  # of 111 at 256
    assert torch.equal(masks.sum((1, 2, 3)), masks.amax(3)[:, 0].sum(1) * masks.amax(2)[:, 0].sum(1))


def test_rectangles_reach_every_border():
    reached = large_masks(seeds(400), (64, 48)).amax(0)[0]
    assert reached[0].any() and reached[-1].any() and reached[:, 0].any() and reached[:, -1].any()


def test_one_to_three_rectangles_are_drawn_equally_often():
    """Of rectangles of a fixed side the largest count shows in the area hidden."""
    masks = large_masks(seeds(3000), (256, 256), sides=(8, 8))
    pieces = (masks.sum((1, 2, 3)) / 64).ceil()  # overlaps are rare
    share = torch.stack([(pieces == count).double().mean() for count in (1, 2, 3)])
    assert pieces.max() == 3 and (share - 1 / 3).abs().max() < 0.04
