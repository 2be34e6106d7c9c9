"""Averages of the weights: what is validated and kept, and that what is frozen stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.conftest import digest, module_for, pair_for, trainer_for
from tl_run.callbacks.averaging import MovingAverage


class Seen(Callback):
    """Keep the head's weights after each step, and as they are validated."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []
        self.validated: list[torch.Tensor] = []

    @staticmethod
    def weight(module: Any) -> torch.Tensor:
        return next(iter(module.head("target").parameters())).detach().clone()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.steps.append(self.weight(pl_module))

    def on_validation_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.validated.append(self.weight(pl_module))


def test_the_average_is_validated_and_a_frozen_part_stays_to_the_bit() -> None:
    data = pair_for("scratch")
    module = module_for("scratch", data, finetuning="linear_probe", lr=1e-2)
    module.enter("target")
    frozen, seen, average = digest(module.parts.of("target", "trunk")), Seen(), MovingAverage(decay=0.3)
    trainer_for(3, limit_val_batches=1.0, callbacks=[seen, average]).fit(module, datamodule=data)
    expected = seen.steps[0]
    for steps, current in enumerate(seen.steps[1:], 1):
        expected = torch.lerp(expected, current, 1 - min(0.3, (1 + steps) / (10 + steps)))
    assert torch.equal(seen.validated[-1], expected) and torch.equal(seen.weight(module), expected)
    assert not torch.equal(seen.steps[-1], expected)
    assert digest(module.parts.of("target", "trunk")) == frozen


def test_a_decay_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^decay=1: must be above 0 and less than 1$"):
        MovingAverage(decay=1)
