"""The `multitask` cell."""

from __future__ import annotations

from typing import ClassVar

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, at_once


class MultiTask(TransferModule):
    """Learn both tasks on one backbone: different task, same domain, at once.

    Hard parameter sharing (Caruana 1997): one stem, one trunk, a head per role.

    Example:
        >>> target = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> module = MultiTask(target=target, source={"name": "height", "kind": "regression"})
        >>> module.parts.wires
        {'source': ('shared', 'shared', 'source'), 'target': ('shared', 'shared', 'target')}
    """

    needs_source: ClassVar[bool] = True

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("shared", "shared", "source"), "target": ("shared", "shared", "target")}

    def stages(self) -> list[Stage]:
        """Return the one stage that learns both."""
        return at_once()
