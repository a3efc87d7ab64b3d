import pytest
import torch

from adtool.layers.unet import AuxiliaryHead, Decoder, upsampled


@pytest.mark.parametrize("deep_skips", [False, True])
def test_decoder_ends_at_twice_the_finest_level(deep_skips):
    channels, sides = (4, 4, 8, 16, 32), (32, 16, 8, 4, 4)
    levels = [torch.rand(2, c, s, s) for c, s in zip(channels, sides, strict=True)]
    decoder = Decoder(channels, 3, deep_skips=deep_skips)
    assert decoder(levels, levels[-1]).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("deep_skips", [False, True])
def test_deep_skips_carry_the_deepest_features_past_every_other_way(deep_skips):
    """With the first up-block cut, only the skips of the deepest features are left."""
    channels, sides = (4, 4, 8, 16), (16, 8, 4, 2)
    levels = [torch.rand(1, c, s, s) for c, s in zip(channels, sides, strict=True)]
    decoder = Decoder(channels, 1, deep_skips=deep_skips).eval()
    torch.nn.init.zeros_(decoder.up[0][0].weight)
    with torch.no_grad():
        same = torch.equal(decoder(levels, levels[-1]), decoder(levels, levels[-1] + 1))
    assert same is not deep_skips


def test_upsampling_keeps_what_has_the_size_and_places_pixels_by_their_centres():
    row = torch.tensor([[[[0.0, 4.0]]]])
    assert upsampled(row, (1, 2)) is row
    assert upsampled(row, (1, 4)).flatten().tolist() == [0, 1, 3, 4]


def test_auxiliary_head_answers_at_the_images_size():
    assert AuxiliaryHead(16, 8, 3)(torch.rand(2, 16, 4, 6), (32, 48)).shape == (2, 3, 32, 48)
