"""The pipeline: hand-worked scores, error rows, order, bounded look-ahead; a result depends on its image alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_detector
from PIL import Image
from torch import Tensor
from toy_detector import CALIBRATION, Config, Model, write_image

from adtool import models
from adtool.calibration import Calibration
from adtool.checkpoint import LoadedModel
from adtool.data import Sample
from adtool.models._detector import Prediction
from adtool.scoring import Scored, score


def loaded(calibration: Calibration | None = CALIBRATION) -> LoadedModel:
    return LoadedModel(Model(Config()).eval(), {}, calibration)


def samples(folder: Path, count: int) -> list[Sample]:
    """Pictures whose grey grows by 5."""
    return [Sample(write_image(folder / f"{k}.png", grey=100 + 5 * k % 150, size=(20, 30))) for k in range(count)]


def test_score_map_and_verdict_of_a_picture_with_a_spot(tmp_path: Path) -> None:
    good = Sample(write_image(tmp_path / "good.png", grey=110))
    spot = Sample(write_image(tmp_path / "spot.png", spot=151))
    first, second = score(loaded(), [good, spot])
    assert first.score == pytest.approx(10 / 255, abs=1e-7)
    assert first.p_value == pytest.approx((1 + 16) / 20)  # 0.04 ... 0.19 are at least 0.0392
    assert first.is_anomalous is False and first.normalized_score is not None and first.normalized_score < 0.5
    assert second.score == pytest.approx(51 / 255, abs=1e-7)
    assert second.p_value == pytest.approx(1 / 20)
    assert second.is_anomalous is True and second.normalized_score is not None and second.normalized_score > 0.5
    assert first.threshold == second.threshold == pytest.approx(0.18)
    assert second.map is not None and second.map.shape == (16, 16) and second.map.dtype == np.float32
    np.testing.assert_allclose(second.map[:8, :8], 51 / 255, atol=1e-7)
    np.testing.assert_allclose(second.map[8:], 0, atol=1e-7)


def test_given_threshold_replaces_the_calibrated_one(tmp_path: Path) -> None:
    image = Sample(write_image(tmp_path / "1.png", grey=110))
    (result,) = score(loaded(), [image], threshold=0.03)
    assert result.is_anomalous is True and result.threshold == 0.03
    assert result.normalized_score is not None and result.normalized_score > 0.5
    assert result.p_value == pytest.approx(17 / 20)  # says the same of the image as before


def test_model_without_calibration_gives_the_score_alone(tmp_path: Path) -> None:
    image = Sample(write_image(tmp_path / "1.png", grey=110))
    (result,) = score(loaded(None), [image])
    assert result.score is not None
    assert (result.normalized_score, result.p_value, result.threshold, result.is_anomalous) == (None,) * 4
    (result,) = score(loaded(None), [image], threshold=0.03)
    assert result.is_anomalous is True and result.threshold == 0.03 and result.p_value is None


def test_unreadable_image_is_a_result_and_the_others_go_on(tmp_path: Path) -> None:
    images = samples(tmp_path, 6)
    images[0].path.write_bytes(b"")
    images[2].path.write_text("not an image")
    images[5].path.unlink()
    results = list(score(loaded(), images, batch_size=2))
    assert [r.sample for r in results] == images
    assert [r.error is not None for r in results] == [True, False, True, False, False, True]
    assert results[0].error is not None and "empty" in results[0].error
    for bad in (results[0], results[2], results[5]):
        assert set(bad.row.values()) == {str(bad.sample.path), bad.error, None}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_score_that_is_no_number_is_never_good(tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Model, "predict", lambda self, images: Prediction(images[:, :1], torch.full((len(images),), value))
    )
    (result,) = score(loaded(), samples(tmp_path, 1))
    assert result.score is None and result.is_anomalous is None
    assert result.error is not None and str(value) in result.error


def test_row_has_the_fields_in_their_order() -> None:
    assert list(Scored(Sample(Path("x.png"))).row) == [
        "path", "score", "normalized_score", "p_value", "threshold", "is_anomalous", "error",
    ]  # fmt: skip


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (3, 4), (8, 1), (64, 2)])
def test_results_do_not_depend_on_batch_size_or_workers(tmp_path: Path, batch_size: int, workers: int) -> None:
    images = samples(tmp_path, 20)
    images[7].path.write_bytes(b"")
    results = list(score(loaded(), images, batch_size=batch_size, workers=workers))
    alone = [next(iter(score(loaded(), [image]))) for image in images]
    assert results == alone
    for one, other in zip(results, alone, strict=True):
        np.testing.assert_array_equal(one.map, other.map)


def test_images_are_read_only_a_little_ahead(tmp_path: Path) -> None:
    images = samples(tmp_path, 60)
    taken = 0

    def counted() -> Iterator[Sample]:
        nonlocal taken
        for image in images:
            taken += 1
            yield image

    results = score(loaded(), counted(), batch_size=4, workers=2)
    for done, _ in enumerate(results, 1):
        assert taken <= done + 3 * 4
    assert done == 60


def test_scores_are_those_of_the_bare_model(tmp_path: Path) -> None:
    from adtool.data.images import load, to_float

    images, seen = samples(tmp_path, 5), []

    class Spy(Model):
        def predict(self, images: Tensor) -> Prediction:
            assert torch.is_inference_mode_enabled()
            seen.append(images.clone())
            return super().predict(images)

    list(score(LoadedModel(Spy(Config()), {}, None), images, batch_size=2))
    assert [len(batch) for batch in seen] == [2, 2, 1]
    expected = to_float(torch.stack([load(image, (16, 16)) for image in images]))
    torch.testing.assert_close(torch.cat(seen), expected, rtol=0, atol=0)


def test_toy_is_a_whole_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from adtool.checkpoint import load_model

    monkeypatch.setattr(models, "load", models.load)
    toy_detector.install()
    from_file = load_model(toy_detector.write_model(tmp_path / "m.safetensors"))
    image = Sample(write_image(tmp_path / "1.png", spot=140))
    assert list(score(from_file, [image])) == list(score(loaded(), [image]))


@pytest.fixture(scope="module", params=models.names())
def real(request: pytest.FixtureRequest) -> LoadedModel:
    """Every model with random weights on small images, its statistics taken from noise."""
    torch.manual_seed(0)
    module = models.load(request.param)
    values = {"height": 64, "width": 64, "backbone": "efficientnet_lite0", "pretrained": "efficientnet_lite0"}
    known = {field.name for field in fields(module.Config)}
    config = module.Config.preset("small" if "small" in module.Config.PRESETS else "default")
    detector = module.Model(config.override(**{name: value for name, value in values.items() if name in known}))
    noise = [torch.rand(4, 3, 64, 64) for _ in range(2)]
    detector.eval()
    detector.prepare(noise)
    detector.finish(noise)
    return LoadedModel(detector, {}, None)


def test_score_of_every_model_depends_on_the_image_alone(real: LoadedModel, tmp_path: Path) -> None:
    rng, images = np.random.default_rng(0), []
    for k in range(16):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / f"{k}.png")
        images.append(Sample(tmp_path / f"{k}.png"))
    alone = [result for image in images for result in score(real, [image])]
    ways: list[dict[str, int]] = [{"batch_size": 16}, {"batch_size": 3, "workers": 3}, {"batch_size": 1}]
    threads = torch.get_num_threads()
    try:
        for way, count in product(ways, (1, 2)):
            torch.set_num_threads(count)
            assert_same(list(score(real, images, **way)), alone)
        assert_same(list(score(real, images[::-1], batch_size=5))[::-1], alone)
    finally:
        torch.set_num_threads(threads)


def assert_same(results: list[Scored], expected: list[Scored]) -> None:
    for one, other in zip(results, expected, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-5)
        np.testing.assert_allclose(one.map, other.map, rtol=1e-4, atol=1e-5 * np.abs(other.map).max())
