"""Losses weighted at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.stages import Stage


class Random(Objective):
    """Weight the roles' losses by the softmax of standard normal draws, anew in each step (Lin et al. 2021, RLW).

    The weights add up to one. They are a function of the module's seed and the step, the same in all processes, so that
    they repeat and a resumed run goes on with them. What a weighting of losses gains has to be more than this does.
    """

    several: ClassVar[bool] = True
    in_a_step: ClassVar[bool] = True

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the weighted sum; the module has seeded what is drawn from."""
        given = torch.stack(list(losses.values()))
        return (torch.randn(len(given)).softmax(0).to(given) * given).sum()
