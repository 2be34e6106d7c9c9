"""Cutting a dataset into train, val and test, alone or alike for two roles that have samples in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datamodules.folds import Fold
from datamodules.splits import TEST_SHARE, UNUSED, VAL_MOST, VAL_SHARE, off_whole, stratified, test_of

Places = list[tuple[str, int]]  # published split and position in it, of each sample


def cut(
    labels: Mapping[str, list[int]],
    train_size: int | None,
    val_size: int | None,
    seed: int,
    each: bool = False,
    groups: Sequence[str] | None = None,
    fold: Fold | None = None,
    others: Sequence[str | None] | None = None,
) -> dict[str, Places]:
    """Make train, val and test out of the splits that were published.

    A published val or test is taken whole (val is cut to `val_size`). A test set that was not published is cut off
    the training samples, the same for every seed; val is cut off the rest under the seed. Where groups stay whole, val
    and test have about as many samples as without; a size that is asked for is exact, and what is left of a group then
    is in no split.

    Where another role has a sample too, it is in the same split for both: what the other role has in its test set is in
    the test set here, what it has in validation is in validation or left out, and what it trains on is trained on,
    before all else where `train_size` leaves a choice. Samples that it has not, and outside of test those that it has
    but does not use, are cut as if they were alone.

    Args:
        labels: Class index per sample by published split; `train` at least.
        train_size: Training samples; None for all.
        val_size: Validation samples; None for a fifth of what val is cut off, at most 1,000 and at most `train_size`.
        seed: Root of the choice.
        each: Whether training and validation have one sample of each class at least, where there are enough.
        groups: A group per sample of the published `train`, each of which stays whole and has one value in `others`;
            None where each sample is its own.
        fold: Which fold the test set is, as for `splits.test_of`; only where none was published.
        others: For each sample of the published `train`, the other role's split, `unused` where it has the sample but
            none of its splits does, and None where it has not; None where there is no such role.

    Returns:
        By split, published split and position of each sample.

    Raises:
        ValueError: If there are too few samples or groups.
    """
    cutting = _Cutting(labels, seed, each, groups, others)
    return {
        "test": cutting.test(fold),
        "val": cutting.val(val_size, train_size),
        "train": cutting.train(train_size),
    }


class _Cutting:
    """The published training samples that are in no split yet, while one split after the other takes its own."""

    def __init__(
        self,
        labels: Mapping[str, list[int]],
        seed: int,
        each: bool,
        groups: Sequence[str] | None,
        others: Sequence[str | None] | None,
    ) -> None:
        self.labels, self.seed, self.each, self.groups = labels, seed, each, groups
        self.alone = others is None
        self.others = [None] * len(labels["train"]) if others is None else others
        self.left = set(range(len(self.others)))

    def test(self, fold: Fold | None) -> Places:
        """Take the test set."""
        if "test" in self.labels:
            return [("test", i) for i in range(len(self.labels["test"]))]
        new = self._theirs(None)
        few = not self.alone and self.groups is None and fold is None and round(TEST_SHARE * len(new)) < 1
        added = test_of(self.labels["train"], new, self.groups, fold)[0] if new and not few else []
        test = sorted([*self._theirs("test"), *added])
        self.left -= set(test)
        return [("train", i) for i in test]

    def val(self, val_size: int | None, train_size: int | None) -> Places:
        """Take the validation set, which leaves samples for training."""
        if "val" in self.labels:
            published = self.labels["val"]
            if val_size and val_size > len(published):
                raise ValueError(f"val_size={val_size}: must be at most {len(published)}, the published val")
            wanted = val_size or len(published)
            return [("val", i) for i in stratified(published, wanted, self.seed, "splits", "val", each=self.each)[0]]
        first, then = self._theirs("val"), self._theirs(None, UNUSED)
        self._check_val(val_size, len(first) + len(then))
        usual = min(max(1, round(VAL_SHARE * len(self.left))), VAL_MOST, train_size or VAL_MOST)
        wanted = min(val_size or usual, len(first) + len(then))
        if self.groups is None or wanted <= len(first):
            val = gone = self._take(first, then, wanted, "val")
        else:
            missing, rest = wanted - len(first), 0 if self._theirs("train") else 1
            limits = {"least": missing if val_size else 1, "rest": rest}
            gone = off_whole(self.labels["train"], self.groups, then, missing, self.seed, "splits", "val", **limits)[0]
            most = (val_size or train_size or len(gone)) if self.alone else missing
            val = sorted([*first, *self._take([], gone, most, "val")])
        self.left -= {*first, *gone}
        return [("train", i) for i in val]

    def train(self, train_size: int | None) -> Places:
        """Take the training set."""
        if (train_size and train_size > len(self.left)) or not self.left:
            beside = "beside val" if self.alone else "that are in no other split of either role"
            most = f"at most {len(self.left)}, the training samples {beside}"
            raise ValueError(f"train_size={train_size or 'null'}: must be {most}")
        first = self._theirs("train")
        then = sorted(self.left - set(first))
        return [("train", i) for i in self._take(first, then, train_size or len(self.left), "train")]

    def _theirs(self, *splits: str | None) -> list[int]:
        """Return the samples that are left of those that the other role has in some splits."""
        return [i for i, other in enumerate(self.others) if other in splits and i in self.left]

    def _take(self, first: list[int], then: list[int], count: int, split: str) -> list[int]:
        """Choose at most so many from some positions, and from others when those do not suffice."""
        chosen: list[int] = []
        for positions in (first, then):
            wanted = min(count - len(chosen), len(positions))
            classes = [self.labels["train"][i] for i in positions]
            found, _ = stratified(classes, wanted, self.seed, "splits", split, each=self.each)
            chosen += [positions[i] for i in found]
        return sorted(chosen)

    def _check_val(self, val_size: int | None, most: int) -> None:
        """Refuse a validation set that there are too few samples for."""
        if self.alone and len(self.left) < 2:
            count = len(self.labels["train"])
            raise ValueError(f"train_size=null: {count} samples are too few for train, val and test")
        if self.alone and val_size and val_size >= most:
            raise ValueError(f"val_size={val_size}: must be less than {most}, the samples it is cut off")
        if not most or (val_size or 0) > most:
            which = "the samples that the other role does not train on or test"
            raise ValueError(f"val_size={val_size or 'null'}: must be at most {most}, {which}")
