"""The `parallel_training` cell."""

from __future__ import annotations

from typing import ClassVar

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, at_once


class ParallelTraining(TransferModule):
    """Learn both side by side with nothing shared: different task, different domain, at once.

    Two independent models in one run. Its target equals `scratch`, which makes it the null control of every comparison.

    Example:
        >>> target = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> module = ParallelTraining(target=target, source={"name": "height", "kind": "regression"})
        >>> len(module.parts.islands())  # sets of roles that share a part
        2
    """

    needs_source: ClassVar[bool] = True

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("source", "source", "source"), "target": ("target", "target", "target")}

    def stages(self) -> list[Stage]:
        """Return the one stage that learns both."""
        return at_once()
