"""One or two datasets for a run: one after the other, combined, or merged into one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from typing_extensions import Unpack

from datamodules.align import same_samples
from datamodules.base import count_labelled
from datamodules.collate import as_sample, collate, gives_batches
from datamodules.merge import MergedDataset, joining, twins, union_labels
from datamodules.naming import naming
from datamodules.overlap import RULES, without_overlap
from datamodules.readers.published import PublishedData
from datamodules.sampler import Address, ShareSampler, StepSampler
from tl_modules.checks import check_hooks
from tl_modules.heads import head_of
from tl_modules.seeding import seed_all, seed_of, undisturbed
from tl_modules.stages import Stage
from tl_modules.task import ROLES, Task

log = logging.getLogger(__name__)
Batch = dict[str, Any]
MIXING = ("cycle", "proportional", "temperature", "aligned")


def fetch(dataset: Any, indices: Sequence[int], task: Task, seeds: Sequence[int] | None = None) -> Batch:
    """Return some samples as a batch.

    Args:
        dataset: A map-style dataset; one with `batch(indices)` gives them at once.
        indices: Which samples.
        task: Names the target where samples are pairs `(image, target)`.
        seeds: A seed per sample for the dataset's own random transforms; None leaves the random state alone.

    Raises:
        ValueError: If a label map has a value that is no label.
    """
    if isinstance(dataset, MergedDataset):
        return dataset.batch(list(indices), seeds)
    at_once = gives_batches(type(dataset))
    batch = dataset.batch(list(indices)) if at_once else _collated(dataset, indices, task, seeds)
    if task.key in batch:
        head_of(task.kind).check(batch, task.key, task.labels)
    return batch


def _collated(dataset: Any, indices: Sequence[int], task: Task, seeds: Sequence[int] | None) -> Batch:
    if seeds is None:
        return collate([as_sample(dataset[i], task, str(i)) for i in indices])
    samples = []
    with undisturbed():
        for index, seed in zip(indices, seeds, strict=True):
            seed_all(seed)
            samples.append(as_sample(dataset[index], task, str(index)))
    return collate(samples)


class ByKey(Dataset[Batch]):
    """Several datasets read by the addresses of a step.

    Args:
        datasets: Dataset by key.
        tasks: Task by key.
        seed: Root of the datasets' random transforms.
        unlabelled: Keys whose targets are dropped here, so that nothing downstream can see them.
    """

    def __init__(
        self, datasets: Mapping[str, Any], tasks: Mapping[str, Task], seed: int, unlabelled: Sequence[str] = ()
    ) -> None:
        self.datasets, self.tasks, self.seed, self.unlabelled = dict(datasets), dict(tasks), seed, set(unlabelled)

    def __getitems__(self, addresses: list[Address]) -> dict[str, Batch]:
        """Return `{key: batch}` for the addresses of one step."""
        batches = {}
        for key in dict.fromkeys(address[0] for address in addresses):
            mine = [(index, j) for k, index, j in addresses if k == key]
            seeds = [seed_of(self.seed, "transform", key, j, index) for index, j in mine]
            with naming(key):
                batch = fetch(self.datasets[key], [index for index, _ in mine], self.tasks[key], seeds)
            if key in self.unlabelled:
                batch = {name: value for name, value in batch.items() if name in {"id", "image", "text"}}
            batches[key] = batch
        return batches


class Whole(Dataset[Batch]):
    """A dataset read in order, batch by batch.

    Args:
        dataset: The dataset.
        task: Its task.
        role: Whose it is, for messages.
    """

    def __init__(self, dataset: Any, task: Task, role: str = "target") -> None:
        self.dataset, self.task, self.role = dataset, task, role

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> Batch:
        """Return a batch."""
        with naming(self.role):
            return fetch(self.dataset, indices, self.task)


def _as_is(batch: Any) -> Any:
    return batch


class PairOptions(TypedDict, total=False):
    """The options of `PairedData`, which constructors hand on as `**shared: Unpack[PairOptions]`."""

    batch_size: int
    num_workers: int
    seed: int
    accumulate: int
    target_task: Task | dict[str, Any] | None
    source_task: Task | dict[str, Any] | None
    overlap: str
    loading: Mapping[str, Any] | None


class PairedData(LightningDataModule):
    """Supply a stage's roles; by itself this class is for one dataset or for two one after the other.

    Loaders for validation and test are dicts by role, read whole by every process. Where both roles read the same files
    and a split was not published, the source's is cut as the target's, so that a sample is in one split for both.

    Args:
        target: A LightningDataModule with `train_dataset`, `val_dataset` and `test_dataset` after `setup`, and with
            `task` unless `target_task` is given.
        source: The same for the source, or None.
        batch_size: Samples per step and role; of both roles together where they are merged.
        num_workers: Processes that load.
        seed: Root of the orders.
        accumulate: Batches per optimiser step; an epoch is a whole number of these.
        target_task: The target's task where the DataModule does not say.
        source_task: The source's.
        overlap: What becomes of a run where a test sample is trained or chosen on, whichever role brings it, or a
            sample of the target's validation is in the source's training: `refuse`; `drop`, which leaves those samples
            of the source out; or `allow`.
        loading: Further options of the loaders: `pin_memory`, `prefetch_factor`, `persistent_workers`.

    Raises:
        ValueError: If a task is missing, or the rule for overlaps is unknown.
    """

    def __init__(
        self,
        target: LightningDataModule,
        source: LightningDataModule | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        accumulate: int = 1,
        target_task: Task | dict[str, Any] | None = None,
        source_task: Task | dict[str, Any] | None = None,
        overlap: str = "refuse",
        loading: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.data = {"target": target} if source is None else {"source": source, "target": target}
        self.given = {"source": source_task, "target": target_task}
        self.tasks: dict[str, Task] = {}
        for role, data in self.data.items():
            with naming(role):
                known = self.given[role] is not None or hasattr(data, "task")
            check_hooks(data, role)
            if not known:
                raise ValueError(f"{role}_task=None: {type(data).__name__} has no task of its own, so it must be given")
        self._find_tasks()
        if overlap not in RULES:
            raise ValueError(f"overlap={overlap!r} is unknown; allowed: {', '.join(RULES)}")
        self.overlap = overlap
        self.overlaps: dict[str, Any] | None = None  # after setup, the rule and how many samples it was about
        self.batch_size, self.num_workers, self.seed, self.accumulate = batch_size, num_workers, seed, accumulate
        self.loading = dict(loading or {})
        self.stage: Stage | None = None
        self.kept: dict[tuple[str, str], Any] = {}  # by role and split, what is read instead in the current stage

    def prepare_data(self) -> None:
        """Download what is missing."""
        for role, data in self.data.items():
            with naming(role):
                data.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Make or read the datasets; the target's first, since the source's splits follow them."""
        for role, data in reversed(self.data.items()):
            with naming(role):
                if role == "source" and isinstance(data, PublishedData):
                    target = self.data["target"]
                    if isinstance(target, PublishedData):
                        data.follow(target)
                data.setup(stage)  # type: ignore[arg-type]
            for name in ("train_dataset", "val_dataset", "test_dataset"):
                if not hasattr(data, name):
                    raise ValueError(f"{role}: {type(data).__name__} has no {name} after setup()")
        self._find_tasks()
        if self.overlaps is None:
            alike = twins(self.tasks)
            if alike:
                said = ", ".join(f"{name} and {twin}" for name, twin in alike.items())
                log.warning("labels of source and target that are not the same: %s; %s", said, joining(alike))
            self.overlaps = without_overlap(self.data, self.tasks, self.overlap)

    def _find_tasks(self) -> None:
        """Fill `tasks`; a dataset whose labels only its files tell has one after `setup`."""
        found = {role: self.given[role] or getattr(data, "task", None) for role, data in self.data.items()}
        self.tasks = {role: Task.of(task) for role, task in found.items() if task is not None}

    def enter(self, stage: Stage) -> None:
        """Make a stage the current one; without it all roles learn."""
        self.stage = stage
        self.kept.clear()

    @property
    def roles(self) -> tuple[str, ...]:
        """The current stage's roles, source first."""
        return tuple(role for role in self.data if self.stage is None or role in self.stage.roles)

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps of an epoch in every cell and stage: one pass over the target's training set."""
        return self.steps_per_pass(self.trainer.world_size if self.trainer else 1)

    def steps_per_pass(self, processes: int) -> int:
        """Return the optimiser steps in which some processes together pass through the target's training set once."""
        batches = max(1, len(self.split("target", "train")) // (self.batch_size * processes))
        return -(-batches // self.accumulate)

    def split(self, role: str, name: str) -> Any:
        """Return a role's `train`, `val` or `test` dataset."""
        return getattr(self.data[role], f"{name}_dataset")

    def labelled(self, role: str) -> dict[str, int]:
        """Return how many labelled samples of a role are known: those of training and of validation."""
        return {split: count_labelled(self.split(role, split), self.tasks[role].key) for split in ("train", "val")}

    def training(self) -> tuple[dict[str, Any], dict[str, Task], str]:
        """Return the training datasets and their tasks by key, and how steps are mixed."""
        datasets = {r: self.kept.get((r, "train"), self.split(r, "train")) for r in self.roles}
        return datasets, {r: self.tasks[r] for r in self.roles}, "cycle"

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the loader of the current stage's steps."""
        datasets, tasks, mode = self.training()
        sampler = self.sampler_for(datasets)(
            {key: len(dataset) for key, dataset in datasets.items()},
            self.batch_size,
            mode,
            self.epoch_steps * self.accumulate,
            self.seed,
            temperature=getattr(self, "temperature", 1.0),
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            progress=self._progress,
            replay=self.stage.replay if self.stage else 0.0,
        )
        unlabelled = [role for role in self.stage.see if role in datasets] if self.stage else []
        return self._loader(ByKey(datasets, tasks, self.seed, unlabelled), batch_sampler=sampler)

    def batch_share(self) -> float | None:
        """Return the source's fraction of each batch that holds both roles' samples in one row, else None."""
        return None

    def sampler_for(self, datasets: Mapping[str, Any]) -> Callable[..., StepSampler]:
        """Return what makes the sampler of the training datasets."""
        return StepSampler

    def _progress(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        return loop.epoch_progress.current.processed, loop.epoch_loop.batch_progress.current.processed

    def _loader(self, dataset: Dataset[Batch], **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            collate_fn=_as_is,
            num_workers=self.num_workers,
            **self.loading,
            generator=torch.Generator().manual_seed(seed_of(self.seed, "workers")),
            **options,
        )

    def whole(self, split: str, roles: Sequence[str]) -> dict[str, DataLoader[Any]]:
        """Return a loader per role that reads a split in order."""
        size = 4 * self.batch_size
        datasets = {r: self.kept.get((r, split), self.split(r, split)) for r in roles}
        return {r: self._loader(Whole(datasets[r], self.tasks[r], r), batch_size=size) for r in roles}

    def val_dataloader(self) -> dict[str, DataLoader[Any]]:
        """Return the validation loaders of the roles that learn, and of those that the stage is judged on."""
        return self.whole("val", [role for role in self.data if self.stage is None or role in self.stage.validated])

    def test_dataloader(self) -> dict[str, DataLoader[Any]]:
        """Return the test loaders of all roles."""
        return self.whole("test", list(self.data))

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the target's test set."""
        return self.whole("test", ["target"])["target"]


PairOptions.__doc__ = PairedData.__doc__  # where help that is made from signatures looks for what they mean


class SequentialData(PairedData):
    """One role per stage, or one per step.

    Args:
        target: As for `PairedData`.
        source: Likewise.
        **shared: Options of every pair, see `PairedData`.
    """


class CombinedData(PairedData):
    """Both roles in one loader.

    Args:
        target: As for `PairedData`.
        source: Likewise.
        mode: `cycle` (both roles in every step), `proportional` or `temperature` (one role per step), or `aligned`
            (samples that carry both roles' targets: one backbone pass serves both).
        temperature: For `temperature`.
        aligned_dataset: For `aligned`: makes the one training dataset from the source's DataModule and the target's.
        **shared: Options of every pair, see `PairedData`.

    Raises:
        ValueError: If the mode is unknown, or `aligned` lacks its dataset.
    """

    def __init__(
        self,
        target: LightningDataModule,
        source: LightningDataModule,
        mode: str = "cycle",
        temperature: float = 2.0,
        aligned_dataset: Callable[[Any, Any], Dataset[Any]] | None = None,
        **shared: Unpack[PairOptions],
    ) -> None:
        super().__init__(target, source, **shared)
        if mode not in MIXING:
            raise ValueError(f"mode={mode!r} is unknown; allowed: {', '.join(MIXING)}")
        if mode == "aligned" and aligned_dataset is None:
            raise ValueError("mode='aligned' needs an aligned_dataset whose samples carry both roles' targets")
        self.mode, self.temperature, self.aligned_dataset = mode, temperature, aligned_dataset
        self._aligned: Any = None

    def training(self) -> tuple[dict[str, Any], dict[str, Task], str]:
        """Return the training datasets and their tasks by key, and the mode."""
        if self.mode != "aligned":
            datasets, tasks, _ = super().training()
            return datasets, tasks, self.mode
        if self._aligned is None:
            assert self.aligned_dataset is not None
            self._aligned = self.aligned_dataset(self.data["source"], self.data["target"])
        key = "+".join(ROLES)
        return {key: self._aligned}, {key: self.tasks["target"]}, "cycle"

    def whole(self, split: str, roles: Sequence[str]) -> dict[str, DataLoader[Any]]:
        """Return a loader per role that reads a split in order; one for both where `aligned` roles have one split."""
        if self.mode == "aligned" and set(roles) == set(ROLES):
            both = same_samples(*(self.split(role, split) for role in ROLES))
            if both is not None:
                task = self.tasks["target"]
                return {"+".join(ROLES): self._loader(Whole(both, task), batch_size=4 * self.batch_size)}
        return super().whole(split, roles)


class MergedData(PairedData):
    """Both datasets as one training set over the union of their label names; validation and test stay apart.

    Args:
        target: As for `PairedData`.
        source: Likewise.
        source_share: The source's fraction of each batch; None for its fraction of all samples.
        **shared: Options of every pair, see `PairedData`.

    Raises:
        ValueError: If the share is out of range, or the two tasks are of different kinds.
    """

    def __init__(
        self,
        target: LightningDataModule,
        source: LightningDataModule,
        source_share: float | None = None,
        **shared: Unpack[PairOptions],
    ) -> None:
        super().__init__(target, source, **shared)
        if source_share is not None and not 0 < source_share < 1:
            raise ValueError(f"source_share={source_share} must be between 0 and 1, or None")
        self.source_share = source_share

    def batch_share(self) -> float:
        """Return the source's fraction of each batch: what was asked for, else its fraction of all samples."""
        sizes = {role: len(self.split(role, "train")) for role in ROLES}
        return sizes["source"] / sum(sizes.values()) if self.source_share is None else self.source_share

    def sampler_for(self, datasets: Mapping[str, Any]) -> Callable[..., StepSampler]:
        """Return what makes the sampler: one with the share that was asked for, if one was."""
        if self.source_share is None:
            return StepSampler
        sizes = {role: len(self.split(role, "train")) for role in ROLES}
        return partial(ShareSampler, parts=sizes, share=self.source_share)

    def training(self) -> tuple[dict[str, Any], dict[str, Task], str]:
        """Return the merged dataset under the key of both roles."""
        tasks = {role: self.tasks[role] for role in ROLES}
        merged = MergedDataset({role: self.split(role, "train") for role in ROLES}, tasks, union_labels(tasks), fetch)
        key = "+".join(ROLES)
        return {key: merged}, {key: tasks["target"]}, "cycle"
