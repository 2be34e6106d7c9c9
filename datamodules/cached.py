"""Samples whose features are already there, so that what is frozen need not be passed again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from datamodules.base import InMemory
from datamodules.collate import as_sample, collate
from tl_modules.features import Features
from tl_modules.task import INPUTS, Task


class WithFeatures(Dataset[dict[str, Any]]):
    """A dataset's samples with features in place of their inputs, read many at a time.

    Args:
        dataset: The dataset; its samples are the same whenever they are read.
        task: Its task.
        features: The features of all its samples, in order.

    Raises:
        ValueError: If the numbers of samples and of features differ.
    """

    def __init__(self, dataset: Any, task: Task, features: Features) -> None:
        if len(dataset) != len(features.pooled):
            raise ValueError(f"{len(dataset)} samples, but features of {len(features.pooled)}")
        self.features = features
        self.rest: InMemory | None = None
        if isinstance(dataset, InMemory):
            left = {key: values for key, values in dataset.fields.items() if key not in INPUTS}
            self.rest = InMemory(left, {key: have for key, have in dataset.present.items() if key in left})
        else:
            samples = (as_sample(dataset[i], task, str(i)) for i in range(len(dataset)))
            self.samples = [{k: v for k, v in sample.items() if k not in INPUTS} for sample in samples]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.features.pooled)

    def batch(self, indices: Sequence[int]) -> dict[str, Any]:
        """Return samples as a batch whose features stand under `features`."""
        rest = self.rest.batch(indices) if self.rest is not None else collate([self.samples[i] for i in indices])
        return {**rest, "features": self.features.take(torch.as_tensor(indices))}
