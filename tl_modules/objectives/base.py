"""What every objective is: from the losses and features of a step's roles to one loss."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.stages import Stage
from tl_modules.task import Task

NONE: Mapping[str, Any] = MappingProxyType({})


class Objective(nn.Module):
    """Make one loss of those of a step's roles.

    What it learns itself is optimised with the parts (kind `objective`), clipped by itself, saved and resumed.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role.

    Attributes:
        several: Whether it is for steps with several roles only, so that it is refused where no stage has any.
        adapts: Whether it learns from a role's inputs without their targets: a sequential cell of one task then has,
            in place of the target's stage, one named `adapt` that learns the source and sees the target. A stage before
            it, and one that sees nothing, learns by the sum of the losses.
        sees: Whether stage `adapt` loads the target's inputs.
        source_free: Whether it does so without the source.
        freezes: Kinds of part that stay as they are while it adapts.
        moves_statistics: Whether running statistics are taken anew in that stage, in parts that stay as they are too.
        reads_outputs: Whether `forward` is given `outputs=` too: by role that is seen, its head's raw outputs, such as
            logits `(B, K)`.
        kinds: Kinds of the target's task that it is for; empty for all.
        progress: The fraction of the stage's steps that are over; set before each step.
        in_a_step: Whether several roles have to be in one step, and not in steps of their own.
        shares: Whether it is about parameters that roles share, so that it is refused where they share none.
        weighable: Whether static weights of the losses change what it gives.

    Example:
        >>> import torch
        >>> from tl_modules.objectives import build_objective
        >>> losses = {"source": torch.tensor(1.0), "target": torch.tensor(2.0)}
        >>> build_objective("sum", {}, {})(losses, {}, Stage("joint", ("source", "target")))
        tensor(3.)
    """

    several: ClassVar[bool] = False
    adapts: ClassVar[bool] = False
    in_a_step: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    weighable: ClassVar[bool] = True
    sees: ClassVar[bool] = True
    source_free: ClassVar[bool] = False
    freezes: ClassVar[tuple[str, ...]] = ()
    moves_statistics: ClassVar[bool] = False
    reads_outputs: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tasks: Mapping[str, Task], widths: Mapping[str, int]) -> None:
        super().__init__()
        self.progress = 0.0

    @classmethod
    def adapting(cls) -> dict[str, Any]:
        """Return what its stage `adapt` is: who learns, who is seen, what is frozen."""
        see = ("target",) if cls.sees else ()
        return {"learn": () if cls.source_free else ("source",), "see": see, "freeze": cls.freezes}

    def meet(self, module: Any) -> None:
        """Be shown the `TransferModule` that it is the objective of, once its parts are there.

        Args:
            module: The module.
        """

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the loss of a step, a scalar.

        Args:
            losses: By role, each times its static weight; only of roles that are learned and whose batch has targets,
                one at least but for a stage that adapts.
            features: By role, of the step's batches; pooled ones are `(B, D)`.
            stage: The current stage.
        """
        raise TypeError(f"{type(self).__name__} has no forward")


def summed(losses: Mapping[str, Tensor], *others: Tensor) -> Tensor:
    """Return the sum of the roles' losses and of others, all scalars, one at least."""
    return torch.stack([*losses.values(), *others]).sum()
