import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from toys import changed, copied

from adtool.errors import AdtoolError
from adtool.layers.losses import ssim_loss
from adtool.layers.simulation import WADS
from adtool.models import wads
from adtool.models._detector import Pairs
from adtool.models.wads import Config, Model
from adtool.ops.gaussian_blur import gaussian_blur

TINY = {
    "height": 32,
    "width": 32,
    "g_base": 4,
    "g_cap": 8,
    "latent": 6,
    "seg_block": "basic",
    "seg_depths": (1, 1, 1, 1),
    "seg_base": 4,
    "seg_width": 8,
    "batch_size": 4,
    "max_steps": 20,
}


def tiny(**values) -> Model:
    torch.manual_seed(0)
    return Model(Config().override(**{**TINY, **values}))


def millions(module: torch.nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def stripes(number: int, side: int = 32) -> torch.Tensor:
    """Good images: stripes of a random phase."""
    phase = torch.randint(8, (number, 1, 1, 1), generator=torch.Generator().manual_seed(1))
    rows = torch.arange(side).view(1, 1, -1, 1)
    return (((rows + phase) % 8 < 4) * 0.5 + 0.25).expand(number, 3, side, side).contiguous()


def pairs(number: int = 4, first_seed: int = 0, side: int = 32) -> Pairs:
    images = stripes(number, side)
    return Pairs(images, images.roll(1, 0), torch.arange(number) * 7919 + first_seed)


def step(model: Model, batch: Pairs) -> list[float]:
    """One step of the model's stage, as training makes it."""
    (stage,) = model.stages()
    values = []
    for optimizer, loss in zip(stage.optimizers, stage.losses(batch), strict=True):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


def test_paper_preset_has_the_parameters_of_the_specification():
    """Segmentation 23.5 M in the ResNet (9,408 more for six channels) and 3.5 M in the pyramid."""
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
    assert millions(model.segmentation.encoder) == pytest.approx(23.5, abs=0.05)
    assert millions(model.segmentation.pyramid) == pytest.approx(3.5, abs=0.05)
    encoder = 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 512 + 512 * 200
    decoder = 200 * 512 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3
    norms = 2 * (128 + 256 + 512 + 512) + 2 * (512 + 512 + 256 + 128 + 64)
    biases = 64 + 200 + 3
    assert millions(model.generator) * 1e6 == 16 * (encoder + decoder) + norms + biases
    judge = 16 * (encoder - 512 * 200 + 512) + 2 * (128 + 256 + 512 + 512) + 64 + 1
    assert millions(model.discriminator) * 1e6 == judge


def test_paper_preset_has_the_shapes_of_the_specification():
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
        images = torch.empty(2, 3, 128, 128)
        code, features = model.generator.encode(images)
        levels = model.segmentation.encoder.levels(torch.cat([images, images], 1))
        logits = model.segmentation(images, model.generator(images))
    assert code.shape == (2, 200, 1, 1) and features[-1].shape == (2, 512, 4, 4)
    shapes = [(64, 64, 64), (256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]
    assert [tuple(level.shape[1:]) for level in levels] == shapes
    assert logits.shape == (2, 1, 128, 128)


SWITCHES = [{"loss_ssim": False}, {"loss_kl": False}, {"seg_kind": "lbp"}, {"seg_input": "siamese"}]
SWITCHES += [{"lat": "recon"}, {"lat": "disc"}, {"adv": "hard"}, {"g_skip": "none"}, {"g_skip": "all"}]
SWITCHES += [{"kl_mode": "pixel"}, {"focal_gamma": 0.1}, {"rho": 0.3}, {"augment": False}, {"turn": 90.0}]
SWITCHES += [{"seg_block": "bottleneck"}, {"adv_weight": 0.0}, {"con_weight": 1.0}, {"lat_weight": 0.0}]
SWITCHES += [{"category": "wood"}, {"enlarged": 1.5}, {"scale": (0.5, 0.6)}, {"latent": 5}, {"intact": 0.0}]
SWITCHES += [{"source": "mixed"}, {"logical": True}, {"logical": True, "turned": 0.0}, {"least_change": 0.3}]
SWITCHES += [{"shaded": 1.0}, {"logical": True, "feather": 40.0}, {"logical": True, "own": 1.0}]
SWITCHES += [{"jitter": 0.5}, {"redraws": 3}, {"views": 0.0}, {"seg_backbone": "efficientnet_lite0"}]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_changes_the_result_and_trains(switch):
    results = []
    for values in ({}, switch):
        model = tiny(**values)
        before = copied(model)
        losses = step(model, pairs())
        parts = [model.generator.encoder, model.generator.decoder, model.discriminator]
        parts += [model.segmentation] * (model.segmentation is not None)
        assert all(torch.tensor(losses).isfinite())
        for name, part in model.named_children():
            assert changed(part, {key.removeprefix(f"{name}."): value for key, value in before.items()}), name
        results.append(losses[0])
    assert results[0] != results[1]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 48}, "multiples of 32"),
        ({"lat": "both"}, "--set lat=both"),
        ({"g_skip": "some"}, "--set g_skip"),
        ({"seg_kind": "unet"}, "--set seg_kind"),
        ({"rho": 0.0}, "--set rho"),
        ({"max_steps": 0}, "--set max_steps"),
    ],
)
def test_configs_that_cannot_work_are_refused(values, words):
    with pytest.raises(AdtoolError, match=words):
        tiny(**values)


