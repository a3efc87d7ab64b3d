"""`adtool eval`: a labelled data set in, metrics out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from adtool.cli import _console, _options

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "AP",
    "image_f1_max": "F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO@0.3",
    "spro": "sPRO@0.05",
}
"""Metric -> heading."""


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@_options.model_file
@_options.layout
@_options.category
@click.option(
    "--eval-size",
    type=click.Choice(["model", "original"]),
    default="model",
    show_default=True,
    help="Resolution of the pixel metrics; sPRO is always taken at the original one.",
)
@click.option(
    "--gallery",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.png",
    help="Draw images, restorations, residuals, heat maps and truth, for a model that restores images.",
)
@_options.json_output
@_options.batch_size
@_options.workers
@_options.device
@_options.threads
@_options.quiet
@_options.debug
def command(
    data: Path,
    model: Path,
    layout: str | None,
    category: str | None,
    gallery: Path | None,
    as_json: bool,
    device: str,
    threads: int | None,
    **options: Any,
) -> None:
    """Measure a model on the test split of a labelled data set.

    \b
    Example:
      adtool eval mvtec/bottle --model runs/bottle
      adtool eval mvtec --category bottle --json > bottle.json
      adtool eval mvtec/bottle --model runs/bottle --gallery bottle.png
    """
    from adtool.checkpoint import load_model, read_meta
    from adtool.data import open_dataset
    from adtool.runs import resolve_model

    file = resolve_model(model)
    meta = read_meta(file)
    dataset = open_dataset(data, layout, category, seed=meta.get("seed") or 0)
    torch_device = _options.start_torch(device, threads)

    from adtool.evaluation import evaluate
    from adtool.gallery import write_gallery

    loaded = load_model(file, torch_device)
    with _console.progress() as report:
        columns = write_gallery(gallery, loaded, dataset, device=torch_device, report=report) if gallery else []
        result = evaluate(loaded, dataset, device=torch_device, report=report, **options)
    described = {"model": str(file), "name": meta["model"], "preset": meta.get("preset"), "seed": meta.get("seed")}
    result = described | result
    if as_json:
        _console.answer_json(result)
    else:
        show(result)
    if gallery:
        _console.say(f"{gallery}: {', '.join(columns)}")
    for bad in result["unreadable"]:
        _console.warn(f"{bad['path']}: {bad['error']}")
    _console.leave(_console.ExitStatus.UNREADABLE if result["unreadable"] else _console.ExitStatus.DONE)


def show(result: dict[str, Any]) -> None:
    """Print an evaluation as a table, with what was measured above it and what to know below."""
    height, width = result["size"]
    pixels = f"{height} x {width}" if result["eval_size"] == "model" else "the images' own size"
    title = (
        f"{result['name']} {result['preset']}, seed {result['seed']}; {result['data']} {result['category']}, "
        f"{result['split']} split, {result['images']} images; input {height} x {width}, pixel metrics at {pixels}"
    )
    keys = [key for key in COLUMNS if key != "spro" or result["metrics"]["spro"] is not None]
    rows = [[name, *_cells(metrics, keys)] for name, metrics in result["per_defect"].items()]
    if len(rows) > 1:
        rows.append(["mean of types", *_cells(result["per_defect_mean"], keys)])
    rows.append(["all", *_cells(result["metrics"], keys)])
    _console.table(["%", *(COLUMNS[key] for key in keys)], rows, title)
    if at := result["at_threshold"]:
        _console.answer(
            f"at the calibrated threshold {at['threshold']:.4g}: found {at['found']} of {at['anomalous']} anomalous, "
            f"false alarms {at['false_alarms']} of {at['good']} good"
        )
    for note in result["notes"]:
        _console.say(f"note: {note}")
    _console.say(f"{result['images_per_second']:.3g} images/s, {result['seconds']:.1f} s in all")


def _cells(metrics: dict[str, float | None], keys: list[str]) -> list[str]:
    return ["n/a" if (value := metrics[key]) is None else f"{100 * value:.1f}" for key in keys]
