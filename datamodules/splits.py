"""Cutting a dataset into splits: seeded, and with each class in proportion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from datamodules.folds import Fold, fold_of
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


def dealt(labels: Sequence[int], shares: Sequence[float], groups: Sequence[str], *address: object) -> list[int]:
    """Deal samples into bins, groups whole and each class as nearly in proportion as that allows.

    The largest groups go first, those of one size by class and then at random, each to the bin where it adds least to
    Pearson's chi-square of the bins' class counts against their shares of the classes; of several to the emptiest.
    Where every sample is its own group and shares are equal, bins differ by one sample at most, in each class and in
    all.

    Args:
        labels: A class index per sample.
        shares: Each bin's share of the whole, fractions.
        groups: A group per sample.
        address: Of the randomness, for `seeding.generator`.

    Returns:
        The bin of each sample.
    """
    counts: dict[str, Counter[int]] = {}
    for label, group in zip(labels, groups, strict=True):
        counts.setdefault(group, Counter())[label] += 1
    at_random = torch.randperm(len(counts), generator=generator(*address)).tolist()
    order = sorted(
        zip(at_random, counts, strict=True),
        key=lambda one: (-counts[one[1]].total(), counts[one[1]].most_common(1)[0][0], one[0]),
    )
    total = Counter(labels)
    filled: list[Counter[int]] = [Counter() for _ in shares]
    sizes = [0] * len(shares)
    bins: dict[str, int] = {}
    for _, group in order:
        added = counts[group]

        def cost(place: int, added: Counter[int] = added) -> tuple[float, float]:
            more = sum(some * (2 * filled[place][label] + some) / total[label] for label, some in added.items())
            return round(more / shares[place], 9), sizes[place] / shares[place]

        bins[group] = min(range(len(shares)), key=cost)
        filled[bins[group]].update(added)
        sizes[bins[group]] += added.total()
    return [bins[group] for group in groups]


def off_whole(
    labels: Sequence[int],
    groups: Sequence[str],
    positions: Sequence[int],
    count: int,
    *address: object,
    least: int = 1,
    rest: int = 1,
) -> tuple[list[int], list[int]]:
    """Cut about so many samples off some others, groups whole.

    Args:
        labels: A class index per sample of all.
        groups: A group per sample of all.
        positions: Those that are divided.
        count: How many to cut off.
        address: Of the randomness, for `seeding.generator`.
        least: How many have to be cut off.
        rest: How many groups have to be left.

    Returns:
        Positions of those cut off and of the others, each in rising order.

    Raises:
        ValueError: If there are too few groups.
    """
    share = min(count / len(positions), 0.999)
    bins = dealt([labels[i] for i in positions], (share, 1 - share), [groups[i] for i in positions], *address)
    sides: tuple[dict[str, list[int]], dict[str, list[int]]] = ({}, {})
    for index, place in zip(positions, bins, strict=True):
        sides[place].setdefault(groups[index], []).append(index)
    chosen, left = sides

    def move(come_from: dict[str, list[int]], to: dict[str, list[int]]) -> None:
        smallest = min(come_from, key=lambda group: len(come_from[group]))
        to[smallest] = come_from.pop(smallest)

    while len(left) > rest and sum(map(len, chosen.values())) < least:
        move(left, chosen)
    while len(left) < rest and len(chosen) > 1:
        move(chosen, left)
    if len(left) < rest or sum(map(len, chosen.values())) < least:
        few, wanted = len(chosen) + len(left), f"{max(count, least)} of {len(positions)}"
        groups_there = f"{few} group{'s' if few > 1 else ''}"
        raise ValueError(f"group_by: the samples are of {groups_there}, too few to cut {wanted} samples off")
    both = (sorted(index for some in side.values() for index in some) for side in sides)
    return next(both), next(both)


def test_of(
    labels: Sequence[int],
    positions: Sequence[int],
    groups: Sequence[str] | None = None,
    fold: Fold | None = None,
) -> tuple[list[int], list[int]]:
    """Cut a test set off samples of which none was published, the same for every seed: a fifth, or a fold.

    Args:
        labels: A class index per sample of all.
        positions: Those that are divided.
        groups: A group per sample of all, each of which stays whole; None where each sample is its own.
        fold: Which of several test sets that have no sample in common and all in all of them; None for a fifth.

    Returns:
        Positions in the test set and outside, each in rising order.

    Raises:
        ValueError: If there are too few samples or groups.
    """
    if fold is not None:
        number, count = fold_of(fold)
        each = [str(i) if groups is None else groups[i] for i in positions]
        if len({*each}) < count:
            what = "samples" if groups is None else "groups"
            raise ValueError(f"fold={fold}: {len({*each})} {what} are too few for {count} folds")
        bins = dealt([labels[i] for i in positions], [1 / count] * count, each, "splits", "folds", count)
        test = {i for i, place in zip(positions, bins, strict=True) if place == number - 1}
        return sorted(test), [i for i in positions if i not in test]
    if groups is not None:
        return off_whole(labels, groups, positions, test_size(len(positions)), "splits", "test")
    chosen, rest = stratified([labels[i] for i in positions], test_size(len(positions)), "splits", "test")
    return [positions[i] for i in chosen], [positions[i] for i in rest]


def cut(
    labels: dict[str, list[int]],
    train_size: int | None,
    val_size: int | None,
    seed: int,
    each: bool = False,
    groups: Sequence[str] | None = None,
    fold: Fold | None = None,
) -> dict[str, list[tuple[str, int]]]:
    """Make train, val and test out of the splits that were published.

    A published val or test is taken whole (val is cut to `val_size`). A test set that was not published is cut off
    the training samples, the same for every seed; val is cut off the rest under the seed. Where groups stay whole, val
    and test have about as many samples as without; a size that is asked for is exact, and what is left of a group then
    is in no split.

    Args:
        labels: Class index per sample by published split; `train` at least.
        train_size: Training samples; None for all.
        val_size: Validation samples; None for a fifth of what val is cut off, at most 1,000 and at most `train_size`.
        seed: Root of the choice.
        each: Whether training and validation have one sample of each class at least, where there are enough.
        groups: A group per sample of the published `train`, each of which stays whole; None where each sample is its
            own.
        fold: Which fold the test set is, as for `test_of`; only where none was published.

    Returns:
        By split, published split and position of each sample.

    Raises:
        ValueError: If there are too few samples or groups.
    """
    pool = list(range(len(labels["train"])))

    def take(positions: list[int], count: int, *address: object) -> tuple[list[int], list[int]]:
        chosen, rest = stratified([labels["train"][i] for i in positions], count, *address, each=each)
        return [positions[i] for i in chosen], [positions[i] for i in rest]

    made: dict[str, list[tuple[str, int]]] = {}
    if "test" in labels:
        made["test"] = [("test", i) for i in range(len(labels["test"]))]
    else:
        test, pool = test_of(labels["train"], pool, groups, fold)
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
        if groups is None:
            val, pool = take(pool, val_size or usual, seed, "splits", "val")
        else:
            whole = off_whole(
                labels["train"], groups, pool, val_size or usual, seed, "splits", "val", least=val_size or 1
            )
            val, pool = whole
            val = take(val, min(len(val), val_size or train_size or len(val)), seed, "splits", "val")[0]
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
    groups: Sequence[str] | None = None,
    fold: Fold | None = None,
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
        groups: As for `cut`; samples of a group have one value in `others`.
        fold: As for `cut`, of the samples that the other role has not.

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
        if groups is None and fold is None:
            added = take([], new, round(TEST_SHARE * len(new)), "splits", "test")
        else:
            added = test_of(labels["train"], new, groups, fold)[0] if new else []
        test = sorted([*theirs["test"], *added])
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
        wanted = val_size or usual
        if groups is None or wanted <= len(first):
            val = take(first, then, wanted, seed, "splits", "val")
            gone = val
        else:
            missing = wanted - len(first)
            limits = {"least": missing if val_size else 1, "rest": 0 if theirs["train"] else 1}
            gone = off_whole(labels["train"], groups, then, missing, seed, "splits", "val", **limits)[0]
            val = sorted([*first, *take([], gone, min(missing, len(gone)), seed, "splits", "val")])
        made["val"] = [("train", i) for i in val]
        left -= {*first, *gone}
    if (train_size and train_size > len(left)) or not left:
        most = f"at most {len(left)}, the training samples that are in no other split of either role"
        raise ValueError(f"train_size={train_size or 'null'}: must be {most}")
    first = [i for i in theirs["train"] if i in left]
    then = sorted(left - set(first))
    made["train"] = [("train", i) for i in take(first, then, train_size or len(left), seed, "splits", "train")]
    return made
