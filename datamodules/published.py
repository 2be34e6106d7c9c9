"""Datasets that come in published splits, or in one that is cut."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from datamodules.base import DatasetModule, InMemory, Rows
from datamodules.splits import cut

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """A published split.

    Args:
        ids: An id a sample.
        strata: A number a sample; splits hold each number in proportion, as class indices or the like.
        content: Whatever `dataset_of` makes samples from.
    """

    ids: list[str]
    strata: list[int]
    content: Any


class PublishedData(DatasetModule):
    """Splits as published where there are any, else cut as `splits.cut` says; subclasses say what is in them."""

    chosen: dict[str, list[tuple[str, int]]] | None = None
    sizes: dict[str, int]
    ids: dict[str, list[str]]
    fingerprint: str | None = None  # of the samples before they are cut: what they are called and their strata
    duplicates = "allow"  # or refuse: whether a test sample may be in training or validation too, by content

    def published(self) -> dict[str, Part]:
        """Return the published splits, `train` at least; afterwards `task` is there."""
        raise TypeError(f"{type(self).__name__} has no splits")

    def dataset_of(self, part: Part, rows: Sequence[int]) -> Dataset[Any]:
        """Return the samples of some rows of a published split."""
        raise TypeError(f"{type(self).__name__} has no samples")

    def arranged(self, split: str, dataset: Dataset[Any]) -> Dataset[Any]:
        """Return a split's samples as they are used; as they are, unless a subclass hides something of them."""
        return dataset

    def setup(self, stage: str | None = None) -> None:
        """Make the three datasets, once.

        Raises:
            ValueError: If there are too few samples, or one cannot be read.
        """
        if self.chosen is not None:
            return
        parts = self.published()
        chosen = cut({name: part.strata for name, part in parts.items()}, self.train_size, self.val_size, self.seed)
        self.sizes = {name: len(part.ids) for name, part in parts.items()}
        said = json.dumps([[name, *map(str, part.ids), *map(int, part.strata)] for name, part in sorted(parts.items())])
        self.fingerprint = hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
        for split, places in chosen.items():  # each is taken from one published split
            dataset = self.dataset_of(parts[places[0][0]], [row for _, row in places])
            setattr(self, f"{split}_dataset", self.arranged(split, dataset))
        if self.duplicates not in ("allow", "refuse"):
            raise ValueError(f"duplicates={self.duplicates}: allowed: allow, refuse")
        if self.duplicates == "refuse":
            self._refuse_duplicates()
        self.chosen = chosen
        self.ids = {split: [parts[name].ids[row] for name, row in places] for split, places in chosen.items()}

    def _refuse_duplicates(self) -> None:
        """Refuse test samples whose picture or text is in another split too; samples in memory are compared."""
        seen = {}
        for split in ("train", "val"):
            for name, content in _contents(getattr(self, f"{split}_dataset")):
                seen[content] = name
        test = _contents(self.test_dataset)
        twice = [(name, seen[content]) for name, content in test if content in seen]
        if twice:
            said = f"{len(twice)} of {len(test)} test samples are in training or validation too"
            raise ValueError(
                f"duplicates=refuse: {said}, such as {twice[0][0]}, which is {twice[0][1]}; "
                "take them out or set duplicates=allow"
            )

    def splits(self) -> dict[str, Any]:
        """Return, for each split, the published split it is taken from, and its ids unless it is all of that."""
        made = {}
        for split, places in (self.chosen or {}).items():
            name, ids = places[0][0], self.ids[split]
            whole = len(ids) == self.sizes[name]
            made[split] = {"from": name, "count": len(ids), "ids": "all" if whole else ids}
        return made


def _contents(dataset: Any) -> list[tuple[str, bytes]]:
    """Return id and a digest of picture and text of each sample in memory."""
    if not isinstance(dataset, InMemory) or any(isinstance(values, Rows) for values in dataset.fields.values()):
        return []
    digests = []
    for row, name in enumerate(dataset.fields["id"]):
        digest = hashlib.blake2b(digest_size=16)
        if "image" in dataset.fields:
            digest.update(dataset.fields["image"][row].numpy().tobytes())
        digest.update(str(dataset.fields["text"][row] if "text" in dataset.fields else "").encode())
        digests.append((name, digest.digest()))
    return digests


def check_share(where: str, unusable: Sequence[str], total: int, most: float) -> None:
    """Name the items that cannot be used in the log, and refuse too many of them: none is dropped silently.

    Args:
        where: What they belong to, for the message.
        unusable: What is wrong with each.
        total: Number of all items.
        most: The largest share that is left out, a fraction.

    Raises:
        ValueError: If the share is larger.
    """
    if not unusable:
        return
    said = f"{where}: {len(unusable)} of {total} cannot be used and are left out: {'; '.join(unusable[:5])}"
    if len(unusable) > most * total:
        raise ValueError(f"{said}; more than unusable={most} of all")
    log.warning("%s", said)
