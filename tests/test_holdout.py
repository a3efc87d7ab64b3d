"""Which good images are held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from adtool.data import Dataset, Sample
from adtool.errors import AdtoolError, ImageError
from adtool.holdout import fingerprint, hold_out


def dataset(train: int = 0, val: int = 0, root: Path = Path("/data"), order: int = 1) -> Dataset:
    samples = [Sample(root / "train" / "good" / f"{n:03}.png", "train", 0) for n in range(train)][::order]
    samples += [Sample(root / "train" / "bad.png", "train", 1)]
    samples += [Sample(root / "val" / f"{n:03}.png", "val", 0) for n in range(val)]
    samples += [Sample(root / "test" / "good" / f"{n:03}.png", "test", 0) for n in range(50)]
    return Dataset(root, "mvtec", "nut", tuple(samples))


@pytest.mark.parametrize(
    ("images", "held_out"),
    [(1, 0), (7, 0), (8, 2), (29, 6), (30, 10), (100, 10), (120, 12), (2000, 200), (5000, 200)],
)
def test_a_fifth_is_held_out_within_its_limits(images: int, held_out: int) -> None:
    good, held = hold_out(dataset(images))
    assert len(held) == held_out
    assert len(good) == images - held_out
    assert {sample.split for sample in good + held} == {"train"}
    assert not set(good) & set(held)
    assert all(sample.label == 0 for sample in good + held)


def test_the_validation_split_is_used_where_there_is_one() -> None:
    good, held = hold_out(dataset(40, val=12))
    assert len(good) == 40
    assert [sample.split for sample in held] == ["val"] * 12
    assert len(hold_out(dataset(40, val=300))[1]) == 200
    assert [sample.split for sample in hold_out(dataset(40, val=1))[1]] == ["train"] * 10
    assert [sample.split for sample in hold_out(dataset(40, val=12), 3)[1]] == ["train"] * 3


@pytest.mark.parametrize(("asked", "held_out"), [(0, 0), (0.5, 20), (1, 1), (7, 7)])
def test_the_number_held_out_can_be_given(asked: float, held_out: int) -> None:
    assert len(hold_out(dataset(40), asked)[1]) == held_out


def test_the_choice_depends_on_seed_and_names_alone() -> None:
    first = hold_out(dataset(40), seed=1)[1]
    elsewhere = hold_out(dataset(40, root=Path("/other/place"), order=-1), seed=1)[1]
    assert [sample.path.name for sample in first] == sorted(sample.path.name for sample in elsewhere)
    assert [sample.path.name for sample in first] != [f"{n:03}.png" for n in range(10)]
    assert set(first) != set(hold_out(dataset(40), seed=2)[1])


def test_nothing_left_to_train_on_is_an_error() -> None:
    with pytest.raises(AdtoolError, match="no good images left to train on, 40 held out; hold out fewer"):
        hold_out(dataset(40), 40)
    with pytest.raises(AdtoolError, match="add pictures of good parts"):
        hold_out(dataset(0))


def test_the_fingerprint_follows_names_and_contents_and_not_place_or_order(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        data = dataset(3, root=tmp_path / name)
        for number, sample in enumerate(data.split("train")[:3]):
            sample.path.parent.mkdir(parents=True, exist_ok=True)
            sample.path.write_bytes(bytes([number]))
        found.append((data, data.split("train")[:3]))
    (data, samples), (other, same) = found
    original = fingerprint(data, samples)
    assert fingerprint(other, same[::-1]) == original
    assert fingerprint(data, samples[:2]) != original
    samples[1].path.write_bytes(b"changed")
    assert fingerprint(data, samples) != original
    samples[1].path.unlink()
    with pytest.raises(ImageError, match="001.png: cannot be read"):
        fingerprint(data, samples)


def test_rows_of_one_file_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(b"many images")
    rows = [Sample(tmp_path / "batch", "train", 0, index=index) for index in range(3)]
    data = Dataset(tmp_path, "cifar", "cat", tuple(rows))
    assert fingerprint(data, rows[:1]) != fingerprint(data, rows[1:2])
