"""Texts with a label each, in a table."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from datamodules.base import InMemory
from datamodules.published import Part, PublishedData, check_share
from tl_modules.tasks import Task


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
        labels: What is in the labels' column by label name, such as `{"ham": "ham", "spam": "spam"}`; None for the
            values that occur, in alphabetical order.
        positive: Of two labels, the name whose F1 is reported too.
        unusable: The largest share of rows that is left out for an empty text, a fraction.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        role: `source` or `target`; of no effect here.
        train_size: Training samples, each class in proportion; None for all.
        val_size: Validation samples; None for a fifth, at most 1,000 and at most `train_size`.
        seed: Root of the splits.
        batch_size: Of its own loaders.
        num_workers: Of its own loaders.

    Raises:
        ValueError: If the file is missing or is no such table.
    """

    def __init__(
        self,
        root: str,
        text: str | int = "text",
        label: str | int = "label",
        separator: str = ",",
        header: bool = True,
        quotes: bool = True,
        encoding: str = "utf-8",
        labels: Mapping[str, str] | None = None,
        positive: str | None = None,
        unusable: float = 0.01,
        task: str = "texts",
        domain: str = "texts",
        role: str = "target",
        train_size: int | None = None,
        val_size: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        if not Path(root).is_file():
            raise ValueError(f"root={root}: must be a file that exists")
        self.root = Path(root)
        quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        columns = self._columns(text, label, separator.replace("\\t", "\t"), header, quoting, encoding)
        given = dict(labels or {value: value for value in sorted({value for _, value, _ in columns})})
        names = list(dict.fromkeys(given.values()))
        self.rows: list[tuple[str, str, int]] = []
        wrong = []
        for content, value, place in columns:
            if value not in given:
                raise ValueError(f"root={root}: row {place} has the label {value!r}; labels= names {', '.join(given)}")
            if content.strip():
                self.rows.append((f"{self.root.name}:{place}", content, names.index(given[value])))
            else:
                wrong.append(f"row {place} has no text")
        check_share(f"root={root}", wrong, len(columns), unusable)
        made = Task(task, "classification", tuple(names), domain, positive=positive)
        super().__init__(made, train_size, val_size, seed, batch_size, num_workers)

    def _columns(
        self, text: str | int, label: str | int, separator: str, header: bool, quoting: Any, encoding: str
    ) -> list[tuple[str, str, int]]:
        """Return text, label and line of each row."""
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        try:
            with open(self.root, newline="", encoding=encoding) as file:
                lines = list(csv.reader(file, delimiter=separator, quoting=quoting))
        except UnicodeDecodeError as error:
            raise ValueError(f"root={self.root}: is not in {encoding} (byte {error.start}); set encoding=") from error
        except LookupError as error:
            raise ValueError(f"encoding={encoding}: is unknown") from error
        except csv.Error as error:
            raise ValueError(f"root={self.root}: cannot be read as a table ({error})") from error
        if len(lines) <= header:
            raise ValueError(f"root={self.root}: has no rows")
        names: list[Any] = lines[0] if header else list(range(len(lines[0])))
        missing = [column for column in (text, label) if column not in names]
        if missing:
            raise ValueError(f"root={self.root}: has no column {missing[0]}; it has {', '.join(map(str, names))}")
        places = names.index(text), names.index(label)
        rows = [(line, place) for place, line in enumerate(lines[header:], 1 + header) if line]
        short = [place for line, place in rows if len(line) <= max(places)]
        if short:
            raise ValueError(f"root={self.root}: line {short[0]} has too few columns for {text} and {label}")
        return [(line[places[0]], line[places[1]], place) for line, place in rows]

    def published(self) -> dict[str, Part]:
        """Return all rows as one split."""
        ids, texts, labels = ([row[i] for row in self.rows] for i in range(3))
        return {"train": Part(ids, labels, texts)}  # type: ignore[arg-type]

    def dataset_of(self, part: Part, rows: Sequence[int]) -> InMemory:
        """Return the samples of some rows."""
        labels = torch.tensor([part.strata[row] for row in rows])
        ids, texts = ([values[row] for row in rows] for values in (part.ids, part.content))
        return InMemory({"id": ids, "text": texts, "label": labels})
