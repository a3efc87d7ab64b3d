"""`adtool demo`: the whole job on made pictures, one command after the other as a person would type them."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from adtool.cli import _console, _options


@click.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Where everything goes.",
)
@click.option(
    "--kind",
    type=click.Choice(["texture", "object", "logical"]),
    default="object",
    show_default=True,
    help="What the sample pictures show.",
)
@click.option("--model", default="patchcore", show_default=True, metavar="NAME", help="Model to train.")
@click.option("--preset", default="default", show_default=True, metavar="NAME", help="Its preset.")
@_options.seed
@_options.device
@_options.quiet
@_options.debug
@click.pass_context
def command(ctx: click.Context, output: Path, kind: str, model: str, preset: str, seed: int, device: str) -> None:
    """Make sample pictures, train on the good ones, score the others, write heat maps and metrics.

    \b
    Example:
      adtool demo
      adtool demo --output /tmp/demo --kind texture
    """
    data, run, rows, heat = output / kind, output / "run", output / "scores.csv", output / "heatmaps"
    if not data.exists():
        _step(ctx, "data", "make", kind, data, "--seed", seed)
    _step(ctx, "train", data, "--model", model, "--preset", preset, "--output", run, "--seed", seed, "--device", device)
    _step(ctx, "score", data / "test", "--model", run, "--output", rows, "--heatmaps", heat, "--device", device)
    _step(ctx, "eval", data, "--model", run, "--device", device)
    _console.say(f"look at the heat maps in {heat}, then at the scores in {rows}; the model is in {run}")


def _step(ctx: click.Context, *words: object) -> None:
    """Say and run one command; an exit status other than 0 ends the demo with it."""
    name, *arguments = map(str, words)
    _console.say(f"$ adtool {shlex.join([name, *arguments])}")
    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    step = group.get_command(ctx, name)
    assert step is not None
    try:
        with step.make_context(name, arguments, parent=ctx) as context:
            step.invoke(context)
    except click.exceptions.Exit as stop:
        if stop.exit_code:
            raise
