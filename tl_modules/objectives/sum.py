"""The sum of the losses."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.stages import Stage


class Sum(Objective):
    """Add the roles' losses, each times its static weight; tuned, nothing beats it reliably (Kurin et al. 2022)."""

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the sum."""
        return torch.stack(list(losses.values())).sum()
