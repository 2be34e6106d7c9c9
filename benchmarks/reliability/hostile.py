"""Hostile folders: whatever they hold, nothing of it is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.reliability.damages import stopped
from benchmarks.reliability.runs import Seen, go_on, judged, run
from tl_modules.weights.runs import digest_of

PROOF = "hostile folders"
Change = Callable[[Path, Path], None]  # of a run's folder, so that a file would be made


class Run:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a loader would call."""
        return os.mkdir, (str(self.mark),)


def touch(mark: Path) -> dict[str, Any]:
    """Return a node that would make a folder when it is instantiated."""
    return {"_target_": "os.mkdir", "path": str(mark)}


def overrides(place: Path, mark: Path) -> None:
    """Leave options in the files that Hydra would replay."""
    (place / ".hydra").mkdir(exist_ok=True)
    (place / ".hydra" / "overrides.yaml").write_text(f"- +hydra.callbacks.x={{_target_: os.mkdir, path: {mark}}}\n")
    (place / "config.yaml").write_text(OmegaConf.to_yaml({"callbacks": {"x": touch(mark)}}))


def in_config(*path: str, add: bool = False) -> Change:
    """Return what puts such a node into the configuration that the journal holds."""

    def change(place: Path, mark: Path) -> None:
        journal = json.loads((place / "journal.json").read_text())
        config: Any = OmegaConf.to_container(OmegaConf.create(journal["config"]))
        node = config
        for name in path[:-1]:
            node[name] = node[name] or {}
            node = node[name]
        node[path[-1]] = {**node[path[-1]], **touch(mark)} if add else touch(mark)
        journal["config"] = OmegaConf.to_yaml(OmegaConf.create(config))
        write(place, journal)

    return change


def own_backbone(place: Path, mark: Path) -> None:
    """Name a backbone in a module that lies in the folder that the run is called in."""
    (place.parent / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    journal = json.loads((place / "journal.json").read_text())
    config = OmegaConf.create(journal["config"])
    config.backbone = {"name": "evil.net"}
    write(place, {**journal, "config": OmegaConf.to_yaml(config)})


def own_augmentation(place: Path, mark: Path) -> None:
    """Name an augmentation in such a module."""
    own_backbone(place, mark)
    journal = json.loads((place / "journal.json").read_text())
    config = OmegaConf.create(journal["config"])
    config.backbone, config.target.augment = {"name": "small"}, {"name": "evil.net"}
    write(place, {**journal, "config": OmegaConf.to_yaml(config)})


def pickled(which: str) -> Change:
    """Return what replaces a checkpoint by such a pickle, with its checksum in the journal."""

    def change(place: Path, mark: Path) -> None:
        journal = json.loads((place / "journal.json").read_text())
        data = pickle.dumps(Run(mark))
        if which == "best.ckpt":
            (place / "checkpoints" / "source" / which).write_bytes(data)
            journal["stages"]["source"]["done"]["digest"] = digest_of(data)
        else:
            for one in journal["stages"]["target"]["checkpoints"]:
                (place / "checkpoints" / "target" / one["file"]).write_bytes(data)
                one["files"] = dict.fromkeys(one["files"], digest_of(data))
        write(place, journal)

    return change


def of(**given: Any) -> Change:
    """Return what changes the journal's fields."""

    def change(place: Path, mark: Path) -> None:
        write(place, {**json.loads((place / "journal.json").read_text()), **given})

    return change


def bomb(place: Path, mark: Path) -> None:
    """Let a configuration grow without end while it is read."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    write(place, {**json.loads((place / "journal.json").read_text()), "config": "\n".join(lines)})


def deep(place: Path, mark: Path) -> None:
    """Nest the journal deeper than can be read."""
    for name in ("journal.json", "journal.before.json"):
        (place / name).write_text('{"schema": 2, "stages": ' + "[" * 100_000 + "]" * 100_000 + "}")


def write(place: Path, journal: dict[str, Any]) -> None:
    """Write both journals."""
    for name in ("journal.json", "journal.before.json"):
        (place / name).write_text(json.dumps(journal))


CASES: dict[str, Change] = {
    "options to replay, with a callback of Hydra's": overrides,
    "a callback that calls the system": in_config("callbacks", "x"),
    "a logger that calls the system": in_config("logger"),
    "a cell that calls the system": in_config("cell", add=True),
    "a dataset that calls the system": in_config("source", add=True),
    "a backbone in a module that lies there": own_backbone,
    "an augmentation in a module that lies there": own_augmentation,
    "checkpoints that are pickles with code": pickled("step"),
    "the source's checkpoint is a pickle with code": pickled("best.ckpt"),
    "a journal that says nothing": of(stages={}, config=None),
    "a journal of other types": of(stages=[1], holder=7),
    "a configuration of another type": of(config=[1, 2]),
    "a configuration that grows while it is read": bomb,
    "a journal nested without end": deep,
}


def prove(folder: Path, quick: bool = False) -> Iterator[Seen]:
    """Go on with hostile folders, and yield what became of each; whatever of them ran counts as lost."""
    straight, killed = stopped(folder)
    for number, (case, change) in enumerate([*CASES.items()][:: 7 if quick else 1]):
        place, mark = folder / f"hostile_{number}", folder / f"mark_{number}"
        shutil.copytree(killed, place)
        change(place, mark)

        def work(place: Path = place) -> None:
            os.chdir(place.parent)
            go_on(place)()

        ended, _, _ = run(work, place)
        seen = judged(PROOF, case, ended, straight, place)
        yield seen._replace(outcome="lost", said="its code was run") if mark.exists() else seen
