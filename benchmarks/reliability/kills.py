"""Kills at random moments, everywhere in a run; folders are moved or copied before they are gone on with."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.reliability.runs import Changes, Moment, begin, config, difference, go_on, run, stage_at

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
QUICK = (1, 12)
SOON = 0.004  # seconds: while a file is being written
EVERY_STEP = "checkpoint.minutes=1e-9"


class Killed(NamedTuple):
    """A run that was killed and gone on with until it ended.

    Args:
        options: The run's.
        stages: Where it was killed.
        moved: Whether, and how, its folder was moved in between.
        minutes: Whether it was saved at every step.
        wrong: What is wrong with it, None where nothing is.
    """

    options: tuple[str, ...]
    stages: list[str]
    moved: str | None
    minutes: bool
    wrong: str | None


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
) -> Killed:
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
    return Killed(options, stages, how, minutes, wrong)


def prove(folder: Path, seed: int, least: int, runs: Sequence[tuple[str, ...]] = RUNS) -> list[Killed]:
    """Kill runs until there are enough kills.

    Args:
        folder: Where they train.
        seed: Of the moments.
        least: How many kills.
        runs: The options of each.
    """
    draw, found = random.Random(seed), []
    done: dict[tuple[str, ...], tuple[Path, Changes]] = {}
    while sum(len(one.stages) for one in found) < least:
        number = len(found)
        options = runs[number % len(runs)]
        if options not in done:
            straight = folder / f"straight_{len(done)}"
            ended, changes, _ = run(begin(config(*options), straight), straight)
            if ended.status:
                raise RuntimeError(f"{' '.join(options)}: {ended.errors}")
            done[options] = straight, changes
        place = folder / f"killed_{number}"
        one = killed(options, *done[options], place, draw, kills=draw.choice((1, 1, 2, 3)))
        found.append(one)
        said = f"{len(found)}: {' '.join(options)} killed in {', '.join(one.stages) or 'no stage'}, {one.moved}"
        print(f"  {said}: {one.wrong or 'equal'}", flush=True)
        if one.wrong is None:
            for path in folder.glob(f"killed_{number}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found
