"""AUROC, average precision and F1-max of labelled scores."""

from __future__ import annotations

import brute_force
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from adtool.errors import AdtoolError
from adtool.metrics import auroc, average_precision, f1_max, oracle

pytestmark = pytest.mark.usefixtures("sorter")

LABELS, SCORES = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]

grid = st.integers(-3, 3).map(float)  # few values: many ties
anything = st.floats(-1e30, 1e30, allow_nan=False) | st.floats(-1, 1, width=32)


def labelled(scores):
    """Lists of (label, score) in which both labels occur."""
    rows = st.lists(st.tuples(st.integers(0, 1), scores), min_size=2, max_size=30)
    return rows.filter(lambda rows: len({label for label, _ in rows}) == 2).map(lambda rows: zip(*rows, strict=True))


def test_auroc_by_hand():
    assert auroc(LABELS, SCORES) == 0.75  # of four pairs, only (0.35, 0.4) is out of order


def test_auroc_counts_ties_half():
    # pairs (anomalous, good): (2, 1) won, (2, 2) tied, (3, 1) won, (3, 2) won
    assert auroc([0, 0, 1, 1], [1, 2, 2, 3]) == 3.5 / 4


def test_auroc_of_constant_scores_is_a_half():
    assert auroc([0, 1, 0, 1, 1], [7.0] * 5) == 0.5


def test_auroc_of_negated_scores_is_the_complement():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), rng.integers(0, 20, 200)
    assert auroc(labels, -scores) == pytest.approx(1 - auroc(labels, scores), abs=1e-15)


def test_average_precision_by_hand():
    # descending: 0.8 hit (recall 1/2, precision 1), 0.4 miss, 0.35 hit (recall 1, precision 2/3)
    assert average_precision(LABELS, SCORES) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3, abs=1e-15)


def test_average_precision_of_constant_scores_is_the_share_of_anomalies():
    assert average_precision([1, 0, 0, 0, 1], [3.0] * 5) == 2 / 5


def test_f1_max_by_hand():
    # at 0.8: 2/(2+0+1); at 0.4: 2/(2+1+1); at 0.35: 4/(4+1+0); at 0.1: 4/(4+2+0)
    assert f1_max(LABELS, SCORES) == (0.8, pytest.approx(0.35, abs=1e-15))


def test_f1_max_takes_the_largest_of_equal_thresholds():
    # F1 is 2/3 at 3 (one hit of two) and again at 1 (two hits, two false alarms)
    assert f1_max([1, 0, 0, 1], [3, 2, 2, 1]) == (2 / 3, 3.0)


def test_oracle_by_hand():
    point = oracle(LABELS, SCORES)
    assert (point.f1, point.precision, point.recall, point.accuracy) == (0.8, 2 / 3, 1.0, 3 / 4)


def test_single_class_is_none():
    assert auroc([0, 0], [1, 2]) is None
    assert auroc([1, 1], [1, 2]) is None
    assert average_precision([0, 0], [1, 2]) is None
    assert f1_max([0, 0], [1, 2]) is None
    assert oracle([0, 0], [1, 2]) is None
    assert auroc([], []) is None


def test_only_anomalous_images_have_perfect_precision():
    assert average_precision([1, 1], [1, 2]) == 1.0
    assert oracle([1, 1], [1, 2]) == (1.0, 1.0, 1.0, 1.0, 1.0)


@settings(derandomize=True, deadline=None)
@given(labelled(grid) | labelled(anything))
def test_agrees_with_the_definitions(rows):
    labels, scores = map(list, rows)
    assert auroc(labels, scores) == pytest.approx(brute_force.auroc(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(brute_force.average_precision(labels, scores), abs=1e-12)
    assert f1_max(labels, scores) == brute_force.f1_max(labels, scores)


@settings(derandomize=True, deadline=None)
@given(labelled(grid), st.randoms(use_true_random=False))
def test_order_of_images_and_increasing_transforms_change_nothing(rows, random):
    labels, scores = map(list, rows)
    order = random.sample(range(len(labels)), len(labels))
    shuffled = [labels[i] for i in order], [np.exp(scores[i]) * 3 - 1e-3 for i in order]
    assert auroc(*shuffled) == auroc(labels, scores)
    assert average_precision(*shuffled) == average_precision(labels, scores)
    assert f1_max(*shuffled)[0] == f1_max(labels, scores)[0]


@pytest.mark.parametrize("decimals", [1, 9])
def test_agrees_with_scikit_learn(decimals):
    rng = np.random.default_rng(1)
    labels = rng.random(3000) < 0.1
    scores = np.round(rng.normal(size=3000) + labels, decimals)
    assert auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_float64_scores_are_not_rounded_to_float32():
    close = 1 + 1e-12  # equal to 1 in float32
    assert auroc([0, 1], [1.0, close]) == 1.0
    assert auroc([0, 1], [close, 1.0]) == 0.0
    assert auroc([0, 1], [-close, -1.0]) == 1.0
    assert f1_max([0, 1], [1.0, close]) == (1.0, close)


def test_negative_zero_equals_zero():
    assert auroc([0, 1], [-0.0, 0.0]) == 0.5
    assert auroc([0, 1], [np.float32(0.0), np.float32(-0.0)]) == 0.5


def test_subnormal_and_extreme_scores_are_ordered():
    scores = [-1e308, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1e308]
    for cut in range(1, len(scores)):
        assert auroc([0] * cut + [1] * (len(scores) - cut), scores) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_takes_tensors(dtype):
    scores = torch.tensor([1, 4, 3, 8], dtype=dtype)
    assert auroc(torch.tensor([False, False, True, True]), scores) == 0.75


def test_takes_tensors_that_require_grad():
    assert auroc(torch.tensor(LABELS), torch.tensor(SCORES, requires_grad=True)) == 0.75


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_names_the_image(bad):
    with pytest.raises(AdtoolError, match=rf"image 2: the score is {bad}"):
        auroc([0, 1, 1], [0.1, 0.2, bad])


def test_wrong_labels_and_lengths_are_errors():
    with pytest.raises(AdtoolError, match="image 1: the label is 2"):
        auroc([0, 2], [1, 2])
    with pytest.raises(AdtoolError, match="same length"):
        auroc([0, 1, 1], [1, 2])
