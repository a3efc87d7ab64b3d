"""`adtool data`: look at a data set and at the defects a model will be shown in it, or make a sample one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adtool.cli import _console, _options
from adtool.errors import AdtoolError

if TYPE_CHECKING:
    from adtool.data.check import Report

TALLIED = 5
"""Sizes and file kinds that are listed one by one."""


@click.group()
def command() -> None:
    """Check, look at or make data sets.

    \b
    Example:
      adtool data check mvtec/bottle
      adtool data make object samples/object
    """


@command.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@_options.layout
@_options.category
@_options.json_output
@_options.workers
@_options.quiet
@_options.debug
def check(data: Path, layout: str | None, category: str | None, as_json: bool, workers: int) -> None:
    """Open every image and mask of a data set and say what would spoil training or measuring.

    \b
    Example:
      adtool data check mvtec/bottle
      adtool data check mvtec --category bottle --json
    """
    from adtool.data.check import check

    with _console.progress() as progress:
        report = check(data, layout, category, workers=workers, progress=progress)
    if as_json:
        _console.answer_json(asdict(report))
    else:
        _show(report)
    _console.leave(
        _console.ExitStatus.UNREADABLE if report.unreadable or report.bad_masks else _console.ExitStatus.DONE
    )


def _show(report: Report) -> None:
    """Print what was found, then what is wrong, one finding a line."""
    _console.answer(f"{report.root}: layout {report.layout}, category {report.category}")
    counts = [[split, kind, str(count)] for split, kinds in report.counts.items() for kind, count in kinds.items()]
    _console.table(["split", "type", "images"], counts, left=2)
    _console.answer(f"sizes: {_tally(report.sizes)}; files: {_tally(report.formats)}; {report.masks} masks")
    _console.answer(f"{report.megapixels:.4g} megapixels in all")
    findings = {
        "cannot be read": report.unreadable,
        "mask": report.bad_masks,
        "defective, but without a mask": report.without_mask,
        "also in training": [f"{test} is the same picture as {trained}" for test, trained in report.duplicates],
        "given away": [
            f"{leak.statistic} alone tells good from defective (AUROC {leak.auroc:.3f})" for leak in report.leaks
        ],
        "note": report.notes,
    }
    for what, lines in findings.items():
        for line in lines:
            _console.answer(f"{what}: {line}")
    if report.is_clean:
        _console.answer("every file can be used, and no test image was seen in training")


def _tally(counts: dict[str, int]) -> str:
    """The most frequent ones with their numbers."""
    first = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:TALLIED])
    return first if len(counts) <= TALLIED else f"{first} and {len(counts) - TALLIED} others"


@command.command()
@click.argument("kind", type=click.Choice(["texture", "object", "logical"]))
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
@click.option("--size", type=click.IntRange(32), default=256, show_default=True, metavar="N", help="Height in pixels.")
@click.option(
    "--train", type=click.IntRange(1), default=60, show_default=True, metavar="N", help="Good images to train on."
)
@click.option(
    "--good", type=click.IntRange(0), default=20, show_default=True, metavar="N", help="Good images to test on."
)
@click.option(
    "--per-defect", type=click.IntRange(0), default=20, show_default=True, metavar="N", help="Images of each defect."
)
@_options.seed
@_options.quiet
@_options.debug
def make(kind: str, folder: Path, size: int, train: int, good: int, per_defect: int, seed: int) -> None:
    """Make a sample data set with made defects and exact masks in the new folder DIR.

    \b
    Example:
      adtool data make texture samples/texture --size 128
    """
    from adtool.data.sample_set import write_sample_set

    if folder.exists() and any(folder.iterdir()):
        raise AdtoolError(f"{folder}: is not empty; name a new folder")
    partial = folder.with_name(f"{folder.name}.partial")  # DIR is whole or not there
    write_sample_set(partial, kind, size=size, train=train, good=good, per_defect=per_defect, seed=seed)
    partial.replace(folder)
    _console.answer(str(folder))


@command.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--model", required=True, metavar="NAME", help="A model that learns from simulated defects.")
@_options.preset
@_options.category
@_options.layout
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    metavar="FILE.png",
    help="Where the contact sheet goes.",
)
@click.option("--count", type=click.IntRange(1), default=12, show_default=True, metavar="N", help="Images to show.")
@_options.set_fields
@_options.config_file
@_options.anomaly_source
@_options.workers
@_options.seed
@_options.quiet
@_options.debug
def preview(
    data: Path,
    model: str,
    output: Path,
    pairs: dict[str, str],
    config: Path | None,
    anomaly_source: str | None,
    **options: Any,
) -> None:
    """Draw the defects that `adtool train` will show a model: image, image with defect and mask side by side.

    These are the first images of the first epoch that learns from defects, painted as the same options and seed do.

    \b
    Example:
      adtool data preview mvtec/bottle --model slsg --preset small --output sheet.png
    """
    from adtool.preview import preview, write_sheet

    settings = _options.fields(model, config, pairs, {"anomaly_source": anomaly_source})
    with _console.progress() as report:
        shown, simulated = preview(data, model=model, settings=settings, report=report, **options)
    write_sheet(output, shown, simulated)
    shares = simulated.masks.mean((1, 2, 3))
    defective = shares[shares > 0]
    area = f", of {100 * float(defective.mean()):.1f} % of the image on average" if len(defective) else ""
    _console.say(f"{len(shares)} images, {len(defective)} with a defect{area}")
    _console.answer(str(output))
