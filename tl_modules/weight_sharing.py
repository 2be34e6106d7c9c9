"""The `weight_sharing` cell."""

from __future__ import annotations

from typing import ClassVar

from tl_modules.base import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, at_once


class WeightSharing(TransferModule):
    """Learn both domains on one trunk: same task, different domain, at once.

    A stem a domain, one trunk and one head over the union of the label names.
    """

    needs_source: ClassVar[bool] = True

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("source", "shared", "shared"), "target": ("target", "shared", "shared")}

    def stages(self) -> list[Stage]:
        """Return the one stage that learns both."""
        return at_once()
