"""Losses over the batches of all processes, so that several train the model that one would on all their samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.data import DistributedSampler

_together: ContextVar[bool] = ContextVar("together", default=False)


def several() -> bool:
    """Tell whether there are several processes."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@contextmanager
def together() -> Iterator[None]:
    """Let `total` add over all processes in a block that each of them runs with a batch of its own."""
    token = _together.set(several())
    try:
        yield
    finally:
        _together.reset(token)


def total(values: Tensor) -> Tensor:
    """Return the sum of values over the processes within `together`, elsewhere the values.

    All processes get the same sum. Its gradient is that of this process's values times the number of processes, since
    the strategies average gradients: what they arrive at is the gradient of a function of the sum.

    Args:
        values: Sums over this process's batch, of one shape in all processes.
    """
    if not _together.get():
        return values
    everywhere = values.detach().clone()
    dist.all_reduce(everywhere)
    return everywhere + dist.get_world_size() * (values - values.detach())


def mean(values: Tensor, count: Tensor | int) -> Tensor:
    """Return a sum divided by a count, each a `total`; zero where there is nothing to count.

    Args:
        values: The sum, a scalar.
        count: What it is a sum of; a number.
    """
    both = total(torch.stack([values, torch.as_tensor(count, device=values.device).to(values.dtype)]))
    return both[0] / both[1].clamp(min=1)


def anywhere(here: bool, device: torch.device) -> bool:
    """Tell whether something is so in any process within `together`, elsewhere whether it is so here.

    Args:
        here: Whether it is so in this process.
        device: Where the processes exchange tensors.
    """
    if not _together.get():
        return here
    found = torch.tensor(float(here), device=device)
    dist.all_reduce(found)
    return here or bool(found > 0)  # read only where it is not known: reading waits for the device


def is_sharded(loaders: Any) -> bool:
    """Tell whether several processes read a share each of what some loaders have, as Lightning deals it."""
    if not several():
        return False
    leaves, _ = tree_flatten(getattr(loaders, "iterables", loaders))
    samplers = [one for loader in leaves for one in (loader, getattr(loader, "batch_sampler", None))]
    return any(isinstance(getattr(one, "sampler", None), DistributedSampler) for one in samplers)


def gathered(values: Tensor) -> Tensor:
    """Return the rows `(N, ...)` of all processes, in turn where each has as many: the order of a sampler that deals.

    Args:
        values: This process's rows, on the CPU; each process calls it.
    """
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, values)
    if len({len(part) for part in parts}) == 1:
        return torch.stack(parts, 1).flatten(0, 1)
    return torch.cat([part for part in parts if len(part)] or parts[:1])


def same_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers, such as running statistics, each of which saw its own batches."""
    if several():
        for buffer in module.buffers():
            dist.broadcast(buffer, 0)
