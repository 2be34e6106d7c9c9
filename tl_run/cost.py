"""What a stage cost: samples of each role, floating-point operations and seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from tl_modules.batch import by_roles, size_of
from tl_modules.module import TransferModule
from tl_modules.task import ROLES
from tl_run.callbacks.cache import CachedFeatures
from tl_run.flops import counting


def samples_of(batches: Mapping[str, Any]) -> dict[str, int]:
    """Return how many samples of each role a step holds.

    Args:
        batches: Batch by the roles it serves. A merged one says whose each sample is; one that carries both roles'
            targets counts for both.
    """
    found: dict[str, int] = {}
    for key, batch in batches.items():
        if "role" in batch:
            whose = batch["role"].tolist()
            found |= {role: whose.count(index) for index, role in enumerate(ROLES)}
        else:
            found |= dict.fromkeys(key.split("+"), size_of(batch))
    return found


class Cost(Callback):
    """Count a stage's samples by role, and its operations: those of one training step of each make, times such steps.

    The first step of a make (the same roles, with as many samples) is counted as it runs, forward and backward, in
    products and convolutions, so what is frozen, cached or mixed costs what it does. Validation is not counted. All
    processes together; a resumed stage goes on counting, the seconds too.
    """

    def __init__(self) -> None:
        self.samples: dict[str, int] = {}
        self.steps: dict[str, int] = {}
        self.each: dict[str, int] = {}
        self.counter: FlopCounterMode | None = None
        self.before, self.began = (
            0.0,
            time.perf_counter(),
        )  # seconds before this part, and its start
        self.once = 0  # what features that are computed once took; a resumed stage computes them anew

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the step's samples, and begin to count its operations if it is the first of its make."""
        assert isinstance(pl_module, TransferModule)
        batches = by_roles(batch, "target", pl_module.tasks)
        for role, count in samples_of(batches).items():
            self.samples[role] = self.samples.get(role, 0) + count
        self.make = ", ".join(f"{key} {size_of(one)}" for key, one in batches.items())
        self.steps[self.make] = self.steps.get(self.make, 0) + 1
        if self.make not in self.each:
            self.counter = counting()
            self.counter.__enter__()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Note what the step took."""
        if self.counter is not None:
            self.each[self.make] = self.counter.get_total_flops()
            self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Count no more."""
        self._stop()

    def _stop(self) -> None:
        counter, self.counter = self.counter, None
        if counter is not None:
            counter.__exit__(None, None, None)

    @property
    def flops(self) -> int:
        """The operations of this process so far."""
        return self.once + sum(self.each[make] * count for make, count in self.steps.items())

    @property
    def here(self) -> float:
        """Seconds of the part that runs now."""
        return time.perf_counter() - self.began

    def record(self, trainer: Trainer, roles: tuple[str, ...]) -> dict[str, Any]:
        """Return `samples` by role and `flops` of all processes together, and `seconds`; each calls it.

        Args:
            trainer: Knows the processes.
            roles: The stage's roles.
        """
        kept = (one for one in trainer.callbacks if isinstance(one, CachedFeatures))  # type: ignore[attr-defined]
        self.once = sum(one.flops for one in kept)  # now: a stage that was killed at its end starts no training
        own = [*(self.samples.get(role, 0) for role in roles), self.flops]
        if trainer.world_size > 1:
            here = torch.tensor(own, dtype=torch.float64, device=trainer.strategy.root_device)
            own = [round(value) for value in trainer.strategy.reduce(here, reduce_op="sum").tolist()]
        counted = dict(zip(roles, own[:-1], strict=True))
        return {"samples": counted, "flops": own[-1], "seconds": round(self.before + self.here, 2)}

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        counts = {"samples": dict(self.samples), "steps": dict(self.steps), "each": dict(self.each)}
        return {**counts, "seconds": self.before + self.here}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the counts of the checkpoint."""
        self.samples, self.steps, self.each = (dict(state_dict[name]) for name in ("samples", "steps", "each"))
        self.before = float(state_dict.get("seconds", 0.0))
