"""`adtool bench`: the JSON that scripts rely on, the tables, and the comparison with an earlier run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from toy_detector import write_image

from adtool import timing
from adtool.bench import machine, subjects
from adtool.bench import models as bench_models
from adtool.bench.subjects import Subject
from adtool.building import build
from adtool.checkpoint import LoadedModel
from adtool.ops import nearest_patch, simam
from adtool.ops._native import kernel_of

Run = Callable[..., Result]
OP_KEYS = {"op", "shape", "pass", "variant", "median_s", "p95_s", "p99_s", "min_bytes", "flops", "peak_bytes", "kernel"}
MODEL_KEYS = {"model", "preset", "size", "batch", "runtime", "median_s", "p95_s", "p99_s", "images_per_s"}
MODEL_KEYS |= {"peak_rss_bytes"}
QUICK = ("--repeats", 1, "--threads", 1)
SIMAM = 2 * len(simam.inputs("cpu", torch.float32))  # forward alone, and with backward
NEAREST = len(nearest_patch.inputs("cpu", torch.float32))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures, a small copy."""
    monkeypatch.setattr(machine, "COPIED", 1 << 20)
    monkeypatch.setattr(subjects, "PICTURE", 64)


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def ops(adtool: Run, *arguments: object) -> Result:
    """Two operators on tiny tensors, without the compiler."""
    variants = ("--variant", "native", "--variant", "eager")
    return adtool("bench", "ops", "simam", "nearest-patch", "--size", "small", *variants, *QUICK, *arguments)


def test_ops_json_has_the_promised_shape(adtool: Run, tmp_path: Path) -> None:
    result = ops(adtool, "--json", tmp_path / "ops.json")
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "ops.json").read_text())
    assert {"cpu", "threads", "copy_bytes_per_s", "sgemm_flops_per_s"} <= set(document["machine"])
    assert document["machine"]["threads"] == 1 and document["skipped"] == []
    rows = document["rows"]
    assert all(set(row) >= OP_KEYS for row in rows)
    found = {(row["op"], row["pass"], row["variant"], row["kernel"]) for row in rows}
    expected = {("simam", passes, "eager", "torch") for passes in ("forward", "forward_backward")}
    expected |= {("simam", passes, "native", kernel_of("simam", "cpu")) for passes in ("forward", "forward_backward")}
    expected |= {("nearest_patch", "forward", "eager", "torch")}
    expected |= {("nearest_patch", "forward", "native", kernel_of("nearest_patch", "cpu"))}
    assert found == expected
    assert all(0 < row["median_s"] <= row["p95_s"] <= row["p99_s"] for row in rows)
    assert {row["times_native"] for row in rows if row["variant"] == "native"} == {1}


def test_ops_table_has_a_line_for_each_row(adtool: Run, tmp_path: Path) -> None:
    result = ops(adtool, "--markdown", tmp_path / "ops.md")
    assert result.stdout.startswith("adtool ") and "GFLOP/s" in result.stdout
    page = (tmp_path / "ops.md").read_text()
    for text in (result.stdout, page):
        assert text.count("simam") == SIMAM and text.count("nearest_patch") == NEAREST
        assert (
            text.count("eager") == text.count(" torch ") - 1 == SIMAM + NEAREST
        )  # torch's version is in the first line
    assert "| simam (2,3,5,7) lambda_=0.0001 forward + backward | native |" in page


def test_ops_json_on_stdout_replaces_the_table(adtool: Run) -> None:
    assert json.loads(ops(adtool, "--json", "-").stdout)["bench"] == "ops"


