"""Numbers that follow from the seed: range, spread, and independence of everything else."""

from __future__ import annotations

import torch

from adtool.layers.draws import between, uniform, whole

SEEDS = torch.tensor([0, 1, 2**40 + 5, 2**63 - 1])


def test_numbers_depend_on_seed_stream_and_place_alone() -> None:
    drawn = uniform(SEEDS, 3, 10)
    assert torch.equal(uniform(SEEDS[[2, 0]], 3, 10), drawn[[2, 0]])
    assert torch.equal(uniform(SEEDS, 3, 37)[:, :10], drawn)
    assert not (uniform(SEEDS, 4, 10) == drawn).any()
    assert len(set(drawn.flatten().tolist())) == drawn.numel()


def test_seeds_that_differ_in_one_bit_of_either_half_share_nothing() -> None:
    for bit in (0, 31, 32, 62):
        one, other = uniform(torch.tensor([7, 7 ^ 1 << bit]), 0, 8)
        assert not (one == other).any()


def test_numbers_are_uniform_multiples_of_a_24th_power_of_a_half() -> None:
    drawn = uniform(torch.arange(100), 0, 1000)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert torch.equal(drawn * 2**24, (drawn * 2**24).round())
    counts = torch.histc(drawn, 10, 0, 1) / drawn.numel()
    assert (counts - 0.1).abs().max() < 0.004  # four times the spread of a share of 100,000 numbers
    assert abs(torch.corrcoef(drawn[:, :2].T)[0, 1]) < 0.4


def test_scales() -> None:
    drawn = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert between(drawn, -1, 3)[:2].tolist() == [-1, 1]
    for choices in (1, 3, 64, 1000, 5640):
        assert whole(drawn, choices).tolist() == [0, choices // 2, choices - 1]
