import colorsys
import math

import pytest
import torch

from adtool.errors import AdtoolError
from adtool.layers.copy_paste import COLOURS, PLACES, Pasting, _jittered, paste, side_of
from adtool.layers.draws import uniform


def images(number: int = 3, height: int = 40, width: int = 30) -> torch.Tensor:
    """Every pixel of an image has a colour of its own."""
    values = torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(0))
    assert len(values.flatten(2).transpose(1, 2).reshape(-1, 3).unique(dim=0)) == number * height * width
    return values


def seeds(number: int = 3) -> torch.Tensor:
    return torch.arange(number) * 7919 + (1 << 40)


def by_hand(image: torch.Tensor, seed: int, pasting: Pasting) -> torch.Tensor:
    """One patch after the other, from the clean image, on what the ones before left."""
    _, height, width = image.shape
    side = side_of((height, width), pasting.area)
    own = torch.tensor([seed])
    places = uniform(own, PLACES, 4 * pasting.patches)[0].view(4, pasting.patches).tolist()
    colours = uniform(own, COLOURS, 3 * pasting.patches)[0].view(3, pasting.patches)
    result = image.clone()
    for patch in range(pasting.patches):
        rooms = (height - side + 1, width - side + 1) * 2
        top, left, down, right = (int(row[patch] * room) for row, room in zip(places, rooms, strict=True))
        held = image[:, top : top + side, left : left + side]
        if pasting.fill != "copy":
            colour = colours[:, 0 if pasting.fill == "color" else patch] * (pasting.fill != "black")
            held = colour[:, None, None].expand_as(held)
        result[:, down : down + side, right : right + side] = held
    return result


@pytest.mark.parametrize("patches", [1, 10, 30, 100])
@pytest.mark.parametrize("fill", ["copy", "black", "color", "confetti"])
def test_patches_are_those_pasted_one_after_the_other(fill, patches):
    pasting = Pasting(patches, 0.02, fill)
    shown, masks = paste(images(), seeds(), pasting)
    for index, seed in enumerate(seeds().tolist()):
        assert torch.equal(shown[index], by_hand(images()[index], seed, pasting))
    assert torch.equal(torch.where(masks == 0, shown, images()), images())
    assert set(masks.unique().tolist()) <= {0.0, 1.0} and masks.shape == (3, 1, 40, 30)


def test_without_patches_nothing_changes():
    shown, masks = paste(images(), seeds(), Pasting(0))
    assert torch.equal(shown, images()) and masks.max() == 0


def test_every_pixel_of_a_copy_is_one_of_the_image():
    shown = paste(images(), seeds(), Pasting(30, 0.02)).images
    for image, own in zip(shown, images(), strict=True):
        there = own.flatten(1).T[:, None] == image.flatten(1).T[None]
        assert there.all(2).any(0).all()


@pytest.mark.parametrize(("patches", "coverage"), [(10, 0.096), (30, 0.26), (50, 0.395), (100, 0.634)])
def test_as_much_is_covered_as_expected(patches, coverage):
    """1 - 0.99^N of the pixels far from the border, where every place of a patch is as likely."""
    masks = paste(torch.zeros(400, 3, 100, 100), seeds(400), Pasting(patches)).masks
    inner = masks[..., 10:90, 10:90].mean().item()
    likely = 1 - (1 - 100 / 91**2) ** patches  # 91 x 91 places, 100 of which cover a pixel
    assert inner == pytest.approx(likely, rel=0.03) and likely == pytest.approx(coverage, rel=0.21)


@pytest.mark.parametrize(
    ("size", "area", "side"),
    [((256, 256), 0.01, 26), ((128, 128), 0.01, 13), ((100, 400), 0.01, 20), ((8, 8), 1e-6, 1), ((4, 100), 0.9, 4)],
)
def test_the_side_is_that_of_a_square_with_the_share_of_the_area(size, area, side):
    assert side_of(size, area) == side


