"""Metrics and mean loss, kept apart by role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from tl_modules.batch import Batch
from tl_modules.heads import Head, Judged
from tl_modules.task import Task


class MeanLoss(Metric):
    """The mean loss of the samples, of means of batches that differ in size; one that is no number makes it none."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, loss: Tensor, count: int) -> None:
        """Add the mean loss of `count` samples."""
        self.total = self.total + loss.detach().float() * count
        self.count = self.count + count

    def compute(self) -> Tensor:
        """Return the mean; NaN of no sample."""
        return self.total / self.count


class Scores(nn.Module):
    """One split's metrics and loss per role.

    Args:
        heads: Head by role.
        tasks: Task by role; metrics are in the role's own label space.
        judging: Whether each sample is judged too.
    """

    def __init__(self, heads: Mapping[str, Head], tasks: Mapping[str, Task], judging: bool = False) -> None:
        super().__init__()
        self.judging, self.labels = judging, {role: list(tasks[role].labels) for role in heads}
        self.metrics = nn.ModuleDict({role: head.metrics(tasks[role].labels) for role, head in heads.items()})
        self.losses = nn.ModuleDict({role: MeanLoss() for role in heads})

    # A compiled module would trace into torchmetrics, which looks for packages as it updates.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(self, role: str, head: Head, outputs: Any, targets: Batch, count: int) -> list[Judged]:
        """Add a batch of a role's outputs and targets with `count` samples, and return what its head says of each."""
        losses: Any = self.losses[role]
        metrics: Any = self.metrics[role]
        losses.update(head.loss(outputs, targets), count)
        predicted, true = head.predict(outputs), head.targets(targets)
        metrics.update(predicted, true)
        return head.judged(predicted, true, self.labels[role]) if self.judging else []

    def compute(self) -> dict[str, Tensor]:
        """Return `<role>/<metric>` of the roles that were updated, and start anew."""
        values: dict[str, Tensor] = {}
        for role in self.losses:
            loss: Any = self.losses[role]
            metrics: Any = self.metrics[role]
            if loss.update_called:
                own = {"loss": loss.compute(), **metrics.compute()}
                values.update({f"{role}/{name}": value for name, value in own.items()})
            loss.reset()
            metrics.reset()
        return values
