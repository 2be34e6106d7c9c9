"""Cutting a dataset into splits: seeded, and with each class in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tl_modules.seeding import generator

SPLITS = ("train", "val", "test")
Split = str  # `train`, `val` or `test`, which the check of a configuration holds it to
VAL_SHARE, VAL_MOST = 0.2, 1000
TEST_SHARE = 0.2
UNUSED = "unused"
LEAST = 2


def divided(labelled: int, classes: int, published: tuple[int, int] | None = None) -> tuple[int, int]:
    """Divide a budget of labelled samples into training and validation, as VTAB-1k has its 800 and 200.

    A fifth is for validation, and one per class where that is more and leaves training as many; of published sets no
    more than there is. Of what is read from files each split has one sample of each class where it can, and the classes
    in proportion; what is generated has them as they come.

    Args:
        labelled: The budget.
        classes: Number of classes; 0 where there are none.
        published: Samples of the published training and validation set; None where validation is cut off training.

    Returns:
        Samples for training and for validation, whose sum is the budget.
    """
    val = max(1, round(VAL_SHARE * labelled))
    val = classes if val < classes <= labelled // 2 else val
    if published is not None:
        val = max(min(val, published[1]), labelled - published[0])
    return labelled - val, val


def test_size(count: int) -> int:
    """Return the test samples that are cut off so many where none were published."""
    return max(1, round(TEST_SHARE * count))


def stratified(
    labels: Sequence[int] | Tensor, count: int, *address: object, each: bool = False
) -> tuple[list[int], list[int]]:
    """Choose samples at random, as many of each class as its share of the whole (largest remainders).

    Args:
        labels: A class index per sample.
        count: How many to choose.
        address: Of the randomness, for `seeding.generator`.
        each: Whether each class has one at least, where there are enough.

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
    if each and count >= len(classes):
        shares = shares.clamp(min=1)
        while int(shares.sum()) > count:  # of those that have more than their share
            shares[(shares - exact).masked_fill(shares == 1, -torch.inf).argmax()] -= 1
    behind = (exact - shares).argsort(descending=True, stable=True)[: count - int(shares.sum())]
    shares[behind] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label, share in zip(classes.tolist(), shares.tolist(), strict=True):
        chosen[order[labels[order] == label][:share]] = True
    return chosen.nonzero()[:, 0].tolist(), (~chosen).nonzero()[:, 0].tolist()


def cut(
    labels: dict[str, list[int]], train_size: int | None, val_size: int | None, seed: int, each: bool = False
) -> dict[str, list[tuple[str, int]]]:
    """Make train, val and test out of the splits that were published.

    A published val or test is taken whole (val is cut to `val_size`). A test set that was not published is cut off
    the training samples, the same for every seed; val is cut off the rest under the seed.

    Args:
        labels: Class index per sample by published split; `train` at least.
        train_size: Training samples; None for all.
        val_size: Validation samples; None for a fifth of what val is cut off, at most 1,000 and at most `train_size`.
        seed: Root of the choice.
        each: Whether training and validation have one sample of each class at least, where there are enough.

    Returns:
        By split, published split and position of each sample.

    Raises:
        ValueError: If there are too few samples.
    """
    pool = list(range(len(labels["train"])))

    def take(positions: list[int], count: int, *address: object) -> tuple[list[int], list[int]]:
        chosen, rest = stratified([labels["train"][i] for i in positions], count, *address, each=each)
        return [positions[i] for i in chosen], [positions[i] for i in rest]

    made: dict[str, list[tuple[str, int]]] = {}
    if "test" in labels:
        made["test"] = [("test", i) for i in range(len(labels["test"]))]
    else:
        test, pool = stratified(labels["train"], test_size(len(pool)), "splits", "test")
        made["test"] = [("train", i) for i in test]
    if "val" in labels:
        wanted = min(val_size or len(labels["val"]), len(labels["val"]))
        if val_size and val_size > len(labels["val"]):
            raise ValueError(f"val_size={val_size}: must be at most {len(labels['val'])}, the published val")
        made["val"] = [("val", i) for i in stratified(labels["val"], wanted, seed, "splits", "val", each=each)[0]]
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


def cut_as(
    labels: Mapping[str, list[int]],
    others: Sequence[str | None],
    train_size: int | None,
    val_size: int | None,
    seed: int,
    each: bool = False,
) -> dict[str, list[tuple[str, int]]]:
    """Make splits as `cut` does, but where another role has a sample too, it is in the same split for both.

    What the other role has in its test set is in the test set here, what it has in validation is in validation or
    left out, and what it trains on is trained on, before all else where `train_size` leaves a choice. Samples that it
    has not, and outside of test those that it has but does not use, are cut as `cut` does.

    Args:
        labels: Class index per sample by published split; `train` at least.
        others: For each sample of the published `train`, the other role's split, `unused` where it has the sample but
            none of its splits does, and None where it has not.
        train_size: Training samples; None for all.
        val_size: Validation samples; None for `cut`'s rule.
        seed: Root of the choice.
        each: As for `cut`.

    Returns:
        By split, published split and position of each sample.

    Raises:
        ValueError: If there are too few samples.
    """
    theirs = {split: [i for i, other in enumerate(others) if other == split] for split in SPLITS}
    new = [i for i, other in enumerate(others) if other is None]
    free = [i for i, other in enumerate(others) if other in (None, UNUSED)]
    made: dict[str, list[tuple[str, int]]] = {}

    def take(first: list[int], then: list[int], count: int, *address: object) -> list[int]:
        """Choose from some positions, and from others when those do not suffice."""
        chosen: list[int] = []
        for positions in (first, then):
            wanted = min(count - len(chosen), len(positions))
            classes = [labels["train"][i] for i in positions]
            chosen += [positions[i] for i in stratified(classes, wanted, *address, each=each)[0]]
        return sorted(chosen)

    if "test" in labels:
        made["test"] = [("test", i) for i in range(len(labels["test"]))]
        left = set(range(len(others)))
    else:
        test = sorted([*theirs["test"], *take([], new, round(TEST_SHARE * len(new)), "splits", "test")])
        made["test"] = [("train", i) for i in test]
        left = set(range(len(others))) - set(test)
    if "val" in labels:
        made |= {"val": cut({**labels, "test": []}, None, val_size, seed, each)["val"]}
    else:
        first, then = ([i for i in some if i in left] for some in (theirs["val"], free))
        usual = min(max(1, round(VAL_SHARE * len(left))), VAL_MOST, train_size or VAL_MOST, len(first) + len(then))
        if (not first and not then) or (val_size or 0) > len(first) + len(then):
            most = f"at most {len(first) + len(then)}, the samples that the other role does not train on or test"
            raise ValueError(f"val_size={val_size or 'null'}: must be {most}")
        val = take(first, then, val_size or usual, seed, "splits", "val")
        made["val"] = [("train", i) for i in val]
        left -= {*first, *val}
    if (train_size and train_size > len(left)) or not left:
        most = f"at most {len(left)}, the training samples that are in no other split of either role"
        raise ValueError(f"train_size={train_size or 'null'}: must be {most}")
    first = [i for i in theirs["train"] if i in left]
    then = sorted(left - set(first))
    made["train"] = [("train", i) for i in take(first, then, train_size or len(left), seed, "splits", "train")]
    return made
