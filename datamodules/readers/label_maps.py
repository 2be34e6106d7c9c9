"""Pictures with a label per pixel in PNGs beside them; boxes can be had from the same maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from scipy import ndimage
from torch import Tensor
from typing_extensions import Unpack

from datamodules.findings import Unusable
from datamodules.label_map import Labels
from datamodules.readers.folders import PICTURES, SPLIT_NAMES
from datamodules.readers.masks import MaskedPictures
from datamodules.readers.orientation import TRANSPOSED, refers_to_shown, turned_map
from datamodules.readers.parts import Part
from datamodules.readers.published import PictureOptions
from datamodules.readers.resize import Fitted
from datamodules.readers.sizes import Size
from tl_modules.ranges import AtLeast, NotEmpty
from tl_modules.task import IGNORE, Task


class LabelMaps(MaskedPictures):
    """A folder of pictures and one of label PNGs of the same names, a pair per split or one for all.

    Args:
        root: The folder above both.
        labels: Label names in the order of the values in the maps; a mapping from these, in that order, says what they
            are called (see `PublishedData.label_map`).
        boxes: Names whose connected regions are boxes: the task is then detection of these; None for segmentation. With
            a mapping, names as they are before.
        pictures: Folder of pictures; `{split}` in it stands for `train`, `val` and `test`.
        maps: Folder of label maps, likewise.
        ignore: Values in the maps that are no label, besides 255.
        smallest: Regions of fewer pixels are no boxes.
        image_size: Pixels of a side, or height and width: the whole picture is brought to it, with a border that is
            ignored; None to leave the pictures as they are, if they are of one size.
        channels: 1 for grey, 3 for colour.
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If a folder or a map is missing, or a name of `boxes` is none of `labels`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("segmentation", "detection")
    read_by: ClassVar[tuple[str, ...]] = (*MaskedPictures.read_by, "labels", "ignore", "boxes", "smallest")

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        labels: Annotated[Labels, NotEmpty()],
        boxes: Sequence[str] | None = None,
        pictures: Annotated[str, NotEmpty()] = "{split}",
        maps: Annotated[str, NotEmpty()] = "{split}annot",
        ignore: Sequence[int] = (),
        smallest: Annotated[int, AtLeast(1)] = 20,
        image_size: Size | None = None,
        channels: Literal[1, 3] = 3,
        task: str = "pixels",
        domain: str = "pictures",
        **shared: Unpack[PictureOptions],
    ) -> None:
        label_map = labels if isinstance(labels, Mapping) else None
        unknown = [name for name in boxes or () if name not in labels]
        if unknown:
            raise ValueError(f"boxes={list(boxes or ())}: {unknown[0]} is none of labels={list(labels)}")
        self.root, self.labels, self.ignore = Path(root), [str(name) for name in labels], {*ignore, IGNORE}
        self.boxes, self.smallest, self.image_size = None if boxes is None else list(boxes), smallest, image_size
        self.parts = self._pairs(pictures, maps)
        kind = "segmentation" if boxes is None else "detection"
        made = Task(task, kind, tuple(labels if boxes is None else boxes), domain, channels=channels)
        mapped = label_map if boxes is None else {name: new for name, new in (label_map or {}).items() if name in boxes}
        super().__init__(made, label_map=mapped or None, **shared)

    def _pairs(self, pictures: str, maps: str) -> dict[str, list[tuple[Path, Any]]]:
        """Return picture and map by published split."""
        splits: Sequence[str] = ("train",)
        if "{split}" in pictures:
            splits = [s for s in SPLIT_NAMES if (self.root / pictures.replace("{split}", s)).is_dir()]
        if "train" not in splits:
            raise ValueError(f"root={self.root}: must hold the folder {pictures.replace('{split}', 'train')}")
        pairs: dict[str, list[tuple[Path, Any]]] = {}
        for split in splits:
            folder, beside = (self.root / place.replace("{split}", split) for place in (pictures, maps))
            if not folder.is_dir() or not beside.is_dir():
                raise ValueError(f"root={self.root}: must hold the folders {folder.name} and {beside.name}")
            found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
            lacking = [path.name for path in found if not (beside / f"{path.stem}.png").is_file()]
            if lacking or not found:
                what = f"{beside} has no map for {lacking[0]}" if lacking else f"{folder} has no pictures"
                raise ValueError(f"root={self.root}: {what}")
            pairs[split] = [(path, beside / f"{path.stem}.png") for path in found]
        return pairs

    def files_read(self, part: Part, row: int) -> Sequence[Path]:
        """Return picture and map."""
        path, source = part.content[row]
        return [path, source]

    def values(self, source: Path, picture: Fitted) -> np.ndarray[Any, Any]:
        """Return the values of a label map's file, 255 for what is ignored.

        Raises:
            Unusable: If it cannot be read or does not fit its picture.
            ValueError: If it has an unknown value.
        """
        try:
            with Image.open(source) as file:
                values = np.array(file)
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise Unusable(f"{source}: cannot be read as a label map") from error
        size, orientation = picture.size, picture.orientation
        if values.shape not in (size, size[::-1] if orientation in TRANSPOSED else size):
            raise Unusable(f"{source}: must be (H, W) = {size} as its picture, not {values.shape}", "ambiguous")
        if not refers_to_shown(str(source), size, orientation, values.shape, "labels"):
            values = turned_map(values, orientation)
        unknown = sorted(set(np.unique(values).tolist()) - set(range(len(self.labels))) - self.ignore)
        if unknown:
            ignored = sorted(self.ignore - {IGNORE})
            raise ValueError(f"ignore={ignored}: {source} has the value {unknown[0]}, which is none of labels= either")
        out = np.isin(values, list(self.ignore))
        return np.where(out, IGNORE, values).astype(np.uint8)  # a file of one bit has no room for 255

    def targets(self, mask: Tensor) -> dict[str, Any]:
        """Return the label map, or the boxes of its regions."""
        if self.boxes is None:
            return {"mask": mask}
        found = self._regions(mask)
        boxes = torch.tensor([box for box, _ in found], dtype=torch.float32).view(-1, 4)
        return {"boxes": boxes, "box_labels": torch.tensor([k for _, k in found], dtype=torch.long)}

    def _regions(self, mask: Tensor) -> list[tuple[tuple[float, float, float, float], int]]:
        """Return box and label of the connected regions of the names in `boxes`."""
        found = []
        for index, name in enumerate(self.boxes or ()):
            regions, _ = ndimage.label((mask == self.labels.index(name)).numpy())
            sizes = np.bincount(regions.ravel())
            for number, place in enumerate(ndimage.find_objects(regions), 1):
                if sizes[number] >= self.smallest:
                    rows, columns = place
                    found.append(((columns.start, rows.start, columns.stop, rows.stop), index))
        return [((float(a), float(b), float(c), float(d)), index) for (a, b, c, d), index in found]
