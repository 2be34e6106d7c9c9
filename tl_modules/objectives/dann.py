"""Adaptation without labels: features that a discriminator cannot tell the domain by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.objectives.base import Objective, summed
from tl_modules.precision import full_precision
from tl_modules.ranges import AtLeast
from tl_modules.stages import Stage
from tl_modules.task import Task


class Reversed(torch.autograd.Function):
    """The same values, and their gradient reversed and scaled."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, strength: float) -> Tensor:
        """Return the values."""
        ctx.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Return the gradient reversed."""
        return -ctx.strength * gradient, None


class Dann(Objective):
    """Domain-adversarial training (Ganin et al. 2016): the losses plus that of a discriminator of the domains.

    Between it and the features the gradient is reversed (equations 16 and 17) and scaled by
    `2 / (1 + exp(-10 p)) - 1`, p from 0 to 1 over the stage (section 5.2.2).

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role, equal ones.
        weight: Of the reversed gradient at the stage's end.
        hidden: Units of the discriminator's hidden layer.

    Raises:
        ValueError: If the weight is negative, there are no units or no source, or the features differ in length.
    """

    several: ClassVar[bool] = True
    adapts: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Mapping[str, Task],
        widths: Mapping[str, int],
        weight: Annotated[float, AtLeast(0)] = 1.0,
        hidden: Annotated[int, AtLeast(1)] = 100,
    ) -> None:
        super().__init__(tasks, widths)
        if not weight >= 0:
            raise ValueError(f"objective.weight={weight}: must be at least 0")
        if hidden < 1:
            raise ValueError(f"objective.hidden={hidden}: must be at least 1")
        if len(widths) < 2 or len(set(widths.values())) > 1:
            raise ValueError(f"objective=dann: needs two roles with features of one length, not {dict(widths)}")
        self.weight = weight
        self.discriminator = nn.Sequential(nn.Linear(widths["target"], hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the sum of the losses, and in a step with both roles the discriminator's mean loss on each domain."""
        if len(features) < 2:
            return summed(losses)
        strength = self.weight * (2 / (1 + math.exp(-10 * self.progress)) - 1)
        with full_precision(features["target"].pooled.device):
            told = []
            for role, domain in (("source", 0.0), ("target", 1.0)):
                backwards: Tensor = Reversed.apply(features[role].pooled.float(), strength)  # type: ignore[no-untyped-call]
                logits = self.discriminator(backwards).squeeze(1)
                told.append(F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, domain)) / 2)
            return summed(losses, *told)
