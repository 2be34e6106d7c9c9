"""Objectives: from the losses and features of a step's roles to one loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from tl_modules.discovery import class_name, imported, names_in
from tl_modules.objectives.base import Objective
from tl_modules.parts import Parts
from tl_modules.stages import ADAPT, Stage
from tl_modules.task import Task

__all__ = ["OBJECTIVES", "Objective", "build_objective", "check_objective", "objective_of"]

OBJECTIVES = names_in("objectives")


def objective_of(spec: str | Mapping[str, Any]) -> tuple[type[Objective], dict[str, Any]]:
    """Return an objective's class and its options.

    Args:
        spec: A name of `OBJECTIVES`, the import path of a class of one's own whose module is imported, or a mapping
            with `name`, which is one of these, and its options.

    Raises:
        ValueError: If the name or an option is unknown.
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(options.pop("name", None))
    if "." in name:
        found = imported(name, "objective")
    elif name in OBJECTIVES:
        found = getattr(import_module(f"{__name__}.{name}"), class_name(name))
    else:
        own = "the import path of an Objective whose module is imported"
        raise ValueError(f"objective={name!r} is unknown; allowed: {', '.join(OBJECTIVES)}, or {own}")
    if not (isinstance(found, type) and issubclass(found, Objective)):
        raise ValueError(f"objective={name!r}: must be a subclass of tl_modules.objectives.Objective")
    takes = [option for option in signature(found).parameters if option not in ("tasks", "widths")]
    unknown = sorted(set(options) - set(takes))
    if unknown:
        raise ValueError(f"objective.{unknown[0]} is no option of {name}; allowed: {', '.join(takes) or 'none'}")
    return found, options


def check_objective(
    objective: Objective, name: str, cell: str, plan: Sequence[Stage], merged: bool, kind: str, parts: Parts
) -> None:
    """Refuse an objective that has no effect, or cannot be.

    Args:
        objective: The objective.
        name: What it was given as, for the error.
        cell: The module's class.
        plan: Its stages.
        merged: Whether both roles are learned by one loss.
        kind: Kind of the target's task.
        parts: The parts.

    Raises:
        ValueError: If it is refused.
    """
    if objective.kinds and kind not in objective.kinds:
        raise ValueError(f"objective={name!r}: is for {' and '.join(objective.kinds)}, not for {kind}")
    if parts.normalisation.option == "per_role" and not objective.sees:
        raise ValueError(f"objective={name!r}: never sees the target, which normalisation='per_role' needs to")
    if objective.moves_statistics and not parts.with_statistics("target"):
        raise ValueError(f"objective={name!r}: has no effect on a network without running statistics")
    if objective.several and (merged or all(len(stage.roles) < 2 or stage.replay for stage in plan)):
        why = "learns both roles by one loss" if merged else "has one role per stage"
        raise ValueError(f"objective={name!r}: has no effect in {cell}, which {why}")
    if objective.adapts and not objective.several and all(stage.name != ADAPT for stage in plan):
        raise ValueError(f"objective={name!r}: has no effect in {cell}, which reads the target's labels")
    if objective.adapts and "trunk" not in objective.freezes and any(s.see and "trunk" in s.freeze for s in plan):
        raise ValueError(f"objective={name!r}: has no effect where the trunk is frozen while it adapts")


def check_use(objective: Objective, name: str, cell: str, apart: bool, weights: Mapping[str, float]) -> None:
    """Refuse an objective where what it is about is not there, and weights that do nothing in it.

    Args:
        objective: The objective.
        name: What it was given as, for the error.
        cell: The module's class.
        apart: Whether the roles share no part.
        weights: Static weight of a loss by role.

    Raises:
        ValueError: If it is refused.
    """
    if objective.shares and apart:
        raise ValueError(f"objective={name!r}: has no effect in {cell}, where no part is shared")
    if not objective.weighable and any(weight != 1 for weight in weights.values()):
        raise ValueError(f"weights={dict(weights)}: has no effect with objective={name!r}, which takes none")


def build_objective(spec: str | Mapping[str, Any], tasks: Mapping[str, Task], widths: Mapping[str, int]) -> Objective:
    """Build an objective.

    Args:
        spec: See `objective_of`.
        tasks: Task by role.
        widths: Length of the pooled features by role.
    """
    found, options = objective_of(spec)
    build: Callable[..., Objective] = found
    return build(tasks, widths, **options)
