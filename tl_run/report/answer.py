"""What a setting's runs say: who helps, by how much, at what cost, and what is missing for a verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tl_run.report.arms import Arm, Setting
from tl_run.report.statistics import (
    CANNOT_TELL,
    Paired,
    best_of,
    holm,
    null_control,
    paired,
    seeds_needed,
    verdict,
)

BASELINE, CONTROL, ARM = "baseline", "null control", "arm"
PARALLEL, SUM = "parallel_training", "sum"
BETTER, FASTER, OPEN = "better", "only faster", "not clear"


class Cost(NamedTuple):
    """What an arm's runs cost, as means over its runs.

    Args:
        labelled: Labelled samples of the target that a run knows.
        target: Samples of the target that were seen.
        source: Samples of the source that were seen.
        flops: Training FLOPs.
        seconds: Seconds.
        parameters: Parameters.
        steps: Optimiser steps.
    """

    labelled: float
    target: float
    source: float
    flops: float
    seconds: float
    parameters: float
    steps: float


class Forgotten(NamedTuple):
    """The source's metric of an arm that learned the source first.

    Args:
        metric: The metric.
        before: On the source's validation set, when its stage was over; NaN where it was not measured.
        after: On the source's test set, at the end; NaN where the source was not tested.
    """

    metric: str
    before: float
    after: float


@dataclass
class Row:
    """What is said of an arm.

    Args:
        arm: The arm.
        role: `baseline`, `null control` or `arm`.
        val: Mean of the metric on validation.
        test: Mean on the test set.
        on_val: Difference to the baseline on validation; None for the baseline, or without one.
        on_test: Difference on the test set.
        corrected: The p-value of `on_test`, corrected over the arms by Holm.
        verdict: `helps`, `hurts`, `cannot tell`; empty for a baseline and a null control.
        gap: Of a null control, the largest absolute difference.
        needed: Seeds that a verdict is likely to need; None where it has one, or where nothing can be said.
        more_seconds: What the seeds that are missing cost, the baseline's included.
        cost: What a run costs.
        forgotten: What became of the source.
    """

    arm: Arm
    role: str
    val: float
    test: float
    on_val: Paired | None = None
    on_test: Paired | None = None
    corrected: float = 1.0
    verdict: str = ""
    gap: float | None = None
    needed: int | None = None
    more_seconds: float = 0.0
    cost: Cost | None = None
    forgotten: Forgotten | None = None


@dataclass
class Answer:
    """What a setting's runs say.

    Args:
        setting: The setting.
        rows: Its arms, the baseline first, then by mean on validation.
        best: The name of the arm that is best on validation; its gain is told on the test set.
        lasting: `better`, `only faster` or `not clear`, against the baseline trained until nothing gets better; None
            where no such runs are there, or the baseline is best.
        on_plateau: The difference of the best arm to these on the test set.
        warnings: What makes all numbers doubtful.
    """

    setting: Setting
    rows: list[Row]
    best: str | None
    lasting: str | None
    on_plateau: Paired | None
    warnings: list[str]

    def row(self, name: str) -> Row:
        """Return what is said of an arm."""
        return next(row for row in self.rows if row.arm.name == name)

    @property
    def baseline(self) -> Row | None:
        """What is said of the baseline, if there is one."""
        return next((row for row in self.rows if row.role == BASELINE), None)


def answer(setting: Setting) -> Answer:
    """Compare a setting's arms with its baseline.

    Args:
        setting: The setting.
    """
    metric, direction = setting.metric, setting.direction
    base = setting.arm(setting.baseline) if setting.baseline else None
    rows = []
    for arm in setting.arms:
        role = BASELINE if arm is base else CONTROL if base and is_control(arm, base) else ARM
        val, test = arm.values("val", metric), arm.values("test", metric)
        row = Row(arm, role, mean(val.values()), mean(test.values()), cost=cost_of(arm), forgotten=forgotten(arm))
        if base and role != BASELINE:
            row.on_val = paired(val, base.values("val", metric), direction)
            row.on_test = paired(test, base.values("test", metric), direction)
        if base and role == CONTROL:
            row.gap = null_control(test, base.values("test", metric))
        rows.append(row)
    family = [row for row in rows if row.role == ARM and row.on_test is not None]
    for row, p in zip(family, holm([row.on_test.p for row in family if row.on_test]), strict=True):
        assert row.on_test is not None
        row.corrected, row.verdict = p, verdict(row.on_test, p)
        if row.verdict == CANNOT_TELL and base is not None and row.cost is not None:
            row.needed = seeds_needed(row.on_test, len(family))
            if row.needed is not None:
                row.needed = max(row.needed, row.on_test.count + 1)
                row.more_seconds = (row.needed - row.on_test.count) * (row.cost.seconds + base.mean("seconds"))
    best = best_of({row.arm.name: row.arm.values("val", metric) for row in rows if row.role != CONTROL}, direction)
    sign = -1.0 if direction == "min" else 1.0
    rows.sort(key=lambda row: (row.role != BASELINE, row.role == CONTROL, _order(-sign * row.val)))
    lasting, on_plateau = _lasting(setting, best)
    return Answer(setting, rows, best, lasting, on_plateau, warnings_of(rows))


def is_control(arm: Arm, base: Arm) -> bool:
    """Tell whether an arm has to equal its baseline exactly: nothing is shared, and all else is the same.

    Args:
        arm: The arm.
        base: The baseline.
    """
    one = arm.one.results
    same = one["baseline_key"] == base.one.results["baseline_key"]
    weights = (one.get("loss_weights") or {}).get("target", 1.0)
    plain = one.get("objective") == SUM and weights == 1.0 and one.get("mode") == "cycle"
    return bool(arm.cell == PARALLEL and base.cell == "scratch" and same and plain)


def warnings_of(rows: Sequence[Row]) -> list[str]:
    """Return what a null control that is not zero says, a line each."""
    lines = []
    for row in rows:
        if row.role != CONTROL or row.gap == 0:
            continue
        machine = (row.arm.one.results.get("machine") or {}).get("accelerator", "cpu")
        if row.gap is None:
            lines.append(f"The null control {row.arm.name} has no seed in common with the baseline: it proves nothing.")
            continue
        where = (
            "" if machine == "cpu" else f" These runs were made on {machine}, where kernels need not repeat exactly."
        )
        lines.append(
            f"The null control is not zero: {row.arm.name} shares nothing with the source and has to equal the "
            f"baseline, but differs by up to {row.gap:g}. No difference of that size means anything here.{where}"
        )
    return lines


def cost_of(arm: Arm) -> Cost:
    """Return the mean cost of an arm's runs."""
    runs = list(arm.runs.values())
    seen = [run.samples for run in runs]
    return Cost(
        mean([run.labelled for run in runs]),
        mean([one.get("target", 0) for one in seen]),
        mean([one.get("source", 0) for one in seen]),
        mean([float(run.results.get("flops") or 0) for run in runs]),
        arm.mean("seconds"),
        arm.mean("parameters"),
        mean([sum(stage["steps"] for stage in run.results["stages"]) for run in runs]),
    )


