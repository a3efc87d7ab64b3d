"""Help of every command: complete, with an example, and fast because nothing heavy is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import click
import pytest

from adtool.cli import main

PARENT = click.Context(main, info_name="adtool")


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group with its words."""
    for name in group.list_commands(PARENT):
        command = group.get_command(PARENT, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands())


def test_every_command_of_the_design_is_there() -> None:
    assert {"train", "score", "eval", "models", "data", "demo", "doctor", "bench"} <= {words[0] for words in ALL}
    assert {("data", "check"), ("bench", "ops"), ("bench", "models"), ("bench", "score")} <= set(ALL)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_command_has_help_and_an_example_of_itself(words: tuple[str, ...]) -> None:
    text = ALL[words].help or ""
    assert "Example:" in text
    assert f"adtool {' '.join(words)}" in text.split("Example:")[1]
    assert len(ALL[words].get_short_help_str(limit=200)) > 10


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_option_is_explained(words: tuple[str, ...]) -> None:
    options = [parameter for parameter in ALL[words].params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert ALL[words].add_help_option


@pytest.mark.parametrize("words", [w for w in ALL if not isinstance(ALL[w], click.Group)], ids=" ".join)
def test_every_command_can_show_a_traceback(words: tuple[str, ...]) -> None:
    assert any("--debug" in parameter.opts for parameter in ALL[words].params)


def test_unknown_command_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["paint"], prog_name="adtool")
    assert caught.value.code == 2
    assert "No such command 'paint'" in capfd.readouterr().err


CHECK = """
import json, sys
sys.argv = ["adtool", {arguments}]
from adtool.cli import main
try:
    main(prog_name="adtool")
except SystemExit as stop:
    heavy = [name for name in ("torch", "numpy", "rich", "scipy", "PIL", "safetensors") if name in sys.modules]
    print(json.dumps([stop.code, heavy]), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([*words, "--help"] for words in ALL)], ids=" ".join)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = CHECK.format(arguments=", ".join(map(repr, arguments)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == [0, []]


def test_help_and_completion_take_under_a_fifth_of_a_second() -> None:
    for environment in (
        {},
        {"_ADTOOL_COMPLETE": "bash_complete", "COMP_WORDS": "adtool score --he", "COMP_CWORD": "2"},
    ):
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "adtool", "--help"], capture_output=True, text=True, env=environment
            )
            seconds.append(time.perf_counter() - start)
            assert ("--heatmaps" in done.stdout) if environment else ("score" in done.stdout), done
        assert min(seconds) < 0.2
