"""Scores that tell before training how much frozen features know of a task; plain torch, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-2, 6))
NEIGHBOURS, FOLDS, ROUNDS, TINY = 5, 5, 200, 1e-12
Z = 1.959963984540054  # of a 95 % interval
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


def scaled(features: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return two sets of features with mean 0 and deviation 1 per column of the first; constant columns become 0.

    Args:
        features: `(N, D)`, whose mean and deviation count.
        others: `(M, D)`.
    """
    mean, std = features.mean(0), features.std(0, correction=0)
    scale = torch.where(std > TINY, 1 / std.clamp(min=TINY), 0.0)
    return (features - mean) * scale, (others - mean) * scale


def ridge(features: Tensor, targets: Tensor, others: Tensor, penalties: tuple[float, ...] = PENALTIES) -> Tensor:
    """Return what a ridge regression (Hoerl and Kennard 1970) predicts, its penalty chosen by leaving one out.

    The residuals of leaving one out follow from one fit: `(y - y') / (1 - h)` with the diagonal `h` of the hat matrix
    (Allen 1974). The intercept has no penalty.

    Args:
        features: `(N, D)`.
        targets: `(N, K)`; of classes a column each, 1 where it is the class.
        others: Features to predict for, `(M, D)`.
        penalties: What is chosen from.

    Returns:
        `(M, K)`.
    """
    x, z = scaled(features, others)
    mean = targets.mean(0)
    y = targets - mean
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    inside, best, least = u.T @ y, penalties[0], math.inf
    for penalty in penalties:
        shrunk = s.square() / (s.square() + penalty)
        left = 1 - 1 / len(x) - u.square() @ shrunk
        press = float(((y - u @ (shrunk[:, None] * inside)) / left.clamp(min=TINY)[:, None]).square().mean())
        if press < least:
            best, least = penalty, press
    weights = vh.T @ ((s / (s.square() + best))[:, None] * inside)
    return z @ weights + mean


