"""Stages of a run as plain data: who learns, what is frozen, at which learning rate, for which share of the steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tl_modules.finetunings.base import Finetuning

PART_KINDS = ("stem", "trunk", "head")
SOURCE_SHARE = 0.7
ADAPT = "adapt"  # the stage in place of the target's where no label of it is read


@dataclass(frozen=True)
class Stage:
    """A stretch of training with its own Trainer.

    Args:
        name: The stage's name; its checkpoints' folder.
        learn: Roles whose loss counts.
        see: Roles whose inputs are loaded without their targets.
        freeze: Kinds of part that do not learn, of `stem`, `trunk`, `head`.
        lr: Factors on the learning rate by kind of part; 1 where absent.
        share: The stage's share of the run's steps, a fraction.
        replay: The share of the stage's own steps that learn the source, a fraction; a step then has one role.
        tuned: Whether its finetuning has a say in it, beside `freeze` and `lr`: it starts from what was learned before.
        judge: Roles that are validated beside those that learn; with their targets nothing is chosen.

    Example:
        >>> Stage("adapt", learn=("source",), see=("target",), freeze=("stem",)).roles
        ('source', 'target')
    """

    name: str
    learn: tuple[str, ...]
    see: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    lr: Mapping[str, float] = field(default_factory=dict)
    share: float = 1.0
    replay: float = 0.0
    tuned: bool = False
    judge: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles whose inputs the stage loads."""
        return self.learn + self.see

    @property
    def validated(self) -> tuple[str, ...]:
        """Roles that the stage is validated on."""
        return tuple(dict.fromkeys(self.learn + self.judge))


FINETUNINGS: dict[str, dict[str, Any]] = {
    "full": {"freeze": (), "lr": {}},
    "linear_probe": {"freeze": ("stem", "trunk"), "lr": {"head": 10.0}},
}


def after_source(
    finetuning: Finetuning,
    has_source: bool,
    source_share: float = SOURCE_SHARE,
    adapting: Mapping[str, Any] | None = None,
) -> list[Stage]:
    """Return a sequential cell's stages: the source, then the target's as the finetuning says.

    Args:
        finetuning: The finetuning, built.
        has_source: False where the source is weights rather than data; its stage is left out.
        source_share: The source's share of the steps, a fraction.
        adapting: What the second stage is where no label of the target is read: `learn`, `see`, and `freeze`, kinds of
            part that stay beside those of the finetuning; see `objectives.Objective.adapting`.

    Raises:
        ValueError: If the finetuning needs the target's targets, and they are not to be read.
    """
    if not has_source:
        return finetuning.stages()
    source = Stage("source", learn=("source",), share=source_share)
    if adapting is not None:
        if not finetuning.adapts:
            raise ValueError(
                f"finetuning={finetuning.name}: learns from labels of the target, which objective= adapts without"
            )
        (last,) = finetuning.stages(1 - source_share)
        kept = tuple(kind for kind in PART_KINDS if kind in {*last.freeze, *adapting["freeze"]})
        rates = {kind: rate for kind, rate in last.lr.items() if kind not in kept}
        who = {"learn": adapting["learn"], "see": adapting["see"], "judge": ("source", "target")}
        return [source, replace(last, name=ADAPT, freeze=kept, lr=rates, **who)]
    return [source, *finetuning.stages(1 - source_share)]


