"""Running statistics of normalisation that belong to the roles rather than to a shared part's layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CHOICES = ("auto", "shared", "per_role")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Normalisation(nn.Module):
    """Running statistics by role of the parts that several roles go through.

    Domain-specific batch normalisation (Chang et al. 2019) with shared weights: a role is evaluated with the statistics
    of the passes that normalised its samples in training. A layer itself holds those of one role, the target where it
    goes through the part; those of the others are buffers here, put in the layer's place for a pass of theirs. So the
    layers' classes stay as they are, and layers are found by name at each pass, whatever they were converted to.

    Covered is each layer with running statistics under the names of torch: `BatchNorm*d`, `SyncBatchNorm`,
    `InstanceNorm*d` that tracks them, and layers of one's own that do alike. Layers that keep none (`LayerNorm`,
    `GroupNorm`) need nothing.

    Args:
        option: `auto`: a pass that carries several roles at once counts for each of them, a pass of one role for that
            one alone, and in a stage of one role, which leaves one network behind, for all. `per_role`: roles never
            share a pass of a part with such layers. `shared`: one set for all.
        parts: Kind, name and part, as initialised.
        users: Roles by kind and name of part.

    Attributes:
        one_set: Whether each pass in training counts for all roles.

    Raises:
        ValueError: If the option is unknown.
    """

    def __init__(
        self, option: str, parts: Sequence[tuple[str, str, nn.Module]], users: Mapping[tuple[str, str], Sequence[str]]
    ) -> None:
        super().__init__()
        if option not in CHOICES:
            raise ValueError(f"normalisation={option!r} is unknown; allowed: {', '.join(CHOICES)}")
        self.option, self.one_set = option, False
        self.users: dict[str, list[str]] = {}
        for kind, name, part in parts:
            roles = sorted(users[kind, name], key=lambda role: role != "target")  # at home is the first
            if len(roles) < 2 or option == "shared":
                continue
            self.users[f"{kind}.{name}"] = roles
            for place, layer in layers_of(f"{kind}.{name}", part).items():
                for role in roles[1:]:
                    for key, value in statistics_of(layer).items():
                        self.register_buffer(buffer_name(role, place, key), value.clone())

    def enter(self, roles: Sequence[str]) -> None:
        """Make a stage with these roles the current one."""
        self.one_set = self.option == "auto" and len(roles) == 1

    def joins(self, path: str, part: nn.Module, roles: Collection[str]) -> bool:
        """Tell whether one pass of a part may carry several roles at once.

        Args:
            path: The part's kind and name, `trunk.shared`.
            part: The part.
            roles: The roles.
        """
        layers = layers_of(path, part) if path in self.users and len(set(roles)) > 1 else {}
        if self.option == "per_role":
            return not layers
        return all(layer.training or self._equal(place, layer, roles) for place, layer in layers.items())

    @contextmanager
    def passing(self, path: str, part: nn.Module, roles: Collection[str]) -> Iterator[None]:
        """Let a part normalise by what belongs to the roles of a pass, and count the pass for whom it counts.

        Args:
            path: The part's kind and name.
            part: The part.
            roles: The roles whose samples pass.
        """
        layers = layers_of(path, part) if path in self.users else {}
        together = len(set(roles)) > 1
        counts = {place: layer for place, layer in layers.items() if layer.training and (together or self.one_set)}
        own = {} if together else {place: layer for place, layer in layers.items() if place not in counts}
        before = {p: {k: v.clone() for k, v in statistics_of(layer).items()} for p, layer in counts.items()}
        with self._exchanged(own, next(iter(roles))):
            yield
        for place, layer in counts.items():
            for role in self.users[path][1:]:
                self._follow(role, place, layer, before[place])

    @contextmanager
    def as_role(self, path: str, part: nn.Module, role: str) -> Iterator[None]:
        """Let a part's layers hold a role's statistics for a while, to be copied or overwritten.

        Args:
            path: The part's kind and name.
            part: The part.
            role: The role.
        """
        with self._exchanged(layers_of(path, part) if path in self.users else {}, role):
            yield

    @torch.no_grad()
    def start(self, path: str, part: nn.Module, role: str, other: str) -> None:
        """Let a role's statistics start as a copy of another's, where both go through a part.

        Args:
            path: The part's kind and name.
            part: The part.
            role: The role that starts.
            other: The role that has trained.
        """
        users = self.users.get(path, [])
        for place, layer in layers_of(path, part).items() if {role, other} <= set(users) else ():
            given = self._of(other, place, layer)
            for key, value in self._of(role, place, layer).items():
                value.copy_(given[key])

    def complete(self, state: dict[str, Any], prefix: str) -> None:
        """Fill what a state dict of before there were such statistics lacks: they start as the layers' own.

        Args:
            state: A state dict of the whole module; it is changed.
            prefix: What the parts' names begin with in it.
        """
        for name in self._buffers:
            place = name.split("/", 1)[1].replace("/", ".")
            if f"{prefix}{place}" in state:
                state.setdefault(f"{prefix}normalisation.{name}", state[f"{prefix}{place}"].clone())

    def _of(self, role: str, place: str, layer: nn.Module) -> dict[str, Tensor]:
        """Return a role's statistics of a layer."""
        own = {key: self._buffers.get(buffer_name(role, place, key)) for key in statistics_of(layer)}
        kept = {key: value for key, value in own.items() if value is not None}
        return kept or statistics_of(layer)

    def _equal(self, place: str, layer: nn.Module, roles: Collection[str]) -> bool:
        first, *others = (self._of(role, place, layer) for role in dict.fromkeys(roles))
        return all(torch.equal(value, other[key]) for other in others for key, value in first.items())

    @torch.no_grad()
    def _follow(self, role: str, place: str, layer: nn.Module, before: Mapping[str, Tensor]) -> None:
        """Update a role's statistics with the batch that updated the layer's own.

        With `new = (1 - m) old + m batch` in the layer, `(1 - m) kept + m batch` is `new + (1 - m) (kept - old)`: the
        same to the bit where both were the same.
        """
        new, kept = statistics_of(layer), self._of(role, place, layer)
        momentum: Any = getattr(layer, "momentum", 0.1)
        if momentum is None:  # the mean over all batches
            momentum = 1 / new["num_batches_tracked"]
        for key, value in kept.items():
            value.sub_(before[key])
            if value.is_floating_point():
                value.mul_(1 - momentum)
            value.add_(new[key])

    @contextmanager
    def _exchanged(self, layers: Mapping[str, nn.Module], role: str) -> Iterator[None]:
        self._exchange(layers, role)
        try:
            yield
        finally:
            self._exchange(layers, role)

    def _exchange(self, layers: Mapping[str, nn.Module], role: str) -> None:
        """Exchange the tensors themselves, so that what a pass adds to in place is the role's."""
        for place, layer in layers.items():
            for key in statistics_of(layer):
                name = buffer_name(role, place, key)
                if name in self._buffers:
                    self._buffers[name], layer._buffers[key] = layer._buffers[key], self._buffers[name]


