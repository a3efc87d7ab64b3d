import pytest
import torch

from adtool.layers.views import random_views

PLAIN = {"enlarged": 1.0, "scale": (1.0, 1.0), "turn": 0.0}


def images(number: int = 3, height: int = 24, width: int = 16) -> torch.Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(0))


def slope(height: int = 24, width: int = 16) -> torch.Tensor:
    """Channels: column and row of each pixel, and 1."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)]).float()[None]


def test_a_view_without_change_is_the_image():
    torch.testing.assert_close(random_views(images(), torch.arange(3), **PLAIN), images())


@pytest.mark.parametrize("enlarged", [1.125, 2.0])
def test_an_enlarged_view_is_a_crop_inside_the_image(enlarged):
    """Columns and rows rise by 1 / enlarged a pixel; over many seeds crops reach every border and never leave it."""
    seeds = torch.arange(400)
    views = random_views(slope().expand(400, -1, -1, -1), seeds, **{**PLAIN, "enlarged": enlarged})
    inner = views[:, :, 1:-1, 1:-1]
    steps = inner[:, 0].diff(dim=2)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / enlarged), rtol=0, atol=1e-3)
    for channel, side in ((0, 16), (1, 24)):
        first, last = views[:, channel].amin((1, 2)), views[:, channel].amax((1, 2))
        assert first.min() < 0.3 and last.max() > side - 1.3
        assert (last - first >= (side - 2) / enlarged - 1).all()


def test_scales_and_turns_stay_within_their_ranges():
    views = random_views(
        slope(32, 32).expand(300, -1, -1, -1), torch.arange(300), enlarged=1.0, scale=(0.8, 1.25), turn=30
    )
    across = views[:, 0, 16, 20] - views[:, 0, 16, 12]  # columns passed along 8 pixels of a row
    along = views[:, 1, 16, 20] - views[:, 1, 16, 12]
    factor = 8 / across.hypot(along)
    turn = torch.atan2(along, across).rad2deg()
    assert 0.79 < factor.min() < 0.83 and 1.2 < factor.max() < 1.26
    assert -30.1 < turn.min() < -27 and 27 < turn.max() < 30.1


def test_edges_are_repeated():
    ones = torch.ones(50, 3, 16, 16)
    views = random_views(ones, torch.arange(50), enlarged=1.0, scale=(0.5, 0.7), turn=180)
    torch.testing.assert_close(views, ones)


def test_a_view_follows_from_its_seed_alone():
    seeds = torch.tensor([5, 17, 5])
    switches = {"enlarged": 1.125, "scale": (0.9, 1.1), "turn": 180.0}
    same = images(1).expand(3, -1, -1, -1)
    first, second, third = random_views(same, seeds, **switches)
    assert torch.equal(first, third) and not torch.equal(first, second)
    alone = random_views(same[:1], seeds[1:2], **switches)[0]
    torch.testing.assert_close(alone, second)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_share_of_the_images_is_shown_in_a_view(share):
    shown = images(1).expand(400, -1, -1, -1)
    views = random_views(shown, torch.arange(400), scale=(0.8, 0.9), turn=10, share=share)
    kept = (views == shown).flatten(1).all(1)
    assert 1 - kept.float().mean().item() == pytest.approx(share, abs=0.08)
    every = random_views(shown, torch.arange(400), scale=(0.8, 0.9), turn=10)
    assert torch.equal(views[~kept], every[~kept])


def test_which_images_are_changed_says_nothing_of_how():
    shown = slope().expand(400, -1, -1, -1)
    views = random_views(shown, torch.arange(400), scale=(1.0, 2.0), turn=0, share=0.5)
    steps = views[(views != shown).flatten(1).any(1), 0, 12, 8:10].diff(dim=1)  # 1 / scale
    assert steps.min() < 0.52 and steps.max() > 0.95
