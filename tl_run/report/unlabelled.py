"""What the rules that choose without labels say of a setting's arms, and where they disagree."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tl_run.report.arms import Arm, Setting
from tl_run.report.reading import Run

ORACLE = "the oracle, which reads the labels of the target's validation set and chose nothing"


def lines_on(setting: Setting) -> list[str]:
    """Return what is to be said of a setting's arms that read no label of the target; nothing where it has none.

    Args:
        setting: The setting.
    """
    arms = [arm for arm in setting.arms if all(run.without_labels for run in arm.runs.values())]
    if not arms:
        return []
    lines = []
    used = {_told(run)["rule"] for arm in arms for run in arm.runs.values()}
    if len(arms) > 1:
        found = {rule: choice for rule in _rules(arms) if (choice := _best(arms, rule, "score")) is not None}
        top = _best(arms, None, "oracle")
        for rule in sorted(used & found.keys()):
            chosen = next(arm for arm in arms if arm.name == found[rule])
            test = statistics.fmean(chosen.values("test", setting.metric).values())
            lines.append(
                f"Of the arms that read no label of the target, {rule} chooses {chosen.name}: "
                f"test {setting.metric} {test:.4f}."
            )
        says = [f"{rule} chooses {name}" for rule, name in found.items()]
        if len({*found.values()}) > 1:
            lines.append(f"The rules disagree on the arm: {', '.join(says)}; {ORACLE}, is for {top}.")
        elif found:
            lines.append(f"All rules choose {next(iter(found.values()))}; {ORACLE}, is for {top}.")
    lines += [line for arm in arms if (line := _on_steps(arm)) is not None]
    return lines


def _on_steps(arm: Arm) -> str | None:
    """Return where the rules choose checkpoints of an arm's runs that the oracle finds unlike; None where nowhere."""
    apart, most = 0, 0.0
    for run in arm.runs.values():
        values = [one["oracle"] for one in _told(run)["rules"].values() if one["oracle"] is not None]
        steps = {one["step"] for one in _told(run)["rules"].values()}
        apart += len(steps) > 1
        most = max(most, max(values) - min(values)) if values else most
    if not apart:
        return None
    which = "its run" if len(arm.runs) == 1 else f"{apart} of its {len(arm.runs)} runs"
    metric = _told(arm.one)["oracle"]["metric"]
    return f"{arm.name}: the rules disagree on the step in {which}, by up to {most:.4f} of the oracle's {metric}."


def _told(run: Run) -> Mapping[str, Any]:
    assert run.without_labels is not None
    return run.without_labels


def _rules(arms: Sequence[Arm]) -> list[str]:
    """Return the rules that scored every run."""
    runs = [_told(run)["rules"] for arm in arms for run in arm.runs.values()]
    return [rule for rule in runs[0] if all(rule in one and one[rule]["score"] is not None for one in runs)]


def _best(arms: Sequence[Arm], rule: str | None, key: str) -> str | None:
    """Return the arm with the best mean score by a rule; without one, by the oracle at the checkpoints that count."""

    def of(run: Run) -> float:
        told = _told(run)
        used = told["rule"] if told["rule"] in told["rules"] else next(iter(told["rules"]), None)
        found = None if used is None else told["rules"][rule or used][key]
        return math.nan if found is None else float(found)

    sign = -1 if arms[0].one.direction == "min" and rule in (None, "source") else 1
    means = {arm.name: _mean(of(run) for run in arm.runs.values()) for arm in arms}
    known = {name: sign * value for name, value in means.items() if math.isfinite(value)}
    return max(known, key=lambda name: known[name], default=None)


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(list(values))
