"""What every finetuning is: how a target goes on from what a source, or pretrained weights, left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from tl_modules.optim import Group
from tl_modules.parts import Parts
from tl_modules.stages import PART_KINDS, Stage

Curve = dict[str, Any]


class Finetuning:
    """Go on with all parts but the frozen ones, at the stage's rates: `full`, `linear_probe`, and what is between.

    A subclass says other stages, other groups of parameters, or a term of the loss. Its constructor's arguments are its
    options, and each has a default. What it keeps of a stage beside the module's weights is saved with them.

    Args:
        freeze: Kinds of part that do not learn.
        lr: Factors on the learning rate by kind of part; 1 where absent.

    Attributes:
        name: What it was given as.
        adapts: Whether it is one stage, which can as well learn from the target's inputs without their targets.
        keeps_statistics: Whether all running statistics of the trunk stay, also of layers without weights.
        keeps_head: Whether the target starts with the source's head rather than with a new one; the module says so.

    Raises:
        ValueError: If a kind of part is unknown or a factor is not above 0.

    Example:
        >>> [(stage.name, stage.freeze) for stage in Finetuning(freeze=["stem"]).stages()]
        [('target', ('stem',))]
    """

    name: str = "own"
    adapts: ClassVar[bool] = True
    keeps_statistics: ClassVar[bool] = False

    def __init__(
        self,
        freeze: Sequence[Literal[PART_KINDS]] = (),  # type: ignore[valid-type]
        lr: dict[Literal[PART_KINDS], float] | None = None,  # type: ignore[valid-type]
    ) -> None:
        self.freeze, self.lr = tuple(freeze), dict(lr or {})
        self.keeps_head = False
        for name, given in (("freeze", self.freeze), ("lr", self.lr)):
            for kind in given:
                if kind not in PART_KINDS:
                    raise ValueError(f"finetuning.{name}: {kind!r} is unknown; allowed: {', '.join(PART_KINDS)}")
        for kind, factor in self.lr.items():
            if not factor > 0:
                raise ValueError(f"finetuning.lr.{kind}={factor}: must be greater than 0")

    def stages(self, share: float = 1.0) -> list[Stage]:
        """Return the stages after the source's, the last of which is `target`.

        Args:
            share: Their share of the run's steps, all together.
        """
        return [Stage("target", learn=("target",), freeze=self.freeze, lr=self.lr, share=share, tuned=True)]

    def begin(self, parts: Parts, stage: Stage, seed: int) -> None:
        """Make ready for a stage of these: what it learns has its starting weights, and what is frozen is.

        Args:
            parts: The parts.
            stage: The stage.
            seed: Root of what is drawn.
        """

    def groups(self, kind: str, part: nn.Module) -> Iterable[Group]:
        """Return a part's parameters in groups of one learning rate each.

        Args:
            kind: Its kind, `objective` or `beside` for what is no part.
            part: The part.
        """
        return [Group("", list(part.parameters()))]

    def penalty(self, parts: Parts) -> Tensor | None:
        """Return what is added to the loss of a step, a scalar; None for nothing."""
        return None

    def leave(self, parts: Parts) -> None:
        """Give the parts the modules and tensors that they have by themselves, with what was learned."""

    def merged(self, parts: Parts) -> AbstractContextManager[None]:
        """Let the parts be as after `leave` for a while."""
        return nullcontext()

    def settle(self, parts: Parts, validate: Callable[[], Mapping[str, float]], monitor: Mapping[str, str]) -> Curve:
        """Choose by validation between what the last stage left and other weights; the parts have the chosen ones.

        Args:
            parts: The parts, with the weights of the last stage's chosen checkpoint.
            validate: Returns the scores of the parts as they are, such as `val/target/accuracy`.
            monitor: The score's name by role, and the `direction` of the target's, `max` or `min`.

        Returns:
            What was found, for the results: the `coefficients` that were tried, the scores of `target` (and `source`,
            if any) at them, and the `chosen` one. Empty where there is nothing to choose.
        """
        return {}

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint what a stage needs to go on, below `transfer`; tensors and plain values only."""

    def load(self, checkpoint: dict[str, Any]) -> None:
        """Take what `save` added, if it is there."""

    @property
    def settles(self) -> bool:
        """Whether there is something to choose after the last stage."""
        return type(self).settle is not Finetuning.settle
