"""What a model is given before its training: a category where it asks for one, and textures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy_simulator
import toys

from adtool import building, models
from adtool.building import build, load_textures
from adtool.errors import AdtoolError


@pytest.fixture(autouse=True)
def toy_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load", lambda name: {"toy": toys, "simulator": toy_simulator}[name])


def test_the_category_fills_an_empty_field_alone() -> None:
    assert build("simulator", "default", {}, 0, "screw").config.category == "screw"  # type: ignore[attr-defined]
    named: Any = build("simulator", "tiny", {"category": "pill"}, 0, "screw").config
    assert (named.category, named.height) == ("pill", 16)
    assert build("toy", "default", {}, 0, "screw").config == toys.Config()


def test_a_model_that_is_built_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(building, "keep_freed_memory", lambda: asked.append(True))
    build("toy", "default", {}, 0)
    assert asked == [True]


def test_weights_are_drawn_from_the_seed() -> None:
    one, same, other = (build("toy", "default", {}, seed).decoder.weight for seed in (0, 0, 1))  # type: ignore[union-attr]
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_textures_are_read_where_the_model_has_a_source(tmp_path: Path) -> None:
    for name in ("source", "copy", "other"):
        toys.write_pictures(tmp_path / name, 3 if name != "other" else 4, (20, 20))
    prints = {}
    progress: list[tuple[str, int, int]] = []
    for name in ("source", "copy", "other"):
        detector = build("simulator", "tiny", {"anomaly_source": str(tmp_path / name)}, 0)
        prints[name] = load_textures(detector, 0, 2, lambda *row: progress.append(row))
        assert detector.textures is not None and detector.textures.dtype == torch.uint8
        assert detector.textures.shape == (4 if name == "other" else 3, 3, 16, 16)
        assert progress[-1] == ("textures", len(detector.textures), len(detector.textures))
        assert not any("textures" in key for key in detector.state_dict())
    assert prints["source"] == prints["copy"] != prints["other"]


@pytest.mark.parametrize("model", ["toy", "simulator"])
def test_without_a_source_there_are_no_textures(model: str) -> None:
    detector = build(model, "default", {}, 0)
    assert load_textures(detector, 0) is None and detector.textures is None


def test_a_source_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AdtoolError, match="--anomaly-source nowhere: no such folder"):
        load_textures(build("simulator", "default", {"anomaly_source": "nowhere"}, 0), 0)
