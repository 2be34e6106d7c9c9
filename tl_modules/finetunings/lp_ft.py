"""First the head alone, then all: linear probing then fine-tuning."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from tl_modules.finetunings.base import Finetuning
from tl_modules.ranges import Above, Below
from tl_modules.stages import PART_KINDS, Stage


class LpFt(Finetuning):
    """Linear probing then fine-tuning (Kumar et al. 2022, section 3.4).

    A head that is random bends the features of a network that learns with it; so it learns first, on features that stay
    as they are, and then all learn at a lower rate.

    Args:
        probe_share: The head's stage's share of the target's steps, a fraction.
        probe_lr: Factor on the learning rate of the head in its stage.
        lr: Factors on the learning rate by kind of part in the stage of all; 1 where absent.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> [(stage.name, stage.freeze) for stage in LpFt().stages()]
        [('target_probe', ('stem', 'trunk')), ('target', ())]
    """

    adapts: ClassVar[bool] = False

    def __init__(
        self,
        probe_share: Annotated[float, Above(0), Below(1)] = 0.5,
        probe_lr: Annotated[float, Above(0)] = 10.0,
        lr: dict[Literal[PART_KINDS], float] | None = None,  # type: ignore[valid-type]
    ) -> None:
        super().__init__(lr=lr)
        if not 0 < probe_share < 1:
            raise ValueError(f"finetuning.probe_share={probe_share}: must be between 0 and 1")
        if not probe_lr > 0:
            raise ValueError(f"finetuning.probe_lr={probe_lr}: must be greater than 0")
        self.probe_share, self.probe_lr = probe_share, probe_lr

    def stages(self, share: float = 1.0) -> list[Stage]:
        """Return the head's stage, and that of all."""
        rest = super().stages(share * (1 - self.probe_share))
        return [probe_stage(share * self.probe_share, self.probe_lr), *rest]


def probe_stage(share: float, lr: float) -> Stage:
    """Return a stage in which only the target's head learns.

    Args:
        share: Its share of the run's steps.
        lr: Factor on the head's learning rate.
    """
    frozen = ("stem", "trunk")
    return Stage("target_probe", learn=("target",), freeze=frozen, lr={"head": lr}, share=share, tuned=True)
