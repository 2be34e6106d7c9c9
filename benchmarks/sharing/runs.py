"""The runs: command lines that are run twice, once with the store and once without."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tl_modules.cube import BY_NAME

ROOT = Path(__file__).resolve().parents[2]
RUNS, NETWORK = "runs", "network"
TIMED = ("seconds", "from_store")  # of a run's results: what the store may change
SWEEP = (f"hydra.sweep.dir={RUNS}", "-m")


class Case(NamedTuple):
    """Runs that have something in common.

    Args:
        says: What they are.
        program: `train.py` or `compare.py`.
        options: Its options beside those that all cases have.
        before: Options of a run of `train.py` that they start from, in the folder `network`; None for none.
    """

    says: str
    program: str
    options: tuple[str, ...]
    before: tuple[str, ...] | None = None


SEEDS, LABELS = "seed=0,1,2,3,4", "50,100,200,400"
PLAIN = tuple(f"dataset@{role}=scenes/plain_classify" for role in ("source", "target"))
CASES = {
    "finetunings": Case(
        "two finetunings, with some numbers of labels and seeds, from one source: they need a source stage per seed",
        "train.py",
        (*SWEEP, "cell=task_finetuning", *PLAIN, "finetuning=full,linear_probe", f"target.labelled={LABELS}", SEEDS),
    ),
    "probes": Case(
        "a head on one frozen ResNet-18, with some rates and seeds: they need the features of a training set per seed",
        "train.py",
        (*SWEEP, "cell=probe", f"backbone.weights={NETWORK}", "backbone=resnet18", "cell.lr=0.001,0.003,0.01", SEEDS),
        ("cell=scratch", "backbone=resnet18", "dataset@target=scenes/plain_classify"),
    ),
    "cube": Case(
        "the embedded cube: the eight cells and `scratch`, some seeds, no grid of rates",
        "compare.py",
        ("compare.quick=true", f"compare.arms=[{','.join(BY_NAME)}]"),
    ),
}


class Outcome(NamedTuple):
    """What a case's runs did.

    Args:
        results: `results.json` by the run's folder, with the weights of the last stage's checkpoint.
        seconds: CPU seconds of all processes, from the command's begin to its end.
    """

    results: dict[str, dict[str, Any]]
    seconds: float

    def steps(self) -> int:
        """Return the optimiser steps that were trained, not taken over."""
        stages = [stage for one in self.results.values() for stage in one["stages"]]
        return sum(stage["steps"] for stage in stages if not stage["from_store"])


def run(case: Case, folder: Path, stored: bool, more: list[str]) -> Outcome:
    """Run a case in an empty folder, with a store of its own or with none.

    Args:
        case: The case.
        folder: The folder; it is made anew.
        stored: Whether there is a store.
        more: Further options of all runs.

    Raises:
        RuntimeError: If a command fails.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(ROOT)}
    if case.before is not None:
        single = [one for one in more if "," not in one]  # this is one run
        _call("train.py", [*case.before, f"hydra.run.dir={NETWORK}", "store.gigabytes=0", *single], folder, environment)
    began = _cpu()
    _call(case.program, [*case.options, f"store.gigabytes={5 if stored else 0}", *more], folder, environment)
    seconds = _cpu() - began
    paths = [path for path in sorted(folder.glob("*/**/results.json")) if path.parent.name != NETWORK]
    return Outcome({str(path.parent.relative_to(folder)): read(path.parent) for path in paths}, seconds)


def _call(program: str, options: list[str], folder: Path, environment: dict[str, str]) -> None:
    call = [sys.executable, str(ROOT / program), *options]
    with open(folder / "log.txt", "a") as log:
        code = subprocess.run(call, cwd=folder, env=environment, stdout=log, stderr=log, check=False).returncode
    if code:
        raise RuntimeError(f"{program} {' '.join(options)}: ended with status {code}; see {folder / 'log.txt'}")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read(folder: Path) -> dict[str, Any]:
    """Return a run's results, with the weights of the checkpoint that was tested."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    last = results["stages"][-1]
    state = torch.load(folder / "checkpoints" / last["name"] / last["checkpoint"], weights_only=True)["state_dict"]
    return {**results, "weights": state}


def differing(one: Outcome, other: Outcome) -> list[str]:
    """Return the folders of runs that are not equal to the bit, or are only on one side."""
    folders = {*one.results, *other.results}
    return sorted(folder for folder in folders if not _equal(one.results.get(folder), other.results.get(folder)))


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = {key for key in (*one, *other) if key not in TIMED}
        return all(_equal(one.get(key), other.get(key)) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)
