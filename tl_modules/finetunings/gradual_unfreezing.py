"""From the head downwards: the head, then the trunk's last blocks, then all."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from tl_modules.finetunings.base import Finetuning
from tl_modules.finetunings.blocks import blocks_of
from tl_modules.finetunings.lp_ft import probe_stage
from tl_modules.freezing import set_frozen
from tl_modules.parts import Parts
from tl_modules.ranges import Above, Below
from tl_modules.stages import PART_KINDS, Stage

LAST = "target_last"


class GradualUnfreezing(Finetuning):
    """Gradual unfreezing (Howard and Ruder 2018, section 3.3) in three stages of equally many steps.

    Args:
        last: The trunk's blocks that learn in the middle stage, a fraction of all, from the last one on.
        probe_lr: Factor on the learning rate of the head in its own stage.
        lr: Factors on the learning rate by kind of part in the other two; 1 where absent.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> [(stage.name, stage.freeze) for stage in GradualUnfreezing().stages()]
        [('target_probe', ('stem', 'trunk')), ('target_last', ('stem',)), ('target', ())]
    """

    adapts: ClassVar[bool] = False

    def __init__(
        self,
        last: Annotated[float, Above(0), Below(1)] = 0.5,
        probe_lr: Annotated[float, Above(0)] = 10.0,
        lr: dict[Literal[PART_KINDS], float] | None = None,  # type: ignore[valid-type]
    ) -> None:
        super().__init__(lr=lr)
        if not 0 < last < 1:
            raise ValueError(f"finetuning.last={last}: must be between 0 and 1")
        if not probe_lr > 0:
            raise ValueError(f"finetuning.probe_lr={probe_lr}: must be greater than 0")
        self.last, self.probe_lr = last, probe_lr

    def stages(self, share: float = 1.0) -> list[Stage]:
        """Return the head's stage, that of the last blocks, and that of all."""
        third = share / 3
        rates = {kind: factor for kind, factor in self.lr.items() if kind != "stem"}
        last = Stage(LAST, learn=("target",), freeze=("stem",), lr=rates, share=third, tuned=True)
        return [probe_stage(third, self.probe_lr), last, *super().stages(third)]

    def begin(self, parts: Parts, stage: Stage, seed: int) -> None:
        """Freeze the trunk's first blocks, and what stands outside of any, in the middle stage."""
        if stage.name != LAST:
            return
        trunk = parts.of("target", "trunk")
        found = blocks_of(trunk)
        learning = found[-math.ceil(self.last * len(found)) :]
        set_frozen(trunk, True)
        for module in (module for block in learning for module in block):
            set_frozen(module, False)
