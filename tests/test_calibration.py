"""Conformal thresholds, p-values and scales from held-out good images."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adtool.calibration import Calibration, conformal_quantile
from adtool.errors import AdtoolError, ModelFileError


def calibrate(scores, rate=0.1):
    """A calibration whose maps span half the score to the score."""
    return Calibration.fit(scores, [score / 2 for score in scores], scores, rate)


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [
        (9, 0.1, 9),  # 10 * 0.9
        (19, 0.1, 18),  # 20 * 0.9
        (19, 0.05, 19),  # 20 * 0.95
        (20, 0.1, 19),  # 21 * 0.9 = 18.9
        (99, 0.01, 99),  # 100 * 0.99
        (9, 0.3, 7),  # 10 * 0.7, which is 7.000000000000001 in floating point
        (999, 0.001, 999),
        (1, 0.5, 1),
        (3, 0.01, 3),  # 3.96 exceeds 3: the largest
    ],
)
def test_the_threshold_has_the_hand_worked_rank(count, rate, rank):
    scores = list(range(1, count + 1))
    assert conformal_quantile(reversed(scores), rate) == rank
    assert calibrate(scores, rate).threshold == rank
    assert calibrate(scores, rate).pixel_threshold == rank


def test_p_values_by_hand():
    calibration = calibrate([3.0, 1.0, 2.0, 2.0])
    assert calibration.p_value(0.5) == 1.0
    assert calibration.p_value(1.0) == 1.0  # all four are at least as large: (1 + 4) / 5
    assert calibration.p_value(1.5) == 4 / 5
    assert calibration.p_value(2.0) == 4 / 5  # ties count as larger
    assert calibration.p_value(2.5) == 2 / 5
    assert calibration.p_value(3.0) == 2 / 5
    assert calibration.p_value(3.5) == 1 / 5


def test_the_threshold_itself_is_still_good():
    calibration = calibrate(range(1, 10))
    assert not calibration.is_anomalous(9.0)
    assert calibration.is_anomalous(np.nextafter(9.0, 10.0))


def test_too_few_images_say_which_rate_they_support():
    calibration = calibrate([1.0, 5.0, 2.0], rate=0.01)
    assert calibration.threshold == 5.0
    assert calibration.supported_rate == 0.25
    assert calibration.note == (
        "3 held-out good images support a false alarm rate of 0.25 at best, not 0.01: "
        "the threshold is their largest score; hold out at least 99 for 0.01"
    )


@pytest.mark.parametrize(("rate", "enough"), [(0.1, 9), (0.01, 99), (0.05, 19), (0.03, 33), (0.5, 1)])
def test_the_note_ends_where_the_rate_is_supported(rate, enough):
    assert calibrate(range(enough), rate).note == ""
    assert calibrate(range(enough), rate).supported_rate <= rate
    if enough > 1:
        assert f"at least {enough} " in calibrate(range(enough - 1), rate).note


def test_false_alarms_keep_to_the_rate_on_average():
    # Uniform scores: a threshold t lets a share 1 - t of good images through, and rank k of n has mean k / (n + 1).
    rng = np.random.default_rng(0)
    for count, rate, expected in [(19, 0.1, 2 / 20), (50, 0.1, 5 / 51), (4, 0.1, 1 / 5)]:
        alarms = [1 - conformal_quantile(rng.random(count), rate) for _ in range(4000)]
        assert np.mean(alarms) == pytest.approx(expected, abs=4 * np.std(alarms) / np.sqrt(4000))


def test_ties_only_lower_the_false_alarms():
    rng = np.random.default_rng(1)
    alarms = [rng.integers(0, 5) > conformal_quantile(rng.integers(0, 5, 19), 0.1) for _ in range(4000)]
    assert np.mean(alarms) <= 0.1


def test_p_values_are_valid():
    # P(p <= a) <= a, with equality where a is a multiple of 1 / (n + 1) and there are no ties
    rng = np.random.default_rng(2)
    p_values = np.array([calibrate(rng.random(19)).p_value(rng.random()) for _ in range(4000)])
    for a in (0.05, 0.1, 0.5):
        assert np.mean(p_values <= a + 1e-12) == pytest.approx(a, abs=4 * np.sqrt(a * (1 - a) / 4000))


scores = st.lists(st.integers(-4, 4).map(float) | st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40)


@settings(derandomize=True, deadline=None)
@given(scores, st.sampled_from([0.01, 0.1, 0.3, 0.5]), st.floats(-1e6, 1e6, width=32))
def test_anomalous_exactly_where_the_p_value_is_small(scores, rate, score):
    calibration = calibrate(scores, rate)
    level = max(rate, calibration.supported_rate)
    assert calibration.is_anomalous(score) == (calibration.p_value(score) <= level + 1e-12)


@settings(derandomize=True, deadline=None)
@given(scores, st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=10))
def test_normalized_is_increasing_and_half_at_the_threshold(scores, values):
    calibration = calibrate(scores)
    assert calibration.normalized(calibration.threshold) == 0.5
    grid = sorted(set(values) | set(scores))
    normalized = [calibration.normalized(value) for value in grid]
    assert all(0 <= a <= b <= 1 for a, b in pairwise(normalized))
    assert all((n > 0.5) == calibration.is_anomalous(v) for n, v in zip(normalized, grid, strict=True))


def test_normalized_by_hand():
    # Scores 0..20: median 10, 95 % quantile the 20th smallest = 19, spread 9; threshold the 20th of 21 = 19.
    calibration = calibrate(range(21), rate=0.1)
    assert calibration.threshold == 19
    assert calibration.normalized(19 + 9) == 0.75
    assert calibration.normalized(19 + 4.5) == pytest.approx(2 / 3, abs=1e-15)
    assert calibration.normalized(10) == 0.25
    assert 0.999 < calibration.normalized(1e6) < calibration.normalized(2e6) < 1
    assert all(calibration.normalized(k) < calibration.normalized(k + 1) for k in range(-1000, 1000))


@pytest.mark.parametrize("constant", [0.0, 1e-6, -3.0, 1e6])
def test_constant_scores_still_give_a_scale(constant):
    calibration = Calibration.fit([constant] * 20, [constant] * 20, [constant] * 20, 0.1)
    assert calibration.threshold == calibration.pixel_threshold == constant
    assert not calibration.is_anomalous(constant)
    below, above = calibration.normalized(constant - 1), calibration.normalized(constant + 1)
    assert 0 <= below < 0.5 < above <= 1
    assert calibration.map_high > calibration.map_low == constant


def test_the_colour_scale_has_the_pixel_threshold_in_its_middle():
    calibration = Calibration.fit(
        [1, 2, 3], map_medians=[0.2, 0.1, 0.4], map_maxima=[1.0, 3.0, 2.0], false_alarm_rate=0.25
    )
    assert calibration.map_low == 0.2
    assert calibration.pixel_threshold == 3.0
    assert (calibration.map_low + calibration.map_high) / 2 == pytest.approx(3.0, abs=1e-15)


def test_the_colour_scale_ascends_even_where_the_rate_is_large():
    calibration = Calibration.fit([1, 2, 3], map_medians=[5, 5, 0], map_maxima=[6, 6, 1], false_alarm_rate=0.9)
    assert calibration.pixel_threshold == 1.0
    assert calibration.map_high > calibration.map_low


def test_a_threshold_by_hand_moves_the_verdict_only():
    calibration = calibrate(range(1, 10))
    moved = calibration.with_threshold(4)
    assert moved.is_anomalous(5)
    assert moved.normalized(4) == 0.5
    assert moved.p_value(5) == calibration.p_value(5)
    with pytest.raises(AdtoolError, match="--threshold is nan"):
        calibration.with_threshold(float("nan"))


def test_json_round_trip():
    calibration = Calibration.fit(np.float32([0.1, 0.7, 0.3]), np.float32([0, 0, 0.1]), [1, 2, 3], np.float64(0.3))
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("threshold"),
        lambda record: record.update(surprise=1),
        lambda record: record.update(threshold="high"),
        lambda record: record.update(threshold=float("inf")),
        lambda record: record.update(scores=[]),
        lambda record: record.update(scores=3),
        lambda record: record.update(scores=[2.0, 1.0]),
        lambda record: record.update(scores=[1.0, None]),
    ],
)
def test_a_damaged_record_is_a_model_file_error(damage):
    record = calibrate([1.0, 2.0]).to_json()
    damage(record)
    with pytest.raises(ModelFileError, match="calibration: "):
        Calibration.from_json(record)


@pytest.mark.parametrize("record", [None, [], "x"])
def test_a_foreign_record_is_a_model_file_error(record):
    with pytest.raises(ModelFileError, match="calibration: "):
        Calibration.from_json(record)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 2, float("nan")])
def test_an_impossible_rate_is_an_error(rate):
    with pytest.raises(AdtoolError, match="--false-alarm-rate"):
        calibrate([1.0, 2.0], rate)


def test_scores_that_cannot_calibrate_are_errors():
    with pytest.raises(AdtoolError, match="at least one held-out good image"):
        calibrate([])
    with pytest.raises(AdtoolError, match="score of image 1 is nan"):
        calibrate([1.0, float("nan")])
    with pytest.raises(AdtoolError, match="map maximum of image 0 is inf"):
        Calibration.fit([1.0], [0.0], [float("inf")])
    with pytest.raises(AdtoolError, match="2 scores, 1 map medians, 2 map maxima"):
        Calibration.fit([1.0, 2.0], [1.0], [1.0, 2.0])
    for judge in (calibrate([1.0]).p_value, calibrate([1.0]).normalized, calibrate([1.0]).is_anomalous):
        with pytest.raises(AdtoolError, match="score is nan"):
            judge(float("nan"))


def test_importing_does_not_import_torch():
    code = "import sys, adtool.calibration; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
