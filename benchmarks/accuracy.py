"""Accuracy table: train each model on each data folder, evaluate, write JSON and markdown; finished rows are kept.

    python benchmarks/accuracy.py DATA ... [--model patchcore/default ...] [--category NAME] [--set KEY=VALUE ...]

A row is one (data, model, preset, changes, weights, seed, device): training seconds, images per second, the metrics of
`adtool eval`.
`--category` is that of folders with several. `--control` adds the same row with random backbone weights: what the
pictures give away without any learnt feature.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adtool.runtime import wait_briefly

wait_briefly()

import click
import torch

from adtool import __version__
from adtool.bench.machine import processor
from adtool.checkpoint import load_model
from adtool.data import open_dataset
from adtool.evaluation import evaluate
from adtool.fitting import fit
from adtool.models import load
from adtool.settings import parse

KINDS = ("structural_anomalies", "logical_anomalies")
METRICS = ("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro", "spro")
MODELS = ("patchcore/default", "padim/default", "masked-rd/small", "masked-rd/default")


def measure(
    data: Path,
    category: str | None,
    model: str,
    preset: str,
    settings: Mapping[str, Any],
    random: bool,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Train and evaluate once."""
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"seed": seed, "random_weights": random, "workers": 2, "category": category}
        options |= {"device": device, "output": Path(folder, "run")}
        fitted = fit(data, model=model, preset=preset, settings=settings, **options)
        loaded = load_model(Path(fitted.model), device=device)
        result = evaluate(loaded, open_dataset(data, category=category), device=device, report=lambda *progress: None)
    return {
        "data": _name(data, category),
        "split": "test",
        "layout": result["layout"],
        "model": model,
        "preset": preset,
        "size": result["size"],
        "weights": "random" if random else Path(str(fitted.weights["source"])).name if fitted.weights else None,
        "seed": seed,
        "train_images": fitted.images,
        "test_images": result["images"],
        "device": torch.cuda.get_device_name(device) if device != "cpu" else device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "settings": settings,
        "train_seconds": round(fitted.seconds, 1),
        "images_per_second": round(result["images_per_second"], 1),
        "metrics": {name: result["metrics"][name] for name in METRICS},
        "per_defect": {
            defect: {name: values[name] for name in ("image_auroc", "pixel_auroc")}
            for defect, values in result["per_defect"].items()
        },
    }


def _name(data: Path, category: str | None) -> str:
    return f"{data.name}/{category}" if category else data.name


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What makes two rows the same measurement."""
    random, device = row["weights"] == "random", row.get("device", "cpu")
    return row["data"], row["model"], row["preset"], random, row["seed"], changes(row["settings"]), device


def changes(settings: Mapping[str, Any]) -> str:
    """Fields that differ from the preset, as text."""
    return json.dumps(settings, sort_keys=True)


def table(document: dict[str, Any]) -> str:
    """The document as markdown, one row per measurement, random-weight controls after their models."""
    machine = document["machine"]
    lines = [
        f"adtool {document['adtool']}, torch {document['torch']}, {machine['cpu']}. Metrics in percent; each row "
        "is one run. Structural and logical are the image AUROC of those defects alone.",
        "",
        "| data | model | preset | changed | weights | seed | image AUROC | structural | logical | image AP "
        "| pixel AUROC | pixel AP | AUPRO | sPRO | train s | images/s | device | threads |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(document["rows"], key=key):
        image, *values = [row["metrics"][name] for name in METRICS]
        kinds = [row["per_defect"].get(kind, {}).get("image_auroc") for kind in KINDS]
        cells = ["n/a" if value is None else f"{100 * value:.1f}" for value in (image, *kinds, *values)]
        weights = {"random": "random", None: "none"}.get(row["weights"], "ImageNet")
        changed = " ".join(f"{name}={value}" for name, value in row["settings"].items()) or "nothing"
        start = [row["data"], row["model"], row["preset"], changed, weights, str(row["seed"])]
        version = row.get("torch", document["torch"])
        device = row.get("device", "cpu") + ("" if version == document["torch"] else f", torch {version}")
        where = [device, str(row["threads"])]
        end = [f"{row['train_seconds']:.0f}", f"{row['images_per_second']:.0f}", *where]
        lines.append("| " + " | ".join([*start, *cells, *end]) + " |")
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", "models", multiple=True, default=MODELS, show_default=True, help="NAME/PRESET, repeatable.")
@click.option("--category", help="Of every data folder, where it has several.")
@click.option("--control", is_flag=True, help="Also with random backbone weights.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="Change a field of every model.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=int, help="CPU threads of PyTorch; all by default.")
@click.option("--seed", default=0, show_default=True)
@click.option("--again", is_flag=True, help="Measure rows that are there already once more.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("benchmarks/results/accuracy"), show_default=True
)
def main(
    data: tuple[Path, ...],
    models: tuple[str, ...],
    category: str | None,
    control: bool,
    pairs: tuple[str, ...],
    device: str,
    threads: int | None,
    seed: int,
    again: bool,
    output: Path,
) -> None:
    """Measure, and write OUTPUT.json and OUTPUT.md after every row."""
    if threads:
        torch.set_num_threads(threads)
    there = torch.cuda.get_device_name(device) if device != "cpu" else device
    path = output.with_suffix(".json")
    document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"rows": []}
    machine = {"cpu": processor()}
    document |= {"adtool": __version__, "torch": torch.__version__, "machine": machine}
    for name in models:
        model, preset = name.split("/")
        settings = parse(load(model).Config, dict(pair.split("=", 1) for pair in pairs))
        for folder in data:
            for random in (False, True) if control else (False,):
                wanted = (_name(folder, category), model, preset, random, seed, changes(settings), there)
                if not again and wanted in map(key, document["rows"]):
                    continue
                row = measure(folder, category, model, preset, settings, random, seed, device)
                document["rows"] = [other for other in document["rows"] if key(other) != wanted] + [row]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(document, indent=1) + "\n")
                output.with_suffix(".md").write_text(table(document))
                click.echo(f"{name} {wanted[0]} random={random} {row['train_seconds']} s {row['metrics']}", err=True)


if __name__ == "__main__":
    main()
