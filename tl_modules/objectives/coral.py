"""Adaptation without labels: features of both domains with the same covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.precision import full_precision
from tl_modules.processes import total
from tl_modules.ranges import AtLeast
from tl_modules.stages import Stage
from tl_modules.task import Task


class Coral(Objective):
    """Deep CORAL (Sun and Saenko 2016, equation 1): the source's loss plus the distance of the covariances.

    The distance of the pooled features' covariances, `|C_s - C_t|² / (4 D²)` with the Frobenius norm, is in float32.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role, equal ones.
        weight: Of the distance.

    Raises:
        ValueError: If the weight is negative, there is no source, or the features differ in length.
    """

    several: ClassVar[bool] = True
    adapts: ClassVar[bool] = True

    def __init__(
        self, tasks: Mapping[str, Task], widths: Mapping[str, int], weight: Annotated[float, AtLeast(0)] = 1.0
    ) -> None:
        super().__init__(tasks, widths)
        if not weight >= 0:
            raise ValueError(f"objective.weight={weight}: must be at least 0")
        if len(widths) < 2 or len(set(widths.values())) > 1:
            raise ValueError(f"objective=coral: needs two roles with features of one length, not {dict(widths)}")
        self.weight = weight

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the sum of the losses, and in a step with both roles the weighted distance."""
        loss = torch.stack(list(losses.values())).sum()
        if len(features) < 2:
            return loss
        with full_precision(loss.device):
            one, other = (covariance(features[role].pooled.float()) for role in ("source", "target"))
            return loss + self.weight * (one - other).square().sum() / (4 * len(one) ** 2)


def covariance(values: Tensor) -> Tensor:
    """Return the covariance `(D, D)` of `(B, D)` values of all processes, by B - 1; zeros of fewer than two samples."""
    sums = total(torch.cat([values.sum(0), values.new_tensor([len(values)])]))
    count = sums[-1].detach()
    centred = values - sums[:-1].detach() / count  # the covariance does not change with the mean, to first order
    return total(centred.T @ centred) / (count - 1).clamp(min=1)
