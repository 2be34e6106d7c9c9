"""Which batches go through which parts in one step: at once where they may be normalised as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from tl_modules.backbones import Stemmed
from tl_modules.batch import Batch
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
    """Return the features of a group, from one pass of its trunk where that is the same or meant.

    One pass saves time, and in training BatchNorm normalises it as one mixture of domains, whose statistics are then
    every role's. Where the stems' outputs differ in shape, or each role is to be normalised by itself, each takes a
    pass of its own, which counts for its role alone (see `normalisation.Normalisation`). In evaluation each role is
    normalised by its own statistics, so that roles share a pass only where theirs are the same. A batch that holds its
    features already takes none.

    Args:
        parts: The parts.
        batches: Batch by the roles it serves.
        units: A group of `by_trunk`.

    Raises:
        ValueError: If each role is to be normalised by itself in a merged batch.
    """
    given = {(key, role): batches[key]["features"] for key, role in units if "features" in batches[key]}
    if given:
        return given
    serves = {(key, role): (role, *parts.wires) if "role" in batches[key] else (role,) for key, role in units}
    everyone = list(dict.fromkeys(role for roles in serves.values() for role in roles))
    joined = parts.joins("stem", everyone) and parts.joins("trunk", everyone)
    if not joined and any("role" in batches[key] for key, _ in units):
        raise ValueError("normalisation='per_role': a merged batch holds both roles; allowed with it: auto, shared")
    place = {(key, role): (key, parts.wires[role][0], "" if joined else role) for key, role in units}
    carries: dict[tuple[str, str, str], list[str]] = {}
    for unit in units:
        carries.setdefault(place[unit], []).extend(serves[unit])
    stemmed: dict[tuple[str, str, str], Stemmed] = {}
    for one, roles in carries.items():
        with parts.passing("stem", *roles):
            stemmed[one] = parts.of(roles[0], "stem")(batches[one[0]])
    trunk, outputs = parts.of(units[0][1], "trunk"), list(stemmed.values())
    if joined and len(outputs) > 1 and len({(one.values.shape[1:], one.size) for one in outputs}) == 1:
        with parts.passing("trunk", *everyone):
            whole = trunk(Stemmed(torch.cat([one.values for one in outputs]), outputs[0].size))
        found = dict(zip(stemmed, whole.split([len(one.values) for one in outputs]), strict=True))
    else:
        found = {}
        for one, roles in carries.items():
            with parts.passing("trunk", *roles):
                found[one] = trunk(stemmed[one])
    return {unit: found[place[unit]] for unit in units}
