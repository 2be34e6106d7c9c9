"""Adaptation without labels: the target's own running statistics, all weights as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.stages import Stage
from tl_modules.task import Task


class Adabn(Objective):
    """AdaBN (Li et al. 2016, section 3.2): normalisation by the statistics of the target's inputs; nothing is learned.

    Mean and variance are the means over the batches of the stage. Where `normalisation` is `per_role` the source keeps
    its own.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role; not used.
    """

    adapts: ClassVar[bool] = True
    source_free: ClassVar[bool] = True
    freezes: ClassVar[tuple[str, ...]] = ("stem", "trunk", "head")
    moves_statistics: ClassVar[bool] = True

    def __init__(self, tasks: Mapping[str, Task], widths: Mapping[str, int]) -> None:
        super().__init__(tasks, widths)
        self.idle = nn.Parameter(torch.zeros(()))  # a Trainer counts the steps of an optimiser, which needs one

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return zero."""
        return self.idle * 0
