import pytest
import torch
import torch.nn.functional as F
from toys import changed, copied

from adtool.errors import AdtoolError
from adtool.layers.losses import ssim_loss
from adtool.models._detector import Pairs
from adtool.models.scgan import Config, Model
from adtool.ops.gaussian_blur import gaussian_blur

TINY = {"height": 32, "width": 32, "base": 4, "cap": 8, "latent": 6, "batch_size": 4, "max_steps": 20}


def tiny(**values) -> Model:
    torch.manual_seed(0)
    return Model(Config().override(**{**TINY, **values}))


def numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def stripes(number: int, side: int = 32) -> torch.Tensor:
    """Good images: coloured stripes of a random phase."""
    phase = torch.randint(8, (number, 1, 1, 1), generator=torch.Generator().manual_seed(1))
    rows = torch.arange(side).view(1, 1, -1, 1)
    colours = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1)
    return (((rows + phase) % 8 < 4) * colours + 0.25).expand(number, 3, side, side).contiguous()


def pairs(number: int = 4, first_seed: int = 0, side: int = 32) -> Pairs:
    images = stripes(number, side)
    return Pairs(images, images.roll(1, 0), torch.arange(number) * 7919 + first_seed)


def step(model: Model, batch: Pairs) -> list[float]:
    """One step of the model's stage, as training makes it."""
    (stage,) = model.stages()
    losses, values = stage.losses(batch), []
    for optimizer in stage.optimizers:
        loss = next(losses)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert next(losses, None) is None
    return values


def test_paper_preset_has_the_parameters_of_the_specification():
    """48 M in each encoder and the decoder, 45 M in the discriminator, 5.6 M for attention."""
    with torch.device("meta"):
        model, plain = Model(Config.preset("paper")), Model(Config(mscam=False))
    channels = [3, 64, 128, 256, 512, 1024, 2048]
    convs = 16 * sum(a * b for a, b in zip(channels[:-1], channels[1:], strict=True))
    norms = 2 * sum(channels[2:])
    attention = sum(2 * (c * c // 2 + c // 4 + c + 2 * (c // 4 + c)) for c in channels[1:])
    code = 16 * 2048 * 100
    assert numbers(plain.encoder) == numbers(model.second_encoder) == convs + norms + code
    assert numbers(model.encoder) == convs + norms + code + attention
    assert numbers(model.decoder) == convs + code + norms + 2 * 64
    assert numbers(model.discriminator) == convs + norms + 16 * 2048
    assert numbers(model.encoder) / 1e6 == pytest.approx(48 + 5.6, abs=0.1)
    assert numbers(model) / 1e6 == pytest.approx(194.4, abs=0.1)


def test_paper_preset_has_the_shapes_of_the_specification():
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
        images = torch.empty(2, 3, 256, 256)
        shapes = [tuple(features.shape[1:]) for features in model.encoder.features(images)]
        restored, codes = model.restore(images)
        deepest, judged = model.discriminator.judge(restored)
    sides = [128, 64, 32, 16, 8, 4]
    assert shapes == [(64 << level, side, side) for level, side in enumerate(sides)]
    assert model.encoder.code.out_channels == 100 and restored.shape == images.shape and codes.shape == (2,)
    assert deepest.shape == (2, 2048, 4, 4) and judged.shape == (2, 1)
    with torch.device("meta"):
        assert len(Model(Config(height=512, width=512)).encoder.levels) == 7  # eight blocks with the code's


def test_paper_preset_trains_as_the_paper_does():
    with torch.device("meta"):
        (stage,) = Model(Config.preset("paper")).stages()
    assert [optimizer.defaults["lr"] for optimizer in stage.optimizers] == [2e-4, 2e-4]
    assert [optimizer.defaults["betas"] for optimizer in stage.optimizers] == [(0.5, 0.999)] * 2
    assert (stage.batch_size, stage.epochs, stage.max_steps, len(stage.schedules)) == (64, 400, None, 0)
    assert stage.validate is not None and stage.min_delta == 0 and stage.patience is None  # the best of all 400


SWITCHES = [{"mscam": False}, {"loss_ssim": False}, {"patches": 10}, {"patches": 0}, {"patch_area": 0.05}]
SWITCHES += [{"fill": "black"}, {"fill": "color"}, {"fill": "confetti"}, {"jitter": "on"}, {"category": "wood"}]
SWITCHES += [{"jitter": "on", "jitter_strength": 0.3}, {"enc_norm": "l2"}, {"adv": "fm"}, {"latent": 5}, {"cap": 0}]
SWITCHES += [{"enc_weight": 100.0}, {"con_weight": 1.0}, {"adv_weight": 0.0}, {"ssim_weight": 1.0}, {"base": 3}]
SWITCHES += [{"augment": True}, {"augment": True, "category": "wood"}, {"depth": 1}, {"depth": 2}]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_changes_the_result_and_trains(switch):
    results = []
    for values in ({}, switch):
        model = tiny(**values)
        before = {name: copied(part) for name, part in model.named_children()}
        losses = step(model, pairs())
        assert all(torch.tensor(losses).isfinite()) and model.notices == ()
        assert all(changed(part, before[name]) for name, part in model.named_children())
        results.append(losses[0])
    assert results[0] != results[1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 52}, "multiples of 8"),
        ({"height": 8, "width": 8}, "at least 16"),
        ({"fill": "noise"}, "--set fill=noise: expected one of copy, black"),
        ({"jitter": "yes"}, "--set jitter=yes"),
        ({"enc_norm": "l1"}, "--set enc_norm"),
        ({"adv": "hinge"}, "--set adv"),
        ({"score_pixels": "some"}, "--set score_pixels"),
        ({"residual": "some"}, "--set residual"),
        ({"score_beta": 1.1}, "--set score_beta=1.1"),
        ({"batch_size": 1}, "--set batch_size=1: expected at least 2"),
        ({"patches": -1}, "-1 patches"),
        ({"depth": 4}, "--set depth=4: expected 1 to 3 halvings of 32x32"),
        ({"schedule": "cosine", "max_steps": None}, "set max_steps too"),
    ],
)
def test_configs_that_cannot_work_are_refused(values, words):
    with pytest.raises(AdtoolError, match=words):
        tiny(**values)


