"""The cosine of the roles' gradients, against one that is taken parameter by parameter."""

import pytest
import torch
from torch import nn

from tl_modules import MultiTask, ParallelTraining, Task, TaskFineTuning
from tl_modules.features import Features
from tl_modules.gradient_cosine import GradientCosine

A, B = Task("a", "classification", ("x", "y")), Task("b", "regression")


def test_it_is_the_cosine_of_the_gradients_by_a_shift_of_the_trunks_output():
    torch.manual_seed(0)
    maps, shift = torch.randn(3, 4, 2, 2), torch.zeros(4, requires_grad=True)
    shifted = maps + shift[:, None, None]
    heads = {"source": nn.Linear(4, 2), "target": nn.Conv2d(4, 3, 1)}

    def losses(of):
        one = of("source", Features(shifted.mean((2, 3)), {8: shifted}))
        other = of("target", Features(shifted.mean((2, 3)), {8: shifted}))
        return heads["source"](one.pooled).square().sum(), heads["target"](other.maps[8]).sigmoid().sum()

    rows = [torch.autograd.grad(loss, shift, retain_graph=True)[0] for loss in losses(lambda role, found: found)]
    watched = GradientCosine()
    (3 * sum(losses(watched.watch))).backward()
    assert float(watched.take()) == pytest.approx(float(torch.cosine_similarity(*rows, dim=0)), abs=1e-5)
    assert watched.take() is None


def test_one_role_has_no_cosine():
    watched, values = GradientCosine(), torch.ones(2, 3, requires_grad=True)
    watched.watch("source", Features(values)).pooled.sum().backward()
    frozen = watched.watch("target", Features(torch.ones(2, 3)))
    assert not frozen.pooled.requires_grad
    assert watched.take() is None


@pytest.mark.parametrize(
    ("cell", "source", "says"),
    [
        (TaskFineTuning, A, "learns one role at a time"),
        (ParallelTraining, B, "where no trunk is shared"),
    ],
)
def test_it_is_refused_where_there_is_none(cell, source, says):
    with pytest.raises(ValueError, match=f"gradient_cosine=True: has no effect in {cell.__name__}, .*{says}"):
        cell(target=A, source=source, gradient_cosine=True)


def test_a_module_has_one_only_where_it_is_asked_for():
    assert MultiTask(target=A, source=B).gradient_cosine is None
