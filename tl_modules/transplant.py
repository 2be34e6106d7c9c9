"""Moving weights between parts and checkpoints, with a report of what became of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# Normalisation belongs to the weights: it moves with equal shapes only and is never stretched like a filter.
_STATISTICS = ("mean", "std")


@dataclass
class Report:
    """Names of tensors by what became of them."""

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def add(self, other: Report, prefix: str) -> None:
        """Take over another report's names under a prefix."""
        for kind in ("loaded", "adapted", "reinitialised", "unused"):
            getattr(self, kind).extend(prefix + name for name in getattr(other, kind))

    def of(self, prefix: str) -> Report:
        """Return the part of the report on names with a prefix."""
        kinds = (self.loaded, self.adapted, self.reinitialised, self.unused)
        return Report(*([name for name in names if name.startswith(prefix)] for names in kinds))

    def __str__(self) -> str:
        """Count the names of each kind; name the ones that did not simply move."""
        counts = f"{len(self.loaded)} loaded"
        for kind in ("adapted", "reinitialised", "unused"):
            names = getattr(self, kind)
            shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            counts += f", {len(names)} {kind}" + (f" ({shown})" if names else "")
        return counts


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapt a first convolution's filters to another number of input channels.

    Channels are repeated in turn and scaled so that the response keeps its size; to a grey picture it stays the same
    for one channel and for multiples of the old number.

    Args:
        weight: Filters `(O, I, h, w)`.
        channels: The new `I`.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-channels // weight.shape[1])
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (weight.shape[1] / channels)


@torch.no_grad()
def transplant(part: nn.Module, state: Mapping[str, Tensor]) -> Report:
    """Copy a part's state into another part, by name.

    Equal shapes are copied; filters that differ in input channels only are adapted; the rest stays as initialised.

    Args:
        part: The part that receives.
        state: The state dict that gives.
    """
    report = Report()
    own = part.state_dict()
    for name, tensor in own.items():
        given = state.get(name)
        if given is None:
            report.reinitialised.append(name)
        elif given.shape == tensor.shape:
            tensor.copy_(given)
            report.loaded.append(name)
        elif _is_first_layer(name, tensor, given):
            tensor.copy_(adapt_channels(given, tensor.shape[1]))
            report.adapted.append(name)
        elif name.rsplit(".", 1)[-1] in _STATISTICS:
            report.reinitialised.append(name)
        else:
            report.reinitialised.append(name)
            report.unused.append(name)
    report.unused += [name for name in state if name not in own]
    return report


def _is_first_layer(name: str, own: Tensor, given: Tensor) -> bool:
    same_but_channels = own.ndim == given.ndim == 4 and own.shape[0] == given.shape[0]
    same_but_channels = same_but_channels and own.shape[2:] == given.shape[2:]
    return same_but_channels and name.rsplit(".", 1)[-1] not in _STATISTICS
