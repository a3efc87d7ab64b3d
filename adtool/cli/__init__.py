"""The `adtool` command: a lazy click group with one file per command, and the only place that catches errors.

A file `adtool/cli/<name>.py` exposes one click command (or group) called `command`. Command files import click and this
package's `_console` and `_options` at the top, everything else inside the function, so that help never loads torch.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import click

from adtool import __version__
from adtool.cli._console import ExitStatus, complain, warn
from adtool.errors import AdtoolError
from adtool.runtime import wait_briefly


class CommandFiles(click.Group):
    """A group whose commands are the files beside this one; every error of a command ends here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"adtool.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        wait_briefly()
        shown = warnings.showwarning
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _leave_pipe()
            sys.exit(ExitStatus.FAILED)
        except (Exception, KeyboardInterrupt) as error:
            _fail(ctx, error)
        finally:
            warnings.showwarning = shown


def _show_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """A library's warning as one line for a person, without the place in the code."""
    warn(" ".join(str(message).split()))


def _fail(ctx: click.Context, error: BaseException) -> NoReturn:
    """Say in one line what went wrong, with what was kept, and leave with status 1; another Ctrl-C changes nothing."""
    if isinstance(error, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if ctx.meta.get("adtool.debug"):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    complain(_reason(error))
    for note in getattr(error, "__notes__", ()):
        click.echo(note, err=True)
    sys.exit(ExitStatus.FAILED)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, AdtoolError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; use a smaller --batch-size, a smaller preset or another --device"
    return f"unexpected {type(error).__name__}: {error} (run again with --debug for the traceback)"


def _leave_pipe() -> None:
    """Point stdout at nothing, so that Python's flush at exit does not complain about the closed pipe again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stdout without a descriptor has nothing to flush
        pass


@click.group(cls=CommandFiles, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="adtool")
def main() -> None:
    """Industrial visual anomaly detection: learn what good looks like, score new pictures, show where they are wrong.

    \b
    Example:
      adtool train pictures/good --output runs/bolts
      adtool score pictures/new --heatmaps out/
    """
