"""Plain-data types that both packages share: what a role learns and where its inputs come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tl_modules.discovery import kind_of, kinds, plain_spec

INPUTS = ("image", "text")
KINDS = tuple(kinds())
ROLES = ("source", "target")
UNION = "union"  # of two merged datasets: both roles, with the names of both
ABSENT = ("unknown", "negative")
IGNORE = 255  # in a label map: nothing to judge
IGNORED, CROWD = 1, 2  # in a box's flag: not counted; not counted, and so large that it holds many objects


def box_fields(key: str) -> tuple[str, str]:
    """Return the fields beside a field of boxes: their labels, and their flags where some are not counted.

    A sample's flags are int64 `(N,)`, absent where all boxes count. 1: neither the box nor a detection that matches it
    counts, as Pascal VOC has its difficult objects. 2: likewise a crowd, as COCO has it: any detection that lies in it
    matches, by the share of the detection that is inside.

    Args:
        key: The boxes' field.
    """
    return ("box_labels", "box_ignore") if key == "boxes" else (f"{key}_labels", f"{key}_ignore")


@dataclass(frozen=True)
class Task:
    """One role's task and domain.

    Two roles have the same task when `name` and `kind` agree, whatever their labels; they have the same domain when
    `domain` agrees. Both are the user's judgement.

    Args:
        name: The task's name, for example `digits`.
        kind: One of `KINDS`, or a `Head` of one's own, or its import path, whose module is imported; it decides the
            head, the loss and the metrics.
        labels: The ordered names of the label space; empty where the kind has none, as regression.
        domain: Where the inputs come from.
        key: The sample's field that holds the target; by default the kind's own (for a new kind, its name). Two tasks
            of one kind on the same samples need two keys.
        positive: For two-label classification, the name whose F1 is reported.
        channels: Channels of the inputs' images.
        absent: Where two datasets are merged, what is true of the names that only the other one has: `unknown` (they
            are not judged on this one's samples) or `negative` (all names were looked for, so they are not there).

    Raises:
        ValueError: If the kind is unknown, a label stands twice, or a field does not fit the kind.

    Example:
        >>> Task("cars", "detection", ("car", "bus"), domain="street").key
        'boxes'
    """

    name: str
    kind: str
    labels: tuple[str, ...] = ()
    domain: str = ""
    key: str = ""
    positive: str | None = None
    channels: int = 3
    absent: str = "unknown"

    def __post_init__(self) -> None:
        """Check the fields and fill in the default key."""
        object.__setattr__(self, "kind", plain_spec(self.kind, "kind"))
        kind = kind_of(self.kind)
        if kind is None:
            own = "the import path of a Head whose module is imported"
            raise ValueError(
                f"kind={self.kind!r} of task {self.name!r} is unknown; allowed: {', '.join(KINDS)}, or {own}"
            )
        if isinstance(self.labels, str):
            raise ValueError(f"labels={self.labels!r} of task {self.name!r} must be a list of names")
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
        twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
        if twice:
            raise ValueError(f"labels of task {self.name!r} name {', '.join(twice)} more than once")
        if not kind.has_labels and self.labels:
            raise ValueError(f"labels={list(self.labels)} of task {self.name!r}: a {self.kind} task has none")
        if kind.has_labels and not self.labels:
            raise ValueError(f"labels of task {self.name!r} are empty; a {self.kind} task needs at least one name")
        if self.positive is not None and (len(self.labels) != 2 or self.positive not in self.labels):
            raise ValueError(
                f"positive={self.positive!r} of task {self.name!r} must be one of exactly two labels; "
                f"its labels: {', '.join(self.labels)}"
            )
        if self.channels < 1:
            raise ValueError(f"channels={self.channels} of task {self.name!r} must be at least 1")
        if self.absent not in ABSENT:
            raise ValueError(f"absent={self.absent!r} of task {self.name!r}: allowed: {', '.join(ABSENT)}")
        if self.absent != ABSENT[0] and not kind.has_labels:
            raise ValueError(f"absent={self.absent} of task {self.name!r}: a {self.kind} task has no names")
        object.__setattr__(self, "key", self.key or kind.field)

    @classmethod
    def of(cls, value: Task | Mapping[str, Any]) -> Task:
        """Return `value` as a Task.

        Args:
            value: A Task, or a mapping with its fields.

        Raises:
            ValueError: If a field is unknown or missing.
        """
        if isinstance(value, Task):
            return value
        fields = tuple(cls.__dataclass_fields__)
        unknown = sorted(set(value) - set(fields))
        if unknown or "name" not in value or "kind" not in value:
            found = f"unknown {', '.join(unknown)}" if unknown else "name and kind are required"
            raise ValueError(f"task {dict(value)!r}: {found}; allowed: {', '.join(fields)}")
        return cls(**value)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that a checkpoint can hold."""
        return {**asdict(self), "labels": list(self.labels)}

    def same_task(self, other: Task) -> bool:
        """Tell whether both are the same task: same name and kind."""
        return (self.name, self.kind) == (other.name, other.kind)

    def same_labels(self, other: Task) -> bool:
        """Tell whether both have the same set of names, in any order."""
        return self.same_task(other) and set(self.labels) == set(other.labels)