def test_one_good_image_is_too_few():
    with pytest.raises(AdtoolError, match="one good image, expected at least two"):
        next(tiny().stages()[0].losses(pairs(1)))


@pytest.mark.parametrize("weights", [(1.0, 40.0, 1.0, 40.0), (1e3, 0.0, 0.0, 0.0), (0.0, 0.0, 3.0, 0.0), (0, 0, 0, 1)])
@pytest.mark.parametrize("values", [{}, {"enc_norm": "l2", "adv": "fm"}])
def test_the_losses_are_the_papers(weights, values):
    """L_total (Eqs. 4 to 10) and the discriminator's cross-entropy, written anew from the parts."""
    names = ("enc_weight", "con_weight", "adv_weight", "ssim_weight")
    models = [tiny(**dict(zip(names, weights, strict=True)), **values) for _ in range(2)]
    found = [loss.item() for loss in models[0].stages()[0].losses(pairs(first_seed=2))]
    model, batch = models[1], pairs(first_seed=2)
    clean, shown = 2 * batch.images - 1, 2 * model.preview(batch).images - 1
    assert (clean != shown).flatten(1).any(1).all()
    z1 = model.encoder(shown)
    restored = model.decoder(z1)
    squares = (z1 - model.second_encoder(restored)).square().flatten(1)
    encoder = squares.sum(1).sqrt().mean() if values else squares.mean()
    real, fake = (model.discriminator.judge(images)[1].sigmoid() for images in (clean, restored))
    adversarial = -fake.log().mean()
    if values:
        clean_features, features = (model.discriminator.judge(images)[0] for images in (clean, restored))
        adversarial = (clean_features - features).square().mean()
    terms = encoder, (clean - restored).abs().mean(), adversarial, ssim_loss(clean, restored)
    total = sum(weight * term.item() for weight, term in zip(weights, terms, strict=True))
    judge = -0.5 * (real.log().mean() + (1 - fake).log().mean())
    assert found == pytest.approx([total, judge.item()], rel=1e-5)


