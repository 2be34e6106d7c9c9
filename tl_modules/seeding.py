"""Addressed randomness: what is random is a function of its address, never of what was drawn before."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_of(*address: object) -> int:
    """Return the seed that belongs to an address.

    Args:
        address: Plain values such as `(seed, "init", "trunk", "target")`; their `repr` is hashed.

    Returns:
        An integer in `[0, 2**63)`, the same on every machine and in every process.
    """
    digest = hashlib.blake2b(repr(address).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*address: object, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a random generator that belongs to an address, on `device`."""
    return torch.Generator(device=device).manual_seed(seed_of(*address))


@contextmanager
def seeded(*address: object) -> Iterator[None]:
    """Run a block under an address's seed and leave the CPU's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(*address))
        yield


def seed_all(seed: int) -> None:
    """Seed everything that a dataset's own random transforms may draw from."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run a block and leave all random states of the CPU as they were."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