def nearest(features: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Return the mean target of the five nearest neighbours in scaled features; of equal ones the nearest decides.

    Args:
        features: `(N, D)`.
        targets: `(N, K)`.
        others: Features to predict for, `(M, D)`.

    Returns:
        `(M, K)`.
    """
    x, z = scaled(features, others)
    rows = torch.cdist(z, x).topk(min(NEIGHBOURS, len(x)), largest=False).indices
    return targets[rows].mean(1) + TINY * targets[rows[:, 0]]


def folds(count: int, noise: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows to learn from and to predict, five times, each row predicted once.

    Args:
        count: How many rows there are.
        noise: Decides on the order.
    """
    order = torch.randperm(count, generator=noise)
    for held in order.chunk(FOLDS):
        yield order[~torch.isin(order, held)], held


def cross_validated(
    features: Tensor,
    targets: Tensor,
    predict: Predict,
    classes: bool,
    noise: torch.Generator,
    more: tuple[Tensor, Tensor] | None = None,
) -> float:
    """Return how well targets are predicted from features by five-fold cross-validation.

    Args:
        features: `(N, D)`.
        targets: `(N, K)`.
        predict: `ridge` or `nearest`.
        classes: Whether the targets' columns are classes.
        noise: Decides on the folds.
        more: Features and targets of further samples that are learned from in each fold and never predicted.

    Returns:
        The accuracy; where the targets are no classes, the coefficient of determination, a mean over the columns.
    """
    found = torch.zeros_like(targets)
    for learned, held in folds(len(features), noise):
        x, y = features[learned], targets[learned]
        if more is not None:
            x, y = torch.cat([x, more[0]]), torch.cat([y, more[1]])
        found[held] = predict(x, y, features[held])
    if classes:
        return float((found.argmax(1) == targets.argmax(1)).double().mean())
    spread = (targets - targets.mean(0)).square().sum(0)
    varies = spread > TINY
    return float((1 - (found - targets).square().sum(0)[varies] / spread[varies]).mean()) if bool(varies.any()) else 0.0


def log_evidence(features: Tensor, targets: Tensor) -> float:
    """Return LogME (You et al. 2021): the most log evidence of a linear model per sample, a mean over the columns.

    Of weights `w ~ N(0, 1 / a)` and targets `y ~ N(F w, 1 / b)` (their equation 1)

        2 log p(y | F, a, b) = n log b + d log a - n log 2 pi - b |F m - y|^2 - a |m|^2 - log |A|

    with `A = a I + b F'F` and `m = b A^-1 F'y`; `a` and `b` are found as a fixed point of
    `a = g / |m|^2`, `b = (n - g) / |F m - y|^2`, `g = sum of b s^2 / (a + b s^2)` over the singular values `s` of F.

    Args:
        features: F, `(n, d)`.
        targets: y, `(n, K)`.
    """
    n, d = features.shape
    u, s, _ = torch.linalg.svd(features, full_matrices=False)
    squares = s.square()
    found = []
    for y in targets.T:
        inside = (u.T @ y).square()
        outside = (y.square().sum() - inside.sum()).clamp(min=0)
        a, b = torch.ones((), dtype=y.dtype), torch.ones((), dtype=y.dtype)
        length = residual = torch.zeros((), dtype=y.dtype)
        for _ in range(ROUNDS):
            ratio = a / b
            length = (squares * inside / (squares + ratio).square()).sum().clamp(min=TINY)
            residual = (outside + (inside * (ratio / (squares + ratio)).square()).sum()).clamp(min=TINY)
            g = (squares / (squares + ratio)).sum()
            a, b = g / length, (n - g).clamp(min=TINY) / residual
            if abs(float(a / b / ratio) - 1) < 1e-9:
                break
        ratio = a / b
        length = (squares * inside / (squares + ratio).square()).sum()
        residual = outside + (inside * (ratio / (squares + ratio)).square()).sum()
        logdet = (a + b * squares).log().sum() + (d - len(s)) * a.log()
        twice = n * b.log() + d * a.log() - n * math.log(2 * math.pi) - b * residual - a * length - logdet
        found.append(float(twice) / (2 * n))
    return sum(found) / len(found)


def h_score(features: Tensor, labels: Tensor) -> float:
    """Return the H-score (Bao et al. 2019, definition 2): `trace(cov(f)^-1 cov(E[f | y]))`; at most classes less one.

    Args:
        features: f, `(N, D)`, of more samples than dimensions.
        labels: y, int64 `(N,)`.

    Raises:
        ValueError: If the samples are too few: any labels would then get the highest score.
    """
    count, dim = features.shape
    if count <= dim:
        raise ValueError(f"{count} samples are too few for features of {dim} numbers")
    centred = features - features.mean(0)
    means = torch.zeros_like(centred)
    for label in labels.unique():
        means[labels == label] = centred[labels == label].mean(0)
    inverse = torch.linalg.pinv(centred.T @ centred / count, rtol=1e-10, hermitian=True)
    return float(torch.trace(inverse @ (means.T @ means / count)))


def leep(probabilities: Tensor, labels: Tensor) -> float:
    """Return LEEP (Nguyen et al. 2020, equations 1 and 2): the mean log of the expected empirical prediction.

    Args:
        probabilities: What a source's model says of the target's samples over the source's labels, `(N, Z)`.
        labels: The target's labels, int64 `(N,)`.
    """
    classes, index = labels.unique(return_inverse=True)
    joint = torch.zeros(len(classes), probabilities.shape[1], dtype=probabilities.dtype)
    joint.index_add_(0, index, probabilities / len(labels))
    given = joint / joint.sum(0).clamp(min=TINY)  # P(y | z)
    expected = (probabilities * given[index]).sum(1)
    return float(expected.clamp(min=TINY).log().mean())


class Distance(NamedTuple):
    """How well a classifier tells two sets of samples apart.

    Args:
        accuracy: On samples that it did not learn from, as many of either set; 0.5 where it cannot.
        low: Lower end of its 95 % interval.
        high: Upper end.
        samples: The number of these samples.
    """

    accuracy: float
    low: float
    high: float
    samples: int


def told_apart(ones: Tensor, others: Tensor, noise: torch.Generator) -> Distance:
    """Return the classifier two-sample test (Lopez-Paz and Oquab 2017): the accuracy of a ridge classifier on one half.

    Args:
        ones: Features of one set, `(N, D)`.
        others: Of the other, `(M, D)`.
        noise: Decides on the halves.

    Returns:
        The accuracy with Wilson's interval.

    Raises:
        ValueError: If a set has fewer than four samples.
    """
    size = min(len(ones), len(others)) // 2 * 2
    if size < 4:
        raise ValueError(f"{min(len(ones), len(others))} samples are too few")
    sets = [one[torch.randperm(len(one), generator=noise)[:size]] for one in (ones, others)]
    half = size // 2
    learned, held = torch.cat([one[:half] for one in sets]), torch.cat([one[half:] for one in sets])
    signs = torch.ones(2 * half, 1, dtype=learned.dtype)
    signs[half:] = -1
    right = float((ridge(learned, signs, held) * signs > 0).double().sum())
    return Distance(right / (2 * half), *wilson(right, 2 * half), 2 * half)


def wilson(right: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927).

    Args:
        right: How many are right.
        count: Of how many.
    """
    share, square = right / count, Z * Z
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    return middle - reach, middle + reach
