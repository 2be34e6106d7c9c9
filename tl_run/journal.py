"""A run's journal: who holds the run, how it stands, and which checkpoints are whole; the one record of its folder.

`journal.json` is replaced as a whole, and the one before is kept; all paths in it are relative to the folder, which can
be moved. It is written by the first process alone.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tl_modules.weights.runs import BEFORE, NAME, SCHEMA, Content, damage, digest_of, read_journal
from tl_run.folder import first_process, write_json

RUNNING, INTERRUPTED, DIVERGED, FAILED, COMPLETE = "running", "interrupted", "diverged", "failed", "complete"
LOCK = ".lock"
METRICS, RESULTS = "metrics.csv", "results.json"
PATIENCE = 15.0  # seconds that the loaders' workers may hold a dead process's lock
KEPT = 2  # generations


class Journal:
    """The journal of a run's folder.

    Args:
        folder: The folder.

    Raises:
        ValueError: If the journal in it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / NAME
        new: Content = {"status": None, "holder": None, "config": None, "stages": {}}
        self.content = {**new, **(read_journal(folder) or {}), "schema": SCHEMA}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run, so that no other process trains in its folder; where one holds it already this is an error.

        The system lets go of the lock of a process that was killed.

        Raises:
            ValueError: If another process holds the run.
        """
        if not first_process():  # the first one holds it for all
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=PATIENCE if self._holder_is_gone() else 0)
        except Timeout:
            now = Journal(self.folder).content["holder"]
            who = f"process {now['pid']} on {now['host']} since {now['started']}" if now else "another process"
            raise ValueError(f"{self.folder}: is being trained by {who}; wait for it, or stop it") from None
        try:
            self.content = {**self.content, **(read_journal(self.folder) or {}), "schema": SCHEMA}
            yield
        finally:
            lock.release()

    def _holder_is_gone(self) -> bool:
        holder = self.content["holder"]
        if not holder or holder["host"] != socket.gethostname():
            return True
        try:
            os.kill(int(holder["pid"]), 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    @property
    def started(self) -> bool:
        """Whether the folder is a run's already."""
        return self.content["config"] is not None or (self.folder / "config.yaml").exists()

    def begin(self, config: str) -> None:
        """Note that this process runs, and with which checked configuration, as YAML."""
        started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
        self.write(status=RUNNING, holder=holder, config=config)

    def write(self, **changes: Any) -> None:
        """Change some of what it says."""
        self.content |= changes
        if not first_process():
            return
        if self.path.exists():
            shutil.copyfile(self.path, self.path.with_suffix(".copy"))
            os.replace(self.path.with_suffix(".copy"), self.folder / BEFORE)
        write_json(self.path, self.content)

    def stage(self, name: str) -> dict[str, Any]:
        """Return what is kept of a stage: `checkpoints`, the generations by age, and `done`, its record once it is."""
        stage: dict[str, Any] = self.content["stages"].setdefault(name, {"checkpoints": [], "done": None})
        return stage

    def place(self, name: str) -> Path:
        """Return the folder of a stage's checkpoints."""
        return self.folder / "checkpoints" / name

    def newest(self, name: str) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the newest generation of a stage that is whole, None if there is none, and what is wrong with others.

        A generation is a checkpoint and the best one up to then; both have to be as they were written.
        """
        wrong: list[str] = []
        whole = None
        files: dict[str, str | None] = {}
        for one in reversed(self.stage(name)["checkpoints"]):
            for file, digest in one["files"].items():
                files.setdefault(file, damage(self.place(name) / file, digest))
            bad = [said for file in one["files"] if (said := files[file])]
            if not bad:
                whole = one
                break
            wrong += [said for said in bad if said not in wrong]
        return whole, wrong

    def before(self, name: str, step: int) -> Path | None:
        """Return a stage's newest whole checkpoint of at most `step` steps; None where there is none."""
        found, _ = self.newest(name)
        return None if found is None or found["step"] > step else self.place(name) / found["file"]

    def add(self, name: str, generation: dict[str, Any]) -> None:
        """Keep a generation of a stage, and of those before it the last; files that belong to neither are removed."""
        stage = self.stage(name)
        kept = [one for one in stage["checkpoints"] if one["step"] < generation["step"]]
        stage["checkpoints"] = [*kept, generation][-KEPT:]
        self.write()
        self.clean(name)

    def metrics(self) -> str:
        """Return the checksum of `metrics.csv` as it is."""
        path = self.folder / METRICS
        return digest_of(path.read_bytes() if path.exists() else b"")

    def finish(self, name: str, record: dict[str, Any], files: dict[str, str | None]) -> None:
        """Keep the record of a stage that is over; of its checkpoints, the one chosen and the last stay.

        Args:
            name: The stage.
            record: Its record.
            files: The checksums of the checkpoints that stay.
        """
        self.stage(name).update(done=record, checkpoints=[], files=files, metrics=self.metrics())
        self.write()
        self.clean(name)

    def clean(self, name: str) -> None:
        """Remove the checkpoints of a stage that no generation names."""
        if not first_process():
            return
        stage = self.stage(name)
        named = {file for one in stage["checkpoints"] for file in one["files"]}
        for path in self.place(name).glob("step-*"):
            if path.name not in named:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def keep_as(self, name: str, file: str, new: str) -> None:
        """Give a checkpoint of a stage another name, beside the one it has."""
        old, path = self.place(name) / file, self.place(name) / new
        part = path.with_name(f".{new}.part")
        part.unlink(missing_ok=True)
        try:
            os.link(old, part)
        except OSError:  # not every file system has links, nor can a folder of shards be one
            (shutil.copytree if old.is_dir() else shutil.copyfile)(old, part)
        if path.is_dir():
            shutil.rmtree(path)
        with contextlib.suppress(FileNotFoundError):
            os.replace(part, path)
        part.unlink(missing_ok=True)
