import copy

import pytest
import torch

from adtool.errors import AdtoolError
from adtool.models._detector import Prediction
from adtool.models.dgrnet import Config, Model
from adtool.ops.gaussian_blur import gaussian_blur

TINY = {"height": 32, "width": 32, "ae_base": 4, "ae_cap": 8, "d_base": 4, "d_cap": 8, "latent": 6, "cbam_reduction": 2}
TINY |= {"ddpm_base": 8, "ddpm_multipliers": (1, 2), "ddpm_blocks": 1, "ddpm_attention": (16,), "ddpm_groups": 4}
TINY |= {"chain_steps": 50, "t_train_max": 25, "t_star": (12,), "ae_steps": 20, "ddpm_steps": 20}
GANOMALY = {"autoencoder": "ganomaly", "cbam": False}


def tiny(**values) -> Model:
    torch.manual_seed(0)
    return Model(Config().override(**{**TINY, **values}))


def trained(steps: int = 1, **values) -> Model:
    """Some steps of every stage, as training makes them, each with a seed of its own."""
    model = tiny(**values)
    for stage in model.stages():
        for number in range(steps):
            torch.manual_seed(number)
            losses = stage.losses(stripes(8))
            for optimizer in stage.optimizers:
                optimizer.zero_grad()
                next(losses).backward()
                optimizer.step()
            assert next(losses, None) is None
            for schedule in stage.schedules:
                schedule.step()
    return model.eval()


def stripes(number: int, side: int = 32) -> torch.Tensor:
    """Good images: coloured stripes of a random phase."""
    phase = torch.randint(8, (number, 1, 1, 1), generator=torch.Generator().manual_seed(1))
    rows = torch.arange(side).view(1, 1, -1, 1)
    colours = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1)
    return (((rows + phase) % 8 < 4) * colours + 0.25).expand(number, 3, side, side).contiguous()


def predicted(model: Model, images: torch.Tensor) -> Prediction:
    with torch.inference_mode():
        return model.predict(images)


def numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def test_paper_preset_has_the_parameters_of_the_specification():
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
    assert numbers(model.restorer) == 138_286_467
    assert numbers(model.adversarial.generator) / 1e6 == pytest.approx(43.4, abs=0.05)
    assert numbers(model.adversarial.discriminator) / 1e6 == pytest.approx(48.0, abs=0.05)


def test_paper_preset_trains_as_the_paper_does():
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
        model.prepare([torch.empty(150, 3, 1, 1), torch.empty(59, 3, 1, 1)])
        restore, denoise = model.stages()
    for optimizer in restore.optimizers:
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (2e-3, (0.5, 0.999))
    assert (restore.batch_size, restore.epochs, restore.max_steps) == (100, 50, None)
    shares = [restore.schedules[0].lr_lambdas[0](step) for step in (0, 50, 75, 100)]  # two steps an epoch
    assert shares == [1, 1, 0.5, 0] and len(restore.schedules) == 2
    (optimizer,) = denoise.optimizers
    assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == (1e-4, (0.9, 0.999))
    assert (denoise.batch_size, denoise.epochs, denoise.max_steps, len(denoise.schedules)) == (32, 100, None, 0)


def test_presets_have_the_lineage():
    skip, ganomaly = Config.preset("skip-ganomaly"), Config.preset("ganomaly")
    with torch.device("meta"):
        models = [Model(skip), Model(ganomaly)]
    assert [len(model.stages()) for model in models] == [1, 1]
    assert models[0].adversarial.generator.joined == [True] * 7 + [False]
    assert models[0].adversarial.weights == (1, 50, 1, 1, True)
    assert models[1].adversarial.second_encoder is not None and not any(models[1].adversarial.generator.decoder.joined)
    assert models[1].adversarial.weights[:4] == (0, 50, 1, 1)
    assert (ganomaly.score_residual, ganomaly.score_features, ganomaly.score_codes) == (0, 0, 1)


TRAINING = [
    {"cbam": False},
    {"cbam_reduction": 1},
    {"skip": "none"},
    {"skip": "all"},
    {"adv_weight": 0.0},
    {"d_cap": 0},
]
TRAINING += [{"con_weight": 1.0}, {"lat_weight": 0.0}, {"ae_base": 3}, {"ae_cap": 0}, {"d_base": 3}, {"latent": 5}]
TRAINING += [{**GANOMALY}, {"ae_rate": 1e-4}, {"d_lat": True}, {"betas": (0.9, 0.999)}]
TRAINING += [{"ddpm_rate": 1e-2}, {"ddpm_reduction": 2}, {"ddpm_multipliers": (1, 1)}, {"ddpm_blocks": 2}]
TRAINING += [{"ddpm_attention": ()}, {"ddpm_head": 8}, {"ddpm_groups": 2}, {"chain_steps": 100}, {"t_train_max": 50}]
TRAINING += [{"ema": 0.5}]
SCORING = [{"fuse": how} for how in ("sum", "max_res", "ae", "ddpm")] + [{"score_pixels": "top"}, {"sigma": 20.0}]
SCORING += [{"t_star": (5,)}, {"t_star": (12, 5)}, {"variance": "large"}, {"ddim_stride": 3}, {"noise_seed": 1}]
SCORING += [{"ddim_stride": 3, "ddim_eta": 1.0}, {"score_residual": 1.0}, {"score_features": 0.0}]


