"""What a comparison chooses, by validation alone: each arm's rate, and which arms go on; no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import NamedTuple

from tl_run.compare.options import RACE_AFTER
from tl_run.report.statistics import paired


class Tried(NamedTuple):
    """What a rate gave on validation.

    Args:
        score: The score; None where the run failed or the score is undefined.
        loss: The loss of the same checkpoint; None where it is not known.
    """

    score: float | None
    loss: float | None = None


def better(values: Mapping[float, Tried], direction: str) -> float | None:
    """Return the rate with the best score, None where no rate has one.

    A score of few validation samples is often the same for several rates. Of these it is the rate with the lower loss,
    as for checkpoints; where that is not known, the one in the middle.

    Args:
        values: What was found, by rate.
        direction: `max` or `min`.
    """
    sign = 1 if direction == "max" else -1
    known = {rate: found for rate, found in values.items() if found.score is not None and math.isfinite(found.score)}
    if not known:
        return None
    middle = mean(math.log(rate) for rate in known)

    def merit(rate: float) -> tuple[float, float, float]:
        score, loss = known[rate]
        lower = -loss if loss is not None and math.isfinite(loss) else -math.inf
        return sign * (score or 0.0), lower, -abs(math.log(rate) - middle)

    return max(sorted(known), key=merit)


def widened(values: Mapping[float, Tried], direction: str) -> float | None:
    """Return the rate to try beyond the grid where the best one is at its edge, else None.

    It is as far from the edge as the edge is from its neighbour, as a factor.

    Args:
        values: What was found, by rate.
        direction: `max` or `min`.
    """
    rates, best = sorted(values), better(values, direction)
    if best is None or len(rates) < 2:
        return None
    if best == rates[0]:
        return float(f"{rates[0] * rates[0] / rates[1]:.3g}")
    if best == rates[-1]:
        return float(f"{rates[-1] * rates[-1] / rates[-2]:.3g}")
    return None


def outrun(
    scores: Mapping[str, Mapping[int, float | None]], direction: str, kept: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return the arms that are surely behind the leader, with the interval of their distance to it.

    The leader is the arm with the best mean. An arm is behind where the 95 % interval of its paired difference to the
    leader lies wholly below zero, a better score being the larger one. Nothing is judged before three seeds.

    Args:
        scores: Validation scores by arm and seed, of the arms that go on.
        direction: `max` or `min`.
        kept: Arms that go on whatever their score, such as the baseline.
    """
    finite = {
        arm: {seed: value for seed, value in found.items() if value is not None and math.isfinite(value)}
        for arm, found in scores.items()
    }
    finite = {arm: found for arm, found in finite.items() if len(found) >= RACE_AFTER}
    if not finite:
        return {}
    sign = 1 if direction == "max" else -1
    leader = max(sorted(finite), key=lambda arm: sign * mean(finite[arm].values()))
    behind = {}
    for arm, found in finite.items():
        if arm == leader or arm in kept:
            continue
        gap = paired(found, finite[leader], direction)
        if gap.count >= RACE_AFTER and gap.high < 0:
            behind[arm] = (gap.low, gap.high)
    return behind
