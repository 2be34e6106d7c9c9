"""A small transformer encoder for texts, over the pieces of a tokenizer that was trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from tl_modules.backbones.base import Backbone, Stemmed, Trunk
from tl_modules.features import Features
from tl_modules.ranges import AtLeast, Below

PAD = "[PAD]"


class Pieces:
    """Cut texts into the pieces of a tokenizer of the `tokenizers` library.

    Args:
        tokenizer: Its JSON.
        length: The most pieces of a text; the rest is left out.
        pad: The piece that shorter texts are filled up with: its name, or its number.

    Raises:
        ValueError: If the library is missing, or the tokenizer has no such piece.
    """

    def __init__(self, tokenizer: str, length: int, pad: str | int = PAD) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            said = 'the tokenizers library is not installed; pip install -e ".[text]"'
            raise ValueError(f"backbone=transformer: {said}") from error
        self.made_from = (tokenizer, length, pad)
        self.tokenizer = Tokenizer.from_str(tokenizer)
        number = self.tokenizer.token_to_id(pad) if isinstance(pad, str) else pad
        name = pad if isinstance(pad, str) else self.tokenizer.id_to_token(pad)
        if number is None or name is None:
            raise ValueError(f"backbone.tokenizer: has no piece {pad}")
        self.pad: int = number
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(pad_id=number, pad_token=name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Pieces:
        """Make the tokenizer, which cannot be copied, anew."""
        return Pieces(*self.made_from)

    def __len__(self) -> int:
        """Return the number of pieces that there are."""
        count: int = self.tokenizer.get_vocab_size()
        return count

    def __call__(self, batch: Mapping[str, Any], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the pieces' numbers of `batch["text"]`, and 1 for pieces and 0 for filling, both `(B, L)`.

        Raises:
            ValueError: If the batch has no text.
        """
        if "text" not in batch:
            raise ValueError(f"a text backbone needs samples with a text; this batch holds {', '.join(batch)}")
        found = self.tokenizer.encode_batch([text or " " for text in batch["text"]])
        ids = torch.tensor([one.ids or [self.pad] for one in found], device=device)
        there = torch.tensor([one.attention_mask or [0] for one in found], device=device, dtype=torch.float32)
        there[:, 0] = 1  # an empty text is one piece of filling, so that means over pieces are defined
        return ids, there


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
        self.pieces = Pieces(tokenizer, length)
        self.embed = nn.Embedding(len(self.pieces), width, padding_idx=self.pieces.pad)
        self.place = nn.Embedding(length, width)
        for table in (self.embed, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `(B, L, width + 1)` for `batch["text"]`; the last column is 1 for pieces and 0 for padding."""
        ids, there = self.pieces(batch, self.embed.weight.device)
        values = self.embed(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
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
    width: Annotated[int, AtLeast(1)] = 128,
    layers: Annotated[int, AtLeast(1)] = 2,
    heads: Annotated[int, AtLeast(1)] = 4,
    length: Annotated[int, AtLeast(1)] = 128,
    dropout: Annotated[float, AtLeast(0), Below(1)] = 0.1,
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
