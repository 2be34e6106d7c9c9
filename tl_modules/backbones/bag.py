"""A bag of embedded words: the smallest text encoder that learns."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import nn

from tl_modules.backbones.base import Backbone, Stemmed, Trunk
from tl_modules.features import Features
from tl_modules.ranges import AtLeast

WORD = re.compile(r"\w+|[^\w\s]")


class BagStem(nn.Module):
    """Mean of the embeddings of a text's hashed words (Weinberger et al. 2009): no vocabulary to build or to store.

    Args:
        buckets: Number of embeddings; bucket 0 is kept for the empty text.
        width: Length of an embedding.
    """

    def __init__(self, buckets: int = 8192, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.EmbeddingBag(buckets, width, mode="mean")

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `(B, width)` for `batch["text"]`, a list of strings.

        Raises:
            ValueError: If the batch has no text.
        """
        if "text" not in batch:
            raise ValueError(f"a text backbone needs samples with a text; this batch holds {', '.join(batch)}")
        words: list[int] = []
        offsets: list[int] = []
        for text in batch["text"]:
            offsets.append(len(words))
            buckets = self.embed.num_embeddings - 1
            words += [1 + zlib.crc32(word.encode()) % buckets for word in WORD.findall(text.lower())] or [0]
        device = self.embed.weight.device
        return Stemmed(self.embed(torch.tensor(words, device=device), torch.tensor(offsets, device=device)))


class VectorTrunk(Trunk):
    """A perceptron over vectors.

    Args:
        width: Length of the vectors that come in.
        dim: Length of the features.
        dropout: Probability of dropping a unit, a fraction.
    """

    def __init__(self, width: int, dim: int = 128, dropout: float = 0.1) -> None:
        super().__init__()
        self.dim, self.channels, self.strides = dim, [], []
        self.net = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, stemmed: Stemmed) -> Features:
        """Return features `(B, dim)` without maps."""
        return Features(self.net(stemmed.values))


def bag(
    buckets: Annotated[int, AtLeast(2)] = 8192,
    width: Annotated[int, AtLeast(1)] = 64,
    dim: Annotated[int, AtLeast(1)] = 128,
) -> Backbone:
    """Build the text encoder.

    Args:
        buckets: Number of word embeddings.
        width: Length of an embedding.
        dim: Length of the features.
    """
    return Backbone(BagStem(buckets, width), VectorTrunk(width, dim))
