"""What holds for every model: found by file, trained on a made set at a tiny size, saved, loaded, scored."""

import copy
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from adtool import models
from adtool.checkpoint import load_model, save_model
from adtool.errors import AdtoolError
from adtool.fitting import fit
from adtool.models._detector import Detector, DetectorConfig, Pairs, Prediction, Stage

gpu_only = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

TINY = {
    "dgrnet": {
        "height": 64,
        "width": 64,
        "ae_base": 8,
        "ae_cap": 32,
        "d_base": 8,
        "d_cap": 32,
        "latent": 16,
        "ae_rate": 2e-3,
        "ddpm_base": 8,
        "ddpm_multipliers": (1, 2),
        "ddpm_rate": 2e-3,
        "t_star": (50,),
    },
    "masked-rd": {
        "height": 64,
        "width": 64,
        "strides": (4, 8, 16),
        "decoder_channels": (16, 16, 32),
        "depths": (1, 1, 1),
        "oce_depth": 1,
    },
    "patchcore": {"height": 64, "width": 64, "coreset": 0.1},
    "padim": {"height": 64, "width": 64, "channels": 20},
    "scgan": {"height": 64, "width": 64, "base": 8, "cap": 32, "latent": 16, "learning_rate": 2e-3, "sigma": 8.0},
    "slsg": {
        "height": 64,
        "width": 64,
        "channels": 8,
        "last_stride": 1,
        "encoder_init": "inpainting",
        "mask_patch": 4,
        "discriminator_channels": 4,
    },
    "wads": {
        "height": 64,
        "width": 64,
        "g_base": 8,
        "g_cap": 32,
        "latent": 16,
        "seg_block": "basic",
        "seg_depths": (1, 1, 1, 1),
        "seg_base": 8,
        "seg_width": 16,
        "learning_rate": 2e-3,
    },
}


def tiny(name: str) -> Detector:
    """A model of the default preset, shrunk, with random weights from a fixed seed."""
    torch.manual_seed(0)
    module = models.load(name)
    return module.Model(module.Config.preset("default").override(**TINY[name]))


def taken(stage: Stage, batches: list[torch.Tensor], step: int) -> Any:
    """A batch as the stage takes it."""
    batch = batches[step % 2]
    if stage.paired:
        return Pairs(batch, batch.roll(1, 0), 100 * step + torch.arange(len(batch)))
    return stage.encode(batch) if stage.encode else batch


def learn(model: Detector, images: torch.Tensor) -> Detector:
    """Sixty steps of every stage between prepare and finish."""
    batches = list(images.split(4))
    model.prepare(batches)
    model.train()
    for stage in model.stages():
        for step in range(60):
            for optimizer, loss in zip(stage.optimizers, stage.losses(taken(stage, batches, step)), strict=True):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    model.finish(batches)
    return model.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Stripes of a random phase under a little noise."""
    generator = torch.Generator().manual_seed(1)
    phase = torch.randint(8, (10, 1, 1), generator=generator)
    stripes = ((torch.arange(64).view(-1, 1) + phase) % 8 < 4).float().expand(10, 64, 64)
    return (stripes[:, None] * 0.6 + 0.4 * torch.rand(10, 3, 64, 64, generator=generator)).contiguous()


@pytest.fixture(scope="module", params=models.names())
def learned(request, images) -> Detector:
    return learn(tiny(request.param), images)


def test_every_model_has_a_tiny_form_here():
    assert set(TINY) == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_the_file_exposes_a_config_and_a_model(name):
    module = models.load(name)
    assert issubclass(module.Config, DetectorConfig) and issubclass(module.Model, Detector)
    assert module.Config.PAPER and module.__doc__ and "http" in module.__doc__
    assert {"paper", "default", "small"} <= set(module.Config.PRESETS)
    for preset in module.Config.PRESETS:
        with torch.device("meta"):
            module.Model(module.Config.preset(preset))
    assert list(inspect.signature(module.Model).parameters) == ["config"]


@pytest.mark.parametrize("name", models.names())
def test_unknown_presets_and_fields_are_refused_with_the_known_ones(name):
    config = models.load(name).Config
    with pytest.raises(AdtoolError, match="--preset huge.*default"):
        config.preset("huge")
    with pytest.raises(AdtoolError, match="--set colour.*height"):
        config.preset().override(colour=1)


FREE = {"category", "anomaly_source"}
"""Fields with words of a person's own."""


@pytest.mark.parametrize("name", models.names())
def test_a_word_that_means_nothing_is_refused_with_those_that_do(name):
    module = models.load(name)
    words = {field for field, value in tiny(name).config.__dict__.items() if isinstance(value, str)} - FREE
    for field in (field for field in words if "backbone" not in field):
        with pytest.raises(AdtoolError, match=rf"{field}\W.*nonsense.*expected"):
            module.Model(tiny(name).config.override(**{field: "nonsense"}))


