"""Pairs: another image and a seed, none of which depend on batch, threads or cache."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from toys import Batched, write_pictures

from adtool.data import Sample
from adtool.data.batches import ImageBatches
from adtool.models._detector import Pairs
from adtool.pairing import PairedBatches


def joined(batches: Iterable[Pairs]) -> Pairs:
    return Pairs(*map(torch.cat, zip(*batches, strict=True)))


def numbers(images: torch.Tensor, among: torch.Tensor) -> list[int]:
    """Which of `among` each image is."""
    return (images[:, None] == among[None]).flatten(2).all(2).int().argmax(1).tolist()


def test_images_come_in_the_order_of_a_plain_pass() -> None:
    images = Batched(7, batch_size=3)
    assert torch.equal(joined(PairedBatches(images, 0, "stage")).images, images.images)
    plain = torch.cat(list(images.shuffled(4, 2, 3)))
    assert torch.equal(joined(PairedBatches(images, 4, "stage").shuffled(4, 2, 3)).images, plain)
    assert len(PairedBatches(images, 0, "stage")) == 7


def test_the_other_image_is_another_one_and_every_other_one_in_turn() -> None:
    images = Batched(5)
    met: dict[int, set[int]] = {own: set() for own in range(5)}
    for epoch in range(40):
        pairs = joined(PairedBatches(images, 0, "stage").shuffled(0, epoch, 1))
        for own, other in zip(numbers(pairs.images, images.images), numbers(pairs.others, images.images), strict=True):
            met[own].add(other)
    assert met == {own: set(range(5)) - {own} for own in range(5)}


def test_a_single_image_is_its_own_other() -> None:
    pairs = joined(PairedBatches(Batched(1), 0, "stage"))
    assert torch.equal(pairs.images, pairs.others)


def test_seeds_differ_by_image_epoch_stage_and_seed_and_fit_63_bits() -> None:
    images = Batched(6)
    seeds = [
        seed
        for stage in ("first", "second")
        for start in (0, 1)
        for epoch in range(3)
        for pairs in PairedBatches(images, start, stage).shuffled(start, epoch, 2)
        for seed in pairs.seeds.tolist()
    ]
    assert len(set(seeds)) == len(seeds) == 2 * 2 * 3 * 6
    assert min(seeds) >= 0 and max(seeds) > 1 << 61


def test_the_seed_of_an_image_follows_from_its_number() -> None:
    def seeds(count: int, epoch: int) -> dict[int, int]:
        images = Batched(count)
        pairs = joined(PairedBatches(images, 0, "stage").shuffled(0, epoch, 1))
        return dict(zip(numbers(pairs.images, images.images), pairs.seeds.tolist(), strict=True))

    few, more = seeds(5, 3), seeds(8, 3)
    assert few == {number: more[number] for number in range(5)}


@pytest.mark.parametrize(("workers", "cache_bytes"), [(1, 0), (3, 0), (3, 300), (2, 1 << 20)])
def test_pairs_do_not_depend_on_threads_or_cache(tmp_path_factory, workers: int, cache_bytes: int) -> None:
    folder = write_pictures(tmp_path_factory.mktemp("pictures") / "good", 9)
    samples = [Sample(path, "train", 0) for path in sorted(folder.iterdir())]
    plain = PairedBatches(ImageBatches(samples, (6, 5)), 3, "stage")
    other = PairedBatches(ImageBatches(samples, (6, 5), workers=workers, cache_bytes=cache_bytes), 3, "stage")
    for epoch in range(2):
        for one, two in zip(joined(plain.shuffled(3, epoch, 4)), joined(other.shuffled(3, epoch, 2)), strict=True):
            assert torch.equal(one[: len(two)], two[: len(one)])
