"""Run the proofs, keep what was seen as JSON, and print a table of it.

`python -m benchmarks.reliability` takes some twenty minutes on two cores, `--quick` less than one; it needs Linux.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.reliability import damages, hostile, kills, signals, together
from benchmarks.reliability.runs import Seen, prepare

OUTCOMES = ("survived", "told", "refused", "lost")


def proofs(folder: Path, seed: int, least: int, quick: bool) -> dict[str, Callable[[], Iterable[Seen]]]:
    """Return the proofs by name.

    Args:
        folder: Of their runs.
        seed: Of the moments.
        least: How many kills.
        quick: Whether a short form is wanted.
    """
    return {
        "kills": lambda: kills.prove(folder / "kills", seed, least, kills.QUICK if quick else kills.RUNS),
        "signals": lambda: signals.prove(folder / "signals", quick),
        "damages": lambda: damages.prove(folder / "damages", quick),
        "hostile": lambda: hostile.prove(folder / "hostile", quick),
        "together": lambda: together.prove(folder / "together", quick),
    }


def table(seen: Iterable[Seen]) -> str:
    """Return how often each proof was tried, and what came of it, as Markdown."""
    head = "| proof | tried | survived | survived, and said which file could not be | refused in a line | lost |"
    rows = [head, "|---|---|---|---|---|---|"]
    by_proof: dict[str, list[Seen]] = {}
    for one in seen:
        by_proof.setdefault(one.proof, []).append(one)
    for proof, ones in by_proof.items():
        counts = [sum(one.outcome == outcome for one in ones) for outcome in OUTCOMES]
        dead = sum(one.kills for one in ones)
        tried = f"{len(ones)} runs, {dead} kills" if dead else str(len(ones))
        rows.append(f"| {proof} | {tried} | {' | '.join(map(str, counts))} |")
    return "\n".join(rows)


def main() -> None:
    """Read the command line and do what it says; the exit status is 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form")
    parser.add_argument("--only", nargs="+", choices=list(proofs(Path(), 0, 0, False)), help="some proofs")
    parser.add_argument("--kills", type=int, default=110, help="how many, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which runs are killed")
    parser.add_argument("--folder", type=Path, default=Path("outputs/reliability"), help="of the runs; made anew")
    parser.add_argument("--out", type=Path, help="JSON file to add what was seen to, such as docs/reliability.json")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    prepare(folder)
    known = json.loads(given.out.read_text()) if given.out and given.out.exists() else []
    seen = []
    for name, prove in proofs(folder, given.seed, 4 if given.quick else given.kills, given.quick).items():
        if given.only and name not in given.only:
            continue
        for one in prove():
            seen.append(one)
            print(f"{one.proof}: {one.case}: {one.outcome}{f': {one.said}' if one.said else ''}", flush=True)
            if given.out:
                given.out.write_text(json.dumps([*known, *(each._asdict() for each in seen)], indent=1) + "\n")
    print(table(seen))
    sys.exit(any(one.outcome == "lost" for one in seen))


if __name__ == "__main__":
    main()
