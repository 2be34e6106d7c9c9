"""The geometric mean of the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.stages import Stage

LEAST = 1e-12  # a loss, whose logarithm and its gradient are finite


class GeometricMean(Objective):
    """Multiply the roles' losses and take the root (Chennupati et al. 2019, equation 5), whatever their scales.

    Of n losses it is `(L_1 ... L_n)^(1 / n)`, so that each has the gradient of its logarithm, times their mean over n.
    Static weights would be one common factor, and are refused. Losses must not be negative.
    """

    several: ClassVar[bool] = True
    in_a_step: ClassVar[bool] = True
    weighable: ClassVar[bool] = False

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the geometric mean of the losses of the step; of one loss it is that loss."""
        if len(losses) == 1:
            return next(iter(losses.values()))
        return torch.stack([loss.clamp(min=LEAST).log() for loss in losses.values()]).mean().exp()
