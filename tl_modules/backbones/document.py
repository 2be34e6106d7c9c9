"""Documents: samples with several kinds of input, an encoder each into one space, fused, then a common trunk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from tl_modules.backbones.bag import VectorTrunk
from tl_modules.backbones.base import Backbone, Stemmed
from tl_modules.batch import size_of
from tl_modules.ranges import AtLeast, Below, NotEmpty
from tl_modules.task import INPUTS

FUSIONS = ("mean", "concat", "attention")
QUERY_HEADS = 4


class DocumentStem(nn.Module):
    """An encoder per input; their vectors, fused.

    A learned vector stands for an input that a sample lacks. In training an input of a sample that has several is left
    out at random, so that each can stand alone (modality dropout: Neverova et al. 2016, ModDrop).

    Args:
        encoders: Backbone by input.
        width: Length of an input's vector.
        fusion: `mean`, `concat`, or `attention` of one learned query over the inputs.
        dropout: Probability that one of a sample's inputs, any with the same chance, is left out in training.

    Attributes:
        inputs: The inputs that are read.
        fused: Length of what comes out.
    """

    def __init__(self, encoders: Mapping[str, Backbone], width: int, fusion: str, dropout: float) -> None:
        super().__init__()
        self.inputs, self.width, self.fusion, self.dropout = tuple(encoders), width, fusion, dropout
        self.fused = width * len(encoders) if fusion == "concat" else width
        self.encoders = nn.ModuleDict(encoders)
        self.project = nn.ModuleDict({name: nn.Linear(net.dim, width) for name, net in encoders.items()})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in encoders})
        self.missing = nn.Parameter(torch.randn(len(encoders), width) * 0.02)
        if fusion == "attention":
            self.query = nn.Parameter(torch.randn(1, 1, width) * 0.02)
            self.attention = nn.MultiheadAttention(width, QUERY_HEADS, batch_first=True)

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `(B, fused)`.

        Raises:
            ValueError: If the batch has none of the inputs.
        """
        if not set(self.inputs) & set(batch):
            raise ValueError(f"samples need one of {', '.join(self.inputs)}; this batch holds {', '.join(batch)}")
        size, device = size_of(dict(batch)), self.missing.device
        there = torch.zeros(size, len(self.inputs), dtype=torch.bool, device=device)
        columns = []
        for column, name in enumerate(self.inputs):
            vectors = self.missing[column].expand(size, self.width)
            if name in batch:
                rows = batch.get(f"{name}_rows", torch.arange(size, device=device))
                found = self.norm[name](self.project[name](self.encoders[name](batch).pooled))
                vectors = vectors.index_copy(0, rows, found.to(vectors.dtype))
                there[rows, column] = True
            columns.append(vectors)
        stacked = torch.stack(columns, 1)
        kept = there & ~self._left_out(there)
        return Stemmed(self._fuse(torch.where(kept[..., None], stacked, self.missing)))

    def _left_out(self, there: Tensor) -> Tensor:
        """Return `(B, M)`, true for an input that is left out of a sample that has others."""
        if not self.training or not self.dropout:
            return torch.zeros_like(there)
        chance = torch.rand(there.shape, device=there.device).masked_fill(~there, -1)
        hit = (torch.rand(len(there), 1, device=there.device) < self.dropout) & (there.sum(1, keepdim=True) > 1)
        return hit & (chance == chance.max(1, keepdim=True).values)

    def _fuse(self, vectors: Tensor) -> Tensor:
        """Return `(B, fused)` of the inputs' vectors `(B, M, width)`."""
        if self.fusion == "concat":
            return vectors.flatten(1)
        if self.fusion == "mean":
            return vectors.mean(1)
        attended: Tensor = self.attention(self.query.expand(len(vectors), -1, -1), vectors, vectors)[0]
        return attended[:, 0]


def document(
    encoders: Annotated[Mapping[Literal[INPUTS], Any], NotEmpty()] | None = None,  # type: ignore[valid-type]
    fusion: Literal["mean", "concat", "attention"] = "concat",
    modality_dropout: Annotated[float, AtLeast(0), Below(1)] = 0.3,
    width: Annotated[int, AtLeast(1)] = 128,
    dim: Annotated[int, AtLeast(1)] = 128,
    channels: int = 3,
) -> Backbone:
    """Build a backbone over several kinds of input; it has no maps.

    Args:
        encoders: By input, `image` or `text`, what `build_backbone` takes; `small` and `bag` by default.
        fusion: Of the inputs' vectors: `mean`, `concat` or `attention`.
        modality_dropout: Probability that one of a sample's inputs is left out in training, a fraction.
        width: Length of an input's vector.
        dim: Length of the features.
        channels: Channels of the images.

    Raises:
        ValueError: If an input or the fusion is unknown, or a number is out of range.
    """
    from tl_modules.backbones import build_backbone

    given = {"image": "small", "text": "bag"} if encoders is None else dict(encoders)
    if set(given) - set(INPUTS) or not given:
        raise ValueError(f"backbone.encoders={given!r}: inputs are {' and '.join(INPUTS)}")
    if fusion not in FUSIONS:
        raise ValueError(f"backbone.fusion={fusion!r} is unknown; allowed: {', '.join(FUSIONS)}")
    if not 0 <= modality_dropout < 1:
        raise ValueError(f"backbone.modality_dropout={modality_dropout} must be in [0, 1)")
    if fusion == "attention" and width % QUERY_HEADS:
        raise ValueError(f"backbone.width={width}: must be a multiple of {QUERY_HEADS} with fusion=attention")
    built = {name: build_backbone(spec, channels) for name, spec in given.items()}
    stem = DocumentStem(built, width, fusion, modality_dropout)
    return Backbone(stem, VectorTrunk(stem.fused, dim))