@pytest.fixture(scope="module")
def plain() -> Prediction:
    return predicted(trained(2), stripes(2))


@pytest.mark.parametrize("switch", TRAINING + SCORING, ids=str)
def test_every_switch_changes_the_result(switch, plain):
    maps, scores = predicted(trained(2, **switch), stripes(2))
    assert maps.isfinite().all() and scores.isfinite().all()
    assert not torch.equal(maps, plain.maps) or not torch.equal(scores, plain.scores)


@pytest.mark.parametrize("values", [{"enc_weight": 9.0}, {"score_codes": 1.0}], ids=str)
def test_every_switch_of_ganomaly_changes_the_result(values):
    first, second = (predicted(trained(2, fuse="ae", **GANOMALY, **v), stripes(2)) for v in ({}, values))
    assert not torch.equal(first.scores, second.scores)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 48}, "multiples of 32"),
        ({"ddpm_reduction": 3}, "multiples of 96"),
        ({"fuse": "both"}, "--set fuse=both"),
        ({"fuse": "weighed", "residual": "plain"}, "--set residual=plain.*relative"),
        ({"ae_base": 0}, "--set ae_base=0"),
        ({"ddpm_steps": 0}, "--set ddpm_steps=0"),
        ({"autoencoder": "ganomaly"}, "--set cbam=true"),
        ({"score_codes": 1.0}, "--set score_codes"),
        ({"t_star": (26,)}, "--set t_star"),
        ({"t_star": ()}, "--set t_star"),
        ({"t_train_max": 51}, "--set t_star"),
        ({"chain_steps": 24}, "--set chain_steps"),
        ({"ema": 1.5}, "--set ema"),
        ({"ddpm_base": 10}, "--set ddpm_base"),
        ({"ddpm_multipliers": ()}, "--set ddpm_multipliers"),
    ],
)
def test_configs_that_cannot_work_are_refused(values, words):
    with pytest.raises(AdtoolError, match=words):
        tiny(**values)


def test_the_autoencoder_alone_is_the_one_of_both():
    """So ablations compare what diffusion adds, and nothing else."""
    alone, both = trained(3, fuse="ae"), trained(3)
    assert alone.restorer is None
    for name, value in alone.adversarial.state_dict().items():
        assert torch.equal(value, both.adversarial.state_dict()[name]), name


