import math

import numpy as np
import pytest
from scipy import stats
from torch import tensor
from torchmetrics.functional.classification import binary_calibration_error

from tl_run.report.statistics import (
    CANNOT_TELL,
    HELPS,
    HURTS,
    best_of,
    calibration,
    holm,
    null_control,
    paired,
    power,
    seeds_needed,
    verdict,
)


@pytest.mark.parametrize("count", [2, 3, 5, 20])
@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.02])
def test_difference_interval_and_p_value_are_scipys(count, shift):
    random = np.random.default_rng(count)
    base = random.normal(0.7, 0.05, count)
    arm = base + random.normal(shift, 0.03, count)
    seeds = range(count)

    found = paired(dict(zip(seeds, arm, strict=True)), dict(zip(seeds, base, strict=True)))

    theirs = stats.ttest_rel(arm, base)
    low, high = theirs.confidence_interval(0.95)
    assert found.count == count
    assert found.mean == pytest.approx((arm - base).mean())
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(theirs.pvalue)


def test_pairs_are_by_seed_and_a_lower_error_is_a_gain():
    found = paired({3: 1.0, 1: 2.0, 9: 0.0}, {1: 4.0, 3: 2.0, 8: 0.0}, direction="min")

    assert (found.count, found.mean) == (2, 1.5)


def test_what_is_not_finite_and_what_has_no_partner_is_left_out():
    assert paired({0: math.nan, 1: 0.5, 2: 0.6}, {0: 0.1, 1: 0.4, 3: 0.4}).count == 1


def test_one_pair_tells_nothing():
    found = paired({0: 0.9}, {0: 0.1})

    assert (found.low, found.high, found.p) == (-math.inf, math.inf, 1.0)
    assert verdict(found, 1.0) == CANNOT_TELL
    assert seeds_needed(found) is None


def test_equal_runs_are_no_difference_and_equal_gains_are_sure_by_their_number_alone():
    same = paired({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6})
    more = paired({0: 0.75, 1: 1.0}, {0: 0.5, 1: 0.75})

    assert (same.mean, same.p, verdict(same, same.p)) == (0.0, 1.0, CANNOT_TELL)
    assert (more.mean, more.p, verdict(more, more.p)) == (0.25, 0.5, CANNOT_TELL)
    assert not more.clear and seeds_needed(more) == 6 and seeds_needed(more, arms=2) == 7
    six = paired(dict.fromkeys(range(6), 0.75), dict.fromkeys(range(6), 0.5))
    assert (six.p, verdict(six, six.p)) == (2**-5, HELPS)


def test_holm_on_the_example_of_the_textbook():
    # statsmodels' multipletests([0.01, 0.04, 0.03, 0.005], method="holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_of_one_is_itself_and_of_none_is_none():
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_what_helps_alone_may_not_among_many():
    found = paired({0: 0.6, 1: 0.64, 2: 0.58}, {0: 0.5, 1: 0.5, 2: 0.5})

    assert verdict(found, holm([found.p])[0]) == HELPS
    assert verdict(found, holm([found.p, 0.9, 0.8, 0.7])[0]) == CANNOT_TELL


def test_what_is_clearly_worse_hurts():
    found = paired({0: 0.4, 1: 0.41, 2: 0.39}, {0: 0.5, 1: 0.5, 2: 0.5})

    assert verdict(found, found.p) == HURTS
    assert found.clear


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_tables(effect, seeds):
    # Matched pairs, two-sided 5 %, power 80 %: G*Power 3.1.
    spread = 0.1
    values = [effect * spread + z * spread for z in (-1, 0, 1)]  # a standard deviation of `spread`
    found = paired(dict(enumerate(values)), dict.fromkeys(range(3), 0.0))

    assert seeds_needed(found) == seeds


def test_power_is_that_of_the_noncentral_t():
    critical = stats.t.ppf(1 - 0.05 / 6, 6)

    assert power(0.7, 7, arms=3) == pytest.approx(stats.nct.sf(critical, 6, 0.7 * math.sqrt(7)), rel=1e-6)


def test_more_arms_need_more_seeds_and_a_hair_needs_too_many():
    found = paired(dict(enumerate([0.0, 0.1, 0.2])), dict.fromkeys(range(3), 0.0))
    hair = paired(dict(enumerate([-1.0, 0.0, 1.001])), dict.fromkeys(range(3), 0.0))

    assert seeds_needed(found, 8) > seeds_needed(found)
    assert seeds_needed(hair) is None


def test_null_control_is_exactly_zero_or_says_by_how_much():
    assert null_control({0: 0.1, 1: 0.2}, {0: 0.1, 1: 0.2}) == 0
    assert null_control({0: 0.1, 1: 0.2}, {0: 0.1, 1: 0.2 + 1e-16}) == abs(0.2 - (0.2 + 1e-16))
    assert null_control({0: 0.1, 1: 0.25}, {0: 0.1, 1: 0.5}) == 0.25
    assert math.isnan(null_control({0: math.nan, 1: 0.25}, {0: 0.1, 1: 0.25}))
    assert null_control({0: 0.1}, {1: 0.1}) is None


def test_best_is_by_the_seeds_that_all_have():
    values = {"scratch": {0: 0.5, 1: 0.5}, "lucky": {0: 0.4, 1: 0.4, 2: 0.9}, "good": {0: 0.6, 1: 0.5}}

    assert best_of(values) == "good"
    assert best_of(values, "min") == "lucky"
    assert best_of({"a": {0: math.nan}, "b": {1: 0.1}}) == "b"
    assert best_of({}) is None


def test_calibration_error_is_that_of_torchmetrics():
    random = np.random.default_rng(0)
    scores = random.uniform(0.02, 0.98, 500)
    right = (random.uniform(size=500) < scores**2).astype(float)

    found = calibration(scores.tolist(), right.tolist(), bins=10)

    theirs = binary_calibration_error(tensor(scores), tensor(right).long(), n_bins=10, norm="l1")
    assert found.error == pytest.approx(float(theirs), abs=1e-6)
    assert sum(found.counts) == 500


def test_certain_and_right_is_calibrated():
    assert calibration([1.0, 1.0], [1.0, 1.0]).error == 0
    assert calibration([], []) is None


def test_equal_gains_of_scores_in_float32_are_no_spread():
    """0.625 and 0.75 are the same step apart as 0.9 and 0.775, save for rounding."""
    scores = {0: (0.7, 0.8), 1: (0.8, 0.9), 2: (0.1, 0.2)}
    before, after = ({seed: float(np.float32(pair[i])) for seed, pair in scores.items()} for i in (0, 1))
    found = paired(after, before)
    assert (found.spread, found.p, verdict(found, found.p)) == (0.0, 0.25, CANNOT_TELL)
