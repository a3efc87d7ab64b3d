"""Models by name: the file name is the model's name everywhere, and `-` and `_` are the same."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from adtool.errors import AdtoolError


def names() -> list[str]:
    """Names of all models, as typed on the command line (`masked-rd`)."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return [file.stem.replace("_", "-") for file in files]


@cache
def load(name: str) -> ModuleType:
    """The module of a model, with its `Config` and `Model`; an unknown name is an AdtoolError with the known ones."""
    canonical = name.strip().lower().replace("_", "-")
    if canonical not in names():
        raise AdtoolError(f"--model {name}: no such model; known models: {', '.join(names())}")
    return importlib.import_module(f"adtool.models.{canonical.replace('-', '_')}")
