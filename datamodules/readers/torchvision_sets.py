"""Any of torchvision's classification sets."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torchvision
from torch import Tensor
from typing_extensions import Unpack

from datamodules.label_map import Labels, listed_or_mapped
from datamodules.readers.images import ImageClasses
from datamodules.readers.parts import Items, Part
from datamodules.readers.published import ReaderOptions
from datamodules.readers.resize import Picture
from datamodules.readers.sizes import Size
from datamodules.splits import Split
from tl_modules.ranges import Distinct, NotEmpty

OF_LABELS = ("targets", "labels", "_labels", "y")
OF_FILES = ("samples", "_samples", "_image_files", "_images")  # where the sets name their files
MOST_READ = 50_000


class TorchvisionSet(ImageClasses):
    """One of `torchvision.datasets`, whose samples are pairs of a picture and a class index.

    Args:
        dataset: The name of its class, such as `MNIST`.
        root: The folder it is in or is downloaded to; also the folder above one of the set's own name.
        task: The task's name.
        domain: The domain.
        labels: Class names in the order of the indices; None for the set's own; a mapping from the set's own, or from
            the indices, says what these are called (see `PublishedData.label_map`).
        only: The names of the classes that are read; None for all.
        published: The constructor's options by published split, such as `{"train": {"split": "train"}, "test":
            {"split": "test"}}`; None for its option `train` where it has one, else for one split that is cut.
        download: Whether to download what is missing.
        image_size: Pixels of a side, or height and width; None to leave them.
        channels: 1 for grey, 3 for colour; None for those of the first picture.
        **shared: Options of every reader, see `PublishedData`.

    Raises:
        ValueError: If torchvision has no such set, `published` is None and the set has an option `split`, or `only`
            names a class twice.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    duplicates = "allow"

    def __init__(
        self,
        dataset: Annotated[str, NotEmpty()],
        root: str | None = None,
        task: str | None = None,
        domain: str | None = None,
        labels: Labels | None = None,
        only: Annotated[Sequence[str], Distinct(2)] | None = None,
        published: Mapping[Split, Mapping[str, Any]] | None = None,
        download: bool = True,
        image_size: Size | None = None,
        channels: Literal[1, 3] | None = None,
        **shared: Unpack[ReaderOptions],
    ) -> None:
        found = getattr(torchvision.datasets, dataset, None)
        if not (inspect.isclass(found) and issubclass(found, torchvision.datasets.VisionDataset)):
            raise ValueError(f"dataset={dataset!r}: torchvision.datasets has no such set")
        own = dataset.lower()
        names, label_map = listed_or_mapped(labels)
        super().__init__(task or own, names, domain or own, image_size, channels, label_map, **shared)
        if only is not None and len(set(only)) < max(2, len(only)):
            raise ValueError(f"only={list(only)}: must name at least two classes, each once")
        self.only = None if only is None else list(only)
        self.made: Any = found
        self.root, self.download = Path(root or "data"), download
        self.published_as = dict(published or self._usual())
        self.opened: dict[str, Any] = {}  # by options: a set may take seconds to open

    @property
    def origin(self) -> str:
        """The set's files and its options: sets of one root are not the same samples."""
        return f"{self.root.resolve()}/{self.made.__name__}:{sorted(self.published_as.items())}"

    def _usual(self) -> dict[str, dict[str, Any]]:
        takes = inspect.signature(self.made.__init__).parameters
        if "train" in takes:
            return {"train": {"train": True}, "test": {"train": False}}
        if "split" in takes:
            said = "{train: {split: train}, test: {split: test}} or as its documentation says"
            raise ValueError(f"published=null: {self.made.__name__} publishes splits by its option split; give {said}")
        return {"train": {}}

    def prepare_data(self) -> None:
        """Download what is missing, if that is allowed.

        Raises:
            ValueError: If the set is not there, and cannot or may not be downloaded.
        """
        for options in self.published_as.values():
            self._open(options, self.download)

    def published(self) -> dict[str, Part]:
        """Return ids (split and index), class indices and pictures by split."""
        parts: dict[str, Part] = {}
        for split, options in self.published_as.items():
            opened = self._open(options, False)
            if self.labels is None:
                self.labels = self._own_names(opened)
            targets = self._targets(opened)
            if max(targets) >= len(self.labels):
                raise ValueError(f"labels={self.labels}: {self.made.__name__} has a class {max(targets)}")
            ids = [f"{split}/{i}" for i in range(len(opened))]
            parts[split] = Part(ids, targets, self._pictures(opened))
        return parts if self.only is None else self._selected(parts, self.only)

    def _own_names(self, opened: Any) -> list[str]:
        """Return the set's own class names; the indices where it has none, or where the map of labels is from these."""
        names = [str(name) for name in getattr(opened, "classes", ())]
        indices = [str(index) for index in range(len(names) or max(self._targets(opened)) + 1)]
        given = {} if self.label_map is None else self.label_map.given
        from_indices = bool(given) and not {*given} <= {*names} and {*given} <= {*indices}
        return indices if from_indices or not names else names

    def files_read(self, part: Part, row: int) -> Sequence[Path]:
        """Return the file of a picture, where the set says which it is."""
        pictures, index = part.content, row
        while isinstance(pictures, Items):
            pictures, index = pictures.values, pictures.rows[index]
        return [pictures.files[index]] if isinstance(pictures, Pictures) and pictures.files else []

    def begin_reading(self, parts: Mapping[str, Part]) -> bool:
        """Settle the channels; tell whether pictures are read one by one, and are not too many to be read each run."""
        one_by_one = super().begin_reading(parts)
        count = sum(len(part.ids) for part in parts.values())
        if not one_by_one or count <= MOST_READ or all(self.files_read(part, 0) for part in parts.values()):
            return one_by_one
        self.findings.notes.append(f"{count} pictures are read by torchvision when they are needed, and not examined")
        return False

    def _selected(self, parts: Mapping[str, Part], only: Sequence[str]) -> dict[str, Part]:
        """Return the samples of some classes, which are counted in the order of `labels`."""
        have = self.labels or []
        unknown = [name for name in only if name not in have]
        if unknown:
            known = f"{self.made.__name__}: {', '.join(have)}"
            raise ValueError(f"only={list(only)}: {unknown[0]!r} is no class of {known}")
        wanted = [name for name in have if name in only]
        indices = {have.index(name): place for place, name in enumerate(wanted)}
        made = {}
        for split, part in parts.items():
            rows = [row for row, label in enumerate(part.strata) if label in indices]
            content = part.content
            pictures = content[torch.tensor(rows)] if isinstance(content, Tensor) else Items(content, rows)
            made[split] = Part([part.ids[row] for row in rows], [indices[part.strata[row]] for row in rows], pictures)
        self.labels = wanted
        return made

    def _open(self, options: Mapping[str, Any], download: bool) -> Any:
        """Return the set with some options, opened once."""
        key = repr(sorted(options.items()))
        if key not in self.opened:
            self.opened[key] = self._found(options, download)
        return self.opened[key]

    def _found(self, options: Mapping[str, Any], download: bool) -> Any:
        """Open the set with some options, in the root or in a folder of the set's own name in it."""
        takes = "download" in inspect.signature(self.made.__init__).parameters
        name, failed = self.made.__name__, None
        for place in (self.root, self.root / name):
            try:
                return self.made(str(place), **options, **({"download": False} if takes else {}))
            except (RuntimeError, OSError) as error:
                failed = error
        if not (download and takes):
            why = "" if takes else "; torchvision does not download this set, see its documentation"
            raise ValueError(f"root={self.root}: {name} is not there{why}") from failed
        try:
            return self.made(str(self.root), **options, download=True)
        except (RuntimeError, OSError) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"root={self.root}: {name} is not there and cannot be downloaded ({said})") from error

    @staticmethod
    def _targets(opened: Any) -> list[int]:
        for name in OF_LABELS:
            given = getattr(opened, name, None)
            if given is not None and len(given) == len(opened):
                return [int(label) for label in (given.tolist() if isinstance(given, Tensor) else given)]
        pairs = getattr(opened, "_samples", None) or (opened[i] for i in range(len(opened)))
        return [int(pair[1]) for pair in pairs]

    @staticmethod
    def _pictures(opened: Any) -> Any:
        """Return the set's pictures: a uint8 stack `(N, C, H, W)` where it holds one, else they are read one by one."""
        data = getattr(opened, "data", None)
        if isinstance(data, np.ndarray | Tensor) and len(data) == len(opened):
            stack = torch.as_tensor(data)
            if stack.dtype == torch.uint8 and stack.ndim == 3:
                return stack[:, None]
            if stack.dtype == torch.uint8 and stack.ndim == 4:
                return stack if stack.shape[1] in (1, 3) else stack.permute(0, 3, 1, 2)
        return Items(Pictures(opened), range(len(opened)))


class Pictures:
    """The pictures of a dataset of pairs.

    Args:
        dataset: The dataset.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        lists = [getattr(dataset, name, None) for name in OF_FILES]
        of_files = (one for one in lists if isinstance(one, Sequence) and len(one) == len(dataset) and len(one))
        found = [[one[0] if isinstance(one, tuple) else one for one in some] for some in of_files]
        named = next((some for some in found if all(isinstance(one, str | Path) for one in some)), [])
        self.files = [Path(one) for one in named] if named and Path(named[0]).is_file() else []

    def __getitem__(self, index: int) -> Picture:
        """Return a picture."""
        return self.dataset[index][0]
