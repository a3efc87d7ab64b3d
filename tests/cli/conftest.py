"""The command line in this process, with the toy detector known."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1]))  # toy_detector

import toy_detector  # noqa: E402

from adtool import models  # noqa: E402
from adtool.cli import main  # noqa: E402


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """A command that was interrupted leaves this process deaf to Ctrl-C; a process of its own ends with it."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def adtool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `adtool` with arguments; `input` is stdin."""
    monkeypatch.setattr(models, "load", models.load)  # undone afterwards
    toy_detector.install()

    def run(*arguments: object, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=input, prog_name="adtool")

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A calibrated toy model file."""
    return toy_detector.write_model(tmp_path / "run" / "model.safetensors")
