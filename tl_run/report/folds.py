"""Runs on all folds of a dataset as one: each sample is tested once, and scores are the means over the folds."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tl_run.report.reading import LeftOut, Run, Sample

FOLD = "target.fold="


class Folded(Run):
    """The runs of one seed on the folds of a target's test set.

    Scores are means over the folds, what was seen and spent are sums, and all else is as in the first run.

    Args:
        runs: The runs, first fold first.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__(runs[0].folder, _joined([run.results for run in runs]))
        self.runs = list(runs)

    @property
    def alone(self) -> Run:
        """The first fold's run."""
        return self.runs[0]

    def judged(self, role: str = "target") -> list[Sample]:
        """Return what the tests said of each sample of all folds."""
        return [sample for run in self.runs for sample in run.judged(role)]

    def overrides(self) -> list[str]:
        """Return the options, with all folds."""
        count = len(self.runs)
        return [*_apart(self.alone), f"{FOLD}{','.join(f'{i + 1}/{count}' for i in range(count))}"]


def folded(runs: Sequence[Run], of_arm: Callable[[Run], Any]) -> tuple[list[Run], list[LeftOut]]:
    """Join runs that differ in the target's fold alone.

    Args:
        runs: The runs.
        of_arm: Gives what makes a run's arm.

    Returns:
        The runs, those on folds as one per seed; and those that are there twice, or whose other folds are not there.
        Where none of a target's are whole, each fold's runs stay by themselves.
    """
    made: list[Run] = []
    left_out: list[LeftOut] = []
    by_target: dict[tuple[int, str], dict[str, dict[int, Run]]] = {}
    for run in runs:
        fold = run.results["target"].get("fold")
        if fold is None:
            made.append(run)
            continue
        number, count = map(int, str(fold).split("/"))
        target = repr([run.results["target"].get(key) for key in ("dataset", "domain", "task")])
        same = repr([run.seed, of_arm(run), run.results["lr"], *sorted(_apart(run))])
        group = by_target.setdefault((count, target), {}).setdefault(same, {})
        if group.setdefault(number, run) is not run:
            left_out.append(LeftOut(run.folder, f"is there twice: the same options as {group[number].folder}"))
    for (count, _), groups in by_target.items():
        whole = [group for group in groups.values() if len(group) == count]
        made += [Folded([group[number] for number in sorted(group)]) for group in whole]
        for group in (group for group in groups.values() if len(group) < count):
            if not whole:
                made += group.values()
                continue
            missing = [f"{number}/{count}" for number in range(1, count + 1) if number not in group]
            why = f"its target.fold={', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not there"
            left_out += [
                LeftOut(one.folder, f"is of fold {one.results['target']['fold']}; {why}") for one in group.values()
            ]
    return made, left_out


def _apart(run: Run) -> list[str]:
    """Return a run's options but for its seed and fold."""
    return [line for line in run.overrides() if not line.lstrip("+").startswith(FOLD)]


def _joined(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the results of several runs as those of one."""
    one = copy.deepcopy(dict(each[0]))
    one["baseline_key"] = " ".join(str(results["baseline_key"]) for results in each)
    one["target"]["fold"] = f"all {len(each)}"
    for split in ("val", "test"):
        one[split] = {name: _mean([results[split].get(name) for results in each]) for name in one[split]}
    for place in ("train_size", "val_size", "test_size"):
        if place in one["target"]:
            one["target"][place] = round(statistics.fmean(results["target"][place] for results in each))
    known = one["target"].get("labelled") or {}
    for split in known:
        known[split] = round(statistics.fmean(results["target"]["labelled"][split] for results in each))
    for name in ("flops", "seconds"):
        if one.get(name) is not None:
            one[name] = round(sum(results[name] or 0 for results in each), 2)
    for index, stage in enumerate(one["stages"]):
        stages = [results["stages"][index] for results in each if index < len(results["stages"])]
        for name in ("score", "loss"):
            if name in stage:
                stage[name] = _mean([some.get(name) for some in stages])
        for name in ("steps", "flops", "seconds"):
            stage[name] = sum(some.get(name) or 0 for some in stages)
        stage["samples"] = {role: sum(some["samples"].get(role, 0) for some in stages) for role in stage["samples"]}
    return one


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, None where a value is not defined."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
