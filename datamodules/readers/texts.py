"""Texts with a label each, in a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from typing_extensions import Unpack

from datamodules.base import InMemory
from datamodules.label_map import Called
from datamodules.readers.parts import Part
from datamodules.readers.published import PublishedData, ReaderOptions
from datamodules.readers.tables import SEPARATOR, labelled_rows, named_labels, read_columns
from tl_modules.ranges import Matches, NotEmpty
from tl_modules.task import Task


class TextTable(PublishedData):
    """A CSV or TSV file with a column of texts and one of labels.

    Args:
        root: The file.
        text: The texts' column: its name, or without a header its number from 0.
        label: The labels' column.
        separator: What stands between columns; a backslash and a t stand for a tab.
        header: Whether the first line names the columns.
        quotes: Whether quotes hold a field together.
        encoding: Of the file.
        labels: Label name by what is in the column, such as `{"0": "ham", "1": "spam"}`; several values may have one,
            and None drops one; values that are not in it keep their own, in alphabetical order after the others.
        positive: Of two labels, the name whose F1 is reported too.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        train_size: Training samples, each class in proportion; None for all.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the file is missing or is no such table.
    """

    unit = "rows"
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        text: str | int = "text",
        label: str | int = "label",
        separator: Annotated[str, Matches(SEPARATOR)] = ",",
        header: bool = True,
        quotes: bool = True,
        encoding: Annotated[str, NotEmpty()] = "utf-8",
        labels: Called | None = None,
        positive: str | None = None,
        task: str = "texts",
        domain: str = "texts",
        **shared: Unpack[ReaderOptions],
    ) -> None:
        self.root = Path(root)
        self.read = partial(
            read_columns, self.root, separator=separator, header=header, quotes=quotes, encoding=encoding
        )
        columns = self.read((text, label))
        names, indices = named_labels(self.root, [(row[1], place) for row, place in columns], labels)
        self.rows: list[tuple[str, str, int]] = []
        for ((content, _), place), index in zip(*labelled_rows(self.findings, columns, indices, labels), strict=True):
            if content.strip():
                self.rows.append((f"{self.root.name}:{place}", content, index))
            else:
                self.findings.add("empty", "rows", f"row {place} has no text")
        made = Task(task, "classification", tuple(names), domain, positive=positive)
        super().__init__(made, **shared)

    def column(self, name: str | int) -> dict[str, str]:
        """Return what is in a column, by id."""
        return {f"{self.root.name}:{place}": row[0] for row, place in self.read((name,))}

    def published(self) -> dict[str, Part]:
        """Return all rows as one split."""
        ids, texts, labels = ([row[i] for row in self.rows] for i in range(3))
        return {"train": Part(ids, labels, texts)}  # type: ignore[arg-type]

    def dataset_of(self, part: Part, rows: Sequence[int]) -> InMemory:
        """Return the samples of some rows."""
        labels = torch.tensor([part.strata[row] for row in rows])
        ids, texts = ([values[row] for row in rows] for values in (part.ids, part.content))
        return InMemory({"id": ids, "text": texts, "label": labels})
