"""What every DataModule of one dataset is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Annotated, Any, TypedDict, get_args, get_type_hints

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from datamodules.collate import beside, boxes_in, collate
from datamodules.splits import LEAST, divided
from tl_modules.discovery import kind_of
from tl_modules.ranges import AtLeast
from tl_modules.task import Task

Batch = dict[str, Any]


class Rows:
    """A field whose values, tensors of one shape, are read when they are asked for.

    Args:
        read: Gives sample i's value.
        count: Number of samples.
    """

    def __init__(self, read: Callable[[int], Tensor], count: int) -> None:
        self.read, self.count = read, count

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        """Return a sample's value."""
        return self.read(index)


class InMemory(Dataset[dict[str, Any]]):
    """Samples held as stacked tensors, read many at a time.

    Args:
        fields: Tensors `(N, ...)`, lists of length N or `Rows` by field.
        present: For fields that some samples lack, which have them: N booleans.

    Raises:
        ValueError: If lengths differ.
    """

    fixed = True  # a sample is the same whenever it is read

    def __init__(self, fields: Mapping[str, Any], present: Mapping[str, Sequence[bool]] | None = None) -> None:
        self.fields, self.present = dict(fields), dict(present or {})
        lengths = {key: len(values) for part in (self.fields, self.present) for key, values in part.items()}
        if len({len(values) for part in (self.fields, self.present) for values in part.values()}) != 1:
            raise ValueError(f"fields differ in length: {lengths}")

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.fields["id"])

    def _has(self, key: str, index: int) -> bool:
        return key not in self.present or bool(self.present[key][index])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample."""
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return {key: values[index] for key, values in self.fields.items() if self._has(key, index)}

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return samples as a batch, without Python work a sample for the tensors."""
        batch: Batch = {}
        of_boxes = beside(boxes_in(self.fields, lambda key: self.fields[key][:1][0] if len(self) else ()))
        for key, values in self.fields.items():
            rows = [row for row, index in enumerate(indices) if self._has(key, index)]
            chosen = indices if len(rows) == len(indices) else [indices[row] for row in rows]
            if not chosen:
                continue
            if isinstance(values, Tensor):
                batch[key] = values[torch.as_tensor(chosen)]
            else:
                read = [values[i] for i in chosen]
                batch[key] = torch.stack(read) if isinstance(values, Rows) else read
            if len(rows) < len(indices) and key not in of_boxes:
                batch[f"{key}_rows"] = torch.tensor(rows)
        return batch


class Some(Subset[Any]):
    """Some of a dataset's samples."""

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same whenever it is read."""
        return bool(getattr(self.dataset, "fixed", False))


def taken(dataset: Any, rows: Sequence[int]) -> Any:
    """Return some of a dataset's samples as a dataset."""
    if not isinstance(dataset, InMemory):
        return Some(dataset, list(rows))

    def picked(values: Any) -> Any:
        if isinstance(values, Tensor):
            return values[torch.tensor(rows, dtype=torch.long)]
        if isinstance(values, Rows):
            return Rows(lambda index: values[rows[index]], len(rows))
        return [values[row] for row in rows]

    fields = {key: picked(values) for key, values in dataset.fields.items()}
    return InMemory(fields, {key: [bool(have[row]) for row in rows] for key, have in dataset.present.items()})


def count_labelled(dataset: Any, key: str) -> int:
    """Return how many of a dataset's samples have a target; all, where only reading them could tell.

    Args:
        dataset: The dataset.
        key: The target's field.
    """
    have = dataset.present.get(key) if isinstance(dataset, InMemory) else None
    return len(dataset) if have is None else sum(map(bool, have))


class DatasetOptions(TypedDict, total=False):
    """The options of `DatasetModule`, which constructors hand on as `**shared: Unpack[DatasetOptions]`."""

    train_size: Annotated[int, AtLeast(1)] | None
    val_size: Annotated[int, AtLeast(1)] | None
    seed: int
    batch_size: int
    num_workers: int
    labelled: Annotated[int, AtLeast(2)] | None


def options_of(made: Callable[..., Any]) -> set[str]:
    """Return the names that a class is made with, those included that its constructor hands on.

    Args:
        made: The class.
    """
    names = set(signature(made).parameters)
    handed = get_type_hints(made.__init__).get("shared") if "shared" in names else None  # type: ignore[misc]
    return names if handed is None else names - {"shared"} | set(get_args(handed)[0].__annotations__)


class DatasetModule(LightningDataModule):
    """One dataset: its task, its domain, and disjoint splits that are the same for the same seed.

    `prepare_data` downloads, `setup` fills `train_dataset`, `val_dataset` and `test_dataset`; test is never cut. The
    paired DataModules read these; its own loaders serve whoever uses it alone.

    Args:
        task: The task, with its domain; None where only `setup` can tell.
        train_size: Training samples, each class in proportion; None for all.
        val_size: Validation samples; None for the published ones, else a fifth, at most 1,000 and at most `train_size`.
        seed: Root of the splits.
        batch_size: Of its own loaders.
        num_workers: Of its own loaders.
        labelled: Labelled samples that may be known, training and validation together, instead of `train_size` and
            `val_size`; see `splits.divided`.

    Raises:
        ValueError: If a size is below 1, or both sizes and `labelled` are given.
    """

    train_dataset: Dataset[Any]
    val_dataset: Dataset[Any]
    test_dataset: Dataset[Any]

    def __init__(
        self,
        task: Task | None,
        train_size: int | None = None,
        val_size: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
        labelled: int | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("train_size", train_size), ("val_size", val_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name}={size} must be at least 1")
            if size is not None and labelled is not None:
                raise ValueError(f"labelled={labelled}: excludes {name}={size}; give one of the two")
        if labelled is not None and labelled < LEAST:
            raise ValueError(f"labelled={labelled}: must be at least {LEAST}, one to train on and one to choose by")
        self.task, self.domain = task, "" if task is None else task.domain
        self.train_size, self.val_size, self.seed, self.labelled = train_size, val_size, seed, labelled
        if labelled is not None:
            kind = None if task is None else kind_of(task.kind)
            classes = len(task.labels) if task is not None and kind is not None and kind.one_label else 0
            self.train_size, self.val_size = divided(labelled, classes)
        self.batch_size, self.num_workers = batch_size, num_workers

    def _loader(self, dataset: Dataset[Any], shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(dataset, self.batch_size, shuffle, num_workers=self.num_workers, collate_fn=collate)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training samples, shuffled."""
        return self._loader(self.train_dataset, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the validation samples in order."""
        return self._loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test samples in order."""
        return self._loader(self.test_dataset)