def test_a_report_that_cannot_be_written_names_its_option(adtool: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = ops(adtool, "--markdown", tmp_path / "file" / "ops.md")
    assert result.exit_code == 1 and "ops.md: cannot be written" in result.stderr and "--markdown" in result.stderr


def test_a_variant_that_cannot_run_is_named_with_the_reason(
    adtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **options: refuse)
    arguments = ("--size", "small", *QUICK, "--json", tmp_path / "ops.json", "--markdown", tmp_path / "ops.md")
    result = adtool("bench", "ops", "top_mean", *arguments)
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "ops.json").read_text())
    assert {row["variant"] for row in document["rows"]} == {"native", "eager"}
    assert {(entry["variant"], entry["pass"]) for entry in document["skipped"]} == {
        ("compiled", "forward"),
        ("compiled", "forward_backward"),
    }
    for text in (result.stderr, (tmp_path / "ops.md").read_text()):
        assert "top_mean (2,1,9,7) n=5 forward compiled: torch.compile: no C++ compiler" in text


def test_an_unknown_operator_is_explained(adtool: Run) -> None:
    result = adtool("bench", "ops", "sinam")
    assert result.exit_code == 1
    assert "sinam: no such operator; known operators: cosine_distance," in result.stderr


@pytest.mark.parametrize(("factor", "tolerance", "status"), [(1e-3, 0.1, 1), (1e3, 0.1, 0), (1e-3, 1e9, 0)])
def test_compare_fails_when_slower(adtool: Run, tmp_path: Path, factor: float, tolerance: float, status: int) -> None:
    old = tmp_path / "old.json"
    ops(adtool, "--json", old)
    document = json.loads(old.read_text())
    for row in document["rows"]:
        row["median_s"] *= factor
    old.write_text(json.dumps(document))
    result = ops(adtool, "--compare", old, "--tolerance", tolerance, "--json", tmp_path / "new.json")
    assert result.exit_code == status
    assert (tmp_path / "new.json").exists() and "eager" in result.stdout
    assert ("slower: simam (2,3,5,7) lambda_=0.0001 forward: " in result.stderr) == bool(status)
    slower = f"{SIMAM + NEAREST} measurements are slower than {old} by more than 10 %"
    assert (slower in result.stderr) == bool(status)


