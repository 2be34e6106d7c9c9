"""The test of two merged datasets over all their names: metrics, and which names of one are predicted on the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.batch import Batch, known_names
from tl_modules.heads import Head
from tl_modules.task import UNION, Task


def union_task(tasks: Mapping[str, Task]) -> Task:
    """Return the target's task with the names of all roles, the source's first.

    Args:
        tasks: Task by role.
    """
    labels = tuple(dict.fromkeys(name for task in tasks.values() for name in task.labels))
    return Task(**{**tasks["target"].to_dict(), "labels": labels, "positive": None})


class UnionScores(nn.Module):
    """Metrics over the samples of both roles with all names allowed, and the confusion by role.

    What a dataset does not annotate is not judged in its samples (`Head.judgeable`), unless its task says that names
    which it lacks are not there (`Task.absent`). The confusion counts all that is predicted.

    Args:
        head: The head of both roles.
        tasks: Task by role.

    Attributes:
        labels: All names.
        confusion: By role, int64 `(K + 1, K + 1)`, the last row and column for nothing; see `Head.confused`. It is that
            of the last test that is over.
    """

    def __init__(self, head: Head, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.tasks, self.labels = dict(tasks), list(union_task(tasks).labels)
        self.metrics = head.metrics(self.labels)
        self.counted: dict[str, Tensor] = {}
        self.met: set[str] = set()
        self.confusion: dict[str, Tensor] = {}

    # A compiled module would trace into torchmetrics, which looks for packages as it updates.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def update(self, role: str, head: Head, outputs: Any, targets: Batch) -> None:
        """Add a batch of a role.

        Args:
            role: The role.
            head: The head.
            outputs: Its outputs for all names, in the order of `labels`.
            targets: The batch's targets under the head's names, in the role's own label space.
        """
        task, device, metrics = self.tasks[role], self._device(targets, head), self.metrics
        columns = torch.tensor([self.labels.index(name) for name in task.labels], dtype=torch.long, device=device)
        true = head.targets(head.to_union(targets, head.key, columns, len(self.labels)))
        found = head.predict(outputs)
        table = head.confused(found, true, self.labels)
        if table is not None:
            self.counted[role] = self.counted.get(role, torch.zeros_like(table).cpu()) + table.cpu()
        known = known_names(task, self.labels, device)
        metrics.update(*(head.judgeable(found, true, known, self.labels) if task.labels else (found, true)))
        self.met.add(role)

    @staticmethod
    def _device(targets: Batch, head: Head) -> torch.device:
        values = targets[head.key]
        first = values if isinstance(values, Tensor) else next(iter(values), torch.zeros(0))
        return first.device

    def compute(self) -> dict[str, Tensor]:
        """Return `union/<metric>` if both roles were met, and start anew; `confusion` is then that of the test."""
        values: dict[str, Tensor] = {}
        if self.met == set(self.tasks):
            metrics: Any = self.metrics
            values = {f"{UNION}/{name}": value for name, value in metrics.compute().items()}
        self.confusion, self.counted, self.met = self.counted, {}, set()
        self.metrics.reset()  # type: ignore[operator]
        return values
