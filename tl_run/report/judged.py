"""The test pictures that one arm gets right and another wrong."""

from __future__ import annotations

import base64
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tl_run.report.arms import Arm

SHOWN = 8
ALIKE = 1e-9


class Told(NamedTuple):
    """A test sample on which two arms differ.

    Args:
        id: The sample's id.
        place: Its row in the tests' tables.
        truth: What is true.
        one: What the first arm mostly predicts.
        other: What the second does.
        gap: How much more right the first is, as a mean over the seeds.
        hits: In how many of their runs the two are right, and their runs; None where right is a matter of degree.
    """

    id: str
    place: int
    truth: str
    one: str
    other: str
    gap: float
    hits: tuple[int, int, int] | None = None

    def lines(self) -> list[str]:
        """Return what is true, and what both mostly predict with how often they are right."""
        if self.hits is None:
            return [self.truth, self.one, self.other]
        runs = self.hits[2]
        said = [f"{name} ({hits}/{runs} right)" for name, hits in zip((self.one, self.other), self.hits, strict=False)]
        return [self.truth, *said]


def differing(one: Arm, other: Arm, most: int = SHOWN) -> tuple[list[Told], list[Told]]:
    """Return the samples on which the first arm is more right than the second, and those where it is less.

    Args:
        one: An arm.
        other: Another.
        most: How many of each, those with the largest difference first.
    """
    seeds = sorted(one.runs.keys() & other.runs.keys())
    first, second = ([arm.runs[seed].alone.judged() for seed in seeds] for arm in (one, other))
    right: list[dict[str, list[float]]] = [{}, {}]
    said: list[dict[str, Counter[str]]] = [{}, {}]
    truths: dict[str, tuple[str, int]] = {}
    for side, tables in enumerate((first, second)):
        for table in tables:
            for place, sample in enumerate(table):
                right[side].setdefault(sample.id, []).append(sample.right)
                said[side].setdefault(sample.id, Counter())[sample.prediction] += 1
                truths.setdefault(sample.id, (sample.truth, place))
    both = [name for name in right[0] if name in right[1]]
    found = [
        Told(
            name,
            truths[name][1],
            truths[name][0],
            said[0][name].most_common(1)[0][0],
            said[1][name].most_common(1)[0][0],
            statistics.fmean(right[0][name]) - statistics.fmean(right[1][name]),
            _hits(right[0][name], right[1][name]),
        )
        for name in both
    ]
    better = sorted((one for one in found if one.gap > ALIKE), key=lambda one: -one.gap)[:most]
    worse = sorted((one for one in found if one.gap < -ALIKE), key=lambda one: one.gap)[:most]
    return better, worse


def _hits(one: Sequence[float], other: Sequence[float]) -> tuple[int, int, int] | None:
    if not {*one, *other} <= {0.0, 1.0} or len(one) != len(other):
        return None
    return int(sum(one)), int(sum(other)), len(one)


def pictures(arm: Arm, samples: Mapping[str, Sequence[Told]], names: tuple[str, str]) -> dict[str, str]:
    """Return drawn test samples as PNG in base64, by what they are.

    The data are made again from the configuration of the arm's first run.

    Args:
        arm: The arm whose data are read.
        samples: The samples, by what they are.
        names: The names of both arms.

    Raises:
        ValueError: If the data cannot be read again, in a line.
    """
    from tl_run.build import build_data
    from tl_run.report.pictures import told
    from tl_run.resuming import recorded

    try:
        data = build_data(recorded(arm.one.folder))
        data.prepare_data()
        data.setup()
        made = {}
        with TemporaryDirectory() as place:
            for what, few in samples.items():
                path = Path(place) / "told.png"
                told(data, few, names, path)
                made[what] = base64.b64encode(path.read_bytes()).decode()
    except (ValueError, OSError, KeyError, TypeError, LookupError) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"the test's samples cannot be shown: {line}") from error
    return made
