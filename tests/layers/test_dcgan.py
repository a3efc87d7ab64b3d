import pytest
import torch

from adtool.layers.dcgan import Decoder, Discriminator, Encoder, depth_of, grid_of, redraw_collapsed


def test_levels_follow_the_shorter_side():
    assert [depth_of((side, side)) for side in (32, 64, 96, 128, 256)] == [3, 4, 4, 5, 6]
    assert grid_of((128, 128)) == (4, 4) and grid_of((64, 128)) == (4, 8)


def test_shapes_are_those_of_the_specification():
    with torch.device("meta"):
        encoder, decoder = Encoder((128, 128), 64, 512, 200), Decoder((128, 128), 64, 512, 200)
        features = encoder.features(torch.empty(2, 3, 128, 128))
        code = encoder.code(features[-1])
        hidden = decoder.start(code)
        images = decoder(code, features)
    assert [tuple(f.shape[1:]) for f in features] == [
        (64, 64, 64),
        (128, 32, 32),
        (256, 16, 16),
        (512, 8, 8),
        (512, 4, 4),
    ]
    assert code.shape == (2, 200, 1, 1) and hidden.shape == (2, 512, 4, 4) and images.shape == (2, 3, 128, 128)


@pytest.mark.parametrize(("skip", "inputs"), [("none", [512, 512]), ("deepest", [1024, 512]), ("all", [1024, 1024])])
def test_skips_widen_the_levels_they_join(skip, inputs):
    with torch.device("meta"):
        decoder = Decoder((128, 128), 64, 512, 200, skip)
        encoder = Encoder((128, 128), 64, 512, 200)
        images = torch.empty(1, 3, 128, 128)
        assert decoder(encoder(images), encoder.features(images)).shape == images.shape
    assert [decoder.levels[place][0].in_channels for place in (0, 1)] == inputs


@pytest.mark.parametrize("skip", ["none", "deepest", "all"])
def test_only_joined_features_are_looked_at(skip):
    torch.manual_seed(0)
    encoder, decoder = Encoder((32, 32), 4, 8, 6), Decoder((32, 32), 4, 8, 6, skip)
    features = [f.detach().requires_grad_() for f in encoder.features(torch.rand(2, 3, 32, 32))]
    code = encoder(torch.rand(2, 3, 32, 32)).detach()
    grads = torch.autograd.grad(decoder(code, features).sum(), features, allow_unused=True)
    seen = [grad is not None for grad in grads]
    assert seen == {"none": [False] * 3, "deepest": [False, False, True], "all": [True] * 3}[skip]


def test_images_that_are_not_square_keep_their_shape():
    encoder, decoder = Encoder((32, 64), 4, 8, 6), Decoder((32, 64), 4, 8, 6)
    images = torch.rand(2, 3, 32, 64)
    code = encoder(images)
    restored = decoder(code, encoder.features(images))
    assert code.shape == (2, 6, 1, 1) and restored.shape == images.shape and restored.abs().max() <= 1


def test_weights_are_drawn_as_in_dcgan_and_nothing_before_a_norm_has_a_bias():
    torch.manual_seed(0)
    encoder, decoder = Encoder((64, 64), 16, 64, 20), Decoder((64, 64), 16, 64, 20)
    assert encoder.levels[2][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert decoder.levels[1][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert encoder.levels[3][1].weight.mean().item() == pytest.approx(1, abs=0.02)
    assert [level[0].bias is None for level in encoder.levels] == [False, True, True, True]
    assert decoder.levels[0][0].bias is None and decoder.levels[-1].bias is not None


def test_attention_and_biases_are_as_asked_for():
    torch.manual_seed(0)
    plain, attentive = (Encoder((32, 32), 8, 0, 6, biased=False, attention=on) for on in (False, True))
    assert [type(level[-1]).__name__ for level in attentive.levels] == ["MSCAM"] * 3
    assert [level[0].out_channels for level in attentive.levels] == [8, 16, 32]  # no cap
    assert all(conv.bias is None for conv in plain.modules() if isinstance(conv, torch.nn.Conv2d))
    decoder, judge = Decoder((32, 32), 8, 0, 6, "none", biased=False), Discriminator((32, 32), 8, 0, biased=False)
    assert not [name for name, _ in [*decoder.named_parameters(), *judge.named_parameters()] if name == "code.bias"]
    assert decoder.levels[-1].bias is None and judge.levels[0][0].bias is None
    images = torch.rand(2, 3, 32, 32)
    assert decoder(attentive(images)).shape == images.shape
    found = attentive.features(images)
    torch.testing.assert_close(attentive.levels[0][-1](attentive.levels[0][:3](images)), found[0])


@pytest.mark.parametrize(("depth", "grid"), [(1, (16, 32)), (2, (8, 16)), (3, (4, 8))])
def test_a_depth_of_its_own_leaves_a_code_at_every_place(depth, grid):
    """A pixel changes the codes near it alone, and a code the pixels near it alone."""
    torch.manual_seed(0)
    encoder = Encoder((32, 64), 4, 0, 6, depth=depth).eval()
    decoder = Decoder((32, 64), 4, 0, 6, "none", depth=depth).eval()
    images = torch.rand(1, 3, 32, 64)
    code = encoder(images)
    assert code.shape == (1, 6, *grid) and decoder(code).shape == images.shape
    moved = images.clone()
    moved[..., :2, :2] += 1
    places = (encoder(moved) != code).any(1)[0].nonzero()
    assert 0 < len(places) and places.max() <= 2
    code[..., -1, -1] += 1
    pixels = (decoder(code) != decoder(encoder(images))).any(1)[0].nonzero()
    assert 0 < len(pixels) and pixels[:, 0].min() >= 32 - 4 * 2**depth


@pytest.mark.parametrize(("loss", "collapsed"), [(1.1e-5, False), (0.7, False), (9e-6, True), (0.0, True)])
def test_a_discriminator_without_loss_is_drawn_anew_and_that_is_said(loss, collapsed):
    torch.manual_seed(0)
    judge = Discriminator((64, 64), 16, 64)
    for parameter in judge.parameters():
        torch.nn.init.constant_(parameter, 5)
    before = [parameter.clone() for parameter in judge.parameters()]
    notices = redraw_collapsed(judge, torch.tensor(loss, requires_grad=True))
    moved = [not torch.equal(one, other) for one, other in zip(judge.parameters(), before, strict=True)]
    assert moved == [collapsed] * len(before) and len(notices) == collapsed
    if collapsed:
        assert f"the discriminator collapsed (loss {loss:.2g}" in notices[0]
        assert judge.levels[2][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert judge.levels[3][1].weight.mean().item() == pytest.approx(1, abs=0.02)
        assert judge.levels[3][1].bias.abs().max() == 0


def test_the_new_weights_follow_from_the_seed():
    judges = [Discriminator((32, 32), 4, 8) for _ in range(2)]
    for judge in judges:
        torch.manual_seed(3)
        redraw_collapsed(judge, torch.tensor(0.0))
    assert all(torch.equal(a, b) for a, b in zip(*(judge.parameters() for judge in judges), strict=True))