def test_names_take_both_spellings_and_unknown_ones_are_explained():
    assert models.load("masked-rd") is models.load("masked_rd")
    with pytest.raises(AdtoolError, match="--model nothing.*patchcore"):
        models.load("nothing")


def test_prediction_has_one_map_and_one_score_per_image(learned, images):
    with torch.inference_mode():
        maps, scores = learned.predict(images)
    assert maps.shape == (10, 1, 64, 64) and scores.shape == (10,)
    assert maps.dtype == scores.dtype == torch.float32
    assert torch.isfinite(maps).all() and torch.isfinite(scores).all()


def test_an_images_score_does_not_depend_on_its_batch(learned, images):
    with torch.inference_mode():
        together = learned.predict(images)
        for index in (0, 7):
            alone = learned.predict(images[index : index + 1])
            torch.testing.assert_close(alone.scores, together.scores[index : index + 1], rtol=1e-5, atol=0)
            torch.testing.assert_close(alone.maps, together.maps[index : index + 1], rtol=1e-4, atol=1e-6)


def test_a_square_painted_on_an_image_raises_its_map_there(learned, images):
    painted = images[:4].clone()
    painted[:, :, 16:40, 16:40] = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    with torch.inference_mode():
        change = learned.predict(painted).maps - learned.predict(images[:4]).maps
    inside, outside = change[..., 16:40, 16:40].mean(), change[..., 56:, 56:].mean()
    assert inside > outside


def test_learning_twice_gives_the_same_model(learned, images):
    again = learn(tiny(next(n for n in TINY if isinstance(learned, models.load(n).Model))), images)
    for key, value in learned.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_backbones_stay_as_they_were(learned):
    """Learning changes neither the parameters nor the running statistics of a frozen backbone."""
    fresh = tiny(next(n for n in TINY if isinstance(learned, models.load(n).Model)))
    learnt_alone = getattr(learned.config, "encoder_init", "") == "inpainting"
    assert learned.backbones or learnt_alone or not hasattr(learned.config, "backbone")
    for name, backbone in learned.backbones.items():
        before = fresh.backbones[name].state_dict()
        assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_a_model_file_predicts_the_same_without_what_only_training_needs(learned, images, tmp_path):
    name = next(n for n in TINY if isinstance(learned, models.load(n).Model))
    with torch.inference_mode():
        before = learned.predict(images)
        kept = copy.deepcopy(learned)
        kept.discard()
        kept.discard()  # what is gone is no error
        save_model(tmp_path / "model.safetensors", kept, {"model": name})
        after = load_model(tmp_path / "model.safetensors").model.predict(images)
    assert torch.equal(before.maps, after.maps) and torch.equal(before.scores, after.scores)


@pytest.mark.parametrize("name", models.names())
def test_configs_are_frozen_and_have_plain_fields(name):
    config = models.load(name).Config.preset()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.height = 1
    for value in dataclasses.asdict(config).values():
        assert isinstance(value, int | float | str | bool | tuple | type(None))


STEPS = ("max_steps", "ae_steps", "ddpm_steps", "pretrain_steps", "steps")


def predict_on_the_gpu(model: Detector, images: torch.Tensor) -> Prediction:
    """In float32 throughout: TensorFloat-32 keeps 11 bits of 24."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False), torch.inference_mode():
        return copy.deepcopy(model).cuda().predict(images.cuda())


def compare(theirs: Prediction, ours: Prediction) -> None:
    """A GPU's prediction with the CPU's."""
    assert theirs.maps.is_cuda and theirs.scores.is_cuda and torch.isfinite(ours.maps).all()
    torch.testing.assert_close(theirs.maps.cpu(), ours.maps, rtol=1e-3, atol=1e-3 * float(ours.maps.abs().max()))
    torch.testing.assert_close(theirs.scores.cpu(), ours.scores, rtol=1e-3, atol=1e-3 * float(ours.scores.max()))


@pytest.mark.cuda
@gpu_only
def test_a_gpu_predicts_what_the_cpu_predicts(learned, images):
    with torch.inference_mode():
        compare(predict_on_the_gpu(learned, images), learned.predict(images))


@pytest.mark.cuda
@gpu_only
@pytest.mark.parametrize("name", models.names())
def test_a_model_trained_on_a_gpu_predicts_the_same_on_the_cpu(name: str, texture_set: Path, tmp_path: Path, images):
    fields = models.load(name).Config.__dataclass_fields__
    settings = TINY[name] | {field: 3 for field in STEPS if field in fields}
    fit(texture_set, model=name, settings=settings, output=tmp_path, random_weights=True, device="cuda")
    model = load_model(tmp_path / "model.safetensors").model
    with torch.inference_mode():
        compare(predict_on_the_gpu(model, images), model.predict(images))
