"""Fields of a model's configuration from text (`--set key=value`) and from TOML files, checked against their types."""

from __future__ import annotations

import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union

from adtool.errors import AdtoolError

TRUE = ("true", "yes", "on", "1")
FALSE = ("false", "no", "off", "0")


def parse(config: type, texts: Mapping[str, str], option: str = "--set") -> dict[str, Any]:
    """Typed values for the fields of the dataclass `config` from text, as `option` gives it.

    Tuples are items with commas between them; `none` is None where a field may be None. Raises AdtoolError naming the
    field, the text and the type expected.
    """
    kinds = _kinds(config)
    return {name: _from_text(_kind(kinds, name, option), name, text) for name, text in texts.items()}


def read_toml(config: type, path: Path) -> dict[str, Any]:
    """Values for the fields of the dataclass `config` from a TOML file with `field = value` lines."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AdtoolError(
            f"--config {path}: cannot be read ({error}); expected lines such as `height = 256`"
        ) from error
    kinds = _kinds(config)
    return {name: _checked(_kind(kinds, name, f"--config {path}"), f"{path}: {name}", v) for name, v in content.items()}


def _kinds(config: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config)
    return {field.name: hints[field.name] for field in fields(config)}


def _kind(kinds: Mapping[str, Any], name: str, option: str) -> Any:
    if name not in kinds:
        raise AdtoolError(f"{option}: {name!r} is not a field of this model; fields: {', '.join(kinds)}")
    return kinds[name]


def _from_text(kind: Any, name: str, text: str) -> Any:
    """The value that `text` means for a field of type `kind`."""
    none_first = sorted(_choices(kind), key=lambda choice: choice is not type(None))  # `none` is not text then
    for choice in none_first:
        try:
            return _convert(choice, text.strip())
        except ValueError:
            continue
    raise AdtoolError(f"--set {name}={text}: expected {_words(kind)}")


def _choices(kind: Any) -> tuple[Any, ...]:
    """The members of a union; another type alone."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)


def _convert(kind: Any, text: str) -> Any:
    """One text as one type; ValueError when it is not one."""
    if kind is type(None) and text.lower() == "none":
        return None
    if kind is bool and text.lower() in TRUE + FALSE:
        return text.lower() in TRUE
    if kind in (int, float, str):
        return kind(text)
    if typing.get_origin(kind) is Literal:
        return next(value for value in typing.get_args(kind) if str(value) == text) if _named(kind, text) else _refuse()
    if typing.get_origin(kind) is tuple:
        items = [item for item in text.strip("()[]").split(",") if item.strip()]
        return tuple(_convert(member, item.strip()) for member, item in _members(kind, items))
    return _refuse()


def _named(kind: Any, text: str) -> bool:
    return text in [str(value) for value in typing.get_args(kind)]


def _refuse() -> Any:
    raise ValueError


def _members(kind: Any, items: list[Any]) -> list[tuple[Any, Any]]:
    """Each item with its type in `tuple[X, ...]` or `tuple[X, Y]`; ValueError when there are too many or too few."""
    members = typing.get_args(kind)
    if len(members) == 2 and members[1] is Ellipsis:
        return [(members[0], item) for item in items]
    return list(zip(members, items, strict=True))


def _checked(kind: Any, name: str, value: Any) -> Any:
    """A value as TOML gave it, for a field of type `kind`."""
    for choice in _choices(kind):
        try:
            return _fitted(choice, value)
        except ValueError:
            continue
    raise AdtoolError(f"{name} = {value!r}: expected {_words(kind)}")


def _fitted(kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_fitted(member, item) for member, item in _members(kind, value))
    if typing.get_origin(kind) is Literal and value in typing.get_args(kind):
        return value
    if kind is float and type(value) in (int, float):
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    if type(None) is kind and value == "none":  # TOML has no null
        return None
    return _refuse()


def _words(kind: Any) -> str:
    """A type in words a person uses."""
    if typing.get_origin(kind) is tuple:
        members = typing.get_args(kind)
        if members[-1] is Ellipsis:
            return f"items with commas between, each {_words(members[0])}"
        return "with commas between: " + ", ".join(_words(member) for member in members)
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(str(value) for value in typing.get_args(kind))
    known = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none"}
    choices = _choices(kind)
    return known.get(kind, str(kind)) if len(choices) == 1 else " or ".join(_words(choice) for choice in choices)
