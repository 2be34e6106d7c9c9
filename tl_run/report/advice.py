"""What an advisor had said before a comparison, and how often it was right; no torch."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

NAME, SCHEMA = "advice.json", 1
PLANNED = "planned"  # the status of a comparison's run that is still to be
LEAST = 3  # arms that make an order


class Rates(NamedTuple):
    """How well an order of arms agrees with what came out.

    Args:
        correlation: Spearman's rank correlation with the arms' mean test scores.
        first: How much worse the arm in first place is than the best one, as a share of the span from the worst to the
            best: 0 is best.
        third: The same of the best of the first three.
    """

    correlation: float
    first: float
    third: float


REGRET = "regret is of the span from the worst arm to the best, 0 % being best"


class Record(NamedTuple):
    """The hit rate of several orders, as means.

    Args:
        comparisons: Of how many.
        advised: Of the orders that the advisor gave.
        fixed: Of the fixed list.
    """

    comparisons: int
    advised: Rates
    fixed: Rates


def read_advice(folder: Path) -> dict[str, Any] | None:
    """Return what was said before a comparison; None where nothing was kept that can be read.

    Args:
        folder: The comparison's folder.
    """
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    fits = isinstance(found, dict) and found.get("schema") == SCHEMA
    if not fits or not all(isinstance(found.get(key), list) for key in ("order", "fixed", "lines")):
        return None
    return dict(found)


def rates(order: Sequence[str], outcome: Mapping[str, float], direction: str) -> Rates | None:
    """Return how well an order agrees with what came out; None where fewer than three arms have both.

    Args:
        order: Names of arms, the best first.
        outcome: Score by arm.
        direction: Whether it is better higher (`max`) or lower (`min`).
    """
    sign = 1 if direction == "max" else -1
    known = [name for name in order if math.isfinite(outcome.get(name, math.nan))]
    values = [sign * outcome[name] for name in known]
    if len(known) < LEAST:
        return None
    best, span = max(values), max(values) - min(values)
    if span == 0:
        return Rates(0.0, 0.0, 0.0)
    first, third = ((best - max(values[:count])) / span for count in (1, 3))
    return Rates(spearman([-place for place in range(len(known))], values), first, third)


def spearman(ones: Sequence[float], others: Sequence[float]) -> float:
    """Return the rank correlation of two sequences; equal values share their ranks' mean.

    Args:
        ones: Values.
        others: As many.
    """
    return statistics.correlation(_ranks(ones), _ranks(others))


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < one for other in values) + (sum(other == one for other in values) - 1) / 2 for one in values]


def outcome_of(folder: Path) -> tuple[dict[str, float], str] | None:
    """Return the mean test score by arm of a comparison and its direction; None where it is not over.

    Args:
        folder: The comparison's folder.
    """
    from tl_run.report.arms import compared
    from tl_run.report.reading import read_comparison

    try:
        content = read_comparison(folder)
        if any(run["status"] == PLANNED for run in content["runs"]):
            return None
        setting, _ = compared(folder, content)
    except (ValueError, OSError, KeyError, TypeError):
        return None
    found = {arm.name: statistics.fmean(arm.values("test", setting.metric).values()) for arm in setting.arms}
    return found, setting.direction


def track_record(comparisons: Path, without: Path | None = None) -> Record | None:
    """Return the hit rate on the comparisons that keep what was said before them; None where there is none.

    Advice counts if it was given before all runs of its comparison were over.

    Args:
        comparisons: The folder that they lie in.
        without: One that does not count: the one that advice is given for.
    """
    advised, fixed = [], []
    for path in sorted(comparisons.glob(f"*/{NAME}")):
        said = read_advice(path.parent)
        if said is None or said.get("afterwards") or (without is not None and path.parent.name == without.name):
            continue
        came = outcome_of(path.parent)
        pair = None if came is None else [rates(said[key], *came) for key in ("order", "fixed")]
        if pair is not None and pair[0] is not None and pair[1] is not None:
            advised.append(pair[0])
            fixed.append(pair[1])
    if not advised:
        return None
    return Record(len(advised), *(Rates(*map(statistics.fmean, zip(*some, strict=True))) for some in (advised, fixed)))


def said_of(found: Rates) -> str:
    """Return rates in words."""
    regret = f"regret at 1 {found.first:.0%}, at 3 {found.third:.0%}"
    return f"rank correlation {found.correlation:+.2f}, {regret}"


def said_of_record(found: Record | None) -> list[str]:
    """Return a hit rate in lines.

    Args:
        found: The hit rate; None where there is none.
    """
    if found is None:
        return ["no track record: no comparison that is over keeps what was said before it"]
    many = f"{found.comparisons} comparison{'' if found.comparisons == 1 else 's'}"
    return [
        f"hit rate of such advice on {many} stored: {said_of(found.advised)}",
        f"the fixed list on the same: {said_of(found.fixed)}",
        REGRET,
    ]


def beside_outcome(said: Mapping[str, Any], outcome: Mapping[str, float], direction: str) -> list[list[str]]:
    """Return what was expected beside what came out: a line per arm with its places, the best outcome first.

    Arms with equal outcomes share a place.

    Args:
        said: As `read_advice` returns it.
        outcome: Mean test score by arm.
        direction: `max` or `min`.
    """
    sign = -1 if direction == "max" else 1
    names = [name for name in said["order"] if math.isfinite(outcome.get(name, math.nan))]
    came = sorted(names, key=lambda name: sign * outcome[name])
    better = {name: sum(sign * outcome[other] < sign * outcome[name] for other in names) for name in names}
    places = {key: [name for name in said[key] if name in names] for key in ("order", "fixed")}
    return [
        [name, f"{outcome[name]:.4f}", *map(str, [better[name] + 1, *(places[key].index(name) + 1 for key in places)])]
        for name in came
    ]


HEADER = ("arm", "test", "place", "advised", "fixed list")


def conclusion(said: Mapping[str, Any], outcome: Mapping[str, float], direction: str) -> list[str]:
    """Return how right the advisor was in this comparison, in lines.

    Args:
        said: As `read_advice` returns it.
        outcome: Mean test score by arm.
        direction: `max` or `min`.
    """
    found = {key: rates(said[key], outcome, direction) for key in ("order", "fixed")}
    lines = ["It was given when all runs were over, and does not count."] if said.get("afterwards") else []
    if found["order"] is None or found["fixed"] is None:
        return [*lines, f"Fewer than {LEAST} of the arms that it ranked are over."]
    lines.append(f"Advice: {said_of(found['order'])}.")
    same = list(said["order"]) == [name for name in said["fixed"] if name in said["order"]]
    lines.append("The fixed list gave the same order." if same else f"Fixed list: {said_of(found['fixed'])}.")
    return [*lines, f"{REGRET[0].upper()}{REGRET[1:]}."]
