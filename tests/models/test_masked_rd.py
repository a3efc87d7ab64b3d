import pytest
import torch

from adtool.errors import AdtoolError
from adtool.models.masked_rd import Config, Model

SMALL = {"height": 64, "width": 64, "backbone": "resnet18", "block": "basic", "depths": (1, 1, 1), "oce_depth": 1}


def small(**values) -> Model:
    torch.manual_seed(0)
    return Model(Config().override(**{**SMALL, **values}))


def count(module) -> float:
    """Parameters in millions, backbone left out by the caller."""
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def test_paper_preset_has_the_parameters_of_the_specification():
    """Teacher 24.86 M, bottleneck 58.7 M, decoder 24.9 M, masks 26.2 M."""
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
    assert count(model.teacher) == pytest.approx(24.86, abs=0.01)
    assert count(model.bottleneck) == pytest.approx(58.7, abs=0.1)
    assert count(model.decoder) == pytest.approx(24.9, abs=0.1)
    assert count(model.masks) == pytest.approx(26.2, abs=0.1)


def test_paper_preset_has_the_shapes_of_the_specification():
    with torch.device("meta"):
        model = Model(Config.preset("paper"))
        taught = model.teach(torch.empty(2, 3, 256, 256))
        embedded = model.bottleneck(taught)
        decoded = model.decode(taught)
    shapes = [(2, 256, 64, 64), (2, 512, 32, 32), (2, 1024, 16, 16)]
    assert [tuple(scale.shape) for scale in taught] == shapes
    assert tuple(embedded.shape) == (2, 2048, 8, 8)
    assert [tuple(scale.shape) for scale in decoded] == shapes


@pytest.mark.parametrize("scales", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_any_choice_of_scales_works(scales):
    model = small(scales=scales).eval()
    with torch.inference_mode():
        taught = model.teach(torch.rand(1, 3, 64, 64))
        decoded = model.decode(taught)
    assert [scale.shape for scale in decoded] == [scale.shape for scale in taught]
    assert [scale.shape[-1] for scale in taught] == [64 // (2 << scale) for scale in scales]


@pytest.mark.parametrize(
    "switch",
    [{"fmm": False}, {"simam": False}, {"scconv": False}, {"hard_gate": True}, {"loss": "flat"}, {"mirrored": True}]
    + [{"test_mask": "bypass"}, {"test_mask": "complementary"}, {"image_score": "mean"}, {"block": "bottleneck"}]
    + [{"residual": "gaussian"}],
)
def test_every_switch_changes_the_result_and_trains(switch):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    results = []
    for values in ({}, switch):
        model = small(**values)
        (stage,) = model.stages()
        torch.manual_seed(1)
        (loss,) = stage.losses(stage.encode(images))
        loss.backward()
        stage.optimizers[0].step()
        model.eval()
        model.finish([images])
        with torch.inference_mode():
            results.append((loss.item(), model.predict(images).scores))
    assert results[0][0] != results[1][0] or not torch.equal(results[0][1], results[1][1])


def test_the_map_is_zero_where_the_student_repeats_the_teacher(monkeypatch):
    model = small().eval()
    monkeypatch.setattr(model, "regenerate", lambda decoded, mode: model.taught)

    def teach(images):
        model.taught = model.teacher(images)
        return model.taught

    monkeypatch.setattr(model, "teach", teach)
    with torch.inference_mode():
        prediction = model.predict(torch.rand(1, 3, 64, 64))
    assert prediction.maps.abs().max() < 1e-6


def test_batch_norms_and_biases_take_no_weight_decay():
    (stage,) = small().stages()
    decayed, free = stage.optimizers[0].param_groups
    assert decayed["weight_decay"] == 1e-5 and free["weight_decay"] == 0
    assert all(parameter.dim() > 1 for parameter in decayed["params"])
    assert all(parameter.dim() == 1 for parameter in free["params"])


def test_loss_falls_below_forty_percent_of_its_start():
    torch.manual_seed(0)
    rows = torch.arange(64.0).view(-1, 1).expand(64, 64)
    images = torch.stack([((rows + shift) % 16 / 16).expand(3, 64, 64) for shift in range(8)])
    model = small(decoder_channels=(32, 32, 64), mask_rate=0.3)
    (stage,) = model.stages()
    taught = stage.encode(images)
    optimizer, losses = stage.optimizers[0], []
    for _ in range(80):
        (loss,) = stage.losses(taught)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"height": 100}, "multiples of 32"),
        ({"block": "dense"}, "--set block=dense"),
        ({"scales": (3, 1)}, "--set scales"),
        ({"test_mask": "half"}, "--set test_mask"),
        ({"schedule": "cosine"}, "needs max_steps"),
    ],
)
def test_configs_that_cannot_work_are_refused(values, words):
    with pytest.raises(AdtoolError, match=words):
        small(**values)


def test_mirrored_features_turn_with_the_image():
    model = small(mirrored=True).eval()
    images = torch.rand(2, 3, 64, 64)
    for scale, turned in zip(model.teach(images), model.teach(images.flip(3)), strict=True):
        torch.testing.assert_close(scale, turned.flip(3), rtol=1e-4, atol=1e-4)


def test_gaussian_residual_is_small_on_good_images_and_large_where_the_teacher_sees_something_else():
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(64.0).view(-1, 1).expand(3, 64, 64) / 64
    images = rows + 0.05 * torch.rand(24, 3, 64, 64, generator=generator)
    model = small(residual="gaussian").eval()
    model.finish(list(images[:20].split(5)))
    odd = images[20:].clone()
    odd[:, :, 16:32, 40:56] = 1 - odd[:, :, 16:32, 40:56]
    with torch.inference_mode():
        good, bad = model.predict(images[20:]), model.predict(odd)
    assert bad.scores.min() > good.scores.max()
    peak = bad.maps.flatten(1).argmax(1)
    assert ((peak // 64 >= 12) & (peak // 64 < 36) & (peak % 64 >= 36) & (peak % 64 < 60)).all()
