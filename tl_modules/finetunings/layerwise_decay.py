"""Lower rates for lower layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from torch import nn

from tl_modules.finetunings.base import Finetuning
from tl_modules.finetunings.blocks import blocks_of
from tl_modules.optim import Group
from tl_modules.parts import Parts
from tl_modules.ranges import Above, AtMost
from tl_modules.stages import PART_KINDS, Stage


class LayerwiseDecay(Finetuning):
    """Layer-wise decay of the learning rate (Clark et al. 2020, section 3.2; Howard and Ruder 2018, section 3.2).

    The rate is multiplied by `decay ** depth`: 0 for the head, 1 for the trunk's last block, and so on down to the stem
    and to what stands in no block, one deeper than the first. The blocks are those of `blocks.blocks_of`.

    Args:
        decay: Factor from one block to the one below it; 1 is none.
        lr: Factors on the learning rate by kind of part beside that; 1 where absent.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        decay: Annotated[float, Above(0), AtMost(1)] = 0.8,
        lr: dict[Literal[PART_KINDS], float] | None = None,  # type: ignore[valid-type]
    ) -> None:
        super().__init__(lr=lr)
        if not 0 < decay <= 1:
            raise ValueError(f"finetuning.decay={decay}: must be above 0 and at most 1")
        self.decay, self.deepest = decay, 1

    def begin(self, parts: Parts, stage: Stage, seed: int) -> None:
        """Count the trunk's blocks, since the stem's rate depends on it."""
        self.deepest = len(blocks_of(parts.of("target", "trunk"))) + 1

    def groups(self, kind: str, part: nn.Module) -> Iterable[Group]:
        """Return the trunk's blocks, each with its factor, and other parts whole."""
        everything = list(part.parameters())
        if kind != "trunk":
            return [Group("", everything, self.decay**self.deepest if kind == "stem" else 1.0)]
        found = blocks_of(part)
        inside = [[p for module in block for p in module.parameters()] for block in found]
        known = {id(p) for block in inside for p in block}
        groups = [Group("block00", [p for p in everything if id(p) not in known], self.decay**self.deepest)]
        for number, parameters in enumerate(inside, 1):
            groups.append(Group(f"block{number:02d}", parameters, self.decay ** (len(found) + 1 - number)))
        return groups
