"""A small transformer encoder for texts, over the pieces of a tokenizer that was trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tl_modules.backbones.base import Backbone, Stemmed, Trunk
from tl_modules.features import Features

PAD = "[PAD]"


class PieceStem(nn.Module):
    """Cut texts into pieces and embed these and their places.

    The tokenizer travels in the checkpoint: its JSON is the backbone's option.

    Args:
        tokenizer: The JSON of a tokenizer of the `tokenizers` library that has the piece `[PAD]`.
        width: Length of an embedding.
        length: The most pieces of a text; the rest is left out.
    """

    def __init__(self, tokenizer: str, width: int, length: int) -> None:
        super().__init__()
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            said = 'the tokenizers library is not installed; pip install -e ".[text]"'
            raise ValueError(f"backbone=transformer: {said}") from error
        self.tokenizer = Tokenizer.from_str(tokenizer)
        pad = self.tokenizer.token_to_id(PAD)
        if pad is None:
            raise ValueError(f"backbone.tokenizer: has no piece {PAD}")
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(pad_id=pad, pad_token=PAD)
        self.embed = nn.Embedding(self.tokenizer.get_vocab_size(), width, padding_idx=pad)
        self.place = nn.Embedding(length, width)
        for table in (self.embed, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def __deepcopy__(self, memo: dict[int, Any]) -> PieceStem:
        """Copy the tensors; the tokenizer, which cannot be copied, is made anew from its JSON."""
        made = PieceStem(self.tokenizer.to_str(), self.embed.embedding_dim, self.place.num_embeddings)
        made.load_state_dict(self.state_dict())
        return made.train(self.training)

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `(B, L, width + 1)` for `batch["text"]`; the last column is 1 for pieces and 0 for padding.

        Raises:
            ValueError: If the batch has no text.
        """
        if "text" not in batch:
            raise ValueError(f"a text backbone needs samples with a text; this batch holds {', '.join(batch)}")
        pieces = self.tokenizer.encode_batch([text or " " for text in batch["text"]])
        device = self.embed.weight.device
        ids = torch.tensor([piece.ids or [self.embed.padding_idx] for piece in pieces], device=device)
        there = torch.tensor([piece.attention_mask or [0] for piece in pieces], device=device, dtype=torch.float32)
        there[:, 0] = 1  # an empty text is one padding piece, so that the mean below is defined
        values = self.embed(ids) + self.place(torch.arange(ids.shape[1], device=device))
        return Stemmed(torch.cat([values, there[..., None].to(values.dtype)], -1))


class TransformerTrunk(Trunk):
    """Encoder layers with the norm first (Xiong et al. 2020), and the mean over the pieces.

    Args:
        width: Length of an embedding and of the features.
        layers: Number of layers.
        heads: Attention heads of each.
        dropout: Probability of dropping a unit, a fraction.
    """

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dim, self.channels, self.strides = width, [], []
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.net = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, stemmed: Stemmed) -> Features:
        """Return features `(B, width)` without maps."""
        values, there = stemmed.values[..., :-1], stemmed.values[..., -1:]
        encoded: Tensor = self.net(values, src_key_padding_mask=there[..., 0] < 0.5)
        return Features((encoded * there).sum(1) / there.sum(1))


def transformer(
    tokenizer: str | None = None,
    width: int = 128,
    layers: int = 2,
    heads: int = 4,
    length: int = 128,
    dropout: float = 0.1,
) -> Backbone:
    """Build the encoder.

    Args:
        tokenizer: The JSON of a tokenizer, see `datamodules.tokenizing.train_tokenizer`; a run trains one on its
            training texts.
        width: Length of an embedding and of the features.
        layers: Number of encoder layers.
        heads: Attention heads of each.
        length: The most pieces of a text.
        dropout: Probability of dropping a unit, a fraction.

    Raises:
        ValueError: If there is no tokenizer, or `heads` does not divide `width`.
    """
    if tokenizer is None:
        raise ValueError("backbone.tokenizer=None: a transformer needs a tokenizer that was trained on its texts")
    if width % heads:
        raise ValueError(f"backbone.heads={heads}: must divide backbone.width={width}")
    return Backbone(PieceStem(tokenizer, width, length), TransformerTrunk(width, layers, heads, dropout))
