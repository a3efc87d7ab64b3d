"""What a person reads: lines, tables and progress on stderr through rich, answers on stdout.

Progress shows rate and time left; where stderr is not a terminal it is a plain line every few seconds. `NO_COLOR` and
`--quiet` are honoured. rich is imported on use.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from rich.console import Console

Report = Callable[[str, int, int], None]
"""Progress of a pass: (what, done, total); a total of 0 is unknown."""

PLAIN_LINE_SECONDS = 5.0
PLAIN_WIDTH = 120  # columns of a table that goes to a file or a pipe


class ExitStatus(IntEnum):
    """What the shell sees; wrong usage (2) is click's own."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREADABLE = 3
    ANOMALOUS = 4


def leave(status: ExitStatus) -> NoReturn:
    """End the command with an exit status."""
    click.get_current_context().exit(int(status))


def quiet() -> bool:
    """Whether the running command was given `--quiet`."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get("adtool.quiet"))


def say(text: str) -> None:
    """One line for the person on stderr, unless `--quiet`."""
    if not quiet():
        click.echo(text, err=True)


def warn(text: str) -> None:
    """One line on stderr, also with `--quiet`."""
    click.echo(click.style("warning: ", fg="yellow") + text, err=True, color=_coloured())


def complain(text: str) -> None:
    """The one line of a command that failed."""
    click.echo(click.style("error: ", fg="red", bold=True) + text, err=True, color=_coloured())


def answer(text: str) -> None:
    """A line of the command's result on stdout."""
    click.echo(text)


def answer_json(value: Any) -> None:
    """The command's result as one JSON value on stdout."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, left: int = 1) -> None:
    """The command's result as a table on stdout; the first `left` columns are text, the others numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if title:
        answer(title)
    grid = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        is_text = number < left
        grid.add_column(Text(column), justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    _console(sys.stdout).print(grid)


@contextmanager
def progress(show: bool = True) -> Iterator[Report]:
    """A `report(what, done, total)` to pass down; shows nothing with `--quiet` or when `show` is false."""
    if quiet() or not show:
        yield lambda what, done, total: None
    elif _console(sys.stderr).is_terminal:
        with _bars() as report:
            yield report
    else:
        yield _plain_lines()


@contextmanager
def _bars() -> Iterator[Report]:
    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}", markup=False),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("left"),
        rich_progress.TimeRemainingColumn(),
    )
    tasks: dict[str, tuple[rich_progress.TaskID, float]] = {}
    last = time.monotonic()  # a pass begins where the one before it ended
    with rich_progress.Progress(*columns, console=_console(sys.stderr), redirect_stdout=False) as bars:

        def report(what: str, done: int, total: int) -> None:
            nonlocal last
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total or None, rate=""), last
            task, start = tasks[what]
            last = time.monotonic()
            bars.update(task, completed=done, total=total or None, rate=_rate(done, last - start))

        yield report


def _plain_lines() -> Report:
    """A report that prints the end of each pass and a line every `PLAIN_LINE_SECONDS`."""
    started: dict[str, float] = {}
    last = printed = time.monotonic()  # a pass begins where the one before it ended

    def report(what: str, done: int, total: int) -> None:
        nonlocal last, printed
        start = started.setdefault(what, last)
        last = time.monotonic()
        if done == total or last - printed >= PLAIN_LINE_SECONDS:
            printed = last
            click.echo(_plain_line(what, done, total, last - start), err=True)

    return report


def _plain_line(what: str, done: int, total: int, seconds: float) -> str:
    parts = [f"{what} {done}/{total} ({100 * done // total} %)" if total else f"{what} {done}"]
    if rate := _rate(done, seconds):
        parts.append(rate)
        if 0 < done < total:
            left = round(seconds * (total - done) / done)
            parts.append(f"{left // 60}:{left % 60:02d} left")
    return ", ".join(parts)


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:.3g}/s" if done and seconds > 0 else ""


def _console(stream: Any) -> Console:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH, highlight=False, soft_wrap=False)


def _coloured() -> bool | None:
    """False where `NO_COLOR` forbids colour; None lets click ask the terminal."""
    import os

    return False if os.environ.get("NO_COLOR") else None
