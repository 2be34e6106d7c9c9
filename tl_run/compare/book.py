"""What a comparison holds: its runs, what they gave, and `comparison.json`; no torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tl_modules.weights.runs import read_journal
from tl_run.compare.arms import BASELINE, Arm
from tl_run.compare.choosing import Tried
from tl_run.folder import write_json

FOLDER, RECORD = "comparisons", "comparison.json"
COMPLETE, PLANNED, FAILED = "complete", "planned", "failed"


class Job(NamedTuple):
    """One run of a comparison.

    Args:
        arm: The arm's name.
        seed: Its seed.
        rate: Its `cell.lr`; None for the one by rule.
    """

    arm: str
    seed: int
    rate: float | None

    def says(self) -> str:
        """Return the run in words."""
        return f"{self.arm} seed {self.seed}" + ("" if self.rate is None else f" lr {self.rate:g}")


class Outcome(NamedTuple):
    """What became of a run.

    Args:
        status: As in its journal, or `failed`.
        value: The validation score; None where there is none.
        why: Why it failed.
        metric: What the score is of: an arm that reads no label of the target is chosen by its source.
        loss: The validation loss of the checkpoint that has the score; None where it is not known.
    """

    status: str
    value: float | None = None
    why: str | None = None
    metric: str | None = None
    loss: float | None = None


@dataclass
class Entry:
    """An arm in a comparison.

    Attributes:
        arm: The arm.
        cell: The name of its cell.
        rate: The chosen rate; None before it is chosen, and where it is by rule.
        rates: What the rates that were tried gave.
        stopped: Why it stopped before its last seed.
        planned: Its runs at the chosen rate, in the order of their seeds.
        longer: The arm that it is again, trained until nothing gets better; None for any other.
    """

    arm: Arm
    cell: str
    rate: float | None = None
    rates: dict[float, Tried] = field(default_factory=dict)
    stopped: dict[str, Any] | None = None
    planned: list[Job] = field(default_factory=list)
    longer: str | None = None


def digest(asked: Any) -> str:
    """Return a short name for what was asked."""
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=6).hexdigest()


def outcome_of(folder: Path) -> Outcome | None:
    """Return what became of the run in a folder; None where none was begun there.

    Args:
        folder: The run's folder.
    """
    try:
        journal = read_journal(folder)
    except ValueError as error:
        return Outcome(FAILED, None, str(error))
    if journal is None:
        return None
    value, why, metric, loss = journal.get("value"), None, None, None
    whole = journal["status"] == COMPLETE and (folder / "results.json").exists()
    if not whole:
        try:
            why = str(json.loads((folder / "error.json").read_text())["error"])
        except (OSError, ValueError, KeyError, TypeError):
            why = None
    else:
        try:
            last = json.loads((folder / "results.json").read_text())["stages"][-1]
            metric, loss = str(last["monitor"]), last.get("loss")
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            return Outcome(FAILED, None, f"{folder / 'results.json'}: cannot be read ({type(error).__name__})")
    status = COMPLETE if whole else "interrupted" if journal["status"] == COMPLETE else str(journal["status"])
    return Outcome(status, float(value) if whole and value is not None else None, why, metric, loss)


class Book:
    """A comparison's record, written after every run.

    Args:
        folder: The comparison's folder.
        entries: Its arms.
        metric: What is chosen by, such as `val/target/accuracy`.
        direction: `max` or `min`.
        command: The command line that made it.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry], metric: str, direction: str, command: str) -> None:
        self.folder, self.metric, self.direction, self.command = folder, metric, direction, command
        self.entries = {entry.arm.name: entry for entry in entries}
        self.outcomes: dict[Job, Outcome] = {}
        self.folders: dict[Job, Path] = {}

    def value(self, job: Job) -> float | None:
        """Return a run's validation score; None where it has none."""
        found = self.outcomes.get(job)
        return None if found is None else found.value

    def tried(self, job: Job) -> Tried:
        """Return what a run gave, for the choice of a rate."""
        found = self.outcomes.get(job)
        return Tried(None) if found is None else Tried(found.value, found.loss)

    def scores(self) -> dict[str, dict[int, float | None]]:
        """Return the scores of the comparison's metric by arm and seed, of the arms that go on."""
        known = {job for job, outcome in self.outcomes.items() if outcome.metric == self.metric}
        going = {name: entry for name, entry in self.entries.items() if entry.stopped is None}
        return {
            name: {job.seed: self.value(job) for job in entry.planned if job in known} for name, entry in going.items()
        }

    def went_on(self) -> bool:
        """Tell whether the record that is there has the baseline trained until nothing gets better."""
        try:
            return any(arm.get("longer") for arm in json.loads((self.folder / RECORD).read_text())["arms"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def content(self) -> dict[str, Any]:
        """Return what `comparison.json` holds."""
        arms = [
            {
                "name": name,
                "says": entry.arm.says,
                "overrides": entry.arm.overrides,
                "cell": entry.cell,
                "rate": entry.rate,
                "rates_tried": {f"{rate:g}": _finite(found.score) for rate, found in sorted(entry.rates.items())},
                "stopped": entry.stopped,
                **({"longer": entry.longer} if entry.longer else {}),
            }
            for name, entry in self.entries.items()
        ]
        runs = [
            {
                "arm": job.arm,
                "seed": job.seed,
                "rate": job.rate,
                "folder": os.path.relpath(self.folders[job], self.folder),
                "status": self.outcomes[job].status if job in self.outcomes else PLANNED,
            }
            for entry in self.entries.values()
            for job in entry.planned
            if job in self.folders
        ]
        return {
            "schema": 1,
            "baseline": BASELINE,
            "metric": self.metric,
            "direction": self.direction,
            "command": self.command,
            "arms": arms,
            "runs": runs,
        }

    def write(self) -> None:
        """Write `comparison.json`, whole or not at all."""
        write_json(self.folder / RECORD, self.content())

    def failed(self) -> Mapping[str, str]:
        """Return the arms of which a run failed, each with why the first did."""
        found: dict[str, str] = {}
        for job, outcome in self.outcomes.items():
            if outcome.status != COMPLETE:
                found.setdefault(job.arm, f"{job.says()}: {outcome.why or outcome.status}")
        return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