def test_the_generators_step_leaves_the_discriminator_and_the_discriminators_step_the_rest():
    model = tiny()
    (stage,) = model.stages()
    losses, before = stage.losses(pairs()), copied(model.discriminator)
    next(losses).backward()
    assert all(parameter.grad is None for parameter in model.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in model.discriminator.parameters())
    generator = [*model.encoder.parameters(), *model.decoder.parameters(), *model.second_encoder.parameters()]
    assert all(parameter.grad is not None for parameter in generator)
    stage.optimizers[0].step()
    assert not changed(model.discriminator, before)
    after = [parameter.clone() for parameter in generator]
    model.zero_grad()
    next(losses).backward()
    assert all(parameter.grad is None for parameter in generator)
    stage.optimizers[1].step()
    assert changed(model.discriminator, before)
    assert all(torch.equal(one, other) for one, other in zip(generator, after, strict=True))


def test_a_collapsed_discriminator_is_drawn_anew_and_noticed():
    model = tiny()
    judge = model.discriminator
    model.discriminator.judge = lambda images: (images, 50 * judge.code.weight.mean() + 50 * images.sign().mean((2, 3)))
    lit, dark = (Pairs(torch.full((4, 3, 32, 32), value), *pairs()[1:]) for value in (1.0, 0.0))
    model.restore = lambda images: (
        torch.full_like(images, -1.0) * model.encoder.code.weight.sign().abs().mean(),
        images.new_zeros(4),
    )
    before = copied(judge)
    for batch, collapsed in ((dark, False), (lit, True)):
        losses = model._losses(batch)
        values = [loss.item() for loss in (next(losses), next(losses))]
        assert next(losses, None) is None
        assert (values[1] < 1e-5) == collapsed == bool(model.notices) == changed(judge, before)
    assert "the discriminator collapsed" in model.notices[0]


def test_a_picture_of_one_colour_is_what_knowing_nothing_restores():
    model, batch = tiny(), pairs(6)
    (stage,) = model.stages()
    colour = (2 * batch.images - 1).mean((0, 2, 3), keepdim=True)
    model.restore = lambda images: (colour.expand_as(images), images.new_zeros(len(images)))
    torch.testing.assert_close(stage.untaught(batch), stage.validate(batch))


def test_the_decay_ends_with_the_steps_and_is_not_the_papers():
    constant, decayed = tiny().stages()[0], tiny(schedule="cosine").stages()[0]
    assert not constant.schedules and constant.max_steps == 20
    rates = []
    for _ in range(20):
        for optimizer, schedule in zip(decayed.optimizers, decayed.schedules, strict=True):
            optimizer.step()
            schedule.step()
        rates.append(decayed.optimizers[1].param_groups[0]["lr"])
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(4e-6)


@pytest.mark.parametrize(
    ("values", "strength"),
    [
        ({}, 0.0),
        ({"category": "wood"}, 0.1),
        ({"category": "bottle"}, 0.0),
        ({"category": "wood", "jitter": "off"}, 0.0),
        ({"category": "bottle", "jitter": "on", "jitter_strength": 0.2}, 0.2),
    ],
)
def test_colours_are_jittered_on_textures_or_as_asked_for(values, strength):
    assert tiny(**values).pasting.jitter == strength


def test_a_preview_shows_what_training_sees():
    model, batch = tiny(), pairs(8)
    images, masks = model.preview(batch)
    assert torch.equal(torch.where(masks == 1, batch.images, images), batch.images)
    assert images.shape == (8, 3, 32, 32) and 0.1 < masks.mean() < 0.5


def test_views_are_what_patches_are_pasted_on_and_the_target():
    model, batch = tiny(augment=True, patches=3), pairs(8)
    views, (images, masks) = model.views(batch)
    assert not torch.equal(views, batch.images)
    assert torch.equal(torch.where(masks == 1, views, images), views)
    assert torch.equal(model.preview(batch).images, images)
    turned = tiny(augment=True, category="tile").views(batch)[0]
    slopes = [(view[:, :, 1:] - view[:, :, :-1]).abs().mean() for view in (views[:, 0], turned[:, 0])]
    assert slopes[1] > 2 * slopes[0]  # stripes that lay flat stand at any angle


