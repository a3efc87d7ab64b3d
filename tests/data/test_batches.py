"""Batches: order, cache and threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from trees import draw

from adtool.data import Sample
from adtool.data import batches as batches_module
from adtool.data.batches import ImageBatches, ahead
from adtool.data.images import load
from adtool.errors import AdtoolError, ImageError


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Eleven flat grey images, number n of brightness 10 n."""
    folder = tmp_path_factory.mktemp("flat")
    return [Sample(draw(folder / f"{number}.png", 10 * number), "train", 0) for number in range(11)]


def brightness(batches: object) -> list[list[int]]:
    """Which images each batch holds."""
    return [[round(float(image.mean() * 25.5)) for image in batch] for batch in batches]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded, as it happens."""
    names: list[str] = []

    def noting(sample: Sample, size: tuple[int, int]) -> torch.Tensor:
        names.append(sample.path.stem)
        return load(sample, size)

    monkeypatch.setattr(batches_module, "load", noting)
    return names


def test_iteration_gives_float_batches_in_order(samples: list[Sample]) -> None:
    images = ImageBatches(samples, (6, 5), batch_size=4)
    batches = list(images)
    assert [tuple(batch.shape) for batch in batches] == [(4, 3, 6, 5), (4, 3, 6, 5), (3, 3, 6, 5)]
    assert all(batch.dtype == torch.float32 for batch in batches)
    assert brightness(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert len(images) == 11


def test_shuffled_depends_on_seed_and_epoch_alone(samples: list[Sample]) -> None:
    images = ImageBatches(samples, (2, 2), batch_size=4)
    order = brightness(images.shuffled(1, 0, 3))
    list(images)
    assert brightness(ImageBatches(samples, (2, 2), workers=3).shuffled(1, 0, 3)) == order
    assert brightness(images.shuffled(1, 0, 3)) == order
    assert brightness(images.shuffled(1, 1, 3)) != order
    assert brightness(images.shuffled(2, 0, 3)) != order


def test_shuffled_drops_a_partial_batch_only_after_a_full_one(samples: list[Sample]) -> None:
    images = ImageBatches(samples, (2, 2))
    assert [len(batch) for batch in images.shuffled(0, 0, 4)] == [4, 4]
    assert [len(batch) for batch in images.shuffled(0, 0, 11)] == [11]
    assert [len(batch) for batch in images.shuffled(0, 0, 12)] == [11]
    seen = [number for batch in brightness(images.shuffled(0, 0, 1)) for number in batch]
    assert sorted(seen) == list(range(11))


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("cache_bytes", [0, 5 * 12, 1 << 20])
def test_result_does_not_depend_on_workers_or_cache(samples: list[Sample], workers: int, cache_bytes: int) -> None:
    images = ImageBatches(samples, (2, 2), batch_size=2, workers=workers, cache_bytes=cache_bytes)
    expected = [[number, number + 1] for number in range(0, 10, 2)] + [[10]]
    assert brightness(images) == brightness(images) == expected


def test_images_that_fit_are_decoded_once(samples: list[Sample], decoded: list[str]) -> None:
    images = ImageBatches(samples, (2, 2), cache_bytes=11 * 12)
    list(images), list(images), list(images.shuffled(0, 0))
    assert sorted(decoded) == sorted(sample.path.stem for sample in samples)


def test_cache_keeps_to_its_budget(samples: list[Sample], decoded: list[str]) -> None:
    images = ImageBatches(samples, (2, 2), cache_bytes=4 * 12 + 11)  # four images of 12 bytes
    list(images)
    decoded.clear()
    list(images)
    assert sorted(decoded, key=int) == [str(number) for number in range(4, 11)]


def test_uncached_images_are_decoded_at_most_a_window_ahead(samples: list[Sample], decoded: list[str]) -> None:
    batches = iter(ImageBatches(samples * 5, (2, 2), batch_size=2, cache_bytes=0))
    next(batches)
    time.sleep(0.05)
    assert len(decoded) <= 2 + 3  # one batch out, a batch and one more on their way


def test_no_samples_give_no_batches() -> None:
    images = ImageBatches([], (2, 2))
    assert len(images) == 0 and list(images) == [] and list(images.shuffled(0, 0)) == []


def test_unreadable_image_is_raised(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    images = ImageBatches([*samples, Sample(tmp_path / "bad.png")], (2, 2), batch_size=4)
    with pytest.raises(ImageError, match="bad.png"):
        list(images)


def test_batch_size_of_zero_is_an_error(samples: list[Sample]) -> None:
    with pytest.raises(AdtoolError, match="batch size 0"):
        ImageBatches(samples, (2, 2), batch_size=0)


def test_ahead_keeps_the_order_whatever_finishes_first() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(ahead(slow_first, range(6), workers=3, window=4)) == [0, 1, 4, 9, 16, 25]


def test_ahead_raises_at_the_turn_of_the_item() -> None:
    results = ahead(lambda number: 1 // number, [1, 2, 0, 3], workers=2, window=4)
    assert [next(results), next(results)] == [1, 0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_ahead_reads_no_further_than_its_window() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    results = ahead(lambda number: number, items(), workers=2, window=3)
    next(results)
    assert len(taken) == 4


def test_ahead_leaves_no_thread_when_the_reader_stops_early() -> None:
    results = ahead(lambda number: number, range(100), workers=2, window=10)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adtool-decode")]


def test_images_of_several_sizes_come_at_one_size(tmp_path: Path) -> None:
    sizes = [(3, 9), (9, 3), (1, 1), (20, 20)]
    samples = [Sample(draw(tmp_path / f"{place}.png", 50, size)) for place, size in enumerate(sizes)]
    (batch,) = ImageBatches(samples, (4, 6))
    assert batch.shape == (4, 3, 4, 6)
    np.testing.assert_allclose(batch, 50 / 255)
