"""The source of `parallel_training` trained without its target, to compare with."""

from __future__ import annotations

from tl_modules import ParallelTraining
from tl_modules.stages import Stage


class SourceAlone(ParallelTraining):
    """`ParallelTraining` whose target does not learn."""

    def stages(self) -> list[Stage]:
        """Return the one stage, of the source alone."""
        return [Stage("joint", learn=("source",))]
