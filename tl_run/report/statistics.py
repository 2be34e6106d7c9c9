"""Whether an arm is better than its baseline: paired differences over seeds, with nothing but numbers in and out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

LEVEL = 0.05  # of the family of arms: the largest chance that any of them is called better or worse by luck alone
POWER = 0.8  # the chance of a verdict that seeds are counted for
MOST_SEEDS = 1000
ROUNDING = 1e-6  # of a score in float32: a spread below that share of the mean is none
HELPS, HURTS, CANNOT_TELL = "helps", "hurts", "cannot tell"


@dataclass(frozen=True)
class Paired:
    """Differences of an arm to its baseline, paired by seed.

    Args:
        count: Pairs.
        mean: Their mean difference, positive where the arm is better; NaN without a pair.
        spread: The standard deviation of the differences; NaN with fewer than two pairs.
        low: Lower end of the 95 % interval of the mean; minus infinity with fewer than two pairs.
        high: Its upper end.
        p: Two-sided p-value of no difference; 1 with fewer than two pairs.
    """

    count: int
    mean: float
    spread: float
    low: float
    high: float
    p: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def paired(arm: Mapping[int, float], baseline: Mapping[int, float], direction: str = "max") -> Paired:
    """Compare an arm with its baseline on the seeds that both have, by Student's paired t-test (Student 1908).

    Differences that are all the same have no spread to test by: there p is that of their sign alone (Fisher 1935), and
    no interval is known.

    Args:
        arm: Value by seed; seeds whose value is not finite are left out.
        baseline: The same of the baseline.
        direction: `max` or `min`: which values are better.
    """
    sign = -1.0 if direction == "min" else 1.0
    seeds = [seed for seed in arm if seed in baseline and math.isfinite(arm[seed]) and math.isfinite(baseline[seed])]
    differences = [sign * (arm[seed] - baseline[seed]) for seed in seeds]
    count = len(differences)
    mean = statistics.fmean(differences) if differences else math.nan
    if count < 2:
        return Paired(count, mean, math.nan, -math.inf, math.inf, 1.0)
    from scipy.special import stdtr, stdtrit

    spread = statistics.stdev(differences)
    error = spread / math.sqrt(count)
    half = float(stdtrit(count - 1, 1 - LEVEL / 2)) * error
    if error <= ROUNDING * abs(mean) and mean != 0:  # of a score in few steps; the test would be sure after two seeds
        return Paired(count, mean, 0.0, -math.inf, math.inf, 2.0 ** (1 - count))
    p = 2 * float(stdtr(count - 1, -abs(mean) / error)) if error > 0 else 1.0
    return Paired(count, mean, spread, mean - half, mean + half, p)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values that are corrected for being several (Holm 1979), in the order given.

    Args:
        values: The p-values of one family.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected = [1.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = largest
    return corrected


def verdict(difference: Paired, corrected: float) -> str:
    """Return `helps`, `hurts` or `cannot tell`.

    Args:
        difference: An arm's difference to its baseline.
        corrected: Its p-value, corrected over the arms.
    """
    if corrected >= LEVEL or not difference.mean:
        return CANNOT_TELL
    return HELPS if difference.mean > 0 else HURTS


def seeds_needed(difference: Paired, arms: int = 1) -> int | None:
    """Return how many seeds a verdict is likely to need, if mean and spread stay as they are seen.

    It is the least number with which the paired t-test finds a difference of that size with a chance of 80 %, at the
    strictest level that Holm's correction asks of one of so many arms (noncentral t; Cohen 1988, section 2.4).

    Args:
        difference: What was seen.
        arms: Arms in the family.

    Returns:
        The number, or None where a thousand are not enough or nothing can be said of it.
    """
    if difference.count < 2 or difference.mean == 0:
        return None
    if difference.spread == 0:
        return 2 + math.floor(math.log2(arms / LEVEL))  # least n with 2 ** (1 - n) below the level
    effect = abs(difference.mean) / difference.spread
    low, high = 1, MOST_SEEDS  # enough with `high`, not with `low`
    if power(effect, high, arms) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(effect, middle, arms) >= POWER else (middle, high)
    return high


def power(effect: float, seeds: int, arms: int = 1) -> float:
    """Return the chance that a paired t-test finds a difference.

    Args:
        effect: The mean difference in standard deviations of the differences.
        seeds: Pairs.
        arms: Arms among which the level is divided.
    """
    if seeds < 2:
        return 0.0
    from scipy.special import nctdtr, stdtrit

    critical = float(stdtrit(seeds - 1, 1 - LEVEL / (2 * arms)))
    shift = effect * math.sqrt(seeds)
    above = 1 - float(nctdtr(seeds - 1, shift, critical))
    return 0.0 if math.isnan(above) else above


def null_control(arm: Mapping[int, float], baseline: Mapping[int, float]) -> float | None:
    """Return the largest absolute difference over the seeds of an arm that has to equal its baseline.

    Args:
        arm: Value by seed of an arm that shares nothing with its source.
        baseline: The same of the baseline.

    Returns:
        Exactly zero where all is well; NaN where a value is not a number; None without a pair.
    """
    gaps = [abs(arm[seed] - baseline[seed]) for seed in arm if seed in baseline]
    if not gaps:
        return None
    return math.nan if any(math.isnan(gap) for gap in gaps) else max(gaps)


def best_of(values: Mapping[str, Mapping[int, float]], direction: str = "max") -> str | None:
    """Return the arm whose mean is best over the seeds that all arms have, the first of equals.

    Args:
        values: By arm, validation value by seed.
        direction: `max` or `min`.
    """
    known = {
        name: {seed: value for seed, value in by_seed.items() if math.isfinite(value)}
        for name, by_seed in values.items()
    }
    known = {name: by_seed for name, by_seed in known.items() if by_seed}
    if not known:
        return None
    shared = set.intersection(*(set(by_seed) for by_seed in known.values()))
    sign = -1.0 if direction == "min" else 1.0
    return max(
        known,
        key=lambda name: sign * statistics.fmean(v for s, v in known[name].items() if s in (shared or known[name])),
    )


class Calibration(NamedTuple):
    """How often predictions are right, by the probability they were given.

    Args:
        error: The expected calibration error: the mean distance of the two, by samples.
        scores: By bin, the mean probability; bins without samples are left out.
        shares: By bin, the share of right predictions.
        counts: By bin, the samples.
    """

    error: float
    scores: list[float]
    shares: list[float]
    counts: list[int]


def calibration(scores: Sequence[float], right: Sequence[float], bins: int = 10) -> Calibration | None:
    """Return how well probabilities tell how often a prediction is right (Guo et al. 2017, equation 3).

    Args:
        scores: The probability of each prediction, 0 to 1.
        right: Whether each is right, 1 or 0.
        bins: Bins of equal width.

    Returns:
        The calibration, or None without samples.
    """
    if not scores:
        return None
    filled: dict[int, list[tuple[float, float]]] = {}
    for score, hit in zip(scores, right, strict=True):
        filled.setdefault(max(0, math.ceil(score * bins) - 1), []).append((score, hit))
    means, shares, counts = [], [], []
    for index in sorted(filled):
        inside = filled[index]
        means.append(statistics.fmean(score for score, _ in inside))
        shares.append(statistics.fmean(hit for _, hit in inside))
        counts.append(len(inside))
    gaps = (count * abs(mean - share) for mean, share, count in zip(means, shares, counts, strict=True))
    return Calibration(sum(gaps) / len(scores), means, shares, counts)
