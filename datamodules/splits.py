"""Choosing samples for a split: seeded, with each class in proportion, groups whole; see `cutting` for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

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
