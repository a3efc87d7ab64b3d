"""`adtool bench`: how fast operators, models and the scoring pipeline are here."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adtool.cli import _console, _options
from adtool.errors import AdtoolError

if TYPE_CHECKING:
    import torch

STDOUT = Path("-")


@click.group()
def command() -> None:
    """Measure operators, models and the scoring pipeline on this machine.

    \b
    Example:
      adtool bench ops --json ops.json
      adtool bench models --model patchcore
    """


def _file(name: str, text: str) -> _options.Decorator:
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help=text)


def _bench_options(seconds: float) -> _options.Decorator:
    """What the three have in common: how long to measure and where the report goes."""
    decorators = [
        click.option(
            "--seconds",
            type=click.FloatRange(0),
            default=seconds,
            show_default=True,
            help="Time for all variants of one measurement together; at least three rounds are run.",
        ),
        click.option("--repeats", type=click.IntRange(1), metavar="N", help="Rounds, whatever time they take."),
        _file("--json", "Write the figures as JSON; - is stdout, in place of the table."),
        _file("--markdown", "Write the table as markdown."),
        _file("--compare", "A --json FILE of before: exit with status 1 when something is slower."),
        click.option(
            "--tolerance",
            type=click.FloatRange(0),
            default=0.1,
            show_default=True,
            help="Share by which a median may grow before --compare calls it slower.",
        ),
        _options.device,
        _options.threads,
        _options.quiet,
        _options.debug,
    ]
    return lambda function: reduce(lambda inner, decorator: decorator(inner), reversed(decorators), function)


_model_options = [
    click.option(
        "--model", "chosen", multiple=True, metavar="NAME|FILE", help="Model, model file or run folder; repeatable."
    ),
    click.option(
        "--random-weights",
        is_flag=True,
        help="Do without ImageNet weights; the rows say so, and what is found means nothing.",
    ),
    click.option(
        "--pictures", type=click.IntRange(2), default=60, show_default=True, help="Drawn pictures that fill the models."
    ),
]


def _of_models(function: Any) -> Any:
    return reduce(lambda inner, decorator: decorator(inner), reversed(_model_options), function)


@command.command()
@click.argument("chosen", nargs=-1, metavar="[OP]...")
@click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(["native", "eager", "compiled"]),
    default=("native", "eager", "compiled"),
    show_default=True,
    help="What to run; repeatable.",
)
@click.option(
    "--size",
    type=click.Choice(["paper", "small"]),
    default="paper",
    show_default=True,
    help="The papers' shapes, or tiny ones for a trial.",
)
@_bench_options(seconds=3.0)
def ops(**options: Any) -> None:
    """Time operators: the kernel that answers, PyTorch without it, and that compiled, by turns on the same tensors.

    Forward alone, and with the gradient where there is one; medians and percentiles, the share of what the machine can
    copy or multiply, and the memory of each.

    \b
    Example:
      adtool bench ops
      adtool bench ops simam top_mean --threads 2 --json now.json --compare before.json
    """
    from adtool.bench import ops

    _run("ops", ops.bench, **options)


@command.command()
@_of_models
@click.option("--preset", "presets", multiple=True, metavar="NAME", help="Preset; repeatable.  [default: all]")
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(1),
    metavar="N",
    help="Images per prediction; repeatable.  [default: 1, 16 and the best between]",
)
@_bench_options(seconds=10.0)
def models(**options: Any) -> None:
    """Time predictions of models, from images in memory to maps and scores.

    A model named is built and filled with drawn pictures; what gradient descent would change does not change its speed.

    \b
    Example:
      adtool bench models
      adtool bench models --model patchcore --preset paper --random-weights --batch 1 --batch 16
    """
    from adtool.bench import models

    _run("models", models.bench, **options)


@command.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@_of_models
@click.option(
    "--preset",
    "presets",
    multiple=True,
    default=("default",),
    show_default=True,
    metavar="NAME",
    help="Preset; repeatable.",
)
@_options.batch_size
@_options.workers
@_bench_options(seconds=30.0)
def score(**options: Any) -> None:
    """Time the scoring of pictures (drawn ones unless PATHS are given) against the bare prediction of their tensors.

    \b
    Example:
      adtool bench score
      adtool bench score pictures/new --model runs/bolts --json score.json
    """
    from adtool.bench import score

    _run("score", score.bench, **options)


def _run(
    kind: str,
    bench: Callable[..., dict[str, Any]],
    *,
    json: Path | None,
    markdown: Path | None,
    compare: Path | None,
    tolerance: float,
    device: str,
    threads: int | None,
    **options: Any,
) -> None:
    """Measure, then print and write; with `--compare` leave with status 1 when something is slower."""
    from adtool.bench import comparison

    old = comparison.read(compare, kind) if compare else None
    torch_device = _options.start_torch(device, threads)
    if old is not None:
        _check_machine(old, torch_device)
    with _console.progress() as report:
        document = bench(device=torch_device, report=report, **options)
    _show(document, json, markdown)
    lines = comparison.slower(old, document, tolerance) if old is not None else []
    for line in lines:
        _console.warn(f"slower: {line}")
    if lines:
        raise AdtoolError(f"{len(lines)} measurements are slower than {compare} by more than {100 * tolerance:g} %")


def _check_machine(old: dict[str, Any], device: torch.device) -> None:
    from adtool.bench import comparison, machine

    comparison.check_machine(old, machine.describe(device))


def _show(document: dict[str, Any], json: Path | None, markdown: Path | None) -> None:
    from adtool.bench import tables

    if json == STDOUT:
        _console.answer_json(document)
    else:
        columns, rows, left = tables.cells(document)
        _console.table(columns, rows, title=tables.machine(document), left=left)
    for line in tables.skipped(document):
        _console.say(f"not measured: {line}")
    for path in tables.write(document, None if json == STDOUT else json, markdown):
        _console.say(f"wrote {path}")
