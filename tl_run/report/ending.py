"""What stands at the end of a sweep: the table of its runs; no torch before that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode

SWEEPS: list[Path] = []
RUNS: list[Path] = []


class Ending(Callback):  # type: ignore[misc]
    """Remember a sweep and its runs, for `show`: Hydra calls nothing at the end of a sweep with a run that failed."""

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Remember where the sweep lies."""
        SWEEPS.append(Path(str(config.hydra.sweep.dir)))

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Remember a sweep's run, where it is in this process."""
        if config.hydra.mode == RunMode.MULTIRUN:
            RUNS.append(Path(str(config.hydra.runtime.output_dir)))


def show() -> None:
    """Print the table of the sweep's runs, if this was one: of those of this process, else of all below its folder."""
    if not SWEEPS:
        return
    from tl_run.report.comparison import show_sweep

    show_sweep(RUNS or SWEEPS, SWEEPS[-1])