def with_replay(plan: list[Stage], share: float, cell: str, wires: Mapping[str, Sequence[str]]) -> list[Stage]:
    """Return stages of which those that learn the target go on learning the source in a share of their steps.

    A stage in which nothing learns that both roles go through stays as it is.

    Args:
        plan: The stages.
        share: The share, a fraction; 0 for the stages as they are.
        cell: The cell's class, for the error.
        wires: Stem, trunk and head by role.

    Raises:
        ValueError: If the share is out of range, or has no effect.
    """
    if not 0 <= share < 1:
        raise ValueError(f"replay={share} must be at least 0 and below 1")
    if share == 0:
        return plan
    if not (plan[0].learn == ("source",) and any(stage.learn == ("target",) for stage in plan)):
        raise ValueError(
            f"replay={share}: has no effect in {cell}, which has no stage of the target after the source's"
        )
    both = {kind for kind, *names in zip(PART_KINDS, *wires.values(), strict=True) if len(set(names)) == 1}
    forgets = [stage.learn == ("target",) and not both <= {*stage.freeze} for stage in plan]
    if not any(forgets):
        raise ValueError(f"replay={share}: has no effect in {cell} where all that both roles go through is frozen")
    told = zip(plan, forgets, strict=True)
    return [replace(stage, learn=("source", "target"), replay=share) if one else stage for stage, one in told]


def check_conflict(cell: str, plan: Sequence[Stage], wires: Mapping[str, Sequence[str]], merged: bool) -> None:
    """Refuse to log the cosine of the roles' gradients where there are not two by one trunk in a step.

    Args:
        cell: The cell's class, for the error.
        plan: The stages.
        wires: Stem, trunk and head by role.
        merged: Whether both roles are learned by one loss.

    Raises:
        ValueError: If it is refused.
    """
    if len({names[1] for names in wires.values()}) > 1:
        raise ValueError(f"gradient_cosine=True: has no effect in {cell}, where no trunk is shared")
    if merged or not any(len(stage.learn) > 1 and not stage.replay for stage in plan):
        why = "learns both roles by one loss" if merged else "learns one role at a time"
        raise ValueError(f"gradient_cosine=True: has no effect in {cell}, which {why}")


def at_once(roles: tuple[str, ...] = ("source", "target")) -> list[Stage]:
    """Return a simultaneous cell's only stage."""
    return [Stage("joint", learn=roles)]


def split_steps(steps: int, stages: list[Stage]) -> list[int]:
    """Divide a run's optimiser steps among its stages.

    Returns:
        One number per stage, each at least 1, together exactly `steps`.

    Raises:
        ValueError: If there are fewer steps than stages.
    """
    if steps < len(stages):
        raise ValueError(f"steps={steps} is less than one for each of the run's {len(stages)} stages")
    whole = sum(stage.share for stage in stages)
    shares = [max(1, int(steps * stage.share / whole + 1e-9)) for stage in stages[:-1]]
    while sum(shares) >= steps:
        shares[shares.index(max(shares))] -= 1
    return [*shares, steps - sum(shares)]


def check_shares(source_share: float, weights: Mapping[str, float], plan: list[Stage], cell: str, merged: bool) -> None:
    """Check the source's share of the steps and the losses' weights against the stages that they are for.

    Args:
        source_share: The source's share of the steps; the default is in order everywhere.
        weights: Weight of a loss by role; 1 is in order everywhere.
        plan: The stages.
        cell: The cell's class, for the error.
        merged: Whether both roles are learned by one loss.

    Raises:
        ValueError: If one is out of range, or has no effect.
    """
    if not 0 < source_share < 1:
        raise ValueError(f"source_share={source_share} must be between 0 and 1")
    if source_share != SOURCE_SHARE and not any(s.learn == ("source",) and s.share == source_share for s in plan):
        raise ValueError(f"source_share={source_share}: has no effect in {cell}, which has no such stage of the source")
    for role, weight in weights.items():
        if role not in ("source", "target"):
            raise ValueError(f"weights={dict(weights)}: {role!r} is unknown; allowed: source, target")
        if not 0 < weight < math.inf:
            raise ValueError(f"weights={dict(weights)}: {role}'s must be a number above 0")
        if weight != 1 and (merged or all(len(stage.learn) < 2 or stage.replay for stage in plan)):
            why = "learns both roles by one loss" if merged else "learns one role at a time"
            raise ValueError(f"weights={dict(weights)}: {role}'s has no effect in {cell}, which {why}")
