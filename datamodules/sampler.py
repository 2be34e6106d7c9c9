"""Which samples a step holds: a pure function of the step's number, so that runs repeat and resume exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch.utils.data import Sampler

from tl_modules.seeding import generator, seed_of

MODES = ("cycle", "proportional", "temperature")
Address = tuple[str, int, int]


class StepSampler(Sampler[list[Address]]):
    """Yield, for each step, the addresses `(key, index, j)` of its samples.

    A key's j-th batch is batch `j mod n` of pass `j div n` over its dataset, where each pass is shuffled under a seed
    of its own and cut into `n` full batches. It is never a function of what another key drew.

    Args:
        sizes: Samples in the dataset of each key; the last key counts as the target for proportions.
        batch_size: Samples per step and process; a smaller dataset gives all it has.
        mode: `cycle`: every key in every step. `proportional`: one key per step, as often as its size says.
            `temperature`: likewise with sizes to the power of `1 / temperature` (Arivazhagan et al. 2019).
        epoch_steps: Steps until Lightning's epoch ends.
        seed: Root of the orders.
        temperature: 1 is `proportional`; the larger, the more equal the shares.
        replay: The first key's share of the steps, a fraction, with one key per step whatever the mode; 0 for the mode.
        rank: This process's number; all processes hold the same keys in a step.
        world_size: Number of processes.
        progress: Gives the number of whole epochs behind and of steps behind in this one; read when iteration starts.

    Raises:
        ValueError: If the mode is unknown, a dataset is empty, or a number is out of range.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        batch_size: int,
        mode: str = "cycle",
        epoch_steps: int = 1,
        seed: int = 0,
        temperature: float = 2.0,
        rank: int = 0,
        world_size: int = 1,
        progress: Callable[[], tuple[int, int]] = lambda: (0, 0),
        replay: float = 0.0,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode={mode!r} is unknown; allowed: {', '.join(MODES)}")
        empty = [key for key, size in sizes.items() if size < 1]
        if empty:
            raise ValueError(f"the training set of {', '.join(empty)} is empty")
        few = [key for key, size in sizes.items() if size < world_size]
        if few:
            raise ValueError(f"the training set of {', '.join(few)} has fewer samples than there are processes")
        if batch_size < 1 or epoch_steps < 1 or not temperature >= 1:
            raise ValueError(f"{batch_size=}, {epoch_steps=} and {temperature=} must be at least 1")
        self.sizes, self.mode, self.seed, self.progress = dict(sizes), mode, seed, progress
        self.batch_size, self.epoch_steps, self.temperature = batch_size, epoch_steps, temperature
        self.rank, self.world_size, self.replay = rank, world_size, replay
        self.sampler = self  # Lightning looks for it on batch samplers

    def __len__(self) -> int:
        """Return the steps of an epoch."""
        return self.epoch_steps

    def __iter__(self) -> Iterator[list[Address]]:
        """Yield the rest of the current epoch."""
        epoch, done = self.progress()
        for step in range(epoch * self.epoch_steps + done, (epoch + 1) * self.epoch_steps):
            yield [address for key, j in self.turns(step) for address in self.batch(key, j)]

    def batches(self, key: str) -> int:
        """Return the number of full batches in a pass over a key's dataset."""
        return max(1, self.sizes[key] // (self.batch_size * self.world_size))

    def turns(self, step: int) -> list[tuple[str, int]]:
        """Return the keys of a step, each with the number of its batches before."""
        if (self.mode == "cycle" and not self.replay) or len(self.sizes) == 1:
            return [(key, step) for key in self.sizes]
        power = 1.0 if self.mode == "proportional" else 1 / self.temperature
        (first, a), (last, b) = ((key, size**power) for key, size in self.sizes.items())
        share = 1 - self.replay if self.replay else b / (a + b)
        start = seed_of(self.seed, "turns") / 2**63
        before, after = (math.floor(k * share + start) for k in (step, step + 1))
        return [(last, before)] if after > before else [(first, step - before)]

    def batch(self, key: str, j: int) -> list[Address]:
        """Return the addresses of this process's part of a key's j-th batch."""
        count = self.batches(key)
        order = _order(self.seed, key, self.sizes[key], j // count)
        size = self.batch_size * self.world_size
        start = (j % count) * size
        return [(key, int(index), j) for index in order[start : start + size][self.rank :: self.world_size]]


class ShareSampler(StepSampler):
    """Yield the addresses of merged batches with a fixed share of each part.

    The first part has `share` of every batch, rounded so that it is exact over the steps; each part is shuffled and
    read pass by pass under a seed of its own, so the smaller one is repeated as often as its share needs.

    Args:
        sizes: Samples in the merged dataset, under its one key.
        batch_size: Samples per step and process.
        mode: As `StepSampler`'s; there is one key.
        epoch_steps: Steps until Lightning's epoch ends.
        seed: Root of the orders.
        temperature: As `StepSampler`'s.
        rank: This process's number.
        world_size: Number of processes.
        progress: As `StepSampler`'s.
        parts: Samples of the two parts by name, in the order in which the merged dataset has them.
        share: The first part's fraction of each batch.
    """

    def __init__(self, *args: Any, parts: Mapping[str, int], share: float, **options: Any) -> None:
        super().__init__(*args, **options)
        empty = [name for name, size in parts.items() if size < 1]
        if empty:
            raise ValueError(f"the training set of {', '.join(empty)} is empty")
        self.parts, self.share = dict(parts), share

    def batch(self, key: str, j: int) -> list[Address]:
        """Return the addresses of this process's part of the j-th batch; the pass stands where its number does."""
        size, start = self.batch_size * self.world_size, seed_of(self.seed, "share", key) / 2**63
        before, after = (math.floor(k * size * self.share + start) for k in (j, j + 1))
        places = (range(before, after), range(j * size - before, (j + 1) * size - after))
        found, offset = [], 0
        for (name, count), mine in zip(self.parts.items(), places, strict=True):
            for place in mine:
                index = _order(self.seed, f"{key}/{name}", count, place // count)[place % count]
                found.append((key, offset + index, place // count))
            offset += count
        return found[self.rank :: self.world_size]


@lru_cache(maxsize=8)
def _order(seed: int, key: str, size: int, number: int) -> list[int]:
    order: list[int] = torch.randperm(size, generator=generator(seed, "order", key, number)).tolist()
    return order
