"""Rules that choose a checkpoint without a label of the target; of each score the highest is best."""

from __future__ import annotations

import torch
from torch import Tensor

from tl_modules.objectives.information_maximisation import entropy
from tl_modules.processes import gathered
from tl_modules.task import ROLES

SOURCE = "source"  # the source's own score on its validation set
RULES = (SOURCE, "importance_weighted", "information_maximisation", "soft_neighbourhood_density")
MOST = 1000  # samples of a role that are compared with each other
TEMPERATURE = 0.05  # of the soft neighbourhood
RIDGE, NEWTON = 1.0, 8  # of the domain classifier: its penalty, and its iterations


class Unlabelled:
    """What the rules need of a validation: features and predictions of both roles, and whether the source's are right.

    Its kind of task is classification; the numbers of the target come from its inputs alone.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what came."""
        self.features: dict[str, list[Tensor]] = {}
        self.predicted: dict[str, list[Tensor]] = {}
        self.right: list[Tensor] = []

    def add(self, role: str, features: Tensor, predicted: Tensor, labels: Tensor | None) -> None:
        """Add a batch.

        Args:
            role: The role.
            features: Pooled features `(B, D)`.
            predicted: Probabilities `(B, K)`.
            labels: Indices `(B,)` of the source's labels; None for the target.
        """
        self.features.setdefault(role, []).append(features.float().cpu())
        self.predicted.setdefault(role, []).append(predicted.float().cpu())
        if labels is not None:
            self.right.append((predicted.argmax(1) == labels).float().cpu())

    def scores(self, together: bool = False) -> dict[str, float]:
        """Return the score of each rule whose samples came, but for that of the source, and begin anew.

        Args:
            together: Whether each process has a share of the samples; all of them call it then.
        """
        found = {role: (joined(self.features.get(role, [])), joined(self.predicted.get(role, []))) for role in ROLES}
        right = joined(self.right)
        self.begin()
        if together:
            found = {role: (gathered(features), gathered(predicted)) for role, (features, predicted) in found.items()}
            right = gathered(right)
        if not len(found["target"][0]):
            return {}
        features, predicted = found["target"]
        scores = {
            "information_maximisation": information(predicted),
            "soft_neighbourhood_density": density(predicted[spread(len(predicted))]),
        }
        if len(right):
            mine, theirs = spread(len(right)), spread(len(features))
            weighted = importance_weighted(found[SOURCE][0][mine], features[theirs], right[mine])
            scores["importance_weighted"] = weighted
        return scores


def joined(chunks: list[Tensor]) -> Tensor:
    """Return the rows of some tensors, none of none."""
    return torch.cat(chunks) if chunks else torch.zeros(0)


def spread(count: int) -> Tensor:
    """Return up to `MOST` indices that are spread evenly over so many samples, which may be sorted by class."""
    return torch.linspace(0, count - 1, min(count, MOST)).round().long()


def information(predicted: Tensor) -> float:
    """Return the mutual information of inputs and predictions, in nats (Musgrave et al. 2022, IM).

    Args:
        predicted: Probabilities `(N, K)`.
    """
    return float(entropy(predicted.mean(0)) - entropy(predicted).mean())


def density(predicted: Tensor, temperature: float = TEMPERATURE) -> float:
    """Return the soft neighbourhood density, in nats (Saito et al. 2021, equations 2 and 3).

    It is the mean entropy of each sample's similarities to all others, which is high where neighbourhoods are dense.

    Args:
        predicted: Probabilities `(N, K)`.
        temperature: What similarities are divided by.
    """
    if len(predicted) < 2:
        return 0.0
    unit = torch.nn.functional.normalize(predicted, dim=1)
    similar = unit @ unit.T / temperature
    similar.fill_diagonal_(-torch.inf)
    return float(entropy(similar.softmax(1)).mean())


def importance_weighted(source: Tensor, target: Tensor, right: Tensor) -> float:
    """Return the target's accuracy as the source's, weighted by how likely its features are in the target.

    Deep embedded validation (You et al. 2019, algorithm 1) with the error 0 or 1: the weights are those of a domain
    classifier (importance-weighted cross-validation, Sugiyama et al. 2007), a control variate lessens their variance.
    The classifier is a logistic regression with a ridge; each half of the samples is weighted by that of the other.

    Args:
        source: Features of the source's validation samples `(N, D)`.
        target: Features of the target's inputs `(M, D)`.
        right: Whether each source sample is predicted rightly, 1 or 0, `(N,)`.
    """
    weights = torch.empty(len(source), dtype=torch.float64)
    for half in (0, 1):
        others = source[1 - half :: 2], target[1 - half :: 2]
        ratio = len(others[0]) / max(1, len(others[1]))
        weights[half::2] = ratio * log_odds(*others, source[half::2]).exp()
    errors = (1 - right).double() * weights
    varied = weights.var(correction=0)
    covaried = ((errors - errors.mean()) * (weights - weights.mean())).mean()
    control = float(-covaried / varied) if varied > 0 else 0.0
    return 1 - float(errors.mean() + control * weights.mean() - control)


def log_odds(source: Tensor, target: Tensor, at: Tensor) -> Tensor:
    """Return the log-odds `(N,)` that samples are the target's, of a logistic regression that tells two sets apart.

    Args:
        source: Features `(A, D)` of the one set.
        target: Features `(B, D)` of the other.
        at: Features `(N, D)` of the samples.
    """
    both = torch.cat([source, target]).double()
    mean, scale = both.mean(0), both.std(0, correction=0).clamp(min=1e-6)
    x, at = (both - mean) / scale, (at.double() - mean) / scale
    if x.shape[1] > len(x):  # the solution lies in the span of the samples
        basis = torch.linalg.qr(x.T).Q
        x, at = x @ basis, at @ basis
    x, at = (torch.cat([one, torch.ones(len(one), 1).double()], 1) for one in (x, at))
    y = torch.cat([torch.zeros(len(source)), torch.ones(len(target))]).double()
    penalty = RIDGE * torch.eye(x.shape[1]).double()
    w = torch.zeros(x.shape[1]).double()
    for _ in range(NEWTON):
        p = (x @ w).sigmoid()
        curvature = (x * (p * (1 - p))[:, None]).T @ x + penalty
        w = w + torch.linalg.solve(curvature, x.T @ (y - p) - penalty @ w)
    return at @ w
