"""What a person sees when a command fails: one line, the right exit status, a traceback only on request."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from adtool.cli import CommandFiles, _console, _options
from adtool.errors import AdtoolError


@pytest.fixture
def failing() -> Callable[..., Result]:
    """Run a command that raises what it is given."""

    def run(error: BaseException | None, *arguments: str) -> Result:
        @click.command()
        @_options.debug
        @_options.quiet
        def work() -> None:
            _console.say("working")
            if error is not None:
                raise error

        class Group(CommandFiles):
            def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
                return work

        return CliRunner().invoke(Group("adtool"), ["work", *arguments])

    return run


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (AdtoolError("x.png: is empty"), "error: x.png: is empty"),
        (KeyboardInterrupt(), "error: interrupted"),
        (PermissionError(13, "Permission denied", "out.csv"), "error: out.csv: Permission denied"),
        (OSError(28, "No space left on device"), "error: No space left on device"),
        (ZeroDivisionError("by zero"), "error: unexpected ZeroDivisionError: by zero (run again with --debug "),
    ],
)
def test_error_is_one_line_and_status_1(failing: Callable[..., Result], error: BaseException, line: str) -> None:
    result = failing(error)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"working\n{line}")
    assert len(result.stderr.splitlines()) == 2


def test_out_of_memory_names_the_cure(failing: Callable[..., Result]) -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch's."""

    assert "--batch-size" in failing(OutOfMemoryError("CUDA")).stderr
    assert "--batch-size" in failing(MemoryError()).stderr


def test_notes_say_what_was_kept(failing: Callable[..., Result]) -> None:
    error = KeyboardInterrupt()
    error.add_note("the rows so far are in x.csv.partial")
    assert failing(error).stderr.splitlines()[1:] == ["error: interrupted", "the rows so far are in x.csv.partial"]


def test_debug_shows_the_traceback(failing: Callable[..., Result]) -> None:
    assert "Traceback" not in failing(AdtoolError("no")).stderr
    result = failing(AdtoolError("no"), "--debug")
    assert "Traceback" in result.stderr and result.stderr.endswith("error: no\n")


def test_quiet_keeps_errors_and_drops_the_rest(failing: Callable[..., Result]) -> None:
    assert failing(None, "--quiet").stderr == ""
    assert failing(AdtoolError("no"), "--quiet").stderr == "error: no\n"


def test_wrong_usage_is_status_2(failing: Callable[..., Result]) -> None:
    result = failing(None, "--colour")
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_library_warning_is_one_line(failing: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    class Warns(AdtoolError):
        def __str__(self) -> str:
            warnings.warn("two\nlines", UserWarning, stacklevel=1)
            return "no"

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert failing(Warns()).stderr.splitlines()[1:] == ["warning: two lines", "error: no"]


def test_closed_pipe_ends_without_a_word(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    few = ["--size", "32", "--train", "1", "--good", "1", "--per-defect", "0"]
    command = [sys.executable, "-m", "adtool", "data", "make", "texture", str(tmp_path / "made"), *few]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1:2", ""])
def test_device_that_is_no_device_is_wrong_usage(device: str) -> None:
    @click.command()
    @_options.device
    def work(device: str) -> None:
        pass

    assert CliRunner().invoke(work, ["--device", device]).exit_code == 2


def test_missing_card_is_said_in_words() -> None:
    import torch

    with pytest.raises(AdtoolError, match=f"torch sees {torch.cuda.device_count()} CUDA devices"):
        _options.start_torch("cuda:99", None)
    assert _options.start_torch("cpu", None) == torch.device("cpu")


def test_threads_are_set() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        _options.start_torch("cpu", 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
