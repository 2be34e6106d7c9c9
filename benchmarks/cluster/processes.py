"""Compare runs of two processes with runs of one, resume them, and kill one of them.

`python -m benchmarks.cluster.processes [--cells multitask scratch] [--folder outputs/processes]` prints a line per
proof and ends with status 1 where one fails. It takes some ten minutes on two cores, and needs Linux.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
from pathlib import Path

from benchmarks.cluster.runs import (
    CELLS,
    CLOSE,
    PLAIN,
    TINY,
    apart,
    batch,
    ended,
    equal,
    kill,
    losses_apart,
    other_process,
    start,
    tested,
    train,
    wait_for,
    weights,
)

LONG = ["steps=2000", "trainer.validations=200"]


def two_and_one(cell: str, folder: Path, *more: str) -> tuple[float, float]:
    """Train with two processes and with one on the same global batch.

    Args:
        cell: The cell.
        folder: Where the runs go.
        more: Further options.

    Returns:
        How far apart the weights are, as a fraction of their norm, and the losses in training, relatively.
    """
    for processes in (1, 2):
        options = [*PLAIN, f"cell={cell}", *TINY, *more, *batch(processes), f"hydra.run.dir={cell}_{processes}"]
        done = train(options, folder)
        if done.returncode:
            raise RuntimeError(f"{cell}, {processes} processes: {done.stderr.strip()}")
    one, two = (folder / f"{cell}_{processes}" for processes in (1, 2))
    return apart(weights(one), weights(two)), losses_apart(one, two)


def resumed(cell: str, folder: Path, *more: str) -> bool:
    """Kill both processes of a run and resume it; tell whether weights and test equal those of one that was not killed.

    Args:
        cell: The cell.
        folder: Where the runs go.
        more: Further options.
    """
    options = [f"cell={cell}", *TINY, *more, *batch(2), "steps=60", "trainer.validations=12"]
    done = train([*options, "hydra.run.dir=straight"], folder)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    process = start([*options, "hydra.run.dir=stopped"], folder)
    wait_for(process, folder / "stopped", 40)
    other = other_process(process)
    kill(process.pid)
    kill(other)
    ended(process)
    done = train(["resume=stopped"], folder)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    straight, stopped = folder / "straight", folder / "stopped"
    return equal(weights(straight), weights(stopped)) and tested(straight) == tested(stopped)


def killed(folder: Path) -> tuple[int, list[str], float]:
    """Kill the second process of a run; return its exit status, the lines it ends with, and after how many seconds."""
    process = start(["cell=scratch", *TINY, *batch(2), *LONG, "hydra.run.dir=killed"], folder)
    wait_for(process, folder / "killed", 10)
    kill(other_process(process))
    return ended(process)


def two_machines(folder: Path) -> tuple[float, float]:
    """Train as two machines would, each with one process, and with one process; return as `two_and_one` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = [*PLAIN, "cell=multitask", *TINY, "hydra.run.dir=machines"]
    options += ["trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2", "datamodule.batch_size=8"]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    both = [start(options, folder, NODE_RANK=str(rank), **where) for rank in (0, 1)]
    for rank, process in enumerate(both):
        status, said, _ = ended(process)
        if status:
            raise RuntimeError(f"machine {rank}: {' '.join(said)}")
    done = train([*PLAIN, "cell=multitask", *TINY, *batch(1), "hydra.run.dir=machine"], folder)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    one, two = folder / "machine", folder / "machines"
    return apart(weights(one), weights(two)), losses_apart(one, two)


def main() -> None:
    """Read the command line, run the proofs and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="*", default=["multitask"], choices=CELLS, help="compared with one process")
    parser.add_argument("--folder", type=Path, default=Path("outputs/processes"), help="of the runs; made anew")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    held = True

    def say(what: str, holds: bool, seen: str) -> None:
        nonlocal held
        held = held and holds
        print(f"| {what} | {seen} | {'holds' if holds else 'FAILS'} |", flush=True)

    print("| proof | seen | |\n|---|---|---|")
    for cell in given.cells:
        far, loss = two_and_one(cell, folder)
        say(f"two processes equal one, {cell}", far < CLOSE, f"weights {far:.0e}, losses {loss:.0e} apart")
    far, loss = two_machines(folder)
    say("two machines equal one process, multitask", far < CLOSE, f"weights {far:.0e}, losses {loss:.0e} apart")
    for cell in ("task_adaptation", "multitask"):
        place = folder / f"resumed_{cell}"
        place.mkdir()
        say(f"both processes killed and resumed, {cell}", resumed(cell, place), "weights and test to the bit")
    status, said, seconds = killed(folder)
    say("one of two processes killed", status != 0 and len(said) == 1, f"status {status} in {seconds:.1f} s: {said}")
    sys.exit(not held)


if __name__ == "__main__":
    main()
