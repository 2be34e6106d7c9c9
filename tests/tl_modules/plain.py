"""Two small tasks, and loaders of them as a user's own project has them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from tests.conftest import trainer_for as quiet_trainer

DIGITS = {"name": "digits", "kind": "classification", "labels": ["even", "odd"], "domain": "mail"}
LETTERS = {"name": "letters", "kind": "classification", "labels": ["a", "b"], "domain": "mail"}


def trainer_for(steps: int) -> Any:
    return quiet_trainer(steps, limit_val_batches=1.0)


def rows(count: int = 8, field: str = "label", **more: Any) -> list[dict[str, Any]]:
    images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return [{"id": str(i), "image": images[i], field: i % 2, **more} for i in range(count)]


def loader(field: str = "label", count: int = 8) -> Any:
    return DataLoader(rows(count, field), batch_size=4)  # type: ignore[arg-type]
