"""Which arithmetic a machine gains from."""

from __future__ import annotations

import torch


def resolve(precision: str, accelerator: str = "auto") -> tuple[str, bool]:
    """Return Lightning's precision and whether images go channels-last.

    `auto` is bfloat16 autocast with channels-last where the processor has the instructions (CUDA with bfloat16, or a
    CPU with `avx512_bf16` or AMX: about twice as fast there), and float32 elsewhere. float16 is not offered: its loss
    scale would couple the roles of a run.

    Args:
        precision: `auto`, `32` or `bf16`.
        accelerator: Lightning's accelerator, `auto`, `cpu` or `gpu`.

    Raises:
        ValueError: If the precision is unknown.
    """
    if precision not in ("auto", "32", "bf16"):
        raise ValueError(f"precision={precision!r} is unknown; allowed: auto, 32, bf16")
    if precision == "auto":
        gpu = accelerator != "cpu" and torch.cuda.is_available()
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else _cpu_has_bf16()
        precision = "bf16" if fast else "32"
    return ("bf16-mixed", True) if precision == "bf16" else ("32-true", False)


def _cpu_has_bf16() -> bool:
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in tests)
