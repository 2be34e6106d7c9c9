"""Runs as arms: what differs between them is the arm, what they share is the setting, and seeds are its repeats."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_modules.cube import BASELINES, SCRATCH
from tl_modules.task import ABSENT
from tl_run.report.advice import read_advice
from tl_run.report.folds import folded
from tl_run.report.reading import LeftOut, Run, read_run

PLANNED = "planned"  # a run's status in `comparison.json` before it is over
# What makes an arm, each with what its name says of it where arms of one cell differ in it.
PARTS = (
    "finetuning",
    "finetuning_options",
    "objective",
    "weights",
    "mode",
    "normalisation",
    "loss_weights",
    "source_share",
    "absent",
)
PLAIN = ("source_share", "finetuning_options")  # mappings whose keys speak for themselves
OF_THE_SOURCE = ("dataset", "task", "domain", "train_size", "weights", "labelled")
# What tells settings apart.
SHARED = ("dataset", "domain", "train_size", "val_size", "labelled")


@dataclass
class Arm:
    """One way, with its runs by seed.

    Args:
        name: Its name.
        runs: Run by seed.
        says: What it does, in words.
        overrides: The options it is started with.
        cell: Its cell.
        stopped: Why no more seeds were run, if they were stopped.
        failed: Runs that gave no result, and why.
    """

    name: str
    runs: dict[int, Run]
    says: str = ""
    overrides: list[str] = field(default_factory=list)
    cell: str = ""
    stopped: str | None = None
    failed: list[LeftOut] = field(default_factory=list)

    def values(self, split: str, metric: str) -> dict[int, float]:
        """Return a metric by seed."""
        return {seed: run.value(split, metric) for seed, run in self.runs.items()}

    def mean(self, key: str) -> float:
        """Return the mean of a number of `results.json` over the runs."""
        return statistics.fmean(float(run.results[key]) for run in self.runs.values())

    @property
    def one(self) -> Run:
        """Its run of the least seed."""
        return self.runs[min(self.runs)]


@dataclass
class Setting:
    """What is compared: arms on one target with one budget.

    Args:
        title: What tells it from other settings; empty where there is one.
        arms: Its arms, the baseline first.
        baseline: The name of the baseline; None where there is none.
        metric: What runs are chosen by and compared on, such as `target/accuracy`.
        direction: Whether it is better higher (`max`) or lower (`min`).
        plateau: An arm that is the baseline trained until nothing gets better, if there is one.
        again: The command that goes on with a comparison; None where runs were started one by one.
        advice: What was said before a comparison, if it was asked for; see `advice`.
    """

    title: str
    arms: list[Arm]
    baseline: str | None
    metric: str
    direction: str
    plateau: Arm | None = None
    again: str | None = None
    advice: dict[str, Any] | None = None

    def arm(self, name: str) -> Arm:
        """Return an arm by its name."""
        return next(arm for arm in self.arms if arm.name == name)


def settings_of(runs: Sequence[Run], baseline: str | None = None) -> tuple[list[Setting], list[LeftOut]]:
    """Group runs into settings by their baseline's key, and each setting's runs into arms by what differs.

    Args:
        runs: The runs.
        baseline: The name of the arm that others are compared with; by default `scratch`, else another baseline.

    Returns:
        The settings, those with the most runs first; and the runs that are there twice, or of single folds.

    Raises:
        ValueError: If no setting has an arm of that name.
    """
    runs, twice = folded(runs, _of_arm)
    plateaus = [run for run in runs if run.plateau and run.results["cell"] in BASELINES]
    by_key: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        if run not in plateaus:
            by_key.setdefault((run.results["baseline_key"], run.metric), []).append(run)
    if not by_key and not plateaus:
        return [], twice
    if not by_key:  # all there is are runs to a plateau
        by_key, plateaus = {(run.results["baseline_key"], run.metric): [] for run in plateaus}, []
        for run in runs:
            by_key[run.results["baseline_key"], run.metric].append(run)
    settings = []
    titles = _differences([_shared(group[0]) for group in by_key.values()])
    for (key, group), title in zip(by_key.items(), titles, strict=True):
        arms = _arms(group, twice)
        names = [arm.name for arm in arms]
        own = baseline if baseline in names else None
        if baseline is None:
            own = next((arm.name for cell in BASELINES for arm in arms if arm.cell == cell), None)
        arms.sort(key=lambda arm: arm.name != own)
        last = [run for run in plateaus if _target(run) == _target(group[0])]
        found = _arms(last, twice)[:1]
        settings.append(Setting(title, arms, own, key[1], group[0].direction, found[0] if found else None))
    if baseline is not None and all(one.baseline is None for one in settings):
        names = list(dict.fromkeys(arm.name for one in settings for arm in one.arms))
        raise ValueError(f"baseline={baseline}: no runs have it; allowed: {', '.join(names)}")
    return sorted(settings, key=lambda one: -sum(len(arm.runs) for arm in one.arms)), twice


def compared(folder: Path, content: Mapping[str, Any]) -> tuple[Setting, list[LeftOut]]:
    """Return the setting of a comparison.

    Args:
        folder: Its folder.
        content: What its `comparison.json` says; of each arm the runs at its chosen rate count.

    Returns:
        The setting, and what is left out of it.

    Raises:
        ValueError: If no arm has a run.
    """
    arms, left_out = [], []
    waiting: dict[str, int] = {}  # runs by arm that are planned and not begun
    for node in content["arms"]:
        arm = Arm(
            str(node["name"]),
            {},
            str(node.get("says") or ""),
            [str(line) for line in node.get("overrides") or ()],
            str(node.get("cell") or node["name"]),
            node.get("stopped") or None,
        )
        for run in content.get("runs", ()):
            if run["arm"] != arm.name or not _same_rate(run.get("rate"), node.get("rate")):
                continue
            place = Path(os.path.normpath(folder / run["folder"]))
            if run.get("status") == PLANNED and not place.exists():
                waiting[arm.name] = waiting.get(arm.name, 0) + 1
                continue
            found = read_run(place)
            if isinstance(found, LeftOut):
                arm.failed.append(found)
            elif found.seed != run["seed"]:
                arm.failed.append(LeftOut(found.folder, f"is of seed {found.seed}, not of {run['seed']}"))
            elif found.seed in arm.runs:
                left_out.append(LeftOut(found.folder, f"is there twice: {arm.name}, seed {found.seed}"))
            else:
                arm.runs[found.seed] = found
        left_out += arm.failed
        arms.append(arm)
    own = content.get("baseline")
    filled = sorted((arm for arm in arms if arm.runs), key=lambda arm: arm.name != own)
    ended = [arm.name for arm in arms if not arm.runs and (arm.failed or arm.name not in waiting)]
    left_out += [LeftOut(folder, f"arm {name} has no run that is over") for name in ended]
    if waiting:
        each = ", ".join(f"{name} {count}" for name, count in waiting.items())
        left_out.append(LeftOut(folder, f"its runs that are not begun: {each}; the same command goes on"))
    if not filled:
        raise ValueError(f"{folder}: no run of the comparison is over")
    metric = str(content.get("metric") or f"val/{filled[0].one.metric}").removeprefix("val/")
    longer = {str(node["name"]): node["longer"] for node in content["arms"] if node.get("longer")}
    last = [arm for arm in filled if arm.name in longer and longer[arm.name] == own]
    filled = [arm for arm in filled if arm.name not in longer]
    return Setting(
        "",
        filled,
        own if any(arm.name == own for arm in filled) else None,
        metric,
        str(content.get("direction") or filled[0].one.direction),
        last[0] if last else None,
        content.get("command"),
        read_advice(folder),
    ), left_out


def _same_rate(one: float | None, other: float | None) -> bool:
    return other is None or (one is not None and float(one) == float(other))


def _target(run: Run) -> Any:
    """Return what a run shares with one that was trained longer."""
    target = {key: run.results["target"].get(key) for key in (*SHARED, "task", "test_size")}
    return target, run.results.get("backbone"), run.metric


def _shared(run: Run) -> dict[str, Any]:
    """Return what may tell a setting from others, in words."""
    target, results = run.results["target"], run.results
    said = {f"target {key}": target.get(key) for key in ("dataset", "domain", "task")}
    said |= {"fold": target.get("fold"), "labelled samples": run.labelled}
    said |= {key: results.get(key) for key in ("backbone", "steps", "batch_size", "lr", "precision")}
    return {**said, "metric": run.metric}


def _of_arm(run: Run) -> dict[str, Any]:
    """Return what makes a run's arm."""
    results, source = run.results, run.results.get("source") or {}
    made = {key: results.get(key) for key in PARTS}
    if not {*(made["absent"] or {}).values()} - {ABSENT[0]}:  # as all runs were before there was a choice
        made["absent"] = None
    made |= {f"source {key}": source.get(key) for key in OF_THE_SOURCE}
    if isinstance(made["source labelled"], Mapping):
        made["source labelled"] = sum(made["source labelled"].values())
    given = results.get("source_checkpoint")
    return {"cell": results["cell"], **made, "source checkpoint": None if given is None else Path(given).name}