@pytest.mark.parametrize("weights", [(1.0, 20.0, 1.0), (3.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1e4)])
@pytest.mark.parametrize("share", [0.02, 0.4])
def test_the_losses_are_the_papers(weights, share):
    """L_G + L_seg and L_D written anew from the parts; `share` is what is predicted, on either side of the prior."""
    models = [tiny(**dict(zip(("adv_weight", "con_weight", "lat_weight"), weights, strict=True))) for _ in range(2)]
    for model in models:
        torch.nn.init.constant_(model.segmentation.pyramid.logits.bias, math.log(share / (1 - share)))
    found = [loss.item() for loss in models[0].stages()[0].losses(pairs(first_seed=2))]
    assert found == pytest.approx(by_hand(models[1], pairs(first_seed=2)), rel=1e-5)


def by_hand(model: Model, batch: Pairs) -> list[float]:
    """L_G + L_seg and L_D in class defaults but for the weights."""
    images, simulated = model.views(batch)
    clean, shown, masks = 2 * images - 1, 2 * simulated.images - 1, simulated.masks
    assert (masks.amax((1, 2, 3)) == 1).sum() == 3  # as many good ones would count as much
    code, features = model.generator.encode(torch.cat([shown, clean]))
    restored = model.generator.decoder(code[:4], [level[:4] for level in features])
    real, fake = (model.discriminator.judge(x)[1].flatten().sigmoid() for x in (clean, restored))
    adversarial = -(real * fake.log() + (1 - real) * (1 - fake).log()).mean()
    content = ssim_loss(clean, restored) + (clean - restored).square().mean()
    latent = (code[:4] - code[4:]).square().mean()
    p = model.segmentation(shown, restored).sigmoid()
    focal = torch.where(masks == 1, -((1 - p) ** 2) * p.log(), -(p**2) * (1 - p).log()).mean()
    m = p.mean((1, 2, 3))
    prior = m * (m / 0.1).log() + (1 - m) * ((1 - m) / 0.9).log()
    counted = (masks.amax((1, 2, 3)) == 1) | (m > 0.1)
    config = model.config
    loss = config.adv_weight * adversarial + config.con_weight * content + config.lat_weight * latent
    judge = 0.5 * (F.binary_cross_entropy(real, torch.ones(4)) + F.binary_cross_entropy(fake, torch.zeros(4)))
    return [(loss + focal + (prior * counted).mean()).item(), judge.item()]


def test_the_generators_step_leaves_the_discriminator_and_the_discriminators_step_the_rest():
    model = tiny()
    (stage,) = model.stages()
    losses, before = stage.losses(pairs()), copied(model.discriminator)
    next(losses).backward()
    assert all(parameter.grad is None for parameter in model.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in model.discriminator.parameters())
    stage.optimizers[0].step()
    assert not changed(model.discriminator, before)
    generator, segmentation = copied(model.generator), copied(model.segmentation)
    model.zero_grad()
    next(losses).backward()
    assert all(
        parameter.grad is None for parameter in (*model.generator.parameters(), *model.segmentation.parameters())
    )
    stage.optimizers[1].step()
    assert changed(model.discriminator, before)
    assert not changed(model.generator, generator) and not changed(model.segmentation, segmentation)


def test_the_segmentation_teaches_the_generator():
    """The gradient of L_seg flows into the generator: without L_G it still learns."""
    model = tiny(adv_weight=0.0, con_weight=0.0, lat_weight=0.0)
    next(model.stages()[0].losses(pairs())).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.generator.decoder.parameters())


