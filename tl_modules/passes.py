"""Which batches go through which parts in one step: what shares a trunk goes through it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from tl_modules.backbones import Stemmed
from tl_modules.batches import Batch
from tl_modules.features import Features
from tl_modules.parts import Parts

Unit = tuple[str, str]


def by_trunk(parts: Parts, batches: Mapping[str, Batch]) -> list[list[Unit]]:
    """Return pairs of batch key and role, grouped by the trunk they go through.

    Args:
        parts: The parts.
        batches: Batch by the roles it serves; a merged batch counts as the target's.
    """
    groups: dict[str, list[Unit]] = {}
    for key, batch in batches.items():
        for role in ["target"] if "role" in batch else key.split("+"):
            groups.setdefault(parts.wires[role][1], []).append((key, role))
    return list(groups.values())


def features_of(parts: Parts, batches: Mapping[str, Batch], units: Sequence[Unit]) -> dict[Unit, Features]:
    """Return the features of a group, from one pass of its trunk.

    One pass saves time, and BatchNorm normalises in training by the same mixture of domains whose statistics it keeps
    for evaluation. Where the stems' outputs differ in shape, each takes a pass of its own.

    Args:
        parts: The parts.
        batches: Batch by the roles it serves.
        units: A group of `by_trunk`.
    """
    stemmed: dict[tuple[str, str], Stemmed] = {}
    for key, role in units:
        stem = parts.wires[role][0]
        if (key, stem) not in stemmed:
            stemmed[key, stem] = parts.of(role, "stem")(batches[key])
    trunk, outputs = parts.of(units[0][1], "trunk"), list(stemmed.values())
    if len({(one.values.shape[1:], one.size) for one in outputs}) == 1 and len(outputs) > 1:
        whole = trunk(Stemmed(torch.cat([one.values for one in outputs]), outputs[0].size))
        found = dict(zip(stemmed, whole.split([len(one.values) for one in outputs]), strict=True))
    else:
        found = {key: trunk(one) for key, one in stemmed.items()}
    return {(key, role): found[key, parts.wires[role][0]] for key, role in units}
