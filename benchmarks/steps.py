"""Where the time of training steps and scoring passes goes, by operator, and what simulated defects take of a step.

    python benchmarks/steps.py [--model slsg/small ...] [--threads 1] [--output FILE.md]

Drawn pictures in memory, published weights where a preset has them. A step is a batch of the model's last stage: views
and simulated defects, losses, backward, optimisers. Shares are of the operators' own CPU time in `torch.profiler`.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from adtool.runtime import wait_briefly

wait_briefly()

import click
import torch
from torch.profiler import ProfilerActivity, profile

from adtool import __version__, models
from adtool.bench.machine import processor
from adtool.building import build, load_weights
from adtool.devices import memory_format, reproducible
from adtool.devices import step as optimise
from adtool.layers.patterns import draw_textures
from adtool.models._detector import Detector, Pairs, Stage

MODELS = ("slsg/small", "slsg/default", "wads/small", "wads/default", "scgan/small", "dgrnet/small")
SIMULATION = ("simulate", "random_views", "paste")
"""Functions of a model's module that make what it is trained on."""
GROUPS = {
    "convolutions": ("conv", "slow_conv", "mkldnn"),
    "products": ("mm", "bmm", "addmm", "baddbmm", "attention"),
    "norms": ("norm",),
    "own operators": ("adtool::",),
    "optimiser": ("_foreach", "_fused", "addcdiv", "addcmul", "lerp"),
    "activations": ("relu", "sigmoid", "softmax", "softplus", "log_sigmoid", "hardtanh", "silu"),
    "copies": ("copy_", "cat", "clone", "index", "stack", "fill_", "zero_", "contiguous"),
    "resampling": ("upsample", "grid_sampler", "pool"),
}
COLUMNS = (*GROUPS, "rest")


class Clock:
    """Adds up the seconds of the functions it wraps, of which one may call another."""

    def __init__(self) -> None:
        self.seconds, self.depth = 0.0, 0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            start, self.depth = time.perf_counter(), self.depth + 1
            try:
                return function(*given, **named)
            finally:
                self.depth -= 1
                self.seconds += time.perf_counter() - start if self.depth == 0 else 0.0

        return timed


def batch_of(model: Detector, stage: Stage) -> Any:
    count, (height, width) = stage.batch_size, model.config.size
    seeds = torch.arange(count)
    images = draw_textures(seeds, 0, (height, width))
    return Pairs(images, images.roll(1, 0), seeds) if stage.paired else images


def train_step(stage: Stage, batch: Any) -> None:
    """As `adtool.training` does it, in float32."""
    losses = stage.losses(batch)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for optimizer in stage.optimizers:
        loss = next(losses)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimise(optimizer, scaler, stage.clip)
    next(losses, None)


def group_of(operator: str) -> str:
    return next((name for name, words in GROUPS.items() if any(word in operator for word in words)), "rest")


def shares(work: Callable[[], Any]) -> Counter[str]:
    """Percent of the operators' own CPU time by group."""
    with profile(activities=[ProfilerActivity.CPU]) as found:
        work()
    times: Counter[str] = Counter()
    for event in found.key_averages():
        group = next(
            (name for name, words in GROUPS.items() if any(word in event.key.lower() for word in words)), "rest"
        )
        times[group] += event.self_cpu_time_total
    total = sum(times.values())
    return Counter({name: 100 * microseconds / total for name, microseconds in times.items()})


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """The median of so many runs, after one that is not timed."""
    work()
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def row(name: str, preset: str, what: str, milliseconds: float, simulated: float | None, groups: Counter[str]) -> str:
    cells = [name, preset, what, f"{milliseconds:.0f}", "n/a" if simulated is None else f"{simulated:.1f}"]
    return "| " + " | ".join(cells + [f"{groups[column]:.0f}" for column in COLUMNS]) + " |"


def watched(module: ModuleType, clock: Clock) -> dict[str, Any]:
    """Wrap what the model's module simulates with; what was there."""
    before = {name: getattr(module, name) for name in SIMULATION if hasattr(module, name)}
    for name, function in before.items():
        setattr(module, name, clock.wrap(function))
    return before


def measure(name: str, preset: str, rounds: int) -> list[str]:
    """The rows of a training step, and of scoring 1 and 16 images."""
    module = models.load(name)
    model = build(name, preset, {}, 0)
    load_weights(model, name, None, False)
    model.to(memory_format=memory_format(torch.device("cpu")))  # type: ignore[call-overload]
    stage = model.train().stages()[-1]
    batch, clock = batch_of(model, stage), Clock()
    before = watched(module, clock)
    try:
        with reproducible():
            took = seconds(lambda: train_step(stage, batch), rounds)
            clock.seconds, start = 0.0, time.perf_counter()
            for _ in range(rounds):
                train_step(stage, batch)
            simulated = 100 * clock.seconds / (time.perf_counter() - start)
            groups = shares(lambda: train_step(stage, batch))
    finally:
        for each, function in before.items():
            setattr(module, each, function)
    rows = [row(name, preset, f"step of {stage.batch_size}", 1e3 * took, simulated if before else None, groups)]
    model.eval()
    for count in (1, 16):
        images = draw_textures(torch.arange(count), 0, model.config.size)
        predict = partial(model.predict, images)
        with torch.inference_mode():
            took = seconds(predict, rounds)
            rows.append(row(name, preset, f"scoring of {count}", 1e3 * took, None, shares(predict)))
    return rows


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--model", "names", multiple=True, default=MODELS, help="NAME/PRESET, repeatable.")
@click.option("--threads", type=int, default=1)
@click.option("--rounds", type=int, default=7)
@click.option("--output", type=click.Path(path_type=Path), default=Path(__file__).parent / "results" / "steps.md")
def main(names: tuple[str, ...], threads: int, rounds: int, output: Path) -> None:
    torch.set_num_threads(threads)
    lines = [
        "# Training steps and scoring passes",
        "",
        f"adtool {__version__}, torch {torch.__version__}, {processor()}, {threads} thread(s), `benchmarks/steps.py`.",
        "Median milliseconds; simulation (views and simulated defects) in percent of the step; the other columns in",
        "percent of the operators' own CPU time.",
        "",
        "| model | preset | work | ms | simulation | " + " | ".join(COLUMNS) + " |",
        "|---|---|---|" + "--:|" * (2 + len(COLUMNS)),
    ]
    for each in names:
        name, _, preset = each.partition("/")
        lines += measure(name, preset or "default", rounds)
        click.echo("\n".join(lines[-3:]))
    output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
