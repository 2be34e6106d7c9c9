"""Floating-point operations of products and convolutions, where torch's own counter has no formula or a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_backward_flop_count, sdpa_flop_count

Shape = Sequence[int]


def counting() -> FlopCounterMode:
    """Return what counts operations, quietly."""
    return FlopCounterMode(display=False, custom_mapping=FORMULAS)


def of_convolution_backward(
    gradient: Shape,
    inputs: Shape,
    weight: Shape,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """Return the operations of a convolution's backward pass: each of its two gradients takes what the forward did.

    torch's own formula takes the gradient of a grouped convolution's weight for that of a full one.

    Args:
        gradient: Shape of the output's gradient, `(B, O, H, W)`.
        inputs: Shape of the input, `(B, I, H', W')`.
        weight: Shape of the weight, `(O, I / groups, h, w)`.
        transposed: Whether it is a transposed convolution.
        wanted: Which gradients are computed: of input, weight and bias.
    """
    return sum(wanted[:2]) * int(conv_flop_count(list(inputs), list(weight), list(gradient), transposed=transposed))


def of_attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Return the operations of attention on the CPU, from shapes `(B, heads, length, width)`."""
    return int(sdpa_flop_count(query, key, value))


def of_attention_backward(gradient: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """Return the operations of its backward pass."""
    return int(sdpa_backward_flop_count(gradient, query, key, value))


def of_encoder_layer(inputs: Tensor, width: int, _heads: int, *more: Any, **_: Any) -> int:
    """Return the operations of a whole layer of a transformer's encoder, as torch fuses it in evaluation.

    Args:
        inputs: `(B, length, width)`, or nested where the lengths differ.
        width: Of a position's vector.
        more: The layer's tensors and options; the first of the feed-forward part's is its widening, `(hidden, width)`.
    """
    hidden = int(more[11].shape[0])
    return _of_self_attention(_lengths(inputs), width) + 4 * sum(_lengths(inputs)) * width * hidden


def of_multi_head(query: Tensor, _key: Any, _value: Any, width: int, *_: Any, **__: Any) -> int:
    """Return the operations of a self-attention with its projections, as torch fuses it in evaluation.

    Args:
        query: `(B, length, width)`, or nested where the lengths differ.
        width: Of a position's vector.
    """
    return _of_self_attention(_lengths(query), width)


def _of_self_attention(lengths: Sequence[int], width: int) -> int:
    """Return what four projections and the two products of attention take, for samples of some lengths."""
    return sum(8 * length * width * width + 4 * length * length * width for length in lengths)


def _lengths(samples: Tensor) -> list[int]:
    """Return each sample's length."""
    if samples.is_nested:
        return [int(size[0]) for size in samples._nested_tensor_size()]
    return [samples.shape[1]] * samples.shape[0]


for _raw in (of_encoder_layer, of_multi_head):
    _raw._get_raw = True  # type: ignore[union-attr]  # they are given tensors, not shapes

_ATEN = torch.ops.aten
FORMULAS: dict[Any, Any] = {
    _ATEN.convolution_backward: of_convolution_backward,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: of_attention,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: of_attention_backward,
    _ATEN._transformer_encoder_layer_fwd: of_encoder_layer,
    _ATEN._native_multi_head_attention: of_multi_head,
}
