"""Errors a person can act on: what was wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class AdtoolError(Exception):
    """The work could not be done; the text names the file or option, what was found, what was expected and the cure."""


class ImageError(AdtoolError):
    """One image or mask could not be used.

    `path` is the file at fault, so that a long run can name it in its row and go on with the others.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason


class ModelFileError(AdtoolError):
    """A model file is truncated, foreign, altered, or does not fit the model it names."""


class WeightsError(AdtoolError):
    """Backbone weights cannot be found or are not the file they claim to be."""
