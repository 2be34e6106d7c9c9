"""Damaged folders: each file of a run that was killed is cut short, zeroed in part, removed or filled with garbage."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.reliability.runs import Moment, Seen, begin, change_of, go_on, judged, run, uninterrupted

OPTIONS = ("cell=task_finetuning",)
PROOF = "damaged folders"


def cut(path: Path) -> None:
    """Cut a file to its half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def zero(path: Path) -> None:
    """Overwrite 64 bytes in the middle of a file."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(len(data[middle : middle + 64]))
    path.write_bytes(data)


def garble(path: Path) -> None:
    """Fill a file with noise."""
    path.write_bytes(random.Random(0).randbytes(2000))


WAYS: dict[str, Callable[[Path], None]] = {"cut": cut, "zeroed": zero, "removed": Path.unlink, "garbage": garble}
ALL = ("journal.json", "metrics.csv", "newest", "checkpoints/source/best.ckpt")
SOME = {
    "journal.before.json": ("garbage", "removed"),
    "config.yaml": ("cut", "removed"),
    "older": ("zeroed",),
    "checkpoints/source/last.ckpt": ("zeroed", "removed"),
    "data_report.json": ("garbage",),
    ".lock": ("garbage", "removed"),
}


def cases() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield a way and the files that are damaged so."""
    for way in WAYS:
        yield from ((way, (file,)) for file in ALL)
    yield from ((way, (file,)) for file, ways in SOME.items() for way in ways)
    yield "zeroed", ("newest", "older")
    yield "removed", ("newest", "older")
    yield "garbage", ("journal.json", "journal.before.json")
    yield "removed", ("journal.json", "journal.before.json")
    yield "cut", ("metrics.csv", "newest")


def stopped(folder: Path) -> tuple[Path, Path]:
    """Return the folders of a finished run and of one that was killed with two generations of its second stage."""
    straight, killed = folder / "straight", folder / "killed"
    given, changes = uninterrupted(OPTIONS, straight)
    at = change_of(changes, "checkpoints/target/.step-", 2)
    run(begin(given, killed), killed, Moment(at, 0.0))
    return straight, killed


def prove(folder: Path, quick: bool = False) -> Iterator[Seen]:
    """Damage copies of a killed run and of a finished one, go on with them, and yield what became of each."""
    straight, killed = stopped(folder)
    steps = sorted(path.name for path in (killed / "checkpoints" / "target").glob("step-*.ckpt"))
    named = {"newest": f"checkpoints/target/{steps[-1]}", "older": f"checkpoints/target/{steps[0]}"}
    for number, (way, files) in enumerate([*cases()][:: 9 if quick else 1]):
        place = folder / f"damaged_{number}"
        shutil.copytree(killed, place)
        for file in files:
            WAYS[way](place / named.get(file, file))
        ended, _, _ = run(go_on(place), place)
        yield judged(PROOF, f"{' and '.join(files)}: {way}", ended, straight, place, named.get(files[0], files[0]))
    for way in () if quick else ("garbage", "removed", "cut"):
        place = folder / f"finished_{way}"
        shutil.copytree(straight, place)
        WAYS[way](place / "results.json")
        ended, _, _ = run(go_on(place), place)
        yield judged(PROOF, f"results.json of a finished run: {way}", ended, straight, place)
    place = folder / "later"
    shutil.copytree(killed, place)
    journal = json.loads((place / "journal.json").read_text())
    (place / "journal.json").write_text(json.dumps({**journal, "schema": 99}))
    ended, _, _ = run(go_on(place), place)
    yield judged(PROOF, "journal.json: of a later version", ended, straight, place)
