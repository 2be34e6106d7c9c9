"""Runs of `train.py` on tiny data, and what is compared of them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
CELLS = (
    *("task_finetuning", "domain_adaptation", "task_adaptation", "modality_transfer"),
    *("dataset_merging", "weight_sharing", "multitask", "parallel_training", "scratch"),
)
GLOBAL_BATCH = 16
TINY = [
    *(f"{role}.{option}" for role in ("source", "target") for option in ("train_size=64", "val_size=16")),
    *("source.image_size=32", "target.image_size=32", "source.augment=null", "target.augment=null"),
    "datamodule.cache=false",
    *("trainer.accelerator=cpu", "trainer.progress=false", "trainer.validations=2", "precision=32", "steps=8"),
]
PLAIN = ["--config-dir", str(ROOT / "benchmarks" / "cluster" / "conf"), "backbone=plain"]
LIMIT = 600  # seconds
CLOSE = 1e-4  # of the weights' norm: what arithmetic explains; losses that are no global means leave some 1e-1


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a run: one thread per process, and this checkout on the path."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def command(options: Sequence[str]) -> list[str]:
    """Return the command line of a run with these options."""
    return [sys.executable, str(ROOT / "train.py"), *options]


def train(options: Sequence[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run to the end.

    Args:
        options: The command line's options.
        folder: Where it is called.
        more: Variables of the environment.
    """
    place: dict[str, Any] = {"cwd": folder, "env": environment(**more)}
    return subprocess.run(command(options), **place, capture_output=True, text=True, timeout=LIMIT)


def start(options: Sequence[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start a run; its errors can be read from its `stderr`."""
    place: dict[str, Any] = {"cwd": folder, "env": environment(**more)}
    return subprocess.Popen(command(options), **place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], float]:
    """Wait for a run; return its exit status, the lines of its errors, and the seconds until it ended."""
    began = time.perf_counter()
    said = process.communicate(timeout=LIMIT)[1]
    return process.returncode, said.splitlines(), time.perf_counter() - began


def batch(processes: int) -> list[str]:
    """Return the options of a run of so many processes on one global batch."""
    return [f"datamodule.batch_size={GLOBAL_BATCH // processes}", f"trainer.devices={processes}"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that the last step of each stage of a run left behind, by stage and name."""
    paths = sorted(folder.glob("checkpoints/*/last.ckpt"))
    states = {path.parent.name: torch.load(path, map_location="cpu", weights_only=True)["state_dict"] for path in paths}
    return {f"{stage}/{name}": value for stage, state in states.items() for name, value in state.items()}


def losses(folder: Path) -> dict[tuple[str, str, str], float]:
    """Return a run's losses in training, by stage, step and name."""
    with open(folder / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"].startswith("train/")]
    return {(row["stage"], row["step"], row["metric"]): float(row["value"]) for row in rows}


def tested(folder: Path) -> dict[str, float]:
    """Return what a run's test measured."""
    return json.loads((folder / "results.json").read_text())["test"]


def apart(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """Return the norm of the difference of all weights of two runs, as a fraction of the weights' norm.

    Raises:
        ValueError: If the runs have no weights, or not the same.
    """
    if not one or one.keys() != other.keys():
        raise ValueError(f"weights: {len(one)} and {len(other)} tensors must be the same, and some")
    floats = [name for name, value in one.items() if value.is_floating_point()]
    squares = [(one[name].double() - other[name].double()).square().sum() for name in floats]
    size = sum(one[name].double().square().sum() for name in floats)
    return float((sum(squares) / size) ** 0.5)


def equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether two runs have the same weights, to the bit."""
    return bool(one) and one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def losses_apart(one: Path, other: Path) -> float:
    """Return the largest relative difference of two runs' losses in training."""
    mine, theirs = losses(one), losses(other)
    if not mine or mine.keys() != theirs.keys():
        raise ValueError(f"losses: {one} has {len(mine)} and {other} {len(theirs)}, which must be the same, and some")
    return max(abs(value - theirs[key]) / max(abs(value), 1e-12) for key, value in mine.items())


def children(pid: int) -> list[int]:
    """Return the processes that a process started (Linux)."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found]


def other_process(process: subprocess.Popen[str]) -> int:
    """Return the process of rank 1 that a run started."""
    for pid in children(process.pid):
        if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    raise ValueError("the run has no second process")


def wait_for(process: subprocess.Popen[str], folder: Path, lines: int) -> None:
    """Wait until a run has logged so many lines.

    Raises:
        RuntimeError: If it ends before.
    """
    path = folder / "metrics.csv"
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        if process.poll() is not None:
            raise RuntimeError(f"the run in {folder} has ended with status {process.returncode}")
        time.sleep(0.05)


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    """Send a process a signal."""
    os.kill(pid, signum)
