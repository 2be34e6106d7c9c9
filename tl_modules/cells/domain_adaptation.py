"""The `domain_adaptation` cell."""

from __future__ import annotations

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, after_source


class DomainAdaptation(TransferModule):
    """Train on the source, then adapt to the target's domain: same task, different domain, one after the other.

    The literature's supervised domain adaptation: stem and trunk are kept, and the head too where the label
    names are the same. With an objective that adapts, such as `coral`, it is the unsupervised one: no label of the
    target is read.

    Example:
        >>> task = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> module = DomainAdaptation(target=task, source=task, objective="coral")
        >>> [(stage.name, stage.learn, stage.see) for stage in module.plan]
        [('source', ('source',), ()), ('adapt', ('source',), ('target',))]
    """

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        source, target = self.head_names()
        return {"source": ("shared", "shared", source), "target": ("shared", "shared", target)}

    def stages(self) -> list[Stage]:
        """Return the source's stage and the target's."""
        return after_source(self.finetuning, "source" in self.tasks, self.source_share, self.adapting())
