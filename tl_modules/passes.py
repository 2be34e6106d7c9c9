"""Which batches go through which parts in one step: what shares a trunk goes through it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from tl_modules.backbones import Stemmed
from tl_modules.batches import Batch
from tl_modules.features import Features
from tl_modules.parts import Parts

Unit = tuple[str, str]


def inputs_of(stem: nn.Module) -> tuple[str, ...]:
    """Return the inputs that a stem reads where it reads several kinds; empty for others."""
    return tuple(getattr(stem, "inputs", ()))


def each_alone(parts: Parts, batches: Mapping[str, Batch]) -> Iterator[tuple[str, dict[str, Batch]]]:
    """Yield the inputs that the stems read beside others, each with the batches as they are without the others.

    Args:
        parts: The parts.
        batches: Batch by the roles it serves.
    """
    read = {name for stem in parts.stem.values() for name in inputs_of(stem)}
    there = [name for name in sorted(read) if any(name in batch for batch in batches.values())]
    for name in there if len(there) > 1 else ():
        others = [other for other in read if other != name]
        dropped = {*others, *(f"{other}_rows" for other in others)}
        alone = {key: {k: v for k, v in b.items() if k not in dropped} for key, b in batches.items() if name in b}
        yield name, alone


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
    for evaluation. Where the stems' outputs differ in shape, each takes a pass of its own. A batch that holds its
    features already takes none.

    Args:
        parts: The parts.
        batches: Batch by the roles it serves.
        units: A group of `by_trunk`.
    """
    stemmed: dict[tuple[str, str], Stemmed] = {}
    given = {(key, role): batches[key]["features"] for key, role in units if "features" in batches[key]}
    if given:
        return given
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
