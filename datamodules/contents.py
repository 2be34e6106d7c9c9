"""What samples hold, to tell whether two are the same picture or text, whoever reads them."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from datamodules.base import InMemory
from datamodules.collate import as_sample
from datamodules.readers.resize import original as original_of
from datamodules.readers.resize import size_of_picture
from tl_modules.seeding import seed_all, undisturbed
from tl_modules.task import Task

log = logging.getLogger(__name__)
MOST_READ = 50_000
Digests = dict[str, frozenset[bytes]]


class Held:
    """What the samples of a split hold; nothing is read before it is needed.

    Args:
        dataset: The split, map-style.
        task: Its task, to read pairs `(image, target)`.
        original: Gives a sample's picture as it was before it was read, as `images.fitted` takes it; None where the
            samples as they are read are all there is.
        places: What tells each sample's file from all others; None where nothing does.
        groups: What each sample belongs to; None where nothing says.
    """

    def __init__(
        self,
        dataset: Any,
        task: Task | None,
        original: Callable[[int], Any] | None = None,
        places: list[str] | None = None,
        groups: list[str] | None = None,
    ) -> None:
        self.dataset, self.task, self.original, self.places = dataset, task, original, places
        self.groups = groups
        self.in_memory: set[int] = set()  # rows of originals that are part of a stack, and need no reading
        self.digests: dict[int, bytes] = {}  # of the originals by row, as far as they were asked for

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def id(self, row: int) -> str:
        """Return a sample's id."""
        return str(self.dataset.fields["id"][row] if isinstance(self.dataset, InMemory) else self._sample(row)["id"])

    def _sample(self, row: int, seed: int = 0) -> Mapping[str, Any]:
        with undisturbed():
            seed_all(seed)
            item = self.dataset[row]
        return {"id": str(row), **item} if self.task is None else as_sample(item, self.task, str(row))

    @cached_property
    def sides(self) -> dict[int, tuple[int, int]]:
        """Height and width of the original pictures, by row of the samples that have one."""
        assert self.original is not None
        pictures = {row: picture for row in range(len(self)) if (picture := self.original(row)) is not None}
        stacked = {row: one for row, one in pictures.items() if isinstance(one, Tensor) and one.shape[0] in (1, 3)}
        self.in_memory = {row for row, one in stacked.items() if one.dtype == torch.uint8 and one.shape[2] > 3}
        files = {row: one for row, one in pictures.items() if row not in stacked}
        found = dict(zip(files, _each(size_of_picture, files.values()), strict=True))
        found |= {row: (one.shape[1], one.shape[2]) for row, one in stacked.items()}
        return dict(sorted(found.items()))

    def originals(self, sides: set[tuple[int, int]] | None = None) -> dict[int, bytes]:
        """Return the digests of the original pictures, all or those of some heights and widths, by row."""
        original = self.original
        assert original is not None
        rows = [row for row, size in self.sides.items() if sides is None or size in sides]
        new = [row for row in rows if row not in self.digests]
        self.digests |= {row: of_picture(original(row)) for row in new if row in self.in_memory}
        files = [row for row in new if row not in self.in_memory]
        found = _each(lambda row: of_picture(original_of(original(row))), files)
        self.digests |= dict(zip(files, found, strict=True))
        return {row: self.digests[row] for row in rows}

    @cached_property
    def texts(self) -> dict[int, bytes]:
        """The digests of the texts by row, where there are any."""
        if isinstance(self.dataset, InMemory):
            texts = self.dataset.fields.get("text", [])
            return {row: of_text(text) for row, text in enumerate(texts) if text.strip()}
        found = {} if self.original is not None else self.as_read
        return {row: digests["text"] for row, digests in found.items() if "text" in digests}

    @cached_property
    def as_read(self) -> dict[int, dict[str, bytes]]:
        """The digests of pictures and texts as they are read, by row; empty where they cannot be compared."""
        if isinstance(self.dataset, InMemory):
            images = self.dataset.fields.get("image", [])
            there = self.dataset.present.get("image", [True] * len(self))
            pictures = {row: images[row] for row in range(len(images))}
            found = {row: {"image": of_picture(one)} for row, one in pictures.items() if there[row] or one.any()}
            for row, text in self.texts.items():
                found.setdefault(row, {})["text"] = text
            return found
        if len(self) > MOST_READ or not self._repeats():
            why = f"more than {MOST_READ}" if len(self) > MOST_READ else "never twice the same"
            log.warning("%d samples are not compared with those of other splits: they are %s", len(self), why)
            return {}
        return {row: _digests(self._sample(row)) for row in range(len(self))}

    def _repeats(self) -> bool:
        """Tell whether a sample is the same whenever it is read."""
        fixed = not len(self) or getattr(self.dataset, "fixed", False)
        return bool(fixed) or _digests(self._sample(0)) == _digests(self._sample(0, seed=1))


