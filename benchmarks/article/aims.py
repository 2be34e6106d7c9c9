"""What was hoped for, and whether it came true."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scipy.stats import t as student

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
Check = Callable[[Runs], tuple[bool, str]]
NO_WORSE = 0.01


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return mean and 95 % interval of paired differences, by Student's t."""
    mean, count = statistics.fmean(differences), len(differences)
    if count < 2:
        return mean, -math.inf, math.inf
    half = float(student.ppf(0.975, count - 1)) * statistics.stdev(differences) / math.sqrt(count)
    return mean, mean - half, mean + half


def values(runs: Runs, arm: str, metric: str) -> list[float]:
    """Return a test metric of an arm over its seeds."""
    return [number(run["test"][metric]) for run in runs[arm]]


def number(value: float | None) -> float:
    """Return a recorded value; what a diverged run could not measure is not a number."""
    return math.nan if value is None else float(value)


def at_least(arm: str, metric: str, bound: float) -> Check:
    """Return a check that an arm's mean reaches a bound."""

    def check(runs: Runs) -> tuple[bool, str]:
        mean = statistics.fmean(values(runs, arm, metric))
        return mean >= bound, f"{mean:.3f}"

    return check


def above(first: str, second: str, metric: str, other: str | None = None, clearly: bool = True) -> Check:
    """Return a check that an arm is better than another, by the interval of the paired differences.

    Args:
        first: The arm that should be better.
        second: The other.
        metric: The first's test metric.
        other: The second's, where it has another name.
        clearly: Whether the interval must lie above zero; else the mean must be above a hundredth less.
    """

    def check(runs: Runs) -> tuple[bool, str]:
        pairs = zip(values(runs, first, metric), values(runs, second, other or metric), strict=True)
        mean, low, high = interval([a - b for a, b in pairs])
        return low > 0 if clearly else mean >= -NO_WORSE, f"{mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"

    return check


def above_better(first: str, others: Sequence[str], metric: str) -> Check:
    """Return a check that an arm is clearly better than the best of several."""

    def check(runs: Runs) -> tuple[bool, str]:
        best = max(others, key=lambda arm: statistics.fmean(values(runs, arm, metric)))
        good, figures = above(first, best, metric)(runs)
        return good, f"against {best} {figures}"

    return check


def exactly(pairs: Sequence[tuple[str, str, str]]) -> Check:
    """Return a check that two arms agree digit for digit, from pairs of arms and a metric."""

    def check(runs: Runs) -> tuple[bool, str]:
        equal = all(values(runs, one, metric) == values(runs, other, metric) for one, other, metric in pairs)
        return equal, "equal in every digit" if equal else "they differ"

    return check


def cheaper(arm: str, others: Sequence[str], most: float) -> Check:
    """Return a check of an arm's FLOPs against the sum of some others'."""

    def check(runs: Runs) -> tuple[bool, str]:
        ratio = runs[arm][0]["flops"] / sum(runs[other][0]["flops"] for other in others)
        return ratio <= most, f"{ratio:.2f} of their FLOPs"

    return check


def as_good(arm: str, other: str, metric: str) -> Check:
    """Return a check that an arm's mean is at most one standard deviation of another's over seeds below its mean."""

    def check(runs: Runs) -> tuple[bool, str]:
        mine, theirs = values(runs, arm, metric), values(runs, other, metric)
        mean, spread = statistics.fmean(theirs), statistics.stdev(theirs)
        own = statistics.fmean(mine)
        return own >= mean - spread, f"{own:.3f} against {mean:.3f} ± {spread:.3f}"

    return check


AIMS: dict[str, list[tuple[str, Check]]] = {
    "task_finetuning": [
        ("accuracy 0.98 with all labels", at_least("transfer", "target/accuracy", 0.98)),
        ("accuracy 0.95 with ten labels per class", at_least("transfer_120", "target/accuracy", 0.95)),
    ],
    "domain_adaptation": [
        ("AUROC 0.975", at_least("transfer", "target/auroc", 0.975)),
        ("accuracy 0.91", at_least("transfer", "target/accuracy", 0.91)),
        ("with 50 labels better than the probe", above("transfer_50", "probe_50", "target/auroc")),
        ("the naive command as good as the recipe", as_good("naive", "transfer", "target/auroc")),
    ],
    "hymenoptera": [("the naive command as good as the recipe", as_good("naive", "transfer", "target/accuracy"))],
    "task_adaptation": [
        ("better than scratch", above("transfer", "scratch", "target/map50")),
        ("the naive command as good as the recipe", as_good("naive", "transfer", "target/map50")),
    ],
    "modality_transfer": [("mAP50 0.90 on the published split", at_least("transfer", "target/map50", 0.90))],
    "dataset_merging": [("better than the target alone", above("transfer", "scratch", "target/accuracy"))],
    "weight_sharing": [
        ("both better than the better single input", above_better("transfer", ("image", "text"), "target/accuracy")),
    ],
    "pages": [
        ("both better than one, where a document starts", above_better("transfer", ("image", "text"), "target/auroc")),
        ("both better than one, what a page is of", above_better("transfer", ("image", "text"), "source/accuracy")),
    ],
    "multitask": [
        ("mIoU 0.60", at_least("transfer", "source/miou", 0.60)),
        ("at most 0.01 worse than boxes alone", above("transfer", "boxes", "target/map50", clearly=False)),
        (
            "at most 0.01 worse than segmentation alone",
            above("transfer", "street", "source/miou", "target/miou", False),
        ),
        ("cheaper than two models", cheaper("transfer", ("boxes", "street"), 0.65)),
    ],
    "parallel_training": [
        ("spam's F1 0.97", at_least("transfer", "target/f1", 0.97)),
        ("the target exactly as trained alone", exactly([("transfer", "messages", "target/f1")])),
    ],
}
