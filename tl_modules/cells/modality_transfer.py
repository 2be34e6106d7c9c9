"""The `modality_transfer` cell."""

from __future__ import annotations

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, after_source


class ModalityTransfer(TransferModule):
    """Train on the source, then another task in another domain, one after the other.

    The trunk is kept, the stem starts as the source's, adapted to the new input's channels, and the head is new.

    Example:
        >>> source = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> target = {"name": "height", "kind": "regression", "channels": 1}
        >>> module = ModalityTransfer(target=target, source=source)
        >>> module.parts.wires["source"][0] == module.parts.wires["target"][0]  # whether they share a stem
        False
    """

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("source", "shared", "source"), "target": ("target", "shared", "target")}

    def stages(self) -> list[Stage]:
        """Return the source's stage and the target's."""
        return after_source(self.finetuning, "source" in self.tasks, self.source_share)