@pytest.mark.parametrize("beta", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("enc_norm", ["mse", "l2"])
def test_the_score_is_equation_11_and_the_map_the_smoothed_residual(beta, enc_norm):
    model = tiny(score_beta=beta, enc_norm=enc_norm, sigma=16.0).eval()
    images = stripes(3)
    with torch.inference_mode():
        maps, scores = model.predict(images)
        shown = 2 * images - 1
        restored = model.decoder(model.encoder(shown))
        squares = (model.encoder(shown) - model.second_encoder(restored)).flatten(1).square()
    codes = squares.mean(1) if enc_norm == "mse" else squares.sum(1).sqrt()
    torch.testing.assert_close(scores, beta * (shown - restored).abs().flatten(1).mean(1) + (1 - beta) * codes)
    residual = (shown - restored).abs().mean(1, keepdim=True)
    torch.testing.assert_close(maps, gaussian_blur(residual, 2.0))  # 16 pixels at 256


@pytest.mark.parametrize(("side", "pixels"), [(32, 2), (128, 25)])
def test_the_score_may_look_at_the_largest_pixels_alone(side, pixels):
    model = tiny(height=side, width=side, score_pixels="top", score_beta=1.0).eval()
    with torch.inference_mode():
        maps, scores = model.predict(stripes(2, side))
    torch.testing.assert_close(scores, maps.flatten(1).topk(pixels).values.mean(1))


@pytest.mark.parametrize("pixels", ["all", "top"])
def test_the_residual_may_be_relative_to_that_of_good_images(pixels):
    model, good = tiny(residual="relative", score_pixels=pixels, score_beta=1.0, sigma=16.0).eval(), stripes(6)
    images = stripes(3) * 0.7
    with torch.inference_mode():
        model.finish([good[:4], good[4:]])
        maps, scores = model.predict(images)
        unit, residual = (
            (2 * shown - 1 - model.restore(2 * shown - 1)[0]).abs().mean(1, keepdim=True) for shown in (good, images)
        )
    usual = gaussian_blur(unit.mean(0, keepdim=True), 1.0)  # 8 pixels at 256
    relative = residual / usual.clamp(min=0.75 * unit.mean())
    torch.testing.assert_close(maps, gaussian_blur(relative, 2.0))
    wanted = relative.mean((1, 2, 3)) if pixels == "all" else maps.flatten(1).topk(2).values.mean(1)
    torch.testing.assert_close(scores, wanted)


def test_restorations_are_images_and_what_the_map_compares():
    model = tiny(sigma=0.0).eval()
    images = stripes(2)
    with torch.inference_mode():
        pictures = model.restorations(images)
        maps = model.predict(images).maps
    assert list(pictures) == ["restored"]
    restored = pictures["restored"]
    assert restored.shape == images.shape and 0 <= restored.min() and restored.max() <= 1
    torch.testing.assert_close(2 * (images - restored).abs().mean(1, keepdim=True), maps)


def test_the_watched_error_is_that_of_good_images_without_patches():
    model, batch = tiny().eval(), pairs()
    with torch.no_grad():
        clean = 2 * batch.images - 1
        expected = (model.decoder(model.encoder(clean)) - clean).abs().mean()
        assert model.stages()[0].validate(batch).item() == pytest.approx(expected.item(), rel=1e-6)


def test_equal_seeds_give_equal_weights():
    first, second, other = tiny(), tiny(), tiny()
    assert step(first, pairs()) == step(second, pairs())
    step(other, pairs(first_seed=1))
    assert not changed(first, copied(second)) and changed(other.encoder, copied(first.encoder))


def test_it_learns_to_undo_patches():
    """After 150 steps what was pasted is nearer to the clean image than to what is shown."""
    model = tiny(base=8, cap=32, latent=16, learning_rate=3e-3, patches=6, patch_area=0.03)
    (stage,) = model.stages()
    for number in range(150):
        for optimizer, loss in zip(stage.optimizers, stage.losses(pairs(8, 10 * number)), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    batch = pairs(8, 7)
    images, masks = model.preview(batch)
    with torch.inference_mode():
        restored = model.eval().restorations(images)["restored"]
    pasted = (masks * (images - batch.images).abs().mean(1, keepdim=True)) > 0.1
    assert pasted.sum() > 100
    from_clean, from_shown = (
        (restored - other).abs().mean(1, keepdim=True)[pasted].mean() for other in (batch.images, images)
    )
    assert from_clean < 0.5 * from_shown
    assert F.l1_loss(restored[masks.expand_as(restored) == 0], images[masks.expand_as(images) == 0]) < 0.06
