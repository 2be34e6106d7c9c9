"""A source without data of its own: the second input of the target's samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SecondInput:
    """What `cell=weight_sharing` learns beside the target's first input, with `backbone=document`.

    Args:
        task: The target's task.
        domain: A name for where the second input comes from.
    """

    task: str
    domain: str
