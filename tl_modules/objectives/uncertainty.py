"""Losses weighted by uncertainties that are learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.stages import Stage
from tl_modules.task import Task


class Uncertainty(Objective):
    """Weight each role's loss by its homoscedastic uncertainty (Kendall et al. 2018, equation 10).

    With the logarithm of the variance `s` per role, which is learned, the loss is the sum of `exp(-s) loss + s / 2`.
    A role without a loss in a step keeps its variance.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role; not used.
    """

    several: ClassVar[bool] = True

    def __init__(self, tasks: Mapping[str, Task], widths: Mapping[str, int]) -> None:
        super().__init__(tasks, widths)
        self.log_variances = nn.ParameterDict({role: nn.Parameter(torch.zeros(())) for role in tasks})

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the weighted sum."""
        variances = {role: self.log_variances[role] for role in losses}
        return torch.stack([torch.exp(-s) * losses[role] + s / 2 for role, s in variances.items()]).sum()
