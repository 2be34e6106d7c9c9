"""Scores of features against other people's implementations and against answers that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsClassifier

from tl_modules.seeding import generator
from tl_run.compare.scores import (
    PENALTIES,
    cross_validated,
    h_score,
    leep,
    log_evidence,
    nearest,
    ridge,
    scaled,
    told_apart,
    wilson,
)


def made(count=60, dim=7, classes=3, seed=0):
    """Return features that know something of their classes."""
    noise = generator("scores", seed)
    labels = torch.randint(classes, (count,), generator=noise)
    centres = torch.randn(classes, dim, generator=noise, dtype=torch.float64)
    features = centres[labels] + torch.randn(count, dim, generator=noise, dtype=torch.float64)
    return features, labels, torch.nn.functional.one_hot(labels, classes).double()


@pytest.mark.parametrize("dim", [7, 80])
def test_ridge_and_its_penalty_are_those_of_scikit_learn(dim):
    features, _, targets = made(dim=dim)
    x, z = scaled(features[:40], features[40:])
    other = RidgeCV(alphas=PENALTIES).fit(x.numpy(), targets[:40].numpy())
    wanted = torch.from_numpy(other.predict(z.numpy()))
    torch.testing.assert_close(ridge(features[:40], targets[:40], features[40:]), wanted, rtol=1e-6, atol=1e-8)


def test_neighbours_are_those_of_scikit_learn():
    features, labels, targets = made()
    x, z = scaled(features[:40], features[40:])
    wanted = KNeighborsClassifier(5).fit(x.numpy(), labels[:40].numpy()).predict_proba(z.numpy())
    torch.testing.assert_close(nearest(features[:40], targets[:40], features[40:]), torch.from_numpy(wanted))


@pytest.mark.parametrize("dim", [5, 30])
def test_the_evidence_is_the_highest_that_there_is(dim):
    features, _, targets = made(count=25, dim=dim)

    def lost(logs, y):
        a, b = np.exp(logs)
        covariance = np.eye(len(y)) / b + features.numpy() @ features.numpy().T / a
        return -multivariate_normal.logpdf(y, cov=covariance) / len(y)

    best = [min(minimize(lost, start, args=(y,), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun
                for start in ((0.0, 0.0), (3.0, 3.0))) for y in targets.T.numpy()]  # fmt: skip
    assert log_evidence(features, targets) == pytest.approx(-sum(best) / len(best), abs=1e-5)


def test_the_h_score_is_its_formula_and_needs_more_samples_than_dimensions():
    features, labels, _ = made()
    f, y = features.numpy(), labels.numpy()
    means = np.stack([f[y == label].mean(0) for label in y])
    wanted = np.trace(np.linalg.inv(np.cov(f.T, bias=True)) @ np.cov(means.T, bias=True))
    assert h_score(features, labels) == pytest.approx(wanted)
    one_hot = torch.nn.functional.one_hot(labels).double()[:, :2]
    assert h_score(one_hot, labels) == pytest.approx(2)  # features that are the labels: classes less one
    with pytest.raises(ValueError, match="60 samples are too few for features of 60 numbers"):
        h_score(torch.zeros(60, 60), labels)


def test_leep_by_hand():
    labels = torch.tensor([0, 0, 1, 1])
    sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    assert leep(sure, labels) == pytest.approx(0)  # the source's labels tell the target's
    assert leep(torch.full((4, 2), 0.5, dtype=torch.float64), labels) == pytest.approx(np.log(0.5))
    some = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=torch.float64)
    first = np.array([1.5, 0.5]) / np.array([1.7, 1.3])  # P(y = 0 | z) of labels 0, 0, 1
    wanted = np.log([0.9 * first[0] + 0.1 * first[1], 0.6 * first[0] + 0.4 * first[1],
                     0.2 * (1 - first[0]) + 0.8 * (1 - first[1])]).mean()  # fmt: skip
    assert leep(some, torch.tensor([3, 3, 5])) == pytest.approx(wanted)


def test_sets_of_one_distribution_are_not_told_apart_and_others_are():
    covered = 0
    for seed in range(20):
        noise = generator("sets", seed)
        alike = told_apart(*torch.randn(2, 200, 4, generator=noise, dtype=torch.float64), noise)
        covered += alike.low < 0.5 < alike.high
    assert covered >= 17 and alike.samples == 200
    moved = torch.randn(200, 4, generator=noise, dtype=torch.float64) + 1.0
    apart = told_apart(moved, torch.randn(300, 4, generator=noise, dtype=torch.float64), noise)
    assert apart.low > 0.75
    with pytest.raises(ValueError, match="3 samples are too few"):
        told_apart(moved[:3], moved, noise)


def test_the_interval_is_wilsons():
    low, high = wilson(37, 50)
    p, square = 0.74, 1.959963984540054**2
    for end in (low, high):  # where the score test just rejects
        assert (p - end) ** 2 == pytest.approx(square * end * (1 - end) / 50)


def test_cross_validation_never_predicts_what_it_learned_and_learns_from_more():
    noise = lambda: generator("folds")  # noqa: E731
    features = torch.eye(50, dtype=torch.float64)  # a sample tells nothing of another one
    labels = torch.arange(50) % 2
    targets = torch.nn.functional.one_hot(labels).double()
    alone = cross_validated(features, targets, nearest, True, noise())
    more = cross_validated(features, targets, nearest, True, noise(), (features.repeat(9, 1), targets.repeat(9, 1)))
    assert alone < 0.8 and more == 1.0
    values = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None]
    assert cross_validated(values, values, ridge, False, noise()) > 0.99
    assert cross_validated(values, torch.ones(50, 1, dtype=torch.float64), ridge, False, noise()) == 0
