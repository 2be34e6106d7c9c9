"""What is seen of runs while a launcher has them: their own words go into a file, and which are over is told."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO, TypeVar

One = TypeVar("One")
OUT, ERR = 1, 2
SECONDS = 2.0  # between looks


@contextlib.contextmanager
def quietly(log: Path | None) -> Iterator[TextIO]:
    """Write what runs say into a file, those in other processes of this one too; give what the terminal is meanwhile.

    Args:
        log: The file; None for nowhere.
    """
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with open(log or os.devnull, "a", buffering=1) as file, _terminal() as shown:
        kept = [os.dup(number) for number in (OUT, ERR)]
        try:
            for number in (OUT, ERR):
                os.dup2(file.fileno(), number)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield shown
        finally:
            for number, before in zip((OUT, ERR), kept, strict=True):
                os.dup2(before, number)
                os.close(before)


@contextlib.contextmanager
def _terminal() -> Iterator[TextIO]:
    """Give standard output as it is now, whatever becomes of its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        number = sys.stdout.fileno()
    except (OSError, io.UnsupportedOperation):
        number = -1
    if number != OUT:
        yield sys.stdout
        return
    with os.fdopen(os.dup(OUT), "w", buffering=1) as shown:
        yield shown


@contextlib.contextmanager
def watched(
    jobs: Sequence[One], over: Callable[[One], bool], tell: Callable[[One], None], every: float = SECONDS
) -> Iterator[None]:
    """Tell of each job once, as soon as it is over; those that are not at the end are not told.

    Args:
        jobs: The jobs.
        over: Whether one is over.
        tell: Tells of one.
        every: Seconds between looks.
    """
    left, ended = list(jobs), threading.Event()

    def look() -> None:
        while left and not ended.wait(every):
            for job in [one for one in left if over(one)]:
                left.remove(job)
                tell(job)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
