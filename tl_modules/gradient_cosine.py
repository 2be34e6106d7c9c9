"""Whether the roles pull shared features the same way, seen in the backward pass that there is anyway."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tl_modules.features import Features


class GradientCosine:
    """The cosine of two roles' gradients by a shift of the shared trunk's output.

    The shift is a vector that would be added to the features of all samples: to the pooled ones `(B, D)`, and to all
    places of each map `(B, C, H, W)`; the last map and what is pooled are shifted as one where they are equally wide. A
    role's gradient by it is the sum over its batch, and for maps over the places, of the gradient of its loss by its
    features, all of them put end to end. So it is defined too where the roles' samples are not the same, and needs no
    backward pass of its own. It says how far the roles agree on what to do with the features, not with each parameter
    below them: -1 where they pull against each other, 0 where they do not care, 1 where they agree. Weights of losses
    do not change it.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[int, Tensor]] = {}

    def watch(self, role: str, features: Features) -> Features:
        """Return a role's features, whose gradient is noted when it comes.

        Args:
            role: The role.
            features: Its features; those of a frozen trunk have no gradient.
        """
        maps, last = features.maps, max(features.maps, default=0)
        pooled = last if maps and maps[last].shape[1] == features.pooled.shape[1] else -1
        return Features(
            self._noted(role, pooled, features.pooled, (0,)),
            {stride: self._noted(role, stride, one, (0, 2, 3)) for stride, one in maps.items()},
            features.size,
        )

    def _noted(self, role: str, name: int, values: Tensor, over: tuple[int, ...]) -> Tensor:
        if not values.requires_grad:
            return values
        own = values.view_as(values)  # the role's own, where roles share a tensor
        own.register_hook(self._note(role, name, over))
        return own

    def _note(self, role: str, name: int, over: tuple[int, ...]) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            mine, new = self.found.setdefault(role, {}), gradient.detach().float().sum(over)
            mine[name] = mine[name] + new if name in mine else new

        return note

    def take(self) -> Tensor | None:
        """Return the cosine of the backward pass that is over, a scalar, and forget it; None if not both roles had one.

        Where a role's gradient is zero, so is the cosine.
        """
        found, self.found = self.found, {}
        if len(found) < 2:
            return None
        one, other = found.values()
        zeros = {name: torch.zeros_like(value) for name, value in (one | other).items()}
        first, second = (torch.cat([(zeros | own)[name] for name in zeros]) for own in (one, other))
        return torch.nn.functional.cosine_similarity(first, second, dim=0)
