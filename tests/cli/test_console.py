"""Progress with rate and time left, plain where there is no terminal, silent when asked, uncoloured when asked."""

from __future__ import annotations

import io
import sys

import click
import pytest
from click.testing import CliRunner

from adtool.cli import _console, _options


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_progress_has_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 1.0, 10.0, 11.0, 40.0])
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(clock))
    with _console.progress() as report:
        for done in (1, 10, 11, 40):
            report("score", done, 40)
    assert capfd.readouterr().err.splitlines() == ["score 10/40 (25 %), 1/s, 0:30 left", "score 40/40 (100 %), 1/s"]


def test_passes_are_timed_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 15.0])
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(clock))
    with _console.progress() as report:
        report("train", 10, 10)
        report("calibrate", 10, 10)
    assert capfd.readouterr().err.splitlines() == ["train 10/10 (100 %), 1/s", "calibrate 10/10 (100 %), 2/s"]


def test_unknown_total_shows_what_is_done(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 8.0])
    monkeypatch.setattr(_console.time, "monotonic", lambda: next(clock))
    with _console.progress() as report:
        report("read", 4, 0)
    assert capfd.readouterr().err == "read 4, 0.5/s\n"


@pytest.mark.parametrize("no_colour", [False, True])
def test_terminal_gets_a_bar_and_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, no_colour: bool) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1") if no_colour else monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with _console.progress() as report:
        report("score", 20, 40)
        report("score", 40, 40)
    shown = terminal.getvalue()
    assert "40/40" in shown and "/s" in shown and "left" in shown
    assert ("\x1b[3" in shown or "\x1b[38" in shown) != no_colour


def test_quiet_and_hidden_progress_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @_options.quiet
    def work() -> None:
        with _console.progress() as report:
            report("score", 1, 1)

    assert CliRunner().invoke(work, ["--quiet"]).output == ""
    assert "score 1/1" in CliRunner().invoke(work).output
    with _console.progress(show=False) as report:
        report("score", 1, 1)
    assert capfd.readouterr() == ("", "")


def test_table_is_on_stdout_and_takes_any_text(capfd: pytest.CaptureFixture[str]) -> None:
    _console.table(["type", "value"], [["[red]", "1.0"], ["b", "n/a"]], title="[bold] title")
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "[bold] title" in shown.out and "[red]" in shown.out and "\x1b" not in shown.out


def test_json_refuses_what_is_not_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _console.answer_json({"score": float("nan")})
