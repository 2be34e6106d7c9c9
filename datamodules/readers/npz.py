"""Pictures with classes in one `.npz` file, as MedMNIST has them."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from datamodules.label_map import Labels, listed_or_mapped
from datamodules.readers.images import ImageClasses
from datamodules.readers.parts import Part, some_of
from datamodules.readers.published import ReaderOptions
from datamodules.readers.sizes import Size
from tl_modules.ranges import NotEmpty

SPLITS = ("train", "val", "test")
MOST_CLASSES = 1000


class NpzImages(ImageClasses):
    """Arrays `<split>_images`, uint8 `(N, H, W[, C])`, and `<split>_labels`, `(N[, 1])`: `train` and, if any, others.

    Args:
        root: The file.
        labels: Class names in the order of the indices; None for the indices themselves; a mapping says what these are
            called (see `PublishedData.label_map`).
        task: The task's name; what counts as the same task is the user's judgement.
        domain: The domain, likewise.
        image_size: Pixels of a side, or height and width; None to leave them.
        channels: 1 for grey, 3 for colour; None as they are.
        train_size: Training samples, each class in proportion; None for all.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If the file is missing.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    duplicates = "allow"

    def __init__(
        self,
        root: Annotated[str, NotEmpty()],
        labels: Labels | None = None,
        task: str = "classes",
        domain: str = "pictures",
        image_size: Size | None = None,
        channels: Literal[1, 3] | None = None,
        **shared: Unpack[ReaderOptions],
    ) -> None:
        names, label_map = listed_or_mapped(labels)
        if not Path(root).is_file():
            raise ValueError(f"root={root}: must be an .npz file that exists")
        super().__init__(task, names, domain, image_size, channels, label_map, **shared)
        self.root = Path(root)

    def published(self) -> dict[str, Part]:
        """Return ids (split and index), class indices and stacks of pictures by split.

        Raises:
            ValueError: If the file cannot be read, lacks an array, or holds other shapes or classes.
        """
        try:
            with np.load(self.root, allow_pickle=False) as file:  # without pickles: those could run code
                arrays = {name: file[name] for name in file.files}
        except TypeError as error:  # numpy reads .npy too
            raise ValueError(f"root={self.root}: holds one array; it must be .npz, with train_images, ...") from error
        except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            if "Object arrays" in str(error):
                raise ValueError(
                    f"root={self.root}: holds pickled objects, which are not read: they could run code"
                ) from error
            raise ValueError(f"root={self.root}: cannot be read as .npz; is the file whole?") from error
        parts = {}
        for split in SPLITS:
            images, labels = arrays.get(f"{split}_images"), arrays.get(f"{split}_labels")
            if split != "train" and images is None:
                continue
            if images is None or labels is None:
                missing = f"{split}_images" if images is None else f"{split}_labels"
                raise ValueError(f"root={self.root}: lacks the array {missing}; it holds {', '.join(arrays)}")
            if not len(images.shape) or not len(images):
                raise ValueError(f"root={self.root}: {split}_images has no picture")
            labels = labels.reshape(len(labels), -1) if labels.ndim else labels
            if images.dtype != np.uint8:
                raise ValueError(f"root={self.root}: {split}_images must be uint8, not {images.dtype}")
            if images.ndim not in (3, 4) or labels.shape != (len(images), 1):
                shapes = f"{images.shape} and {labels.shape}"
                raise ValueError(f"root={self.root}: {split} must be (N, H, W[, C]) and (N,) or (N, 1), not {shapes}")
            if images.ndim == 4 and images.shape[3] not in (1, 3):
                last = "channels come last: move the axis" if images.shape[1] in (1, 3) else "volumes are not read"
                raise ValueError(f"root={self.root}: {split} must have 1 or 3 channels, not {images.shape}; {last}")
            stack = torch.from_numpy(images if images.ndim == 4 else images[..., None]).permute(0, 3, 1, 2)
            if labels.dtype.kind not in "biuf":
                raise ValueError(f"root={self.root}: {split}_labels must be class indices, not {labels.dtype}")
            parts[split] = self._labelled(split, stack, labels[:, 0])
        if not all(part.strata for part in parts.values()):
            raise ValueError(f"root={self.root}: has a split without a label{self.findings.why_none()}")
        highest = max(max(part.strata) for part in parts.values())
        if self.labels is None:
            self.labels = [str(index) for index in range(highest + 1)]
        if highest >= len(self.labels):
            raise ValueError(f"labels={self.labels}: the file has a class {highest}")
        return parts

    def _labelled(self, split: str, stack: Tensor, labels: np.ndarray[Any, Any]) -> Part:
        """Return the samples whose label is a class index; the others are noted."""
        ids = [f"{split}/{i}" for i in range(len(labels))]
        self.findings.count(self.unit, len(labels))
        if labels.dtype.kind == "f":
            self.findings.notes.append(f"{split}_labels are {labels.dtype}; whole numbers are read as class indices")
        rows = []
        for row, label in enumerate(labels.tolist()):
            if not math.isfinite(label) or label != int(label) or label < 0:
                self.findings.add("unlabelled", self.unit, f"{ids[row]} has the label {label:g}, no class index")
            elif self.labels is None and label >= max(MOST_CLASSES, len(labels)):
                why = f"without labels= there are at most {MOST_CLASSES} classes, or as many as samples"
                self.findings.add("unlabelled", self.unit, f"{ids[row]} has the label {label:.0f}; {why}")
            else:
                rows.append(row)
        usable = some_of(Part(ids, [0] * len(ids), stack), rows)
        return usable._replace(strata=[int(labels[row]) for row in rows])
