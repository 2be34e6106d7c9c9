"""A pull to the starting weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from tl_modules.finetunings.starting import FromStart
from tl_modules.optim import Group
from tl_modules.parts import Parts
from tl_modules.ranges import AtLeast
from tl_modules.stages import PART_KINDS


class L2Sp(FromStart):
    """L2-SP (Li et al. 2018, equation 2): `alpha / 2 * |w - start|²` is added to the loss, in place of decay to zero.

    It is of the weights with two or more dimensions that decay would be of, where they have a start: those of stem and
    trunk, and of a head that is the source's. A new head has the run's own `weight_decay`.

    Args:
        alpha: Strength of the pull.
        lr: Factors on the learning rate by kind of part; 1 where absent.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        alpha: Annotated[float, AtLeast(0)] = 0.1,
        lr: dict[Literal[PART_KINDS], float] | None = None,  # type: ignore[valid-type]
    ) -> None:
        super().__init__(lr=lr)
        if not alpha >= 0:
            raise ValueError(f"finetuning.alpha={alpha}: must be at least 0")
        self.alpha = alpha

    def has_start(self, kind: str) -> bool:
        """Tell whether parts of a kind start from something that was learned."""
        return kind in ("stem", "trunk") or (kind == "head" and self.keeps_head)

    def groups(self, kind: str, part: nn.Module) -> Iterable[Group]:
        """Return the part whole, without decay where it is pulled instead."""
        return [Group("", list(part.parameters()), decays=not self.has_start(kind))]

    def penalty(self, parts: Parts) -> Tensor | None:
        """Return the pull."""
        pulls = []
        for name, weight in parts.named_parameters():
            if weight.requires_grad and weight.ndim > 1 and self.has_start(name.split(".")[0]):
                start = self.start[name] = self.start[name].to(weight.device)
                pulls.append((weight - start).square().sum())
        return self.alpha / 2 * torch.stack(pulls).sum() if pulls else None