def test_a_document_that_does_not_compare_is_refused_before_measuring(
    adtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.json"
    ops(adtool, "--json", old)
    document = json.loads(old.read_text())
    old.write_text(json.dumps(document | {"machine": document["machine"] | {"cpu": "abacus"}}))
    monkeypatch.setattr("adtool.bench.ops.bench", None)
    result = ops(adtool, "--compare", old)
    assert result.exit_code == 1 and "measured with cpu abacus" in result.stderr
    old.write_text("{}")
    result = ops(adtool, "--compare", old)
    assert result.exit_code == 1 and f"--compare {old}: expected a file written by `adtool bench ops" in result.stderr


def test_models_json_has_the_promised_shape(adtool: Run, tmp_path: Path) -> None:
    file = tmp_path / "models.json"
    result = adtool("bench", "models", "--model", "toy", "--pictures", 2, *QUICK, "--json", file)
    assert result.exit_code == 0, result.stderr
    rows = json.loads(file.read_text())["rows"]
    assert rows[0]["batch"] == 1 and rows[-1]["batch"] == 16
    assert [row["batch"] for row in rows] == sorted({row["batch"] for row in rows})
    for row in rows:
        assert set(row) >= MODEL_KEYS
        assert (row["model"], row["preset"], row["size"], row["runtime"]) == ("toy", "default", [16, 16], "torch")
        assert row["images_per_s"] == pytest.approx(row["batch"] / row["median_s"])
        assert row["weights"] == "none" and row["peak_rss_bytes"] > 1e7
    assert "toy" in result.stdout and "images/s" in result.stdout


def test_a_model_file_is_timed_as_it_was_trained(adtool: Run, model: Path, tmp_path: Path) -> None:
    arguments = ("--batch", 3, "--batch", 1, "--pictures", 2, *QUICK, "--json", "-")
    for file in (model, model.parent):
        rows = json.loads(adtool("bench", "models", "--model", file, *arguments).stdout)["rows"]
        assert [(row["model"], row["batch"], row["weights"]) for row in rows] == [
            ("toy", 3, "trained"),
            ("toy", 1, "trained"),
        ]


def test_missing_weights_are_an_error_unless_random_ones_are_asked_for(
    adtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adtool.weights._candidates", lambda name: iter(()))
    arguments = ("bench", "models", "--model", "padim", "--preset", "small", "--batch", 1, "--pictures", 2, *QUICK)
    result = adtool(*arguments)
    assert result.exit_code == 1 and "no ImageNet weights for backbone efficientnet_lite0" in result.stderr
    result = adtool(*arguments, "--random-weights", "--json", tmp_path / "models.json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads((tmp_path / "models.json").read_text())["rows"]
    assert row["weights"] == "random" and "random" in result.stdout
    # the others are measured all the same
    result = adtool(*arguments, "--model", "toy", "--preset", "default")
    assert result.exit_code == 1 and "--preset small" in result.stderr
    result = adtool("bench", "models", "--model", "toy", "--model", "padim", "--pictures", 2, *QUICK)
    assert result.exit_code == 0 and "not measured: padim paper: no ImageNet weights" in result.stderr


def test_score_measures_the_pipeline_against_the_bare_prediction(adtool: Run, tmp_path: Path) -> None:
    files = [write_image(tmp_path / "pictures" / f"{k}.png") for k in range(5)]
    arguments = ("--model", "toy", "--batch-size", 2, "--pictures", 2, *QUICK, "--json", tmp_path / "score.json")
    result = adtool("bench", "score", files[0].parent, *arguments, "--markdown", tmp_path / "score.md")
    assert result.exit_code == 0, result.stderr
    rows = json.loads((tmp_path / "score.json").read_text())["rows"]
    assert [row["measured"] for row in rows] == ["pipeline", "forward"]
    for row in rows:
        assert set(row) >= MODEL_KEYS
        assert (row["images"], row["batch"]) == (5, 2)
        assert row["images_per_s"] == pytest.approx(5 / row["median_s"])
    assert rows[0]["times_forward"] > 1 and rows[1]["times_forward"] == 1
    assert "| pipeline | 2 |" in (tmp_path / "score.md").read_text()


def test_score_draws_pictures_where_none_are_given(adtool: Run) -> None:
    result = adtool("bench", "score", "--model", "toy", "--pictures", 3, *QUICK, "--json", "-")
    assert {row["images"] for row in json.loads(result.stdout)["rows"]} == {3}


def test_an_unreadable_picture_is_named(adtool: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    result = adtool("bench", "score", tmp_path, "--model", "toy", "--pictures", 2, *QUICK)
    assert result.exit_code == 1 and "broken.png" in result.stderr


def test_an_unknown_model_is_explained(adtool: Run) -> None:
    result = adtool("bench", "models", "--model", "patchcoer", "--pictures", 2)
    assert result.exit_code == 1
    assert "--model patchcoer: no such model; known models: dgrnet, masked-rd, " in result.stderr


@pytest.mark.parametrize(("best", "kept"), [(4, [1, 4, 16]), (1, [1, 16]), (16, [1, 16])])
def test_batches_of_one_of_the_best_size_and_the_largest_are_kept(monkeypatch, best, kept):
    def timed(calls, **options):
        return {name: timing.Timing((int(name) / (2 if int(name) == best else 1),)) for name in calls}

    monkeypatch.setattr(timing, "interleaved", timed)
    monkeypatch.setattr(timing, "peak_bytes", lambda call, device: 0)
    monkeypatch.setattr(bench_models.machine, "peak_resident", lambda call: 0)
    loaded = LoadedModel(build("patchcore", "default", {}, 0), {}, None)
    subject = Subject("patchcore", "default", "none", loaded)
    rows = bench_models._rows(subject, torch.zeros(2, 3, 4, 4), (), 1.0, None)
    assert [row["batch"] for row in rows] == kept
    assert [row["images_per_s"] for row in rows] == [2.0 if batch == best else 1.0 for batch in kept]
