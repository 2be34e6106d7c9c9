"""Several processes on one machine that end together: where one is lost, the run ends with a line that says which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from tl_run.stopping import OTHERS, STATUS

LOOK = 0.2  # seconds between two looks at the other processes
GRACE = 5.0  # seconds for an error that all processes have to be told by itself
STOPPED = {0, OTHERS, *STATUS.values()}  # exit statuses of a process that was not lost
# What the errors of the libraries that processes talk by begin with or contain.
TALKING = ("gloo", "NCCL", "ProcessGroup", "Connection reset by peer", "Connection closed by peer", "Broken pipe")


class Watched(DDPStrategy):
    """Distributed data parallel training whose processes end together.

    Lightning kills a run of which a process is lost without a word; and an error of the connection, which the other
    processes may see first, does not say what happened.

    Args:
        unused: Whether parameters may have no part in a step's loss.
        lost: Is told the line that the run ends with, in the first process of a machine.
    """

    others: ClassVar[list[subprocess.Popen[bytes]]] = []  # of all Trainers of a run: the first one starts them

    def __init__(self, unused: bool, lost: Callable[[str], None]) -> None:
        super().__init__(find_unused_parameters=unused)
        self.lost = lost

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)
        self._launcher.others, self._launcher.lost = self.others, self.lost

    def on_exception(self, exception: BaseException) -> None:
        """End the other processes of this machine; say in one line that the connection to one is lost.

        Raises:
            ConnectionError: If that is what the exception means.
        """
        super().on_exception(exception)
        talking = isinstance(exception, RuntimeError) and any(word in str(exception) for word in TALKING)
        if isinstance(exception, Exception) and not talking:
            end(self.others, signal.SIGKILL)
        if talking:
            time.sleep(GRACE)  # a process of this machine that is lost is named, and the run ended, by the watch
            here = f"process {self.global_rank} of {self.world_size}"
            raise ConnectionError(f"{here} lost the connection to another process of the run") from exception


class Launcher(_SubprocessScriptLauncher):
    """Start a machine's other processes as Lightning does, and watch them; `others` and `lost` are the strategy's."""

    others: list[subprocess.Popen[bytes]]
    lost: Callable[[str], None]

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.others[:], self.procs = self.procs, []  # Lightning's own watch kills without a word: it has none to watch
        threading.Thread(target=watch, args=(self.others, self.lost), daemon=True).start()

    def kill(self, signum: signal.Signals) -> None:  # type: ignore[override]
        """Send the other processes a signal."""
        end(self.others, signum)


def end(others: list[subprocess.Popen[bytes]], signum: int) -> None:
    """Send a machine's other processes a signal, and watch them no more."""
    ending = list(others)
    others.clear()
    for process in ending:
        process.send_signal(signum)


def watch(others: list[subprocess.Popen[bytes]], lost: Callable[[str], None]) -> None:
    """Wait for a machine's other processes; where one is lost, kill the rest, say so and end this one with status 1.

    Args:
        others: The other processes, of ranks 1 and up on this machine; emptied where they are to be watched no more.
        lost: Is told the line.
    """
    while True:
        ended = {rank: process.poll() for rank, process in enumerate(others, 1)}
        gone = {rank: code for rank, code in ended.items() if code not in (None, *STOPPED)}
        if gone:
            break
        if None not in ended.values():
            return
        time.sleep(LOOK)
    rank, code = next(iter(gone.items()))
    if code is not None and code > 0:  # it has said why, and this process may have the same error
        time.sleep(GRACE)
        if not others:
            return
    line = f"process {rank} of {len(ended) + 1} {told(code or 0)}; the run cannot go on without it"
    end(others, signal.SIGKILL)
    lost(line)
    print(line, file=sys.stderr, flush=True)
    os._exit(1)


def told(code: int) -> str:
    """Return how a process ended.

    Args:
        code: Its exit status, the negative number of a signal that killed it.
    """
    if code >= 0:
        return f"ended with status {code}"
    known = {one.value: one.name for one in signal.Signals}
    return f"was killed by {known.get(-code, f'signal {-code}')}"
