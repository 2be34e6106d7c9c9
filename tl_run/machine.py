"""What a run's numbers depend on beside its options: processor, threads and arithmetic."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")


def described(device: torch.device, processes: int, precision: str, channels_last: bool) -> dict[str, Any]:
    """Return what tells whether two runs of one recipe can give the same numbers; nobody's name is in it.

    Args:
        device: Where the module was trained.
        processes: How many trained it.
        precision: Lightning's precision.
        channels_last: Whether images lay channels last.
    """
    gpu = device.type == "cuda"
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "accelerator": torch.cuda.get_device_name(device) if gpu else device.type,
        "processes": processes,
        "precision": precision,
        "channels_last": channels_last,
        "float32_matmul": torch.get_float32_matmul_precision(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if gpu else None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    lines = CPUINFO.read_text(errors="replace").splitlines() if CPUINFO.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
