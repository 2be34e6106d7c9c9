"""Adaptation without labels: classes that are not confused on the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor

from tl_modules.features import Features
from tl_modules.objectives.base import NONE, Objective, summed
from tl_modules.precision import full_precision
from tl_modules.processes import total
from tl_modules.ranges import Above, AtLeast
from tl_modules.stages import Stage
from tl_modules.task import Task


class Mcc(Objective):
    """Minimum class confusion (Jin et al. 2020): the source's loss plus the confusion of the target's predictions.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role; not used.
        weight: Of the confusion.
        temperature: What logits are divided by (equation 2).

    Raises:
        ValueError: If the weight is negative, or the temperature not positive.
    """

    adapts: ClassVar[bool] = True
    reads_outputs: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self,
        tasks: Mapping[str, Task],
        widths: Mapping[str, int],
        weight: Annotated[float, AtLeast(0)] = 1.0,
        temperature: Annotated[float, Above(0)] = 2.5,
    ) -> None:
        super().__init__(tasks, widths)
        if not weight >= 0:
            raise ValueError(f"objective.weight={weight}: must be at least 0")
        if not temperature > 0:
            raise ValueError(f"objective.temperature={temperature}: must be above 0")
        self.weight, self.temperature = weight, temperature

    def forward(
        self,
        losses: Mapping[str, Tensor],
        features: Mapping[str, Features],
        stage: Stage,
        outputs: Mapping[str, Any] = NONE,
    ) -> Tensor:
        """Return the sum of the losses and the weighted confusion of the target's predictions."""
        logits = outputs["target"]
        with full_precision(logits.device):
            return summed(losses, self.weight * confusion(logits.float(), self.temperature))


def confusion(logits: Tensor, temperature: float) -> Tensor:
    """Return the class confusion of logits `(B, K)`, equations 2 to 7, a scalar between 0 and 1."""
    predicted = (logits / temperature).softmax(1)
    entropy = -(predicted * predicted.clamp(min=1e-12).log()).sum(1)
    certainty = (1 + (-entropy).exp()).detach()
    weights = certainty / total(certainty.sum()).detach()  # equation 5 but for B, which equation 7 divides out
    confused = total((predicted * weights[:, None]).T @ predicted)
    normed = confused / confused.sum(1, keepdim=True).clamp(min=1e-12)
    return (normed.sum() - normed.trace()) / logits.shape[1]
