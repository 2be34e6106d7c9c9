"""Signals: the run ends with the status of the signal, says how to go on, and goes on as if it had not been stopped."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.runs import (
    TINY,
    Changes,
    Ended,
    Moment,
    Seen,
    begin,
    call,
    change_of,
    go_on,
    judged,
    run,
    uninterrupted,
)

OPTIONS = ("cell=task_finetuning",)
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}
PROOF = "signals"


def moments(changes: Changes) -> dict[str, Moment]:
    """Return moments of a run, by where they are."""
    test = change_of(changes, ".results.json") - 1
    return {
        "in training": Moment(change_of(changes, "metrics.csv"), 0.0),
        "between stages": Moment(change_of(changes, "checkpoints/source/.best"), 0.001),
        "in the test": Moment(test, (changes[test + 1][0] - changes[test][0]) / 2),
    }


def wrong_end(ended: Ended, folder: Path, number: int) -> str | None:
    """Return what is wrong with how a signal ended a run, None where nothing is."""
    if ended.status != STATUS[signal.Signals(number)]:
        return f"exit {ended.status}"
    status = json.loads((folder / "journal.json").read_text())["status"]
    if status != "interrupted":
        return f"status {status}"
    lines = [line for line in ended.lines if "go on with: " in line]
    if len(lines) != 1 or not lines[0].endswith(f"resume={folder}") or "Traceback" in ended.errors:
        return f"says {ended.errors.strip()}"
    return None


def prove(folder: Path, quick: bool = False) -> Iterator[Seen]:
    """Send signals to runs and sweeps, go on with them, and yield what became of each."""
    straight = folder / "straight"
    given, changes = uninterrupted(OPTIONS, straight)
    for number in STATUS:
        for where, at in [*moments(changes).items()][: 1 if quick else None]:
            name = signal.Signals(number).name
            place = folder / f"{name}_{where.replace(' ', '_')}"
            yield stopped(f"{name} {where}", run(begin(given, place), place, at, number), place, straight, number)
        if quick:
            return
    alone = folder / "alone"
    uninterrupted(("cell=scratch",), alone)
    for number in STATUS:
        name = signal.Signals(number).name
        sweep = folder / f"{name}_sweep"
        place = sweep / "0_scratch_seed0"
        folder.mkdir(exist_ok=True)
        options = ["-m", "cell=scratch,multitask", *TINY, f"hydra.sweep.dir={sweep}"]
        ended = run(call(*options, place=folder), place, Moment(12, 0.0), number)
        seen = stopped(f"{name} in a sweep", ended, place, alone, number)
        yield seen._replace(outcome="lost", said="went on with the next run") if len([*sweep.glob("1_*")]) else seen


def stopped(case: str, done: tuple[Ended, Changes, bool], place: Path, straight: Path, number: int) -> Seen:
    """Return what became of a run that was stopped: how it ended, and how it ends when it is gone on with."""
    ended, _, sent = done
    wrong = wrong_end(ended, place, number) if sent else "ended before the signal"
    if wrong is not None:
        return Seen(PROOF, case, "lost", wrong)
    ended, _, _ = run(go_on(place), place)
    return judged(PROOF, case, ended, straight, place)
