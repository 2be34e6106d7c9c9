"""Runs in processes that are forked from one that has imported everything, so that a kill costs a second, not ten."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir

from datamodules.synthetic import scenes
from tl_run import runner, train
from tl_run.cli import checked
from tl_run.errors import RunError
from tl_run.paths import CONF
from tl_run.report import pictures
from tl_run.resuming import resumed
from tl_run.schema import ConfigError

TINY = (
    *(f"{role}.{option}" for role in ("source", "target") for option in ("image_size=32", "train_size=24")),
    *("source.val_size=12", "target.val_size=12", "datamodule.batch_size=8", "steps=12", "trainer.validations=4"),
    *("trainer.accelerator=cpu", "trainer.progress=false", "precision=32", "store.gigabytes=0"),
)
LIMIT = 240  # seconds
TEST_SIZE = 32  # samples
WRITES = ("os.rename", "os.remove", "os.link", "shutil.rmtree", "shutil.copytree")
Changes = list[tuple[float, str]]  # seconds since the start, and the file within the folder


class Ended(NamedTuple):
    """How a process ended: its exit status (minus the number of the signal that killed it), and what it said."""

    status: int
    said: str
    errors: str

    @property
    def lines(self) -> list[str]:
        """What it wrote to its errors, line by line."""
        return self.errors.strip().splitlines()


class Seen(NamedTuple):
    """What became of one attempt to lose a run.

    Args:
        proof: Such as `kills`.
        case: What was done.
        outcome: `survived` (went on, and ended equal to the bit), `refused` (one line that says why) or `lost`.
        said: The line, or what is wrong.
        kills: How many processes were killed in it.
    """

    proof: str
    case: str
    outcome: str
    said: str = ""
    kills: int = 0


class Moment(NamedTuple):
    """When something is done to a process: at its n-th change of a file in the run's folder, and so long after."""

    change: int
    delay: float  # seconds


def config(*options: str) -> dict[str, Any]:
    """Return the checked configuration of a tiny run."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return checked(compose("train", [*TINY, *options]))


def begin(given: dict[str, Any], folder: Path) -> Callable[[], Any]:
    """Return what trains in a folder."""
    return lambda: runner.execute(given, folder)


def go_on(folder: Path, *more: str) -> Callable[[], Any]:
    """Return what `train.py resume=<folder>` does."""
    options = [f"resume={folder}", *more]
    return lambda: train.go_on(folder, resumed(folder, options))


def call(*options: str, place: Path) -> Callable[[], Any]:
    """Return what `train.py` does with these options, called in a folder."""

    def main() -> None:
        os.chdir(place)
        sys.argv = ["train.py", *options]
        train.main()

    return main


def prepare(folder: Path) -> None:
    """Make ready for short runs: no pictures, which take longer than these and are read by nothing, and a small test.

    A run of this process loads what all would load anew.

    Args:
        folder: Where it trains.
    """
    for name in ("samples", "predictions", "curves"):
        setattr(pictures, name, lambda *_: None)
    scenes.TEST_SIZE = TEST_SIZE
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        runner.execute(config("cell=task_finetuning"), folder / "first")


def run(
    work: Callable[[], Any], folder: Path, at: Moment | None = None, number: int = signal.SIGKILL, log: str = "said"
) -> tuple[Ended, Changes, bool]:
    """Do something in a process of its own, and send it a signal at a moment.

    Args:
        work: What it does.
        folder: The run's folder, whose changes are counted.
        at: When; None for never.
        number: Which signal.
        log: The name of the files, beside the folder, that hold what it says.

    Returns:
        How it ended, the changes until then, and whether the signal was sent.
    """
    process = Process(work, folder, log)
    sent = at is not None and process.wait_for_change(at.change)
    if sent and at is not None:
        time.sleep(at.delay)
        sent = process.send(number)
    return process.ended(), process.changes, sent


class Process:
    """A forked process.

    Args:
        work: What it does.
        folder: The run's folder, whose changes are reported.
        log: The name of the files, beside the folder, that hold what it says.
    """

    def __init__(self, work: Callable[[], Any], folder: Path, log: str = "said") -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        self.logs = [folder.parent / f"{folder.name}.{log}.{end}" for end in ("out", "err")]
        self.changes: Changes = []
        self._rest, self._began = b"", time.monotonic()
        self._pipe, there = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._pipe)
            _child(work, folder, there, self.logs)
        os.close(there)
        self._status: int | None = None

    def wait_for_change(self, number: int, limit: float = LIMIT) -> bool:
        """Wait until the process is about to change a file for the n-th time; False if it ends before."""
        end = time.monotonic() + limit
        while len(self.changes) <= number:
            if not self._read(end - time.monotonic()):
                return False
        return True

    def _read(self, wait: float) -> bool:
        if wait <= 0 or not select.select([self._pipe], [], [], wait)[0]:
            raise TimeoutError(f"process {self.pid} took too long")
        data = os.read(self._pipe, 65536)
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        now = time.monotonic() - self._began
        self.changes += [(now, line.decode()) for line in whole.split(b"\n") if line]
        return bool(data)

    def send(self, number: int) -> bool:
        """Send a signal; False if the process has ended already."""
        if self._poll() is not None:
            return False
        os.kill(self.pid, number)
        return True

    def _poll(self, flags: int = os.WNOHANG) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, flags)
            self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def ended(self) -> Ended:
        """Wait for the end."""
        end = time.monotonic() + LIMIT
        try:
            while self._read(end - time.monotonic()):
                pass
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            raise
        finally:
            status = self._poll(0)
            os.close(self._pipe)
        assert status is not None
        return Ended(status, *(log.read_text(errors="replace") for log in self.logs))


def _child(work: Callable[[], Any], folder: Path, pipe: int, logs: Sequence[Path]) -> None:
    """Do the work and end, never to return: a process that was forked must not do what its parent does."""
    status = 1
    try:
        for number, log in zip((1, 2), logs, strict=True):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.addaudithook(_reporter(folder, pipe))
        torch.set_num_threads(1)
        try:
            work()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except ConfigError as error:  # as the command line shows them
            print(error, file=sys.stderr)
            status = 2
        except RunError as error:
            print(error, file=sys.stderr)
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _reporter(folder: Path, pipe: int) -> Callable[[str, tuple[Any, ...]], None]:
    """Return a hook that reports each change of a file in a folder before it is made."""
    place = f"{folder}{os.sep}"

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(given[2], int) or not given[2] & (os.O_WRONLY | os.O_RDWR):
                return
        elif event not in WRITES:
            return
        path = str(given[1] if event in ("os.rename", "os.link") else given[0])
        if path.startswith(place):
            with contextlib.suppress(OSError):
                os.write(pipe, f"{path[len(place) :]}\n".encode())

    return hook


def weights(folder: Path, but: str = "") -> dict[str, torch.Tensor]:
    """Return all tensors of a run's `last` and `best` checkpoints, by stage, file and name, `but` one file."""
    found = {}
    for path in sorted(folder.glob("checkpoints/*/[lb]*.ckpt")):
        if str(path.relative_to(folder)) == but:
            continue
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        found |= {f"{path.parent.name}/{path.name}/{key}": value for key, value in state.items()}
    return found


