"""True freezing: no gradients and no running statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from tl_modules.normalisation import statistics_of


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


def hold_frozen(part: nn.Module, statistics: bool = False) -> None:
    """Put what is frozen of a part that learns back into evaluation mode: modules in it of which nothing learns.

    Args:
        part: The part.
        statistics: Whether that includes layers with running statistics and no parameters of their own.
    """
    learns = {parameter.requires_grad for parameter in part.parameters()}
    if learns == {False} or (not learns and statistics and statistics_of(part)):
        part.eval()
    else:
        for child in part.children():
            hold_frozen(child, statistics)


class Held:
    """Running statistics of layers that are frozen, to be put back where something reset them.

    Lightning's `StochasticWeightAveraging` begins its last pass with the statistics of every BatchNorm at zero; a layer
    that stays in evaluation mode would never get others.

    Args:
        parts: The parts of which some may be frozen.
    """

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        layers = {layer: statistics_of(layer) for part in parts for layer in part.modules() if not layer.training}
        self.kept: dict[nn.Module, dict[str, Tensor]] = {
            layer: {key: value.clone() for key, value in found.items()} for layer, found in layers.items() if found
        }

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what was kept, of layers that are frozen still."""
        for layer, kept in self.kept.items():
            for key, value in kept.items() if not layer.training else ():
                layer.get_buffer(key).copy_(value)
