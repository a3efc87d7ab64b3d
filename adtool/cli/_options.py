"""Options that several commands share, each a decorator, and what they mean to torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adtool.errors import AdtoolError

if TYPE_CHECKING:
    import torch

Decorator = Callable[[Any], Any]


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep a flag where the console and the error handler find it."""
    if value:
        ctx.meta[f"adtool.{param.name}"] = value


def _flag(name: str, text: str) -> Decorator:
    return click.option(name, is_flag=True, expose_value=False, is_eager=True, callback=_remember, help=text)


def _check_device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value}: not a device; expected auto, cpu, cuda or cuda:N", ctx, param)
    return value


def _key_values(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """`--set key=value` as {key: value}."""
    for text in texts:
        if "=" not in text:
            raise click.BadParameter(f"{text}: expected key=value", ctx, param)
    return dict(text.split("=", 1) for text in texts)


quiet = _flag("--quiet", "No progress, no notes.")
debug = _flag("--debug", "Show the traceback of an error.")
json_output = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
seed = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of everything random.")
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda[:N]",
    callback=_check_device,
    help="Where to run.",
)
threads = click.option("--threads", type=click.IntRange(1), metavar="N", help="CPU threads.  [default: all cores]")
workers = click.option(
    "--workers", type=click.IntRange(1), default=2, show_default=True, metavar="N", help="Threads that decode images."
)
batch_size = click.option(
    "--batch-size", type=click.IntRange(1), default=8, show_default=True, metavar="N", help="Images per forward pass."
)
model_file = click.option(
    "--model",
    type=click.Path(path_type=Path),
    default=Path("runs/latest"),
    show_default=True,
    help="Model file or run folder.",
)
preset = click.option(
    "--preset", default="default", show_default=True, metavar="NAME", help="One of the model's presets."
)
set_fields = click.option(
    "--set", "pairs", multiple=True, callback=_key_values, metavar="KEY=VALUE", help="Set a field of the model."
)
config_file = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.toml",
    help="Fields of the model as TOML; --set has the last word.",
)
anomaly_source = click.option(
    "--anomaly-source", metavar="DIR", help="Pictures to paint defects with, for a model that does.  [default: drawn]"
)
layout = click.option(
    "--layout",
    type=click.Choice(["loco", "mvtec", "btad", "visa", "cifar", "folder"]),
    help="Layout of the data set.  [default: detected]",
)
category = click.option("--category", metavar="NAME", help="Category, where the data set has several.")


def start_torch(device: str, threads: int | None) -> torch.device:
    """Set the thread count and return the device that `--device` names; a missing one is an AdtoolError."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    found = torch.device(device)
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        cards = torch.cuda.device_count()
        raise AdtoolError(f"--device {device}: torch sees {cards} CUDA devices here; use --device cpu or auto")
    return found


def fields(
    model: str, config: Path | None, pairs: Mapping[str, str], options: Mapping[str, str | None]
) -> dict[str, Any]:
    """The fields of the model that were given, the later of file, --set and options of their own winning."""
    from adtool import models, settings

    known = models.load(model).Config
    values = settings.read_toml(known, config) if config else {}
    values |= settings.parse(known, pairs)
    for field, text in options.items():
        if text is not None:
            values |= settings.parse(known, {field: text}, f"--{field.replace('_', '-')}")
    return values
