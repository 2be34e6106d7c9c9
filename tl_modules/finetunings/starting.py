"""Finetunings that remember the weights that the target's last stage started from."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tl_modules.finetunings.base import Finetuning
from tl_modules.parts import Parts
from tl_modules.stages import Stage

KEY = "start"


class FromStart(Finetuning):
    """Keep the weights that the current stage starts from, in checkpoints too.

    Attributes:
        start: State of all parts when the stage was entered.
    """

    start: dict[str, Tensor]

    def begin(self, parts: Parts, stage: Stage, seed: int) -> None:
        """Keep the weights."""
        self.start = {name: value.detach().clone() for name, value in parts.state_dict().items()}

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Add the weights."""
        if hasattr(self, "start"):
            checkpoint["transfer"][KEY] = {name: value.cpu() for name, value in self.start.items()}

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Take the weights."""
        if KEY in checkpoint.get("transfer", {}):
            self.start = dict(checkpoint["transfer"][KEY])
