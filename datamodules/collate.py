"""Samples to batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from tl_modules.batch import targets_of_pair
from tl_modules.task import Task, box_fields

Sample = dict[str, Any]
Batch = dict[str, Any]


def boxes_in(fields: Iterable[str], value_of: Callable[[str], Any]) -> set[str]:
    """Return the fields of samples that hold boxes, `(N, 4)` with labels beside them (`task.box_fields`).

    Args:
        fields: The fields.
        value_of: Gives one value of a field.
    """
    names = set(fields)
    with_labels = (key for key in names if box_fields(key)[0] in names)
    return {key for key in with_labels if np.ndim(value_of(key)) == 2 and np.shape(value_of(key))[1] == 4}


def beside(boxes: Iterable[str]) -> set[str]:
    """Return the fields that say something of each box, so that their rows are those of the boxes."""
    return {name for key in boxes for name in box_fields(key)}


def collate(samples: Sequence[Sample]) -> Batch:
    """Make a batch of samples.

    Fields of one shape are stacked; boxes with their labels and flags (`task.box_fields`), `text` and `id` stay lists.
    Where only some samples have a field, theirs are stacked and their rows are named in `<field>_rows`; boxes without
    flags beside some with flags all count.

    Args:
        samples: Dicts as the datasets give them.

    Raises:
        ValueError: If values of a field differ in shape.
    """
    batch: Batch = {}
    samples = _flagged(samples)
    first = {key: value for sample in reversed(samples) for key, value in sample.items()}
    boxes = boxes_in(first, first.__getitem__)
    lists = {"id", "text", "boxes"} | boxes | beside(boxes)
    for key in dict.fromkeys(key for sample in samples for key in sample):
        rows = [row for row, sample in enumerate(samples) if key in sample]
        values = [samples[row][key] for row in rows]
        if key in lists:
            batch[key] = values
        else:
            tensors = [torch.as_tensor(value) for value in values]
            shapes = sorted({tuple(tensor.shape) for tensor in tensors})
            if len(shapes) > 1:
                raise ValueError(f"{key} differs in shape within a batch: {', '.join(map(str, shapes[:3]))}")
            batch[key] = torch.stack(tensors)
        if len(rows) < len(samples) and key not in beside(boxes):
            batch[f"{key}_rows"] = torch.tensor(rows)
    return batch


def _flagged(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Return samples of which all that have labelled boxes have flags for them, if any has."""
    for key in {key for sample in samples for key in sample if key.endswith("_ignore")}:
        labels = key.replace("_ignore", "_labels")
        lacking = [labels in sample and key not in sample for sample in samples]
        samples = [
            {**sample, key: torch.zeros(len(sample[labels]), dtype=torch.long)} if lacks else sample
            for sample, lacks in zip(samples, lacking, strict=True)
        ]
    return samples


def gives_batches(dataset: type) -> bool:
    """Tell whether a dataset has our `batch(indices)`; other libraries mean other things by that name.

    Args:
        dataset: Its class.
    """
    return "indices" in signature(dataset.batch).parameters if hasattr(dataset, "batch") else False


def as_sample(item: Any, task: Task, name: str) -> Sample:
    """Return a dataset's item as a sample dict.

    Args:
        item: A sample dict, or a pair `(image, target)` as torchvision's datasets give it; its images may be PIL's.
            The target of a detection pair is `{"boxes": xyxy (N, 4), "labels": (N,)}` with labels from 0.
        task: Names the pair's target.
        name: The sample's id where it has none.

    Raises:
        ValueError: If the item is neither, or its boxes' labels are not the task's.
    """
    if isinstance(item, Mapping):
        drawn = {key: as_image(value) for key, value in item.items() if isinstance(value, Image)}
        return {"id": name, **item, **drawn}
    if isinstance(item, Sequence) and len(item) == 2:
        return {"id": name, "image": as_image(item[0]), **targets_of_pair(item[1], task, name)}
    raise ValueError(f"a sample must be a dict or a pair (image, target), not {type(item).__name__}")


def as_image(image: Any) -> Tensor:
    """Return a picture as a tensor `(C, H, W)`: tensors as they are, PIL images and arrays `(H, W[, C])` as uint8."""
    if isinstance(image, Tensor):
        return image
    array = np.array(image)
    tensor = torch.from_numpy(array if array.ndim == 3 else array[..., None])
    return tensor.permute(2, 0, 1).contiguous()
