"""Building a cell's parts from its wiring; everything else reads the same table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from torch import nn

from tl_modules.backbones import OwnTrunk, build_backbone
from tl_modules.backbones.base import Classifier
from tl_modules.heads import Head, build_head
from tl_modules.heads.rows import take_rows
from tl_modules.normalisation import Normalisation, layers_of
from tl_modules.seeding import seeded
from tl_modules.stages import PART_KINDS
from tl_modules.task import Task
from tl_modules.weights.transfer import Report

Wiring = dict[str, tuple[str, str, str]]


class Parts(nn.Module):
    """The stems, trunks and heads that a wiring names, each built once under a seed of its own name.

    Args:
        wires: Stem, trunk and head by role; equal names are one part.
        tasks: Task by role. A head that several roles go through has the union of their labels.
        backbones: Backbone by role, for `build_backbone`.
        seed: Root of the initial weights.
        make_head: What builds a head, called as `heads.build_head` is.
        normalisation: Whose running statistics a shared part normalises by, see `normalisation.Normalisation`.

    Attributes:
        report: What became of the tensors of the backbones whose weights were loaded.

    Raises:
        ValueError: If roles of different kinds share a head, or a stem per domain is asked of what is all trunk.
    """

    def __init__(
        self,
        wires: Wiring,
        tasks: Mapping[str, Task],
        backbones: Mapping[str, Any],
        seed: int,
        make_head: Callable[..., Head] = build_head,
        normalisation: str = "auto",
    ) -> None:
        super().__init__()
        self.wires, self.report = wires, Report()
        self.stem, self.trunk, self.head = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        brought: dict[str, Classifier | None] = {}
        for role, (stem, trunk, head) in wires.items():
            for kind, name, parts in (("stem", stem, self.stem), ("trunk", trunk, self.trunk)):
                if name not in parts:
                    channels = max(tasks[user].channels for user in self.users(kind, name))
                    with seeded(seed, "init", kind, name):
                        built = build_backbone(backbones[role], channels)
                    parts[name] = getattr(built, kind)
                    brought[trunk] = built.classifier
                    self.report.add(built.report.of(f"{kind}."), f"{name}: ")
            body: Any = self.trunk[trunk]
            if head not in self.head:
                users = [tasks[user] for user in self.users("head", head)]
                kinds = sorted({task.kind for task in users})
                if len(kinds) > 1:
                    raise ValueError(f"source and target share a head, but their kinds differ: {', '.join(kinds)}")
                labels = list(dict.fromkeys(name for task in users for name in task.labels))
                with seeded(seed, "init", "head", head):
                    brings = {"made": body.heads[kinds[0]]} if kinds[0] in getattr(body, "heads", {}) else {}
                    made = make_head(tasks[role], body.dim, body.channels, body.strides, labels, **brings)
                known = brought[trunk]
                if known is not None and known.kind == getattr(made, "kind", None):
                    taken = take_rows(made, known.state, known.labels, known.folded, known.whole)
                    used = [f"{trunk}: {key}" for key in known.given] if taken.loaded or taken.by_name else []
                    self.report.unused = [key for key in self.report.unused if key not in used]
                    self.report.add(taken, f"{head}: head.")
                self.head[head] = made
            if isinstance(body, OwnTrunk) and len(self.stem) > len(self.trunk):
                raise ValueError(
                    f"backbone={type(body.net).__name__}: this cell needs a stem per domain, and a module of one's own "
                    "is all trunk; give a tl_modules.backbones.Backbone(stem, trunk)"
                )
        self.fixed = [name for name, parameter in self.named_parameters() if not parameter.requires_grad]
        named = list(self.named())
        self.normalisation = Normalisation(normalisation, named, {(k, n): self.users(k, n) for k, n, _ in named})

    def hold_fixed(self) -> None:
        """Freeze again what was frozen in a module of one's own when it was given."""
        for name in self.fixed:
            self.get_parameter(name).requires_grad_(False)

    def users(self, kind: str, name: str) -> list[str]:
        """Return the roles that go through a part."""
        return [role for role, names in self.wires.items() if names[PART_KINDS.index(kind)] == name]

    @property
    def apart(self) -> bool:
        """Whether the roles share no part."""
        return all(len(getattr(self, kind)) == len(self.wires) for kind in PART_KINDS)

    def of(self, role: str, kind: str) -> nn.Module:
        """Return the part of a kind that a role goes through."""
        part: nn.Module = getattr(self, kind)[self.wires[role][PART_KINDS.index(kind)]]
        return part

    def path(self, role: str, kind: str) -> str:
        """Return kind and name of the part of a kind that a role goes through, as `trunk.shared`."""
        return f"{kind}.{self.wires[role][PART_KINDS.index(kind)]}"

    def passing(self, kind: str, *roles: str) -> AbstractContextManager[None]:
        """Return the context of a pass of some roles' samples through their part of a kind."""
        return self.normalisation.passing(self.path(roles[0], kind), self.of(roles[0], kind), roles)

    def joins(self, kind: str, roles: Collection[str]) -> bool:
        """Tell whether each part of a kind may take what roles share it in one pass."""
        users = {self.path(role, kind): self.of(role, kind) for role in roles}
        return all(self.normalisation.joins(path, part, roles) for path, part in users.items())

    @contextmanager
    def as_role(self, role: str) -> Iterator[None]:
        """Let the layers of a role's parts hold its running statistics for a while."""
        with ExitStack() as stack:
            for kind in PART_KINDS:
                stack.enter_context(self.normalisation.as_role(self.path(role, kind), self.of(role, kind), role))
            yield

    def with_statistics(self, role: str) -> list[nn.Module]:
        """Return the layers of a role's parts that keep running statistics."""
        return [layer for kind in PART_KINDS for layer in layers_of(kind, self.of(role, kind)).values()]

    def start(self, role: str, other: str, *kinds: str) -> None:
        """Let a role's running statistics of the parts that it shares with another start as a copy of the other's."""
        for kind in kinds or PART_KINDS:
            self.normalisation.start(self.path(role, kind), self.of(role, kind), role, other)

    def named(self) -> Iterator[tuple[str, str, nn.Module]]:
        """Yield kind, name and part of all parts."""
        for kind in PART_KINDS:
            for name, part in getattr(self, kind).items():
                yield kind, name, part

    def through(self, roles: Iterable[str]) -> set[tuple[str, str]]:
        """Return kind and name of the parts that some roles go through."""
        return {pair for role in roles for pair in zip(PART_KINDS, self.wires[role], strict=True)}

    def islands(self) -> list[tuple[tuple[str, ...], list[nn.Module]]]:
        """Return each set of roles that share a part, with its parts."""
        sets: list[tuple[tuple[str, ...], set[tuple[str, str]]]] = []
        for role in self.wires:
            roles: tuple[str, ...] = (role,)
            mine = self.through([role])
            for other in [other for other in sets if other[1] & mine]:
                roles, mine = (*other[0], *roles), mine | other[1]
                sets.remove(other)
            sets.append((roles, mine))
        return [(roles, [part for kind, name, part in self.named() if (kind, name) in some]) for roles, some in sets]