def forgotten(arm: Arm) -> Forgotten | None:
    """Return the source's metric after its own stage and at the end; None where the source had no stage of its own."""
    first = arm.one.results["stages"][0]
    if first["name"] != "source" or not str(first["monitor"]).startswith("val/source/"):
        return None
    metric = str(first["monitor"]).removeprefix("val/")
    before = [run.results["stages"][0]["score"] for run in arm.runs.values()]
    after = [run.value("test", metric) for run in arm.runs.values()]
    return Forgotten(metric, mean([math.nan if one is None else one for one in before]), mean(after))


def skills(arm: Arm, metric: str) -> tuple[str, dict[int, tuple[float, float]]] | None:
    """Return the source's metric of an arm, and by seed its value on the source's test set and the target's on its own.

    Args:
        arm: The arm.
        metric: The target's, such as `target/accuracy`.

    Returns:
        None where the source was not tested.
    """
    first = str(arm.one.results["stages"][0]["monitor"]).removeprefix("val/")
    tested = [name for name in arm.one.results["test"] if name.startswith("source/") and name.count("/") == 1]
    same = metric.replace("target/", "source/", 1)
    wanted = next((name for name in (first, same, *tested) if name in tested and not name.endswith("/loss")), None)
    if wanted is None:
        return None
    found = {seed: (run.value("test", wanted), run.value("test", metric)) for seed, run in arm.runs.items()}
    known = {seed: pair for seed, pair in found.items() if all(map(math.isfinite, pair))}
    return (wanted, known) if known else None


def mean(values: Iterable[float]) -> float:
    """Return the mean of what is finite, NaN of nothing."""
    finite = [float(value) for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan


def _order(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _lasting(setting: Setting, best: str | None) -> tuple[str | None, Paired | None]:
    """Return whether the best arm is better than the baseline ever gets, or gets there faster."""
    if setting.plateau is None or best is None or best == setting.baseline:
        return None, None
    values = setting.arm(best).values("test", setting.metric)
    found = paired(values, setting.plateau.values("test", setting.metric), setting.direction)
    if not found.clear:
        return OPEN, found
    rising = any(not run.plateau for run in setting.plateau.runs.values())
    return (FASTER if found.mean <= 0 else OPEN if rising else BETTER), found
