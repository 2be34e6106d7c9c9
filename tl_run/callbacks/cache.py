"""Frozen features are computed once a stage instead of once a step."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules.cached import WithFeatures
from datamodules.pair import PairedData, fetch
from tl_modules.features import Features
from tl_modules.module import TransferModule
from tl_run.baselines import FROZEN
from tl_run.flops import counting
from tl_run.frozen import SharedFeatures

log = logging.getLogger(__name__)
MOST = 2 * 1024**3
AT_ONCE = 4  # batches whose samples are passed together


class CachedFeatures(Callback):
    """Pass training and validation set through a frozen backbone once, and train the head on what it gave.

    A split is left alone where that would change the result or cost more: where stem or trunk learn, or take their
    running statistics anew, training pictures are augmented, the dataset does not say that its samples are always the
    same (`fixed`), the features would take more than `most` bytes, or the steps read fewer samples than there are.

    Args:
        steps: The stage's steps, to tell whether it is worth it.
        most: The most memory for a split's features, in bytes.
        shared: The store of features that were computed before; None for none.
    """

    def __init__(self, steps: int, most: int = MOST, shared: SharedFeatures | None = None) -> None:
        self.steps, self.most, self.shared = steps, most, shared
        self.flops = 0  # of the training split's features; the validation's stand for passes that are not counted

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute what the stage can keep."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, PairedData) or not isinstance(pl_module, TransferModule):
            return
        data.kept.clear()
        stage = pl_module.stage
        if not set(stage.freeze) >= FROZEN or len(stage.roles) > 1 or pl_module.moving():
            return
        role = stage.roles[0]
        read = self.steps * data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        fixed = {split: getattr(data.split(role, split), "fixed", False) for split in ("train", "val")}
        again = not pl_module.augment[role].active and len(data.split(role, "train")) <= read
        for split in (split for split in fixed if fixed[split] and (again or split == "val")):
            features, flops = self.found(trainer, pl_module, data, role, split)
            self.flops += flops if split == "train" else 0
            if features is not None:
                data.kept[role, split] = WithFeatures(data.split(role, split), data.tasks[role], features)

    def found(
        self, trainer: Trainer, module: TransferModule, data: PairedData, role: str, split: str
    ) -> tuple[Features | None, int]:
        """Return the features of a split as `compute` does, and the operations that they take."""

        def computed() -> tuple[Features | None, int]:
            with counting() as counter:
                features = self.compute(trainer, module, data, role, split)
            return features, counter.get_total_flops()

        if self.shared is None or trainer.world_size > 1:
            return computed()
        made = (AT_ONCE * data.batch_size, str(trainer.precision))
        return self.shared.through(module, data, role, split, made, computed)

    @torch.no_grad()
    def compute(
        self, trainer: Trainer, module: TransferModule, data: PairedData, role: str, split: str
    ) -> Features | None:
        """Return the features of a split, or None where they are too large.

        Args:
            trainer: Knows device and precision.
            module: The module; what is frozen is in evaluation mode.
            data: The data.
            role: Whose split.
            split: Which.
        """
        dataset, size = data.split(role, split), AT_ONCE * data.batch_size
        maps = module.head(role).needs_maps
        chunks: list[Features] = []
        for start in range(0, len(dataset), size):
            rows = range(start, min(start + size, len(dataset)))
            batch = trainer.strategy.batch_to_device(fetch(dataset, list(rows), data.tasks[role]), module.device)
            with trainer.precision_plugin.forward_context():
                found = module.features(batch, role)
            kept = {stride: one.cpu() for stride, one in found.maps.items()} if maps else {}
            chunks.append(Features(found.pooled.cpu(), kept, found.size))
            tensors = [chunks[0].pooled, *chunks[0].maps.values()]
            if sum(t.nbytes for t in tensors) / len(tensors[0]) * len(dataset) > self.most:
                log.info("%s %s: features take more than %d bytes and are not kept", role, split, self.most)
                return None
        return Features(
            torch.cat([one.pooled for one in chunks]),
            {stride: torch.cat([one.maps[stride] for one in chunks]) for stride in chunks[0].maps},
            chunks[0].size,
        )