def test_scores_do_not_depend_on_batch_or_order():
    model, images = trained(3), stripes(5) + 0.1 * torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 4, 0, 2])
    with torch.inference_mode():
        maps, scores = model.predict(images)
        for parts in (images[order].split(5), images[order].split(2), images[order].split(1)):
            predictions = [model.predict(part) for part in parts]
            torch.testing.assert_close(torch.cat([p.scores for p in predictions]), scores[order], rtol=1e-5, atol=0)
            torch.testing.assert_close(torch.cat([p.maps for p in predictions]), maps[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("fuse", ["ae", "mean"])
def test_the_residual_may_be_relative_to_that_of_good_images(fuse):
    values = {"fuse": fuse, "score_features": 0.0, "score_residual": 1.0}
    model, good, images = trained(2, residual="relative", **values), stripes(6), stripes(3) * 0.7
    with torch.inference_mode():
        before = model.predict(images).maps
        model.finish([good[:4], good[4:]])
        maps, scores = model.predict(images)
        unit, residual = (2 * (shown - list(model.restorations(shown).values())[-1]) for shown in (good, images))
    usual = gaussian_blur(unit.abs().mean((0, 1))[None, None], 1.0).clamp(min=0.75 * unit.abs().mean())
    torch.testing.assert_close(before, predicted(trained(2, **values), images).maps)
    torch.testing.assert_close(maps, gaussian_blur((residual / usual).abs().mean(1, keepdim=True), 4 * 32 / 256))
    torch.testing.assert_close(scores, (residual / usual).square().mean((1, 2, 3)))


@pytest.mark.parametrize(
    "values", [{}, {"score_pixels": "top"}, {"fuse": "ae", **GANOMALY, "score_codes": 2.0}], ids=str
)
def test_maps_and_scores_are_those_of_the_specification(values):
    model, images = trained(2, **values), stripes(2)
    with torch.inference_mode():
        maps, scores = model.predict(images)
        restored = list(model.restorations(images).values())[-1]
        residual = 2 * (images - restored)
        torch.testing.assert_close(maps, gaussian_blur(residual.abs().mean(1, keepdim=True), 4 * 32 / 256))
        networks, both = model.adversarial, (2 * images - 1, 2 * restored - 1)
        features, others = (networks.discriminator.judge(x)[0].flatten(1) for x in both)
        pixels = (
            residual.square().mean((1, 2, 3)) if "score_pixels" not in values else maps.flatten(1).topk(2)[0].mean(1)
        )
        expected = 0.9 * pixels + 0.1 * (features - others).square().mean(1)
        if values.get("score_codes"):
            codes = networks.generator.encode(both[0])[0], networks.second_encoder(both[1])
            expected = expected + 2 * (codes[0] - codes[1]).square().mean((1, 2, 3))
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("fuse", "names"),
    [("ae", ["restored"]), ("ddpm", ["restored", "denoised"]), ("mean", ["restored", "denoised", "fused"])],
)
def test_a_gallery_shows_both_restorations_and_their_fusion(fuse, names):
    model = trained(fuse=fuse)
    with torch.inference_mode():
        parts = model.restorations(stripes(2))
    assert list(parts) == names
    assert all(part.shape == (2, 3, 32, 32) and 0 <= part.min() and part.max() <= 1 for part in parts.values())
    if fuse == "mean":
        torch.testing.assert_close(parts["fused"], (parts["restored"] + parts["denoised"]) / 2)


def test_restorations_may_count_as_they_do_for_good_images():
    values = {"score_features": 0.0, "score_residual": 1.0, "residual": "relative"}
    model, good, images = trained(2, fuse="weighed", **values), stripes(6), stripes(3) * 0.7
    with torch.inference_mode():
        model.finish([good[:4], good[4:]])
        maps, scores = model.predict(images)
        ours, theirs = (model.restorations(shown) for shown in (good, images))
    units = [
        gaussian_blur(missed.mean((0, 1))[None, None], 1.0).clamp(min=0.75 * missed.mean())
        for missed in (2 * (good - ours[name]).abs() for name in ("restored", "denoised"))
    ]
    missed = [2 * (images - theirs[name]).abs() for name in ("restored", "denoised")]
    residual = sum(each / unit**2 for each, unit in zip(missed, units, strict=True)) / sum(1 / unit for unit in units)
    assert list(theirs) == ["restored", "denoised", "fused"]
    torch.testing.assert_close(maps, gaussian_blur(residual.mean(1, keepdim=True), 4 * 32 / 256))
    torch.testing.assert_close(scores, residual.square().mean((1, 2, 3)))


def test_a_collapsed_discriminator_is_drawn_anew_and_said_so():
    model = tiny(fuse="ae")
    verdict = model.adversarial.discriminator.verdict
    torch.nn.init.zeros_(verdict.weight)
    judge = model.adversarial.discriminator.judge
    said = iter([30.0, 30.0, -30.0])  # of real images, of restored ones frozen, of restored ones
    model.adversarial.discriminator.judge = lambda images: (judge(images)[0], judge(images)[1] + next(said))
    assert len(list(model.stages()[0].losses(stripes(2)))) == 2
    assert "collapsed" in model.notices[0] and verdict.weight.std() > 0.01


def test_a_picture_of_one_colour_is_what_knowing_nothing_restores():
    model, images = tiny(), stripes(6)
    stage = model.stages()[0]
    colour = (2 * images - 1).mean((0, 2, 3), keepdim=True)
    model.adversarial.restored = lambda shown: (colour.expand_as(shown), None)
    torch.testing.assert_close(stage.untaught(images), stage.validate(images))


def test_held_out_images_are_watched_without_chance():
    model, images = trained(ema=0.9), stripes(4)
    before = copied(model)
    with torch.no_grad():
        for stage in model.stages():
            assert stage.validate(images).item() == stage.validate(images).item() > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("values", [{}, {"ema": 0.9}, {"score_features": 0.0}], ids=str)
def test_what_is_discarded_is_not_needed(values):
    model = trained(**values)
    kept = copy.deepcopy(model)
    kept.discard()
    kept.discard()
    assert torch.equal(predicted(model, stripes(2)).scores, predicted(kept, stripes(2)).scores)
    assert (numbers(kept) < numbers(model)) == bool(values)


def test_defects_are_repaired():
    """A bright square is nearer to the clean image in both restorations than as it was shown."""
    model = trained(150, ae_rate=2e-3, ddpm_rate=2e-3, ae_steps=150, ae_base=8, ae_cap=32)
    images = stripes(8)
    painted = images.clone()
    painted[:, :, 10:18, 12:20] = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    with torch.inference_mode():
        parts = model.restorations(painted)
        change = model.predict(painted).maps - model.predict(images).maps
    for part in parts.values():
        inside = (part - images)[..., 10:18, 12:20].square().mean()
        assert inside < 0.5 * (painted - images)[..., 10:18, 12:20].square().mean()
    assert change[..., 10:18, 12:20].mean() > 2 * change[..., 24:, 24:].mean()
