"""`adtool train`: from good images to a model file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from adtool.cli import _console, _options

DEFAULT_MODEL = "patchcore"
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help="One of `adtool models`.")
@_options.preset
@_options.category
@_options.layout
@click.option(
    "--output", type=FOLDER, metavar="DIR", help="Where the run's files go.  [default: a new folder in runs/]"
)
@_options.set_fields
@_options.config_file
@click.option("--backbone", metavar="NAME", help="Pretrained backbone, for a model that has one.")
@click.option("--weights", type=FILE, metavar="FILE", help="The backbone's weights.  [default: looked for]")
@click.option("--random-weights", is_flag=True, help="Leave the backbone random: far less accurate.")
@_options.anomaly_source
@click.option(
    "--false-alarm-rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    metavar="RATE",
    help="Share of good images that may be called anomalous.",
)
@click.option(
    "--holdout",
    type=click.FloatRange(0),
    metavar="SHARE|NUMBER",
    help="Good images kept for the threshold.  [default: the data set's own, else 10 %]",
)
@click.option("--resume", is_flag=True, help="Go on with an unfinished run.")
@_options.workers
@_options.seed
@_options.device
@_options.threads
@_options.json_output
@_options.quiet
@_options.debug
def command(
    data: Path,
    model: str,
    pairs: dict[str, str],
    config: Path | None,
    backbone: str | None,
    anomaly_source: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on the good images of DATA, a folder of pictures or a known data set, and print the model's path.

    Some good images are held out to set the threshold. Ctrl-C keeps what was trained so far for --resume.

    \b
    Example:
      adtool train pictures/good --output runs/bolts
      adtool train mvtec --category screw --model masked-rd --false-alarm-rate 0.02
    """
    torch_device = _options.start_torch(device, threads)
    from adtool.fitting import fit

    given = {"backbone": backbone, "anomaly_source": anomaly_source}
    settings = _options.fields(model, config, pairs, given)
    with _console.progress() as report:
        told: dict[str, Any] = {"report": report, "tell": _console.warn}
        fitted = fit(data, model=model, settings=settings, device=torch_device, **told, **options)
    for note in fitted.notes:
        _console.warn(note)
    _console.say(f"{fitted.name} ({fitted.preset}) from {fitted.images} good images in {fitted.seconds:.0f} s")
    if as_json:
        _console.answer_json(asdict(fitted))
    else:
        _console.answer(fitted.model)
