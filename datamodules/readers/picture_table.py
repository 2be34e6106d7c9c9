"""Pictures whose files and labels stand in a table."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from typing_extensions import Unpack

from datamodules.label_map import Called
from datamodules.readers.images import ImageClasses
from datamodules.readers.parts import Part
from datamodules.readers.published import PictureOptions
from datamodules.readers.sizes import Size
from datamodules.readers.tables import SEPARATOR, labelled_rows, named_labels, read_columns
from tl_modules.ranges import Matches, NotEmpty


class PictureTable(ImageClasses):
    """A CSV or TSV file with a column of picture files and one of labels.

    Args:
        root: The table.
        picture: The pictures' column: its name, or without a header its number from 0; files are below the table's
            folder.
        label: The labels' column.
        separator: What stands between columns; a backslash and a t stand for a tab.
        header: Whether the first line names the columns.
        encoding: Of the file.
        labels: Label name by what is in the column; several values may have one, and None drops one; values that are
            not in it keep their own, in alphabetical order after the others.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        image_size: Pixels of a side, or height and width: the picture is made to fill it and its middle cut out.
        channels: 1 for grey, 3 for colour; None for those of the first picture.
        train_size: Training samples, each class in proportion; None for all.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the table is missing or is no such table, or all pictures are missing, or one is named twice.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        picture: str | int = "picture",
        label: str | int = "label",
        separator: Annotated[str, Matches(SEPARATOR)] = ",",
        header: bool = True,
        encoding: Annotated[str, NotEmpty()] = "utf-8",
        labels: Called | None = None,
        task: str = "classes",
        domain: str = "pictures",
        image_size: Size | None = 64,
        channels: Literal[1, 3] | None = 3,
        **shared: Unpack[PictureOptions],
    ) -> None:
        path = Path(root)
        self.root = path
        self.picture = picture
        self.read = partial(read_columns, path, separator=separator, header=header, quotes=True, encoding=encoding)
        columns = self.read((picture, label))
        names, indices = named_labels(path, [(row[1], place) for row, place in columns], labels)
        columns, self.indices = labelled_rows(self.findings, columns, indices, labels)
        seen: dict[str, int] = {}
        for row, place in columns:
            if seen.setdefault(row[0], place) != place:
                raise ValueError(f"root={root}: rows {seen[row[0]]} and {place} both name {row[0]}")
        lacking = {row[0]: f"row {place} names {row[0]}, which is no file in {path.parent}" for row, place in columns}
        lacking = {name: said for name, said in lacking.items() if not (path.parent / name).is_file()}
        if not columns:
            raise ValueError(f"root={root}: no row is left that has a label which labels= does not drop")
        if len(lacking) == len(columns):
            raise ValueError(f"root={root}: {next(iter(lacking.values()))}, and so do all others")
        for said in lacking.values():
            self.findings.add("missing", "rows", said)
        there = [
            (row[0], index) for (row, _), index in zip(columns, self.indices, strict=True) if row[0] not in lacking
        ]
        self.paths, self.indices = [name for name, _ in there], [index for _, index in there]
        self.files = [path.parent / name for name in self.paths]
        super().__init__(task, names, domain, image_size, channels, **shared)

    def column(self, name: str | int) -> dict[str, str]:
        """Return what is in a column, by picture."""
        return dict(row for row, _ in self.read((self.picture, name)))

    def published(self) -> dict[str, Part]:
        """Return all rows as one split."""
        return {"train": Part(self.paths, self.indices, self.files, self.files)}
