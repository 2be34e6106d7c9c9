"""What loggers are given: the losses as they were, in the steps in which they were."""

from __future__ import annotations

from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger

from tests.conftest import module_for, pair_for, trainer_for
from tl_modules.module import TransferModule


class Kept(Logger):
    """Keep what is logged, by step."""

    name = "kept"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows[step] = {name: value for name, value in metrics.items() if name.startswith("train/")}


class Losses(Callback):
    """Record each role's loss as it is computed; of an optimiser step, its last batch's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now: dict[str, float] = {}
        self.rows: list[dict[str, float]] = []
        loss = TransferModule.loss

        def recorded(module: TransferModule, role: str, *args: Any) -> Any:
            value = loss(module, role, *args)
            self.now[f"train/{role}/loss"] = float(value.detach())
            return value

        monkeypatch.setattr(TransferModule, "loss", recorded)

    def on_train_batch_start(self, *_: Any) -> None:
        self.now = {}

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step > len(self.rows):
            self.rows.append(self.now)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["cycle", "proportional"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("interval", "batch_size"), [(1, 8), (3, 8), (5, 24), (7, 12)])
def test_logged_losses_are_those_of_the_step(
    mode: str, accumulate: int, interval: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The target has 24 samples: epochs of 3, 2 and 1 batches, some shorter than the interval.
    data = pair_for("multitask", mode=mode, batch_size=batch_size, accumulate=accumulate)
    kept, seen = Kept(), Losses(monkeypatch)
    options = {"accumulate_grad_batches": accumulate, "log_every_n_steps": interval, "max_epochs": -1}
    trainer = trainer_for(15, logger=kept, callbacks=[seen], **options)
    trainer.fit(module_for("multitask", data), datamodule=data)
    assert len(seen.rows) == 15
    due = range(interval - 1, 15, interval)
    assert {step: row for step, row in kept.rows.items() if row} == {
        step: pytest.approx(seen.rows[step]) for step in due
    }
    roles = {frozenset(row) for row in seen.rows}
    assert (len(roles) == 2) == (mode == "proportional")