def layers_of(path: str, part: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a part that keep running statistics, by name from the part's kind on."""
    return {place: layer for place, layer in part.named_modules(prefix=path) if statistics_of(layer)}


def statistics_of(layer: nn.Module) -> dict[str, Tensor]:
    """Return a layer's running statistics by name; empty where it keeps none."""
    found = {key: layer._buffers.get(key) for key in STATISTICS}
    return {key: value for key, value in found.items() if value is not None}


def restart(layer: nn.Module) -> Any:
    """Let a layer take its running statistics anew, as the mean over all batches that come (Li et al. 2016).

    Returns:
        Its momentum until then.
    """
    for key, value in statistics_of(layer).items():
        value.fill_(1) if key == "running_var" else value.zero_()
    before, layer.momentum = getattr(layer, "momentum", None), None  # type: ignore[assignment]
    return before


def buffer_name(role: str, place: str, key: str) -> str:
    """Return the name of the buffer with a role's statistic of a layer; a buffer's name holds no dots."""
    return f"{role}.{place}.{key}".replace(".", "/")


def carried(state: Mapping[str, Tensor], role: str, path: str, prefix: str) -> dict[str, Tensor]:
    """Return what a state dict holds as a role's own statistics of a part, by name within the part.

    Args:
        state: A state dict of a whole module.
        role: The role.
        path: The part's kind and name in that module.
        prefix: What the parts' names begin with in it.
    """
    start = f"{prefix}normalisation.{buffer_name(role, path, '')}"
    return {key.removeprefix(start).replace("/", "."): value for key, value in state.items() if key.startswith(start)}
