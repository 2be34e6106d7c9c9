"""The `dataset_merging` cell."""

from __future__ import annotations

from typing import ClassVar

from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, at_once


class DatasetMerging(TransferModule):
    """Learn both datasets as one: same task, same domain, at once.

    One stem, one trunk and one head over the union of the label names; a sample is judged only on the names that its
    own dataset annotates.

    Example:
        >>> one = {"name": "animals", "kind": "classification", "labels": ["cat", "dog"]}
        >>> module = DatasetMerging(target=one, source={**one, "labels": ["dog", "fox"]})
        >>> sorted(module.head("target").labels)
        ['cat', 'dog', 'fox']
    """

    needs_source: ClassVar[bool] = True
    merged: ClassVar[bool] = True

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("shared", "shared", "shared"), "target": ("shared", "shared", "shared")}

    def stages(self) -> list[Stage]:
        """Return the one stage that learns both.

        Raises:
            ValueError: If each role is to be normalised by itself, where one batch holds both.
        """
        if self.parts.normalisation.option == "per_role":
            raise ValueError(
                "normalisation='per_role': in DatasetMerging one batch holds both roles; allowed: auto, shared"
            )
        return at_once()