def _arms(runs: Sequence[Run], twice: list[LeftOut]) -> list[Arm]:
    """Return the arms of one setting's runs; runs that are there twice are added to `twice`."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(json.dumps(_of_arm(run), sort_keys=True, default=str), []).append(run)
    names: dict[str, list[str]] = {}
    for made in grouped:
        names.setdefault(json.loads(made)["cell"], []).append(made)
    arms = []
    for cell, alike in names.items():
        for made, title in zip(alike, _differences([json.loads(one) for one in alike]), strict=True):
            by_seed: dict[int, Run] = {}
            for run in grouped[made]:
                if run.seed in by_seed:
                    twice.append(LeftOut(run.folder, f"is there twice: the same options as {by_seed[run.seed].folder}"))
                else:
                    by_seed[run.seed] = run
            kept = dict(sorted(by_seed.items()))
            name = f"{cell}, {title}" if title else cell
            arms.append(Arm(name, kept, "", kept[min(kept)].overrides(), cell))
    order = [SCRATCH, *BASELINES]
    return sorted(arms, key=lambda arm: order.index(arm.cell) if arm.cell in order else len(order))


def _differences(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return of each what it does not share with all others; empty where there is one.

    Of a mapping only what differs in it is told, and of a finetuning's options nothing where its name says enough.
    """
    keys = [key for key in (said[0] if said else ()) if any(one[key] != said[0][key] for one in said)]
    named: dict[str, set[str]] = {}
    for one in said:
        named.setdefault(repr(one.get("finetuning")), set()).add(repr(one.get("finetuning_options")))
    if all(len(options) == 1 for options in named.values()):
        keys = [key for key in keys if key != "finetuning_options"]
    return [", ".join(words for key in keys if (words := _told(key, one, said))) for one in said]


def _told(key: str, one: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> str:
    """Return what an arm or setting has under a key, and of a mapping what others have not."""
    values = [other[key] for other in said]
    if not any(isinstance(value, Mapping) for value in values):
        return f"{key} {_plain(one[key])}"
    nodes = [value if isinstance(value, Mapping) else {} for value in values]
    own = one[key] if isinstance(one[key], Mapping) else {}
    differ = [name for name in own if own[name] is not None and any(node.get(name) != own[name] for node in nodes)]
    before = "" if key in PLAIN else f"{key} "
    return ", ".join(f"{before}{name} {_plain(own[name])}" for name in differ)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