def results(folder: Path) -> Any:
    """Return what a run's `results.json` says, without its seconds and where it was resumed."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: timeless(v) for k, v in value.items() if k not in ("seconds", "resumed_at")}
        return [timeless(one) for one in value] if isinstance(value, list) else value

    return timeless(json.loads((folder / "results.json").read_text()))


def difference(one: Path, other: Path, but: str = "") -> str | None:
    """Return in what two finished runs differ; None where weights, results and metrics are the same to the bit.

    Args:
        one: The folder of the one.
        other: That of the other, which also has to be `complete`.
        but: A file that is not compared.
    """
    try:
        mine, theirs = weights(one, but), weights(other, but)
        if not mine or mine.keys() != theirs.keys():
            return "other checkpoints"
        wrong = [name for name, value in mine.items() if not torch.equal(value, theirs[name])]
        if wrong:
            return f"weights: {wrong[0]} and {len(wrong) - 1} more"
        if results(one) != results(other):
            return "results.json"
        if but != "metrics.csv" and (one / "metrics.csv").read_bytes() != (other / "metrics.csv").read_bytes():
            return "metrics.csv"
        status = json.loads((other / "journal.json").read_text())["status"]
        return None if status == "complete" else f"status {status}"
    except (OSError, ValueError, KeyError) as error:
        return f"{type(error).__name__}: {error}"


def stage_at(changes: Changes, number: int) -> str:
    """Return the stage that a run is in at its n-th change of a file, `before` the first and `test` after the last."""
    stages = [_stage(path) for _, path in changes]
    earlier = [stage for stage in stages[: number + 1] if stage]
    return earlier[-1] if earlier else "before"


def _stage(path: str) -> str | None:
    parts = path.split(os.sep)
    return parts[1] if parts[0] == "checkpoints" and len(parts) > 2 else None


def one_line(ended: Ended) -> bool:
    """Tell whether a process ended with an error of one line and no traceback."""
    return ended.status > 0 and len(ended.lines) == 1 and "Traceback" not in ended.errors


def judged(proof: str, case: str, ended: Ended, straight: Path, folder: Path, damaged: str = "") -> Seen:
    """Return what became of a run that was gone on with.

    Args:
        proof: The proof.
        case: What was done to the run.
        ended: How the process ended.
        straight: The folder of a run to which nothing was done.
        folder: The run's.
        damaged: The file in it that was changed.
    """
    said = " / ".join(ended.lines).replace(f"{folder}", "run")
    if ended.status:
        return Seen(proof, case, "refused" if one_line(ended) else "lost", f"exit {ended.status}: {said}")
    wrong = difference(straight, folder)
    if wrong is None:
        return Seen(proof, case, "survived", said)
    told = damaged and damaged in said and difference(straight, folder, damaged) is None
    return Seen(proof, case, "told" if told else "lost", said if told else f"{wrong} ({said or 'not a word'})")


def uninterrupted(options: Sequence[str], folder: Path) -> tuple[dict[str, Any], Changes]:
    """Train without a stop; return the configuration and the changes of files.

    Raises:
        RuntimeError: If the run fails.
    """
    given = config(*options)
    ended, changes, _ = run(begin(given, folder), folder)
    if ended.status:
        raise RuntimeError(f"{' '.join(options)}: {ended.errors}")
    return given, changes


def change_of(changes: Changes, start: str, which: int = 0) -> int:
    """Return at which change a file is written whose path begins so, the first or a later one."""
    return [i for i, (_, path) in enumerate(changes) if path.startswith(start)][which]