def same(one: Held, other: Held) -> dict[int, int]:
    """Return the rows of one split whose sample is in another split too.

    Two samples are the same if they are one file, or if what both have of a picture and a text is equal: pictures
    pixel by pixel, at their original size where both are read from files or arrays, else as they are read; texts word
    by word.

    Args:
        one: Where the samples are looked for.
        other: Whose samples are looked for.

    Returns:
        By row of `other`, the row of `one`.
    """
    places = {place: row for row, place in enumerate(one.places or []) if place}
    found = {row: places[place] for row, place in enumerate(other.places or []) if place in places}
    mine, theirs = _comparable(one, other)
    index: dict[tuple[str, bytes], list[int]] = {}
    for row, digests in mine.items():
        for key, some in digests.items():
            for digest in some:
                index.setdefault((key, digest), []).append(row)
    for row, digests in theirs.items():
        near = (twin for key, some in digests.items() for digest in some for twin in index.get((key, digest), []))
        twin = next((twin for twin in near if _agree(digests, mine[twin])), None)
        if twin is not None:
            found.setdefault(row, twin)
    return dict(sorted(found.items()))


def akin(one: Held, other: Held) -> dict[int, int]:
    """Return the rows of one split whose group is in another split too.

    Args:
        one: Where the groups are looked for.
        other: Whose groups are looked for.

    Returns:
        By row of `other`, the first such row of `one`.
    """
    first: dict[str, int] = {}
    for row, group in enumerate(one.groups or []):
        first.setdefault(group, row)
    return {row: first[group] for row, group in enumerate(other.groups or []) if group in first}


def _comparable(one: Held, other: Held) -> tuple[dict[int, Digests], dict[int, Digests]]:
    """Return the digests of both by row and input: of what can be compared."""
    if one.original is not None and other.original is not None:
        common = set(one.sides.values()) & set(other.sides.values())
        pictures = [{row: [d] for row, d in held.originals(common).items()} for held in (one, other)]
    else:
        pictures = [_any_form(held) for held in (one, other)]
    made: list[dict[int, Digests]] = []
    for held, images in zip((one, other), pictures, strict=True):
        digests: dict[int, Digests] = {row: {"image": frozenset(some)} for row, some in images.items()}
        for row, text in held.texts.items():
            digests.setdefault(row, {})["text"] = frozenset([text])
        made.append(digests)
    return made[0], made[1]


def _any_form(held: Held) -> dict[int, list[bytes]]:
    """Return the digests of a split's pictures, as they are read and, where there are any, of the originals."""
    found = {row: [digests["image"]] for row, digests in held.as_read.items() if "image" in digests}
    for row, digest in (held.originals() if held.original is not None else {}).items():
        found.setdefault(row, []).append(digest)
    return found


def _agree(one: Digests, other: Digests) -> bool:
    shared = one.keys() & other.keys()
    return bool(shared) and all(one[key] & other[key] for key in shared)


def _digests(sample: Mapping[str, Any]) -> dict[str, bytes]:
    made = {}
    if "image" in sample:
        made["image"] = of_picture(torch.as_tensor(sample["image"]))
    if str(sample.get("text", "")).strip():
        made["text"] = of_text(str(sample["text"]))
    return made


def of_picture(image: Tensor) -> bytes:
    """Return a digest of a picture `(C, H, W)`; grey is the same as colour without colour, floats as their bytes."""
    if image.is_floating_point() and bool(image.numel()) and float(image.min()) >= 0 and float(image.max()) <= 1:
        image = (image * 255).round().to(torch.uint8)
    image = image.expand(3, -1, -1) if image.ndim == 3 and image.shape[0] == 1 else image
    digest = hashlib.blake2b(repr((str(image.dtype), tuple(image.shape))).encode(), digest_size=16)
    digest.update(image.contiguous().numpy().tobytes())
    return digest.digest()


def of_text(text: str) -> bytes:
    """Return a digest of a text's words."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def _each(read: Callable[[int], Any], rows: Any) -> Iterator[Any]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(read, rows)
