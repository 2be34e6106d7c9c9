"""Planting a checkpoint's role into another run's, by role and kind of part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.heads import Head
from tl_modules.heads.rows import take_rows
from tl_modules.normalisation import carried as own_statistics
from tl_modules.parts import Parts
from tl_modules.stages import PART_KINDS
from tl_modules.task import Task
from tl_modules.weights.transfer import Report, transplant


def carry(parts: Parts, tasks: Mapping[str, Task], stage: str, own_backbone: bool) -> dict[str, Any]:
    """Return what a checkpoint carries so that any of its roles can be planted elsewhere: plain values only."""
    return {
        "wiring": {role: list(names) for role, names in parts.wires.items()},
        "tasks": {role: task.to_dict() for role, task in tasks.items()},
        "labels": {name: list(head.labels) for _, name, head in parts.named() if isinstance(head, Head)},
        "stage": stage,
        "own_backbone": own_backbone,
    }


def plant(parts: Parts, checkpoint: Mapping[str, Any], of: str, into: str) -> Report:
    """Take the weights of a checkpoint's role for a role of these parts.

    A head of the same kind moves if its label names are the same set; else the names that both have bring their rows.
    The role brings its running statistics; the other roles of a part start with them too, but where the part had these
    weights already: then they are planted from the same checkpoint one by one, each with its own.

    Args:
        parts: The parts that receive.
        checkpoint: A checkpoint of a TransferModule, as loaded.
        of: The checkpoint's role.
        into: The receiving role.

    Returns:
        What became of each tensor.

    Raises:
        ValueError: If the checkpoint is not one of ours, has no such role, or its stem and trunk do not fit.
    """
    carried = checkpoint.get("transfer")
    if carried is None or of not in carried["wiring"]:
        has = "no wiring" if carried is None else f"only {', '.join(carried['wiring'])}"
        raise ValueError(f"checkpoint: not one of a TransferModule with the role {of!r}; it has {has}")
    report = Report()
    for kind, name in zip(PART_KINDS, carried["wiring"][of], strict=True):
        prefix = f"parts.{kind}.{name}."
        state = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
        state |= own_statistics(checkpoint["state_dict"], of, f"{kind}.{name}", "parts.")
        part = parts.of(into, kind)
        if isinstance(part, Head):
            labels = carried["labels"][name]
            same_kind = Task.of(carried["tasks"][of]).kind == part.kind
            state = part.upgraded(state) if same_kind else state
            taken = take_rows(part, state, labels) if same_kind and set(labels) != set(part.labels) else Report()
            if taken.by_name:
                report.add(taken, "head.")
                continue
            if not same_kind or set(labels) != set(part.labels):
                report.reinitialised += [f"head.{key}" for key in part.state_dict()]
                report.unused += [f"head.{key}" for key in state]
                continue
            part.labels = list(labels)
        known = _same_weights(part, state)
        with parts.as_role(into):
            report.add(transplant(part, state), f"{kind}.")
        for role in () if known else parts.wires:
            parts.start(role, into, kind)
    misfits = [name for name in report.reinitialised if not name.startswith("head.")]
    if misfits:
        shown = ", ".join(misfits[:5]) + (", ..." if len(misfits) > 5 else "")
        raise ValueError(f"checkpoint: it does not fit this backbone, which also needs {shown}")
    return report


def _same_weights(part: nn.Module, state: Mapping[str, Tensor]) -> bool:
    weights = {key: weight.detach().cpu() for key, weight in part.named_parameters()}
    return bool(weights) and all(key in state and torch.equal(state[key].cpu(), weights[key]) for key in weights)
