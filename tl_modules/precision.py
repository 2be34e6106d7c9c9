"""What is computed in float32 whatever the precision: geometry, losses, predictions and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


def full_precision(device: torch.device | str) -> torch.autocast:
    """Return a context without autocast, for a function that is decorated or a block.

    Args:
        device: Where the block computes.
    """
    return torch.autocast(torch.device(device).type, enabled=False)


def as_float32(values: Any) -> Any:
    """Return outputs whose half-precision tensors are float32; tuples, lists and mappings keep their form.

    Args:
        values: What a head's `forward` returns.
    """
    if isinstance(values, Tensor):
        return values.float() if values.dtype in HALF else values
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*(as_float32(value) for value in values))
    if isinstance(values, (list, tuple)):
        return type(values)(as_float32(value) for value in values)
    if isinstance(values, Mapping):
        return {key: as_float32(value) for key, value in values.items()}
    return values
