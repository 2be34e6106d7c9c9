"""The `modality_transfer` cell."""

from __future__ import annotations

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, after_source


class ModalityTransfer(TransferModule):
    """Train on the source, then another task in another domain, one after the other.

    The trunk is kept, the stem starts as the source's, adapted to the new input's channels, and the head is new.
    """

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("source", "shared", "source"), "target": ("target", "shared", "target")}

    def stages(self) -> list[Stage]:
        """Return the source's stage and the target's."""
        return after_source(self.finetuning, "source" in self.tasks, self.source_share)
