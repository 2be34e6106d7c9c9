"""The `task_finetuning` cell."""

from __future__ import annotations

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, after_source


class TaskFineTuning(TransferModule):
    """Train on the source, then go on with the target: same task, same domain, one after the other.

    The literature's fine-tuning: stem and trunk are kept, and the head too where the label names are the same.

    Example:
        >>> task = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> module = TaskFineTuning(target=task, source=task)
        >>> [(stage.name, stage.learn) for stage in module.plan]
        [('source', ('source',)), ('target', ('target',))]
    """

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        source, target = self.head_names()
        return {"source": ("shared", "shared", source), "target": ("shared", "shared", target)}

    def stages(self) -> list[Stage]:
        """Return the source's stage and the target's."""
        return after_source(self.finetuning, "source" in self.tasks, self.source_share, self.adapting())
