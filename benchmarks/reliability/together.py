"""Two processes on one folder: one trains, the other is told so."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reliability.runs import Process, Seen, begin, go_on, judged, one_line, run, uninterrupted

OPTIONS = ("cell=multitask", "steps=40", "trainer.validations=8")
PROOF = "two processes"


def prove(folder: Path, quick: bool = False) -> Iterator[Seen]:
    """Start a second process beside a run, and yield what became of each."""
    straight, place = folder / "straight", folder / "run"
    given, changes = uninterrupted(OPTIONS, straight)
    first = Process(begin(given, place), place, "first")
    first.wait_for_change(len(changes) // 4)
    for case, work in (("the same run again", begin(given, place)), ("resume= beside a live run", go_on(place))):
        first.send(signal.SIGSTOP)  # it stays alive for as long as it takes
        ended, _, _ = run(work, place, log="second")
        first.send(signal.SIGCONT)
        refused = one_line(ended) and f"process {first.pid}" in ended.errors
        said = ended.errors.strip().replace(str(place), "run")
        yield Seen(PROOF, case, "refused" if refused else "lost", f"exit {ended.status}: {said}")
    copy = folder / "copy"
    shutil.copytree(place, copy)
    ended, _, _ = run(go_on(copy), copy)
    yield judged(PROOF, "a copy of a live run is gone on with", ended, straight, copy)
    yield judged(PROOF, "the live run, to its end", first.ended(), straight, place)
    if quick:
        return
    other = folder / "killed"
    first = Process(begin(given, other), other, "first")
    first.wait_for_change(len(changes) // 4)
    first.send(signal.SIGKILL)
    first.ended()
    both = [Process(go_on(other), other, log) for log in ("one", "two")]
    ends = sorted((one.ended() for one in both), key=lambda one: one.status)
    seen = judged(PROOF, "two resume= of one killed run at once", ends[0], straight, other)
    said = " / ".join(ends[1].lines)
    late = ends[1].status == 0 and "nothing to do" in ends[1].said
    yield seen if late or one_line(ends[1]) else seen._replace(outcome="lost", said=said)
