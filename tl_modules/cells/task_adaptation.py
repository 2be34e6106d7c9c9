"""The `task_adaptation` cell."""

from __future__ import annotations

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, after_source


class TaskAdaptation(TransferModule):
    """Train on the source, then learn another task on its features: different task, same domain, one after the other.

    The literature's feature extraction: stem and trunk are kept (frozen with `linear_probe`), the head is new.

    Example:
        >>> source = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> target = {"name": "height", "kind": "regression"}
        >>> module = TaskAdaptation(target=target, source=source, finetuning="linear_probe")
        >>> module.plan[-1].freeze
        ('stem', 'trunk')
    """

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("shared", "shared", "source"), "target": ("shared", "shared", "target")}

    def stages(self) -> list[Stage]:
        """Return the source's stage and the target's."""
        return after_source(self.finetuning, "source" in self.tasks, self.source_share)
