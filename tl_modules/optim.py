"""Parameter groups, gradient clipping and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

WARMUP = 0.2


class Group(NamedTuple):
    """Parameters of a part that learn at one rate.

    Args:
        name: What tells them from others of the part; empty where there are no others.
        parameters: The parameters, those among them that are frozen too.
        factor: On the part's learning rate.
        decays: Whether their weights decay.
    """

    name: str
    parameters: list[nn.Parameter]
    factor: float = 1.0
    decays: bool = True


def whole(kind: str, part: nn.Module) -> list[Group]:
    """Return a part's parameters as one group."""
    return [Group("", list(part.parameters()))]


def named_groups(
    parts: Iterable[tuple[str, str, nn.Module]],
    lr: float,
    weight_decay: float,
    factors: Mapping[str, float],
    split: Callable[[str, nn.Module], Iterable[Group]] = whole,
) -> list[dict[str, Any]]:
    """Return an optimiser group per part, or group of a part, and decay, of the parameters that learn.

    Args:
        parts: Kind, name and part.
        lr: Learning rate.
        weight_decay: Decay of tensors with two or more dimensions; norms and biases have none.
        factors: Factors on the learning rate by kind of part.
        split: What divides a part of a kind into groups.

    Raises:
        ValueError: If nothing learns.
    """
    groups = []
    for kind, name, part in parts:
        rate = lr * factors.get(kind, 1.0)
        for group in split(kind, part):
            for matrices in (True, False):
                chosen = [p for p in group.parameters if p.requires_grad and (p.ndim > 1) == matrices]
                decay = weight_decay if matrices and group.decays else 0.0
                label = ".".join([kind, name, *filter(None, [group.name]), "weights" if matrices else "norms"])
                if chosen:
                    groups.append({"params": chosen, "lr": rate * group.factor, "weight_decay": decay, "name": label})
    if not groups:
        raise ValueError("freeze: every part is frozen, so there is nothing to train")
    return groups


def planned_steps(trainer: Any) -> float:
    """Return the optimiser steps of a fit, infinite where it has no planned end.

    Args:
        trainer: The Trainer; its training data are set up where it counts epochs.
    """
    if trainer.max_epochs in (None, -1):
        return float(trainer.max_steps) if trainer.max_steps > 0 else math.inf
    data: Any = getattr(trainer, "datamodule", None)
    limit, most = trainer.limit_train_batches, trainer.max_steps if trainer.max_steps > 0 else math.inf
    all_batches = limit == 1.0 and isinstance(limit, float)  # 1 is one batch
    paired: list[Any] = [getattr(data, name, None) for name in ("epoch_steps", "accumulate")]
    changing = [one for one in trainer.callbacks if isinstance(one, GradientAccumulationScheduler)]
    if all_batches and None not in paired:  # ours, whose loaders are not made for it
        batches = math.prod(paired)
    elif changing:
        trainer.fit_loop.setup_data()
        batches = trainer.num_training_batches
    else:
        steps = float(trainer.estimated_stepping_batches)  # whichever of max_steps and max_epochs comes first
        return steps if steps >= 0 else math.inf  # of a loader without a length
    if not math.isfinite(batches):
        return float(most)
    if not changing:
        return float(min(math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs, most))
    together = (changing[-1].get_accumulate_grad_batches(epoch) for epoch in range(trainer.max_epochs))
    return float(min(sum(math.ceil(batches / count) for count in together), most))


def steps_of(trainer: Any, schedule: str) -> int:
    """Return the optimiser steps of a fit, over which the learning rate is scheduled.

    Args:
        trainer: The Trainer.
        schedule: The schedule's name; a constant one needs no end.

    Raises:
        ValueError: If the fit has no planned end and the schedule needs one.
    """
    steps = planned_steps(trainer)
    if math.isfinite(steps):
        return int(steps)
    if schedule != "constant":
        raise ValueError(
            f"schedule={schedule!r} needs the number of steps, and the Trainer has no end (max_epochs=-1 or max_time); "
            "give it max_steps= or max_epochs=, or the module schedule='constant'"
        )
    return 1


def one_cycle(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Warm up over a fifth of the steps and anneal to zero, both along half a cosine (Smith and Topin 2019)."""
    warm = max(1, round(WARMUP * steps))

    def factor(step: int) -> float:
        if step < warm:
            return 0.5 * (1 - math.cos(math.pi * (step + 1) / (warm + 1)))
        return 0.5 * (1 + math.cos(math.pi * min((step - warm) / max(steps - warm, 1), 1.0)))

    return LambdaLR(optimizer, factor)


def cosine(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Anneal to zero along half a cosine (Loshchilov and Hutter 2017)."""
    return LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


def constant(optimizer: Optimizer, steps: int) -> LRScheduler:
    """Keep the learning rate."""
    return LambdaLR(optimizer, lambda step: 1.0)


SCHEDULES: dict[str, Callable[[Optimizer, int], LRScheduler]] = {
    "one_cycle": one_cycle,
    "cosine": cosine,
    "constant": constant,
}
