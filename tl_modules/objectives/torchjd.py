"""One gradient of the roles' gradients, by an aggregator of torchjd's."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, get_args, get_type_hints

import torch
from torch import Tensor, nn

from tl_modules.features import Features
from tl_modules.objectives.base import Objective
from tl_modules.precision import full_precision
from tl_modules.processes import total
from tl_modules.stages import Stage
from tl_modules.task import Task

REMEDY = 'pip install "tl-modules[torchjd]"'


class Torchjd(Objective):
    """Move shared parameters along what an aggregator makes of the Jacobian of the roles' losses.

    A row of the Jacobian is a role's gradient by the parameters of the parts that both roles go through, averaged over
    the processes; all other parameters have the gradient of the sum. `Sum` is plain training. `UPGrad` (Quinton and
    Rey 2024, Jacobian descent) and `MGDA` (Desideri 2012) give steps by which, to first order, no role's loss grows.
    Offered are torchjd's aggregators that need no option and keep no state. A step takes a backward pass per role.

    Args:
        tasks: Task by role.
        widths: Length of the pooled features by role; not used.
        aggregator: The name of a class of `torchjd.aggregation`.

    Raises:
        ValueError: If torchjd is not installed, or the aggregator is unknown.
    """

    several: ClassVar[bool] = True
    in_a_step: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    def __init__(
        self,
        tasks: Mapping[str, Task],
        widths: Mapping[str, int],
        aggregator: Literal[
            "AlignedMTL", "ConFIG", "DualProj", "GradDrop", "IMTLG", "MGDA", "Mean", "PCGrad", "Random", "Sum", "UPGrad"
        ] = "UPGrad",
    ) -> None:
        super().__init__(tasks, widths)
        allowed = get_args(get_type_hints(Torchjd.__init__)["aggregator"])
        if aggregator not in allowed:
            raise ValueError(f"objective.aggregator={aggregator!r} is unknown; allowed: {', '.join(allowed)}")
        if find_spec("torchjd") is None:
            raise ValueError(f"objective=torchjd: torchjd is not installed; {REMEDY}")
        try:
            self.aggregator = getattr(import_module("torchjd.aggregation"), aggregator)()
        except ImportError as error:  # of what a single aggregator needs
            raise ValueError(f"objective.aggregator={aggregator}: what it needs is not installed; {REMEDY}") from error

    def meet(self, module: Any) -> None:
        """Keep the module, whose parameters the losses are differentiated by."""
        self.module = (module,)  # in a tuple, so that it does not become a part of this one

    def forward(self, losses: Mapping[str, Tensor], features: Mapping[str, Features], stage: Stage) -> Tensor:
        """Return the sum of the losses, whose gradient by the shared parameters is the aggregated one."""
        if len(losses) == 1:
            return next(iter(losses.values()))
        (module,) = self.module
        learning = [p for p in module.parameters() if p.requires_grad]
        both = [part for kind, name, part in module.parts.named() if len(module.parts.users(kind, name)) > 1]
        shared = {p for part in both for p in part.parameters()}
        given = [torch.autograd.grad(loss, learning, retain_graph=True, allow_unused=True) for loss in losses.values()]
        found = {p: own for p, *own in zip(learning, *given, strict=True)}
        with full_precision(learning[0].device):
            columns = [torch.stack([_or_zeros(g, p) for g in found[p]]).flatten(1) for p in learning if p in shared]
            jacobian = torch.cat(columns, 1)
            jacobian = total(jacobian) / total(torch.ones((), device=jacobian.device))
            finite = bool(torch.isfinite(jacobian).all())  # else the sum: whoever clips leaves such a step out
            pieces = (self.aggregator(jacobian) if finite else jacobian.sum(0)).split([one.shape[1] for one in columns])
            steps = dict(zip((p for p in learning if p in shared), pieces, strict=True))
            slope = torch.zeros((), device=jacobian.device)
            for p, own in found.items():
                if any(one is not None for one in own):  # one that no loss reaches has no gradient here either
                    direction = steps[p].view_as(p) if p in shared else sum(one for one in own if one is not None)
                    slope = slope + (p * direction).sum()
            return torch.stack(list(losses.values())).sum().detach() + slope - slope.detach()


def _or_zeros(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if gradient is None else gradient
