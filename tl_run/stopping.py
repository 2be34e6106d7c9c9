"""Stopping on a signal: the step is finished and saved, then the run ends with the signal's exit status."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STATUS = {"SIGINT": 130}  # of the others: what a shell says of a process that SIGTERM ended
OTHERS = 143
SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")


class Interrupted(SystemExit):
    """A run that was stopped by a signal.

    Args:
        name: The signal's name.
        step: The steps of the stage that was being trained, None outside of training.
        stage: That stage.
    """

    def __init__(self, name: str, step: int | None = None, stage: str | None = None) -> None:
        super().__init__(STATUS.get(name, OTHERS))
        self.signal, self.step, self.stage = name, step, stage

    def __str__(self) -> str:
        """Return where the run stood."""
        return self.signal if self.step is None else f"{self.signal} at step {self.step} of stage {self.stage}"


class Stopping:
    """Note a signal while a stage is trained; at any other time end the run at once.

    Ctrl-C twice ends it at once in a stage too.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self.training = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        """Take the signals; only a process's main thread can."""
        self.take()
        return self

    def take(self) -> None:
        """Take the signals from whoever handles them now."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            before = signal.signal(number, self._note)
            self._before.setdefault(number, before)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
        if error is None:
            self.leave()

    def leave(self) -> None:
        """End the run if it was asked to stop: Python drops what is raised while an object is destroyed.

        Raises:
            Interrupted: If it was.
        """
        if self.asked is not None:
            raise Interrupted(self.asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        name, again = signal.Signals(number).name, self.asked is not None
        self.asked = name
        if not self.training or (again and name == "SIGINT"):
            raise Interrupted(name)
