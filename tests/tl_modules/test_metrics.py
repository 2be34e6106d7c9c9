"""Means and R² against scikit-learn's, where sums in float32 would go wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import r2_score

from tl_modules.heads.classification import Classification
from tl_modules.heads.regression import DefinedR2
from tl_modules.metrics import MeanLoss, Scores
from tl_modules.task import Task


def test_the_mean_loss_is_that_of_all_samples_whatever_the_size_of_their_batches():
    head = Classification(8, (8,), (4,), ["a", "b"])
    scores = Scores({"target": head}, {"target": Task("t", "classification", ("a", "b"))})
    outputs, labels = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 2
    for rows in (slice(0, 4), slice(4, 8), slice(8, 9)):
        scores.update("target", head, outputs[rows], {"label": labels[rows]}, len(labels[rows]))
    found = scores.compute()
    assert float(found["target/loss"]) == pytest.approx(float(F.cross_entropy(outputs, labels)), rel=1e-6)


def test_a_loss_that_is_no_number_makes_the_mean_none():
    mean = MeanLoss()
    mean.update(torch.tensor(1.0), 3)
    mean.update(torch.tensor(math.nan), 1)
    assert math.isnan(float(mean.compute()))


@pytest.mark.parametrize(("middle", "spread"), [(0.0, 1.0), (2020.0, 3.0), (1e5, 3.0), (1e5, 100.0)])
def test_r2_is_scikit_learns_also_far_from_zero(middle, spread):
    random = np.random.RandomState(0)
    values = np.float32(middle + spread * random.randn(200))
    predicted = np.float32(values + 0.4 * spread * random.randn(200))
    metric = DefinedR2()
    for rows in (slice(0, 120), slice(120, 200)):
        metric.update(torch.from_numpy(predicted[rows]), torch.from_numpy(values[rows]))
    assert float(metric.compute()) == pytest.approx(r2_score(values.astype(float), predicted.astype(float)), abs=1e-5)


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0, 3.0], [1e5, 1e5]])
def test_r2_is_undefined_of_one_value(values):
    metric = DefinedR2()
    metric.update(torch.zeros(len(values)), torch.tensor(values))
    assert math.isnan(float(metric.compute()))
