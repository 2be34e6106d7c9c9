"""Scanned pages with their text, as a table of pages with a folder of pictures and one of texts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch.utils.data import Dataset
from typing_extensions import Unpack

from datamodules.base import InMemory, Rows
from datamodules.label_map import Called
from datamodules.readers.documents import check_documents, hidden
from datamodules.readers.examining import Reading
from datamodules.readers.images import IN_MEMORY
from datamodules.readers.parts import Part, Read, read_of
from datamodules.readers.published import PictureOptions, PublishedData
from datamodules.readers.resize import MOST_BITS, fitted
from datamodules.readers.sizes import Size, sides
from datamodules.readers.tables import labelled_rows, named_labels, read_columns
from datamodules.splits import Split
from tl_modules.ranges import AtLeast, AtMost, NotEmpty
from tl_modules.task import Task

CORNERS = 8  # numbers before the text in a line of OCR as ICDAR publishes it


class PageTable(PublishedData):
    """Pages with a class each, read as a picture and as a text; a page may lack either.

    A text file with the ending `.csv` has a line of text after the eight corner coordinates of its box, as in ICDAR
    2019's receipts (SROIE); any other is plain text. A split's pictures are read once into memory while they take less
    than 1 GiB there, else by the loaders' workers as they are needed.

    Args:
        root: The folder.
        table: A CSV file in it with a column of page names and one of labels.
        page: The column of page names.
        label: The labels' column.
        picture: A page's picture, where `{page}` stands for its name.
        text: A page's text, likewise.
        encoding: Of table and texts.
        labels: What the labels are called, by label, see `PublishedData.label_map`; None where all stay.
        classes: How many of the most frequent labels are kept; pages with another are left out. None for all.
        inputs: What is read of a page: `image`, `text` or both.
        missing: Share of pages, by split, of which one of several inputs is hidden.
        image_size: Pixels of a side, or height and width: the whole page is brought to it, with a border.
        channels: 1 for grey, 3 for colour.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        train_size: Training pages, each class in proportion; None for all.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the table or a column is missing, no page has a picture or text, or a file cannot be read.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        table: Annotated[str, NotEmpty()] = "index.csv",
        page: Annotated[str, NotEmpty()] = "id",
        label: Annotated[str, NotEmpty()] = "label",
        picture: Annotated[str, NotEmpty()] = "pictures/{page}.png",
        text: Annotated[str, NotEmpty()] = "texts/{page}.txt",
        encoding: Annotated[str, NotEmpty()] = "utf-8",
        labels: Called | None = None,
        classes: Annotated[int, AtLeast(2)] | None = None,
        inputs: Annotated[Sequence[Literal["image", "text"]], NotEmpty()] = ("image", "text"),
        missing: Mapping[Split, Annotated[float, AtLeast(0), AtMost(1)]] | None = None,
        image_size: Size = 128,
        channels: Literal[1, 3] = 1,
        task: str = "page-classes",
        domain: str = "pages",
        **shared: Unpack[PictureOptions],
    ) -> None:
        self.inputs, self.missing = list(inputs), dict(missing or {})
        check_documents(self.inputs, self.missing)
        self.root, self.image_size, self.encoding = Path(root), image_size, encoding
        self.page = page
        self.read = partial(read_columns, self.root / table, separator=",", header=True, quotes=True, encoding=encoding)
        columns = self.read((page, label))
        values = [(row[1], place) for row, place in columns]
        columns, _ = labelled_rows(self.findings, columns, named_labels(self.root / table, values, None)[1])
        frequent = [name for name, _ in Counter(row[1] for row, _ in columns).most_common(classes)]
        columns = [(row, place) for row, place in columns if row[1] in frequent]
        values = [(row[1], place) for row, place in columns]
        names, indices = named_labels(self.root / table, values, None)
        wanted = {key: pattern for key, pattern in (("image", picture), ("text", text)) if key in self.inputs}
        there = []
        for (row, place), index in zip(columns, indices, strict=True):
            files = [self.root / pattern.replace("{page}", row[0]) for pattern in wanted.values()]
            if any(file.is_file() for file in files):
                there.append((row[0], index or 0))
            else:
                lacking = " nor ".join(map(str, files))
                self.findings.add("missing", "rows", f"row {place} names the page {row[0]}, but there is no {lacking}")
        if not there and not columns:
            raise ValueError(f"root={root}: no row has a label")
        if not there:
            raise ValueError(f"root={root}: {self.findings.of('missing', 'rows')[0]}, and so for all others")
        self.pages, self.indices = [name for name, _ in there], [index for _, index in there]
        self.files = {
            key: [self.root / pattern.replace("{page}", name) for name in self.pages] for key, pattern in wanted.items()
        }
        self.texts = self._texts()
        made = Task(task, "classification", tuple(names), domain, channels=channels)
        super().__init__(made, label_map=labels, **shared)

    def _texts(self) -> list[str]:
        """Return the texts of all pages, empty where there is no file."""
        texts = []
        for path in self.files.get("text", []):
            try:
                lines = path.read_text(encoding=self.encoding).splitlines() if path.is_file() else []
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}: is not in {self.encoding} (byte {error.start}); set encoding=") from error
            lines = [line for line in lines if line.strip()]
            self.findings.count("lines", len(lines))
            if path.suffix.lower() == ".csv":
                for line in (line for line in lines if line.count(",") < CORNERS):
                    self.findings.add("unreadable", "lines", f"{path.name} has {line!r}")
                lines = [line.split(",", CORNERS)[CORNERS] for line in lines if line.count(",") >= CORNERS]
            texts.append("\n".join(lines))
        return texts

    def column(self, name: str | int) -> dict[str, str]:
        """Return what is in a column, by page."""
        return dict(row for row, _ in self.read((self.page, str(name))))

    def published(self) -> dict[str, Part]:
        """Return all pages as one split."""
        pictures = [path if path.is_file() else None for path in self.files.get("image", [])]
        return {"train": Part(self.pages, self.indices, list(range(len(self.pages))), pictures or None)}

    def begin_reading(self, parts: Mapping[str, Part]) -> bool:
        """Tell whether pages have pictures."""
        return "image" in self.files

    def reading(self, part: Part, row: int) -> Read:
        """Read a page's picture; it is black where there is none."""
        assert self.task is not None
        size, file = sides(self.image_size) or (0, 0), None if part.files is None else part.files[row]
        if file is None:
            return Read(torch.zeros(self.task.channels, *size, dtype=torch.uint8))
        found = fitted(file, self.task.channels, size, whole=True, bits=self.bits or MOST_BITS)
        return read_of(found, part.ids[row], found.image)

    def dataset_of(self, part: Part, rows: Sequence[int]) -> InMemory:
        """Return the samples of some rows."""
        assert self.task is not None
        fields: dict[str, Any] = {"id": [part.ids[row] for row in rows]}
        present = {}
        if "image" in self.files:
            height, width = sides(self.image_size) or (0, 0)
            read = Reading(self, part, rows)
            if len(rows) * self.task.channels * height * width > IN_MEMORY:
                fields["image"] = Rows(read, len(rows))
            else:
                with ThreadPoolExecutor(os.cpu_count()) as pool:
                    fields["image"] = torch.stack(list(pool.map(read, range(len(rows)))))
            present["image"] = [part.files is not None and part.files[row] is not None for row in rows]
        if "text" in self.files:
            fields["text"] = [self.texts[part.content[row]] for row in rows]
            present["text"] = [bool(text.strip()) for text in fields["text"]]
        fields["label"] = torch.tensor([part.strata[row] for row in rows])
        return InMemory(fields, {key: have for key, have in present.items() if not all(have)})

    def arranged(self, split: str, dataset: Dataset[Any]) -> Dataset[Any]:
        """Hide inputs of some pages; the test's are the same for every seed."""
        assert isinstance(dataset, InMemory)
        seed = () if split == "test" else (self.seed,)
        share = self.missing.get(split, 0.0)
        return hidden(dataset, share, (*seed, "missing", split)) if share else dataset
