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


def _pairs(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """`--set key=value` as {key: value}."""
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text}: expected key=value", ctx, param)
    return dict(text.split("=", 1) for text in texts)


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME", help="One of `adtool models`.")
@click.option("--preset", default="default", show_default=True, metavar="NAME", help="One of the model's presets.")
@_options.category
@_options.layout
@click.option(
    "--output", type=FOLDER, metavar="DIR", help="Where the run's files go.  [default: a new folder in runs/]"
)
@click.option("--set", "pairs", multiple=True, callback=_pairs, metavar="KEY=VALUE", help="Set a field of the model.")
@click.option("--config", type=FILE, metavar="FILE.toml", help="Fields of the model as TOML; --set has the last word.")
@click.option("--backbone", metavar="NAME", help="Pretrained backbone, for a model that has one.")
@click.option("--weights", type=FILE, metavar="FILE", help="The backbone's weights.  [default: looked for]")
@click.option("--random-weights", is_flag=True, help="Leave the backbone random: far less accurate.")
@click.option("--anomaly-source", metavar="DIR", help="Pictures to paint defects with, for a model that does.")
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

    settings = _settings(model, config, pairs, {"backbone": backbone, "anomaly_source": anomaly_source})
    with _console.progress() as report:
        fitted = fit(data, model=model, settings=settings, device=torch_device, report=report, **options)
    for note in fitted.notes:
        _console.warn(note)
    _console.say(f"{fitted.name} ({fitted.preset}) from {fitted.images} good images in {fitted.seconds:.0f} s")
    if as_json:
        _console.answer_json(asdict(fitted))
    else:
        _console.answer(fitted.model)


def _settings(model: str, config: Path | None, pairs: dict[str, str], options: dict[str, str | None]) -> dict[str, Any]:
    """The fields of the model that were given, the later of file, --set and options of their own winning."""
    from adtool import models, settings

    fields = models.load(model).Config
    values = settings.read_toml(fields, config) if config else {}
    values |= settings.parse(fields, pairs)
    for field, text in options.items():
        if text is not None:
            values |= settings.parse(fields, {field: text}, f"--{field.replace('_', '-')}")
    return values
