"""Moving weights between parts and checkpoints, with a report of what became of each tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# Normalisation belongs to the weights: it goes with the filters of its channels.
_STATISTICS = ("mean", "std")


@dataclass
class Report:
    """Names of tensors by what became of them.

    Args:
        loaded: Moved as they are.
        adapted: Moved in part, or to another number of channels.
        reinitialised: New.
        unused: Given, but of no use.
        by_name: Labels whose row a head took by name.
        new_rows: Labels whose row is new beside those.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    by_name: list[str] = field(default_factory=list)
    new_rows: list[str] = field(default_factory=list)

    def add(self, other: Report, prefix: str) -> None:
        """Take over another report's names under a prefix."""
        for kind in ("loaded", "adapted", "reinitialised", "unused"):
            getattr(self, kind).extend(prefix + name for name in getattr(other, kind))
        self.by_name += other.by_name
        self.new_rows += other.new_rows

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
        if self.by_name:
            shown = ", ".join(self.by_name[:4]) + (", ..." if len(self.by_name) > 4 else "")
            counts += f"; labels: {len(self.by_name)} rows by name ({shown}), {len(self.new_rows)} new"
        return counts


def adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapt a trained first convolution's filters to another number of input channels.

    Exact together with `adapt_statistics`: channels that are added start at zero, so that every picture gives what it
    gave without them (a frozen layer goes on without them); channels that are left out had no say in pictures that were
    at their mean there. Filters for grey are shared among the channels, so that grey in all of them gives the same.
    One filter for several channels' (a network of one's own that takes grey alone) is their sum: the same for grey
    pictures as far as mean and standard deviation are one for all channels.

    Args:
        weight: Filters `(O, I, h, w)`.
        channels: The new `I`.
    """
    have = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    if have == 1:
        return weight.repeat(1, channels, 1, 1) / channels
    kept = weight[:, :channels]
    return torch.cat([kept, kept.new_zeros(len(kept), channels - kept.shape[1], *kept.shape[2:])], 1)


def repeat_channels(weight: Tensor, channels: int) -> Tensor:
    """Return random filters for another number of input channels: repeated in turn, their response's size kept.

    Args:
        weight: Filters `(O, I, h, w)`.
        channels: The new `I`.
    """
    repeats = -(-channels // weight.shape[1])
    return weight.repeat(1, repeats, 1, 1)[:, :channels] * (weight.shape[1] / channels)


def adapt_statistics(values: Tensor, channels: int) -> Tensor:
    """Return the means or standard deviations `(1, C, 1, 1)` that belong to filters of `adapt_channels`.

    Args:
        values: Those of the trained filters.
        channels: The new number of channels.
    """
    if channels == 1:
        return values.mean(1, keepdim=True)
    return values[:, [i % values.shape[1] for i in range(channels)]]


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
        elif name.rsplit(".", 1)[-1] in _STATISTICS and tensor.ndim == given.ndim == 4:
            tensor.copy_(adapt_statistics(given, tensor.shape[1]))
            report.adapted.append(name)
        else:
            report.reinitialised.append(name)
            report.unused.append(name)
    report.unused += [name for name in state if name not in own]
    return report


def _is_first_layer(name: str, own: Tensor, given: Tensor) -> bool:
    same_but_channels = own.ndim == given.ndim == 4 and own.shape[0] == given.shape[0]
    same_but_channels = same_but_channels and own.shape[2:] == given.shape[2:]
    return same_but_channels and name.rsplit(".", 1)[-1] not in _STATISTICS
