"""Textures of a folder: which ones, at which size, and what is said of a folder that has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import draw

from adtool.data import textures
from adtool.data.textures import choose_textures, read_textures
from adtool.errors import AdtoolError, ImageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve flat pictures in two kinds and below, number n of brightness 10 n, and what is no picture."""
    for number in range(12):
        draw(tmp_path / "source" / ("woven", "dotted/fine")[number % 2] / f"{number}.png", 10 * number)
    (tmp_path / "source" / "licence.txt").write_text("free")
    return tmp_path / "source"


def test_every_picture_of_a_folder_and_below_it_is_read_at_the_size(folder: Path) -> None:
    seen: list[int] = []
    found = read_textures(choose_textures(folder, 0), (6, 9), workers=3, visit=seen.append)
    assert found.shape == (12, 3, 6, 9)
    assert sorted(found.flatten(1).float().mean(1).tolist()) == [10.0 * number for number in range(12)]
    assert seen == list(range(1, 13))


def test_of_many_the_seed_and_the_names_choose(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textures, "MOST", 5)
    chosen = {seed: [sample.path for sample in choose_textures(folder, seed)] for seed in range(4)}
    assert all(len(set(paths)) == 5 for paths in chosen.values())
    assert chosen[0] == [sample.path for sample in choose_textures(folder, 0)] != chosen[1]
    assert len(set().union(*chosen.values())) > 8
    moved = folder.rename(folder.with_name("moved"))
    names = [path.relative_to(folder) for path in chosen[2]]
    assert [sample.path.relative_to(moved) for sample in choose_textures(moved, 2)] == names


def test_at_most_a_thousand_are_kept() -> None:
    assert textures.MOST == 1000


def test_a_folder_that_is_not_there_or_empty_is_told_with_option_and_cure(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, words in (("gone", "no such folder"), ("file", "no such folder"), ("empty", "no images in this folder")):
        with pytest.raises(AdtoolError, match=rf"--anomaly-source .*{name}: {words}.*; name a folder of pictures, or "):
            choose_textures(tmp_path / name, 0)


def test_a_picture_that_cannot_be_read_is_named_with_option_and_cure(folder: Path) -> None:
    (folder / "woven" / "4.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"4\.png: .*; repair it or take it out of the folder of --anomaly-source"):
        read_textures(choose_textures(folder, 0), (4, 4), workers=2)
