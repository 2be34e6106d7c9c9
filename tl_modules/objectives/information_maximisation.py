"""Adaptation without labels and without the source: predictions that are certain each and diverse together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from torch import Tensor

from tl_modules.features import Features
from tl_modules.objectives.base import NONE, Objective, summed
from tl_modules.precision import full_precision
from tl_modules.processes import mean, total
from tl_modules.ranges import AtLeast
from tl_modules.stages import Stage
from tl_modules.task import Task


class InformationMaximisation(Objective):
    """SHOT-IM (Liang et al. 2020, equation 2): the mutual information of the target's inputs and predictions.

    The head is the source's hypothesis and stays as it is; stem and trunk learn on the target alone.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role; not used.
        diversity: Weight of the entropy of the mean prediction.

    Raises:
        ValueError: If the weight is negative.
    """

    adapts: ClassVar[bool] = True
    source_free: ClassVar[bool] = True
    freezes: ClassVar[tuple[str, ...]] = ("head",)
    reads_outputs: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self, tasks: Mapping[str, Task], widths: Mapping[str, int], diversity: Annotated[float, AtLeast(0)] = 1.0
    ) -> None:
        super().__init__(tasks, widths)
        if not diversity >= 0:
            raise ValueError(f"objective.diversity={diversity}: must be at least 0")
        self.diversity = diversity

    def forward(
        self,
        losses: Mapping[str, Tensor],
        features: Mapping[str, Features],
        stage: Stage,
        outputs: Mapping[str, Any] = NONE,
    ) -> Tensor:
        """Return the mean entropy of the target's predictions minus the weighted entropy of their mean, in nats."""
        logits = outputs["target"]
        with full_precision(logits.device):
            predicted = logits.float().softmax(1)
            each = mean(entropy(predicted).sum(), len(predicted))
            together = total(predicted.sum(0))
            return summed(losses, each, -self.diversity * entropy(together / together.sum().detach()))


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy of distributions `(..., K)`, in nats `(...)`."""
    return -(probabilities * probabilities.clamp(min=1e-12).log()).sum(-1)
