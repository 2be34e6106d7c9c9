"""True freezing: no gradients and no running statistics."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def set_frozen(part: nn.Module, frozen: bool) -> None:
    """Freeze or free a part.

    Without gradients alone BatchNorm would drift and dropout would stay on, so a frozen part is also in evaluation
    mode; whoever calls `train()` later calls `hold_frozen` after it.

    Args:
        part: A stem, a trunk or a head.
        frozen: Whether it stays as it is.
    """
    part.requires_grad_(not frozen)
    part.train(not frozen)


def hold_frozen(parts: Iterable[nn.Module]) -> None:
    """Put what is frozen back into evaluation mode: parts of which nothing learns, and such modules of the others."""
    for part in parts:
        learns = {parameter.requires_grad for parameter in part.parameters()}
        if learns == {False}:
            part.eval()
        elif len(learns) > 1:
            hold_frozen(part.children())