def test_the_optimisers_are_the_papers_and_the_decay_ends_with_the_steps():
    constant, decayed = tiny().stages()[0], tiny(schedule="cosine").stages()[0]
    assert all(optimizer.defaults["betas"] == (0.5, 0.999) for optimizer in constant.optimizers)
    assert [optimizer.param_groups[0]["lr"] for optimizer in constant.optimizers] == [1e-4, 1e-4]
    assert constant.max_steps == 20 and not constant.schedules
    rates = []
    for _ in range(20):
        for optimizer, schedule in zip(decayed.optimizers, decayed.schedules, strict=True):
            optimizer.step()
            schedule.step()
        rates.append(decayed.optimizers[0].param_groups[0]["lr"])
    assert rates == sorted(rates, reverse=True) and rates[-1] == pytest.approx(2e-6)


def test_paper_preset_simulates_as_the_paper_does(monkeypatch):
    simulations = []
    monkeypatch.setattr(wads, "simulate", lambda images, *rest: simulations.append(rest[2]))
    for settings in ({}, {"shaded": 0.3, "feather": 5.0}):
        tiny(**settings).preview(Pairs(torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32), torch.arange(2)))
    assert simulations == [WADS, replace(WADS, shaded=0.3, feather=5.0)]


def test_a_preview_shows_defects_in_views_as_training_sees_them():
    model, batch = tiny(), pairs(8)
    images, masks = model.preview(batch)
    views = tiny(intact=1.0).preview(batch)
    assert torch.equal(torch.where(masks == 1, views.images, images), views.images) and views.masks.max() == 0
    assert images.shape == (8, 3, 32, 32) and 0 < masks.mean() < 0.5 and images.min() >= 0 and images.max() <= 1
    alone = model.preview(Pairs(*(part[3:4] for part in batch)))
    torch.testing.assert_close(alone.images[0], images[3]) and torch.equal(alone.masks[0], masks[3])


def test_equal_seeds_give_equal_weights():
    first, second, other = tiny(), tiny(), tiny()
    assert step(first, pairs()) == step(second, pairs())
    step(other, pairs(first_seed=1))
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert changed(other.segmentation, copied(first.segmentation))


@pytest.mark.parametrize(("values", "pixels"), [({}, 100), ({"height": 128, "width": 128}, 25)])
def test_the_image_score_is_the_mean_of_the_largest_pixels(values, pixels):
    model = tiny(**{"height": 256, "width": 256, **values}).eval()
    images = torch.rand(2, 3, *model.config.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps, scores = model.predict(images)
    torch.testing.assert_close(scores, maps.flatten(1).topk(pixels).values.mean(1))


def test_the_image_score_may_be_the_largest_local_mean():
    model = tiny(height=256, width=256, image_score="mean").eval()
    with torch.inference_mode():
        maps, scores = model.predict(torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
    inside = maps[0, 0].unfold(0, 21, 1).unfold(1, 21, 1).mean((2, 3)).max()
    assert scores.item() >= inside.item() * (1 - 1e-5)


def test_patterns_take_the_place_of_the_segmentation():
    model = tiny(seg_kind="lbp").eval()
    assert model.segmentation is None
    with torch.inference_mode():
        maps = model.predict(stripes(2)).maps
    assert maps.shape == (2, 1, 32, 32) and 0 <= maps.min() and maps.max() <= 1


def test_smoothing_is_in_pixels_at_256():
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        sharp, smooth = (tiny(sigma=sigma).eval().predict(images) for sigma in (0.0, 16.0))
    torch.testing.assert_close(smooth.maps, gaussian_blur(sharp.maps, 2.0))
    assert torch.equal(smooth.scores, sharp.scores)


def test_it_learns_where_the_defects_of_eight_images_are():
    model = tiny(seg_base=8, seg_width=16, learning_rate=5e-3, augment=False, intact=0.2)
    (stage,) = model.stages()
    for _ in range(60):
        for optimizer, loss in zip(stage.optimizers, stage.losses(pairs(8)), strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    images, masks = model.preview(pairs(8))
    with torch.inference_mode():
        maps = model.eval().predict(images).maps
    assert roc_auc_score(masks.flatten(), maps.flatten()) > 0.95
    assert maps[masks == 0].mean() < 0.15
