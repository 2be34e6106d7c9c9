"""A folder of pictures, a folder per class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from typing_extensions import Unpack

from datamodules.label_map import Called
from datamodules.readers.folders import list_classes
from datamodules.readers.images import ImageClasses
from datamodules.readers.parts import Part
from datamodules.readers.published import PictureOptions
from datamodules.readers.sizes import Size
from datamodules.splits import Split
from tl_modules.ranges import NotEmpty


class ImageFolder(ImageClasses):
    """Pictures in class folders, `root/<class>/*` or `root/{train,val,test}/<class>/*`.

    Args:
        root: The folder.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        splits: Folder by split, such as `{"train": "train", "test": "val"}`; None for the usual names, where there are
            any.
        labels: What the class folders' names are called, by name, see `PublishedData.label_map`; None where all stay.
        image_size: Pixels of a side, or height and width: the picture is made to fill it and its middle cut out.
        channels: 1 for grey, 3 for colour; None for those of the first picture.
        train_size: Training samples, each class in proportion; None for all.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the folder is missing, empty or not laid out so; see `folders.list_classes`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        task: str = "classes",
        domain: str = "pictures",
        splits: Mapping[Split, str] | None = None,
        labels: Called | None = None,
        image_size: Size | None = 64,
        channels: Literal[1, 3] | None = 3,
        **shared: Unpack[PictureOptions],
    ) -> None:
        self.listing = list_classes(root, splits)
        self.root = Path(root)
        super().__init__(task, self.listing.labels, domain, image_size, channels, labels, **shared)

    def published(self) -> dict[str, Part]:
        """Return ids (paths below the root), class indices and files by split."""
        for path in self.listing.strays:
            self.findings.add("stray", "files", f"{path} is no picture")
        return {
            split: Part(
                [path.relative_to(self.root).as_posix() for path, _ in files],
                [label for _, label in files],
                [path for path, _ in files],
                [path for path, _ in files],
            )
            for split, files in self.listing.files.items()
        }