@pytest.mark.parametrize("fill", ["copy", "confetti"])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_an_image_does_not_depend_on_its_batch(fill, jitter):
    pasting = Pasting(20, 0.02, fill, jitter)
    together = paste(images(), seeds(), pasting)
    for index in range(3):
        alone = paste(images()[index : index + 1], seeds()[index : index + 1], pasting)
        assert torch.equal(alone.images[0], together.images[index])
        assert torch.equal(alone.masks[0], together.masks[index])


def test_jitter_changes_patches_alone_and_each_its_own_way():
    plain, jittered = (paste(images(1), seeds(1), Pasting(5, 0.03, jitter=jitter)) for jitter in (0.0, 0.1))
    assert torch.equal(plain.masks, jittered.masks)
    assert torch.equal(
        jittered.images[plain.masks.expand(-1, 3, -1, -1) == 0], images(1)[plain.masks.expand(-1, 3, -1, -1) == 0]
    )
    moved = (plain.images - jittered.images).abs().amax(1)[plain.masks[:, 0] == 1]
    assert (moved > 0).all() and 0.01 < moved.mean() < 0.2
    assert 0 <= jittered.images.min() and jittered.images.max() <= 1


def jittered_colour(colour: tuple[float, float, float], drawn: tuple[float, float, float, float]) -> list[float]:
    """What becomes of an image of one colour under jitter 0.1 with these numbers in [0, 1)."""
    patch = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 1, 4)
    return _jittered(patch, torch.tensor(drawn).view(1, 4, 1), 0.1)[0, :, 0, 0].tolist()


def test_jitter_by_hand():
    middle = 0.5
    assert jittered_colour((0.2, 0.4, 0.6), (middle,) * 4) == pytest.approx([0.2, 0.4, 0.6], abs=1e-6)
    brighter = jittered_colour((0.2, 0.4, 0.6), (1.0, middle, middle, middle))
    assert brighter == pytest.approx([0.22, 0.44, 0.66], abs=1e-6)
    # contrast leaves a patch of one grey alone: it is its own mean
    assert jittered_colour((0.4, 0.4, 0.4), (middle, 1.0, 1.0, 1.0)) == pytest.approx([0.4] * 3, abs=1e-4)
    # 0.3 and 0.5, a tenth brighter: 0.33 and 0.55 about 0.44, whose distance grows by a tenth
    patch = torch.tensor([0.3, 0.5]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    both = _jittered(patch, torch.tensor([1.0, 1.0, middle, middle]).view(1, 4, 1), 0.1)
    assert both[0, 1, 0].tolist() == pytest.approx([0.44 - 0.121, 0.44 + 0.121], abs=1e-4)
    grey = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.6
    saturated = jittered_colour((0.2, 0.4, 0.6), (middle, middle, 1.0, middle))
    assert saturated == pytest.approx([grey + 1.1 * (one - grey) for one in (0.2, 0.4, 0.6)], abs=2e-3)


@pytest.mark.parametrize(("turn", "share"), [(0.0, -0.1), (0.75, 0.05), (1.0, 0.1)])
def test_hue_turns_and_keeps_the_luma(turn, share):
    before = (0.6, 0.4, 0.3)
    yiq = [colorsys.rgb_to_yiq(*colour) for colour in (before, jittered_colour(before, (0.5, 0.5, 0.5, turn)))]
    angles = [math.atan2(q, i) / (2 * math.pi) for _, i, q in yiq]
    assert angles[1] - angles[0] == pytest.approx(share, abs=2e-3)
    assert yiq[1] == pytest.approx((yiq[0][0], *yiq[1][1:]), abs=2e-3)
    assert math.hypot(*yiq[1][1:]) == pytest.approx(math.hypot(*yiq[0][1:]), abs=2e-3)


@pytest.mark.parametrize("wrong", [{"fill": "red"}, {"patches": -1}, {"area": 0.0}, {"area": 1.5}, {"jitter": 0.6}])
def test_switches_without_a_meaning_are_refused(wrong):
    with pytest.raises(AdtoolError, match="patches"):
        Pasting(**wrong)
