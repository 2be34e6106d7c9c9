"""Any text encoder of Hugging Face's `transformers`, by name or from a local folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from tl_modules.backbones.base import Backbone, Stemmed, Trunk
from tl_modules.backbones.transformer import Pieces
from tl_modules.features import Features
from tl_modules.ranges import AtLeast, NotEmpty

HINT = 'transformers is not installed; pip install -e ".[text]"'


class EmbeddingStem(nn.Module):
    """Cut texts into pieces and look up their embeddings, the encoder's first layer with weights.

    Args:
        tokenizer: The JSON of the encoder's tokenizer.
        embed: The encoder's embeddings.
        length: The most pieces of a text; the rest is left out.
        pad: The number of the piece that fills up shorter texts.
    """

    def __init__(self, tokenizer: str, embed: nn.Module, length: int, pad: int) -> None:
        super().__init__()
        self.pieces, self.embed = Pieces(tokenizer, length, pad), embed

    def forward(self, batch: Mapping[str, Any]) -> Stemmed:
        """Return `(B, L, width + 1)` for `batch["text"]`; the last column is 1 for pieces and 0 for filling."""
        ids, there = self.pieces(batch, next(self.embed.parameters()).device)
        values: Tensor = self.embed(ids)
        return Stemmed(torch.cat([values, there[..., None].to(values.dtype)], -1))


class EncoderTrunk(Trunk):
    """The encoder behind its embeddings, and the mean over the pieces.

    Args:
        net: The encoder, whose embeddings are left out.
        dim: Length of its vectors.
        embeddings: The name that the embeddings have in the whole encoder.
    """

    def __init__(self, net: nn.Module, dim: int, embeddings: str) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.net, self.dim, self.channels, self.strides = net, dim, [], []

    def forward(self, stemmed: Stemmed) -> Features:
        """Return features `(B, dim)` without maps."""
        values, there = stemmed.values[..., :-1], stemmed.values[..., -1:]
        encoded = self.net(inputs_embeds=values, attention_mask=there[..., 0].long()).last_hidden_state
        return Features((encoded * there).sum(1) / there.sum(1))


def described(model: str) -> dict[str, str]:
    """Return the configuration and the tokenizer of an encoder as JSON, so that a checkpoint can hold them.

    Args:
        model: Its name on the hub, or its folder. Code that comes with it is not run.

    Raises:
        ValueError: If the library is missing, there is no such encoder, or it has no fast tokenizer.
    """
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ImportError as error:
        raise ValueError(f"backbone=huggingface: {HINT}") from error
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ValueError(f"backbone.model={model}: {_short(error)}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(f"backbone.model={model}: its tokenizer is not one of the tokenizers library")
    plain = {**config.to_dict(), "pad_token_id": tokenizer.pad_token_id or config.pad_token_id or 0}
    return {"config": json.dumps(plain, default=str), "tokenizer": tokenizer.backend_tokenizer.to_str()}


def huggingface(
    model: Annotated[str, NotEmpty()] | None = None,
    weights: str | None = None,
    config: str | None = None,
    tokenizer: str | None = None,
    length: Annotated[int, AtLeast(1)] = 128,
) -> Backbone:
    """Build an encoder of Hugging Face's.

    Args:
        model: Its name on the hub, such as `distilbert-base-uncased`, or its folder.
        weights: `DEFAULT` for those of `model`; None for random ones.
        config: The encoder's configuration as JSON; read from `model` where it is None.
        tokenizer: The JSON of its tokenizer, likewise.
        length: The most pieces of a text.

    Raises:
        ValueError: If the library is missing, or the encoder cannot be had.
    """
    if config is None or tokenizer is None:
        if model is None:
            raise ValueError("backbone.model=None: huggingface needs the name or the folder of an encoder")
        made = described(model)
        config, tokenizer = config or made["config"], tokenizer or made["tokenizer"]
    try:
        from transformers import AutoConfig, AutoModel
        from transformers.utils.logging import disable_progress_bar
    except ImportError as error:
        raise ValueError(f"backbone=huggingface: {HINT}") from error
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading; that of downloading stays
    plain = json.loads(config)
    try:
        settings = AutoConfig.for_model(**plain)
        if weights is None:
            net = AutoModel.from_config(settings, trust_remote_code=False)  # type: ignore[no-untyped-call]
        else:
            net = AutoModel.from_pretrained(str(model), config=settings, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"backbone.model={model}: {_short(error)}") from error
    net = net.get_encoder() if getattr(settings, "is_encoder_decoder", False) else net
    net = net.float()
    embed = net.get_input_embeddings()
    name = next(name for name, module in net.named_modules() if module is embed)
    net.set_input_embeddings(nn.Identity())
    most = getattr(settings, "max_position_embeddings", None) or length
    stem = EmbeddingStem(tokenizer, embed, min(length, most), int(plain["pad_token_id"]))
    return Backbone(stem, EncoderTrunk(net, settings.hidden_size, name))


def _short(error: Exception) -> str:
    """Return the first sentence of an error."""
    return " ".join(str(error).split()).partition(". ")[0][:200]
