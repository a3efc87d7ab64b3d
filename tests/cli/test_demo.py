"""`adtool demo`, with the toy instead of a real model: every step runs and leaves what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from adtool.cli import data

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo on a handful of small pictures."""
    small = {"size": 64, "train": 10, "good": 3, "per_defect": 1}
    for option in data.make.params:
        if option.name in small:
            monkeypatch.setattr(option, "default", small[option.name])


@pytest.mark.parametrize("kind", ["object", "logical"])
def test_demo_trains_scores_and_measures(adtool: Run, tmp_path: Path, kind: str) -> None:
    demo = tmp_path / "demo"
    arguments = ["demo", "--output", demo, "--kind", kind, "--model", "toy", "--preset", "default"]
    for _ in range(2):  # the second finds its pictures
        result = adtool(*arguments)
        assert result.exit_code == 0, result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("$ adtool")]
    assert [line.split()[2] for line in said] == ["train", "score", "eval"]
    tested = {path.relative_to(demo / kind) for path in (demo / kind / "test").rglob("*.png")}
    shown = {path.relative_to(demo / "heatmaps" / kind) for path in (demo / "heatmaps").rglob("*.png")}
    assert tested == shown
    assert len((demo / "scores.csv").read_text().splitlines()) == 1 + len(tested)
    assert "image AUROC" in result.stdout and ("sPRO@0.05" in result.stdout) == (kind == "logical")
    assert f"look at the heat maps in {demo / 'heatmaps'}" in result.stderr


def test_step_that_fails_ends_the_demo(adtool: Run, tmp_path: Path) -> None:
    result = adtool("demo", "--output", tmp_path, "--model", "nonsense")
    assert result.exit_code == 1
    assert "nonsense: no such model" in result.stderr and "$ adtool score" not in result.stderr
