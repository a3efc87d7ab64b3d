import numpy as np
import pytest
import torch

from adtool.layers.lbp import grey, pattern_distance, patterns

CIRCLE = (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)


def plane(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows).view(1, 1, len(rows), -1)


@pytest.mark.parametrize(
    ("around", "code"),
    [
        ([[1, 1, 1], [1, 5, 1], [1, 1, 1]], 0),
        ([[9, 9, 9], [9, 5, 9], [9, 9, 9]], 8),
        ([[5, 5, 5], [5, 5, 5], [5, 5, 5]], 8),  # as bright counts
        ([[9, 9, 1], [1, 5, 1], [1, 1, 1]], 2),
        ([[9, 1, 1], [9, 5, 1], [9, 9, 1]], 4),  # across the start of the circle
        ([[9, 1, 9], [1, 5, 1], [1, 1, 1]], 9),  # four changes
        ([[9, 1, 9], [1, 5, 1], [9, 1, 9]], 9),
    ],
)
def test_patterns_by_hand(around, code):
    assert patterns(plane(*map(list, around)).float())[0, 0, 1, 1] == code


def test_the_border_is_repeated():
    """Beside a column that falls to the right, the left border sees itself: 3 beyond it, 2 above and below."""
    codes = patterns(plane([3.0, 2.0], [3.0, 2.0]))
    assert codes[0, 0].tolist() == [[5, 8], [5, 8]]


def test_patterns_agree_with_a_loop_over_pixels():
    image = np.random.default_rng(0).integers(0, 4, (7, 9)).astype(np.float32)
    padded = np.pad(image, 1, mode="edge")
    expected = np.empty_like(image)
    for y, x in np.ndindex(*image.shape):
        bits = [padded[y + 1 + dy, x + 1 + dx] >= image[y, x] for dy, dx in CIRCLE]
        changes = sum(a != b for a, b in zip(bits, bits[1:] + bits[:1], strict=True))
        expected[y, x] = sum(bits) if changes <= 2 else 9
    assert patterns(torch.tensor(image)[None, None])[0, 0].tolist() == expected.tolist()


def test_the_distance_is_zero_of_one_image_and_one_of_disjoint_patterns():
    flat = torch.full((1, 3, 16, 16), 0.5)
    slope = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)  # code 5 wherever left is darker, 8 in a flat image
    assert pattern_distance(slope, slope).abs().max() == 0
    torch.testing.assert_close(pattern_distance(flat, slope)[..., 4:], torch.ones(1, 1, 16, 12))


def test_the_distance_by_hand():
    """One dot in a flat image: its own code 8 becomes 0 and its neighbours' stay 8, so 1 of 49 pixels differs."""
    flat = torch.full((1, 3, 15, 15), 0.5)
    dot = flat.clone()
    dot[..., 7, 7] = 0.9
    distance = pattern_distance(flat, dot)[0, 0]
    assert distance[7, 7].item() == pytest.approx(1 / 49)
    assert distance[7, 10].item() == pytest.approx(1 / 49) and distance[7, 11] == 0
    corner = flat.clone()
    corner[..., 0, 0] = 0.9
    # its repetition beyond the border is as bright: 3 neighbours in one row stay 1 in the corner, code 5 for 8
    assert pattern_distance(flat, corner)[0, 0, 0, 0].item() == pytest.approx(1 / 16)


def test_grey_of_white_is_one():
    assert grey(torch.ones(1, 3, 1, 1)).item() == pytest.approx(1)
    assert grey(torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)).item() == pytest.approx(0.587)
