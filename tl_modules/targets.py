"""What heads have to know of their training targets before they learn, such as a regression's mean and deviation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate, default_convert

from tl_modules.heads import Head
from tl_modules.parts import Parts
from tl_modules.stages import Stage
from tl_modules.task import Task


def fit_heads(trainer: Trainer, parts: Parts, tasks: Mapping[str, Task], stage: Stage) -> None:
    """Show each head that asks for them the training targets of the roles that learn through it.

    A head asks once, before the first stage in which it learns, and keeps what it found: in later stages, in a resumed
    run and where it was planted from another run, since its weights were learned in these units.

    Args:
        trainer: The Trainer, with its training loader.
        parts: The parts.
        tasks: Task by role.
        stage: The stage; roles that are only seen have no say.
    """
    for name, head in parts.head.items():
        if not isinstance(head, Head) or not head.wants_targets():
            continue
        found = []
        for role in stage.learn:
            if parts.wires[role][2] == name:
                dataset, join = training_set(trainer, role)
                values = target_values(dataset, tasks[role], join)
                if values is None:
                    said = f"{role}: the training samples cannot be read one by one, so the head learns in their units"
                    rank_zero_warn(f"{said}; call module.head({role!r}).fit_targets(values) before fit")
                else:
                    found.append(values)
        if found and sum(map(len, found)):
            head.fit_targets(torch.cat(found))


def training_set(trainer: Trainer, role: str) -> tuple[Any, Callable[[list[Any]], Any] | None]:
    """Return a role's training set, the DataModule's or else that of its loader, and what makes batches of its samples.

    The first is None where there is none, the second where batches are as samples are.
    """
    data = getattr(trainer, "datamodule", None)
    split = getattr(data, "split", None)
    if callable(split) and hasattr(data, "kept"):  # ours; another's may mean anything by that name
        return split(role, "train"), None
    loader: Any = trainer.train_dataloader
    if isinstance(loader, Mapping):
        loader = next((one for key, one in loader.items() if role in key.split("+")), None)
    dataset, join = getattr(loader, "dataset", None), getattr(loader, "collate_fn", None)
    inner = getattr(dataset, "datasets", None)
    if isinstance(inner, Mapping):
        return inner.get(role), None
    plain = join in (default_collate, default_convert) or getattr(join, "__module__", "").startswith("datamodules.")
    return dataset, None if plain else join


@torch.no_grad()
def target_values(dataset: Any, task: Task, join: Callable[[list[Any]], Any] | None = None) -> Tensor | None:
    """Return a task's targets `(N, ...)` of all samples that have one, or None where samples cannot be read by index.

    Args:
        dataset: Map-style; samples are dicts or pairs `(image, target)`, or become such by `join`. Fields held in
            memory are read without their inputs, others a sample at a time, and no random state is changed.
        task: The task.
        join: What makes a batch of a list of samples; None where samples are as they are in a batch.
    """
    fields = getattr(dataset, "fields", None)
    if join is None and isinstance(fields, Mapping) and isinstance(fields.get(task.key), Tensor):
        present = getattr(dataset, "present", {}).get(task.key)
        values = fields[task.key]
        return values if present is None else values[torch.as_tensor(list(present), dtype=torch.bool)]
    by_index = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not by_index or isinstance(dataset, IterableDataset):  # which has a `__getitem__` too, that only raises
        return None
    with isolate_rng(include_cuda=False):
        samples = (dataset[i] if join is None else join([dataset[i]]) for i in range(len(dataset)))
        found = []
        for sample in samples:
            if not isinstance(sample, Mapping) and not (isinstance(sample, Sequence) and len(sample) == 2):
                return None
            value = sample.get(task.key) if isinstance(sample, Mapping) else sample[1]
            if value is not None:
                value = torch.as_tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
                found += [value] if join is None else [*value[:1]]
    return torch.stack(found) if found else torch.zeros(0)
