"""What a run tells of the rules that choose a checkpoint without labels: each one's choice, and the oracle beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tl_modules.module import TransferModule
from tl_modules.selection import RULES, SOURCE
from tl_run.folder import finite, read_metrics


def chosen_without_labels(
    records: Sequence[Mapping[str, Any]], path: Path, module: TransferModule
) -> dict[str, Any] | None:
    """Return what `results.json` says of a run that reads no label of the target; None for others.

    Args:
        records: The records of its stages.
        path: Its file of metrics.
        module: Its module, in its last stage.

    Returns:
        `rule`, by which the checkpoint was chosen; by rule the `step` that it chooses of the last stage's validations,
        its `score` there and what the `oracle` says of that step; and the `oracle`, the target's metric on the labels
        of its validation set, which chose nothing: its `metric`, and its best step and value.
    """
    stage = module.plan[-1]
    if not stage.judge:
        return None
    steps: dict[int, dict[str, float]] = {}
    for row in read_metrics(path):
        if row["stage"] == stage.name and row["metric"].startswith(("val/", "oracle/")):
            steps.setdefault(int(row["step"]) + 1, {})[row["metric"]] = float(row["value"])
    known = module.head("target").reported(module.tasks["target"].labels)
    metric = module.selection_metric or module.head("target").monitor
    oracle = f"oracle/target/{metric}"
    of_source = f"val/source/{metric}"
    rules = {}
    for rule in RULES:
        name, mode = (of_source, known[metric]) if rule == SOURCE else (f"val/target/{rule}", "max")
        step = best(steps, name, mode)
        if step is not None:
            seen = steps[step]
            rules[rule] = {"step": step, "score": finite(seen[name]), "oracle": finite(seen.get(oracle))}
    top = best(steps, oracle, known[metric])
    return {
        "rule": "last" if records[-1]["selection"] == "last" else module.without_labels,
        "rules": rules,
        "oracle": {
            "metric": f"target/{metric}",
            "step": top,
            "value": None if top is None else finite(steps[top][oracle]),
        },
    }


def best(steps: Mapping[int, Mapping[str, float]], name: str, mode: str) -> int | None:
    """Return the step with the best value of a metric, as checkpoints are chosen; None where it was never measured.

    Of equal ones it is that with the lower loss beside it, then the later.

    Args:
        steps: Values of metrics by step.
        name: The metric.
        mode: `max` or `min`.
    """
    sign = 1 if mode == "max" else -1
    loss = f"{name.rpartition('/')[0]}/loss"

    def order(step: int) -> tuple[float, float, int]:
        return sign * steps[step][name], -steps[step].get(loss, math.inf), step

    measured = [step for step, seen in steps.items() if math.isfinite(seen.get(name, math.nan))]
    return max(measured, key=order, default=None)
