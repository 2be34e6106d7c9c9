"""Kills at random moments, everywhere in a run; folders are moved or copied before they are gone on with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.reliability.runs import (
    Changes,
    Moment,
    Seen,
    begin,
    config,
    difference,
    go_on,
    run,
    stage_at,
    uninterrupted,
)

RUNS: tuple[tuple[str, ...], ...] = (
    ("cell=scratch",),
    ("cell=task_finetuning",),
    ("cell=task_finetuning", "finetuning=linear_probe"),
    ("cell=domain_adaptation",),
    ("cell=domain_adaptation", "objective=coral"),
    ("cell=domain_adaptation", "cell.normalisation=per_role"),
    ("cell=task_adaptation",),
    ("cell=task_adaptation", "finetuning=full"),
    ("cell=modality_transfer",),
    ("cell=modality_transfer", "finetuning=linear_probe"),
    ("cell=dataset_merging",),
    ("cell=weight_sharing",),
    ("cell=weight_sharing", "datamodule.mode=proportional"),
    ("cell=multitask",),
    ("cell=multitask", "objective=uncertainty"),
    ("cell=multitask", "datamodule.mode=aligned"),
    ("cell=multitask", "trainer.accumulate=2"),
    ("cell=multitask", "datamodule.num_workers=1"),
    ("cell=parallel_training",),
    ("cell=parallel_training", "datamodule.mode=temperature", "datamodule.temperature=3"),
)
QUICK = (("cell=task_finetuning",), ("cell=multitask", "datamodule.mode=proportional"))
SOON = 0.004  # seconds: while a file is being written
EVERY_STEP = "checkpoint.minutes=1e-9"


def moment(draw: random.Random, changes: Changes, first: int, last: int) -> Moment:
    """Return a random moment of a run: at a change of a file, while it is made or anywhere until the next one.

    Args:
        draw: What draws it.
        changes: Those of the whole run.
        first: The first change that can be drawn.
        last: The first that cannot.
    """
    number = draw.randrange(first, last)
    gap = changes[number + 1][0] - changes[number][0] if number + 1 < len(changes) else SOON
    return Moment(number, draw.uniform(0, SOON if draw.random() < 0.5 else gap))


def killed(
    options: tuple[str, ...], straight: Path, changes: Changes, folder: Path, draw: random.Random, kills: int
) -> Seen:
    """Begin a run, kill it and go on with it so many times, let it end, and compare it with one that was not killed.

    Args:
        options: The run's.
        straight: The folder of the run that was not killed.
        changes: That run's.
        folder: Where to train.
        draw: What draws the moments.
        kills: How often it is killed, if it does not end before.
    """
    minutes = draw.random() < 1 / 3
    given = config(*options, *([EVERY_STEP] if minutes else []))
    done, stages, how = begin(given, folder), [], None
    for _ in range(kills):
        last = len(changes) if not stages else max(2, len(changes) // 2)
        at = moment(draw, changes, 0, last)
        ended, seen, sent = run(done, folder, at)
        if not sent or ended.status != -9:
            break
        stages.append(stage_at(seen, at.change))
        if draw.random() < 1 / 3:
            how = draw.choice(("moved", "copied"))
            other = folder.with_name(f"{folder.name}{how[0]}")
            if folder.exists():
                (shutil.move if how == "moved" else shutil.copytree)(folder, other)
                shutil.rmtree(folder, ignore_errors=True)
                folder = other
        begun = any((folder / name).exists() for name in ("journal.json", "journal.before.json"))
        done = go_on(folder) if begun else begin(given, folder)
    ended, _, _ = run(done, folder)
    wrong = f"exit {ended.status}: {ended.errors.strip()[-300:]}" if ended.status else difference(straight, folder)
    often = ", saved at every step" if minutes else ""
    case = f"{' '.join(options)}: killed in {', '.join(stages) or 'none'}{often}{f', {how}' if how else ''}"
    return Seen("kills", case, "survived" if wrong is None else "lost", wrong or "", len(stages))


def prove(folder: Path, seed: int, least: int, runs: Sequence[tuple[str, ...]] = RUNS) -> Iterator[Seen]:
    """Kill runs until there are enough kills, and yield what became of each.

    Args:
        folder: Where they train.
        seed: Of the moments.
        least: How many kills.
        runs: The options of each.
    """
    draw, number, reached = random.Random(seed), 0, 0
    done: dict[tuple[str, ...], tuple[Path, Changes]] = {}
    while reached < least:
        options = runs[number % len(runs)]
        if options not in done:
            straight = folder / f"straight_{len(done)}"
            done[options] = straight, uninterrupted(options, straight)[1]
        place = folder / f"killed_{number}"
        one = killed(options, *done[options], place, draw, kills=draw.choice((1, 1, 2, 3)))
        reached += one.kills
        if one.outcome == "survived":
            for path in folder.glob(f"killed_{number}[.mc]*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.rmtree(place, ignore_errors=True)
        number += 1
        yield one
