from __future__ import annotations

import pytest

from tl_run.compare.choosing import Tried, better, outrun, widened


def scored(scores):
    return {rate: Tried(score) for rate, score in scores.items()}


def test_the_best_rate_is_chosen_in_the_metrics_direction_and_the_middle_one_of_equals():
    scores = scored({0.01: 0.8, 0.001: 0.8, 0.0001: 0.8, 0.003: 0.7, 0.03: None, 0.1: float("nan")})
    assert better(scores, "max") == 0.001
    assert better(scores, "min") == 0.003
    assert better({0.1: Tried(None)}, "max") is None


def test_of_rates_with_equal_scores_the_one_with_the_lower_loss_is_chosen():
    """A validation set of twenty samples is all right at several rates, at the lowest of them by a hair."""
    tried = {0.0001: Tried(1.0, 0.4), 0.001: Tried(1.0, 0.2), 0.003: Tried(1.0, 0.1), 0.01: Tried(0.95, 0.01)}
    assert better(tried, "max") == 0.003
    assert widened(tried, "max") is None
    assert better({**tried, 0.001: Tried(1.0, None), 0.003: Tried(1.0, float("nan"))}, "max") == 0.0001


@pytest.mark.parametrize(
    ("scores", "direction", "more"),
    [
        ({0.001: 0.9, 0.003: 0.8, 0.01: 0.7}, "max", 0.000333),
        ({0.001: 0.9, 0.003: 0.8, 0.01: 0.7}, "min", 0.0333),
        ({0.001: 0.7, 0.003: 0.8, 0.01: 0.7}, "max", None),
        ({0.003: 0.8}, "max", None),
        ({0.001: None, 0.003: None}, "max", None),
    ],
)
def test_the_grid_is_widened_where_the_best_is_at_its_edge(scores, direction, more):
    assert widened(scored(scores), direction) == more


SCORES = {
    "leader": {0: 0.90, 1: 0.92, 2: 0.91},
    "behind": {0: 0.80, 1: 0.83, 2: 0.81},
    "near": {0: 0.89, 1: 0.93, 2: 0.90},
    "scratch": {0: 0.50, 1: 0.52, 2: 0.51},
}


def test_only_an_arm_that_is_surely_behind_stops_and_the_baseline_never():
    found = outrun(SCORES, "max", ["scratch"])
    assert list(found) == ["behind"]
    # differences -0.10, -0.09, -0.10: mean -0.0967, s 0.005774, t(2; 0.975) = 4.3027, half 0.01434
    assert found["behind"] == pytest.approx((-0.11101, -0.08232), abs=1e-5)


def test_of_a_loss_the_lower_one_leads():
    turned = {arm: {seed: -value for seed, value in found.items()} for arm, found in SCORES.items()}
    assert outrun(turned, "min", ["scratch"]) == outrun(SCORES, "max", ["scratch"])


def test_nothing_is_judged_before_three_seeds_with_a_score():
    two = {arm: {0: found[0], 1: found[1]} for arm, found in SCORES.items()}
    assert outrun(two, "max", []) == {}
    lacking = {**SCORES, "behind": {0: 0.1, 1: None, 2: float("nan")}}
    assert outrun(lacking, "max", ["scratch"]) == {}
