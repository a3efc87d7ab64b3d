"""Fields of a configuration from text and TOML, by their types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from adtool import settings
from adtool.errors import AdtoolError


@dataclass(frozen=True)
class Config:
    flag: bool = False
    count: int = 1
    rate: float = 0.5
    name: str = "a"
    scales: tuple[int, ...] = (1, 2)
    betas: tuple[float, float] = (0.9, 0.999)
    limit: int | None = None
    label: str | None = None
    reduce: Literal["sum", "max"] = "sum"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("flag", "true", True),
        ("flag", "Off", False),
        ("count", "-3", -3),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("name", "none", "none"),
        ("scales", "1,2,3", (1, 2, 3)),
        ("scales", "(4, )", (4,)),
        ("scales", "", ()),
        ("betas", "[0.5, 0.99]", (0.5, 0.99)),
        ("limit", "none", None),
        ("limit", "7", 7),
        ("label", "none", None),
        ("label", "x=y", "x=y"),
        ("reduce", "max", "max"),
    ],
)
def test_text_becomes_the_type_of_its_field(field: str, text: str, value: Any) -> None:
    parsed = settings.parse(Config, {field: text})[field]
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("flag", "maybe", "true or false"),
        ("count", "1.5", "a whole number"),
        ("rate", "fast", "a number"),
        ("scales", "1,a", "items with commas between, each a whole number"),
        ("betas", "0.5", "with commas between: a number, a number"),
        ("limit", "many", "a whole number or none"),
        ("reduce", "mean", "one of sum, max"),
    ],
)
def test_text_of_another_type_says_what_is_expected(field: str, text: str, expected: str) -> None:
    with pytest.raises(AdtoolError) as caught:
        settings.parse(Config, {field: text})
    assert str(caught.value) == f"--set {field}={text}: expected {expected}"


def test_an_unknown_field_lists_the_known_ones() -> None:
    with pytest.raises(AdtoolError, match="--backbone: 'backbone' is not a field.*flag, count, rate, name"):
        settings.parse(Config, {"backbone": "x"}, "--backbone")


def test_a_toml_file_gives_typed_values(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('flag = true\nrate = 2\nscales = [3, 4]\nlimit = "none"\nlabel = "b"\nreduce = "max"\n')
    expected = {"flag": True, "rate": 2.0, "scales": (3, 4), "limit": None, "label": "b", "reduce": "max"}
    assert settings.read_toml(Config, path) == expected
    assert type(settings.read_toml(Config, path)["rate"]) is float


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("count = true", "config.toml: count = True: expected a whole number"),
        ("count = 1.5", "count = 1.5: expected a whole number"),
        ("betas = [1.0]", r"betas = \[1.0\]: expected with commas between"),
        ("wings = 2", "'wings' is not a field of this model"),
        ("count 1", "cannot be read"),
    ],
)
def test_a_wrong_toml_file_says_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(AdtoolError, match=words):
        settings.read_toml(Config, path)
