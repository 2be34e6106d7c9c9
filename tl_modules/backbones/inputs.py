"""Samples of different kinds of input: an encoder each into one space, then a common trunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.backbones.bag import VectorTrunk
from tl_modules.backbones.base import Backbone, Stemmed


class InputsStem(nn.Module):
    """An encoder an input; the mean of the vectors of the inputs that a sample has.

    Args:
        encoders: Backbone by input, `image` or `text`.
        width: Length of the common vector.
    """

    def __init__(self, encoders: Mapping[str, Backbone], width: int) -> None:
        super().__init__()
        self.width = width
        self.encoders = nn.ModuleDict(encoders)
        self.project = nn.ModuleDict({name: nn.Linear(net.dim, width) for name, net in encoders.items()})

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `(B, width)`.

        Raises:
            ValueError: If the batch has none of the inputs.
        """
        vectors: list[tuple[Tensor, Tensor | None]] = []
        for name, encoder in self.encoders.items():
            if name in batch:
                vectors.append((self.project[name](encoder(batch).pooled), batch.get(f"{name}_rows")))
        if not vectors:
            raise ValueError(f"samples need one of {', '.join(self.encoders)}; this batch holds {', '.join(batch)}")
        size = len(batch["id"]) if "id" in batch else len(vectors[0][0])
        total = torch.zeros(size, self.width, device=vectors[0][0].device)
        count = torch.zeros(size, 1, device=total.device)
        for vector, rows in vectors:
            rows = torch.arange(size, device=total.device) if rows is None else rows
            total = total.index_add(0, rows, vector.to(total.dtype))
            count = count.index_add(0, rows, torch.ones(len(rows), 1, device=total.device))
        return Stemmed(total / count.clamp(min=1))


def inputs(encoders: Mapping[str, Any] | None = None, width: int = 128, dim: int = 128, channels: int = 3) -> Backbone:
    """Build a backbone over several kinds of input; it has no maps.

    Args:
        encoders: By input, `image` or `text`, what `build_backbone` takes; `small` and `bag` by default.
        width: Length of the common vector.
        dim: Length of the features.
        channels: Channels of the images.

    Raises:
        ValueError: If an input is unknown or there is none.
    """
    from tl_modules.backbones import build_backbone

    given = {"image": "small", "text": "bag"} if encoders is None else dict(encoders)
    if set(given) - {"image", "text"} or not given:
        raise ValueError(f"backbone.encoders={given!r}: inputs are image and text")
    built = {name: build_backbone(spec, channels) for name, spec in given.items()}
    return Backbone(InputsStem(built, width), VectorTrunk(width, dim))
