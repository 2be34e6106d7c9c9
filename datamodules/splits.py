"""Cutting a dataset into splits: seeded, and with each class in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tl_modules.seeding import generator

VAL_SHARE, VAL_MOST = 0.2, 1000
TEST_SHARE = 0.2


def stratified(labels: Sequence[int] | Tensor, count: int, *address: object) -> tuple[list[int], list[int]]:
    """Choose samples at random, as many of each class as its share of the whole (largest remainders).

    Args:
        labels: A class index a sample.
        count: How many to choose.
        address: Of the randomness, for `seeding.generator`.

    Returns:
        Positions of the chosen and of the other samples, each in rising order.

    Raises:
        ValueError: If there are fewer samples than `count`.
    """
    labels = torch.as_tensor(labels)
    if count > len(labels):
        raise ValueError(f"{count} samples are wanted, but there are {len(labels)}")
    order = torch.randperm(len(labels), generator=generator(*address))
    classes, sizes = labels.unique(return_counts=True)
    exact = sizes * (count / max(1, len(labels)))
    shares = exact.floor().long()
    behind = (exact - shares).argsort(descending=True, stable=True)[: count - int(shares.sum())]
    shares[behind] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, share in zip(classes.tolist(), shares.tolist(), strict=True):
        chosen[order[labels[order] == label][:share]] = True
    return chosen.nonzero()[:, 0].tolist(), (~chosen).nonzero()[:, 0].tolist()


def cut(
    labels: dict[str, list[int]], train_size: int | None, val_size: int | None, seed: int
) -> dict[str, list[tuple[str, int]]]:
    """Make train, val and test out of the splits that were published.

    A published val or test is taken whole (val is cut to `val_size`). A test set that was not published is cut off
    the training samples, the same for every seed; val is cut off the rest under the seed.

    Args:
        labels: Class index a sample by published split; `train` at least.
        train_size: Training samples; None for all.
        val_size: Validation samples; None for a fifth of what val is cut off, at most 1,000 and at most `train_size`.
        seed: Root of the choice.

    Returns:
        By split, published split and position of each sample.

    Raises:
        ValueError: If there are too few samples.
    """
    pool = list(range(len(labels["train"])))

    def take(positions: list[int], count: int, *address: object) -> tuple[list[int], list[int]]:
        chosen, rest = stratified([labels["train"][i] for i in positions], count, *address)
        return [positions[i] for i in chosen], [positions[i] for i in rest]

    made: dict[str, list[tuple[str, int]]] = {}
    if "test" in labels:
        made["test"] = [("test", i) for i in range(len(labels["test"]))]
    else:
        test, pool = take(pool, max(1, round(TEST_SHARE * len(pool))), "splits", "test")
        made["test"] = [("train", i) for i in test]
    if "val" in labels:
        wanted = min(val_size or len(labels["val"]), len(labels["val"]))
        if val_size and val_size > len(labels["val"]):
            raise ValueError(f"val_size={val_size}: must be at most {len(labels['val'])}, the published val")
        made["val"] = [("val", i) for i in stratified(labels["val"], wanted, seed, "splits", "val")[0]]
    else:
        if len(pool) < 2:
            raise ValueError(f"train_size=null: {len(labels['train'])} samples are too few for train, val and test")
        usual = min(max(1, round(VAL_SHARE * len(pool))), VAL_MOST, train_size or VAL_MOST)
        if val_size and val_size >= len(pool):
            raise ValueError(f"val_size={val_size}: must be less than {len(pool)}, the samples it is cut off")
        val, pool = take(pool, val_size or usual, seed, "splits", "val")
        made["val"] = [("train", i) for i in val]
    if train_size and train_size > len(pool):
        raise ValueError(f"train_size={train_size}: must be at most {len(pool)}, the training samples beside val")
    chosen = take(pool, train_size, seed, "splits", "train")[0] if train_size else pool
    made["train"] = [("train", i) for i in chosen]
    return made
