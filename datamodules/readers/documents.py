"""What the datasets of documents share: samples with a picture and a text, either of which may be missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from datamodules.base import InMemory
from tl_modules.seeding import generator
from tl_modules.task import INPUTS


def hidden(dataset: InMemory, share: float, address: Sequence[object]) -> InMemory:
    """Return documents of which a share lost one of its inputs, any with the same chance.

    Args:
        dataset: The documents.
        share: The share, a fraction; a document with one input keeps it.
        address: Of the choice, for `seeding.generator`.
    """
    count, inputs = len(dataset), [key for key in INPUTS if key in dataset.fields]
    there = torch.stack([torch.as_tensor(dataset.present.get(key, [True] * count)) for key in inputs], 1)
    noise = generator(*address)
    order = torch.randperm(count, generator=noise)[: round(share * count)]
    which = torch.randint(len(inputs), (len(order),), generator=noise)
    several = there[order].sum(1) == len(INPUTS)
    there[order[several], which[several]] = False
    return InMemory(dataset.fields, {key: there[:, column].tolist() for column, key in enumerate(inputs)})


def check_documents(inputs: Sequence[str], missing: Mapping[str, float]) -> None:
    """Check the options that datasets of documents share.

    Args:
        inputs: The inputs that are kept.
        missing: Share of documents that lose an input, by split.

    Raises:
        ValueError: If an input or a split is unknown, or a share out of range.
    """
    if not inputs or set(inputs) - set(INPUTS) or len(set(inputs)) < len(inputs):
        raise ValueError(f"inputs={list(inputs)}: must be some of {', '.join(INPUTS)}, each once")
    for split, share in missing.items():
        if split not in ("train", "val", "test"):
            raise ValueError(f"missing.{split}={share}: splits are train, val, test")
        if not 0 <= share <= 1:
            raise ValueError(f"missing.{split}={share}: must be from 0 to 1")
