"""A cell, a head, a backbone, an objective, a dataset and an augmentation of one's own, from a folder of one's own.

In this folder: `tl-train --config-dir conf cell=head_start dataset@source=ranks dataset@target=stripes backbone=flat`,
with `objective=confusion cell=multitask`, or with `+target.augment.name=my_parts.Grain`.
"""

from typing import Annotated

import torch
from torch import nn

from datamodules.base import DatasetModule, InMemory
from tl_modules import Objective, Stage, Task, TransferModule
from tl_modules.backbones import Backbone, ImageStem, Trunk
from tl_modules.features import Features
from tl_modules.heads.classification import Classification
from tl_modules.ranges import AtLeast
from tl_modules.seeding import generator


class HeadStart(TransferModule):
    """A cell: train on the source, then the target's head alone, then everything."""

    def wiring(self):
        """Return stem, trunk and head of each role: equal names are one part."""
        return {"source": ("shared", "shared", "source"), "target": ("shared", "shared", "target")}

    def stages(self):
        """Return the three stages."""
        return [
            Stage("source", learn=("source",), share=0.5),
            Stage("head", learn=("target",), freeze=("stem", "trunk"), share=0.2),
            Stage("target", learn=("target",), share=0.3),
        ]


class Ordinal(Classification):
    """A head: softmax over ordered names, judged by the distance between ranks (the earth mover's, Hou et al. 2016)."""

    kind = "ordinal"

    def loss(self, outputs, batch):
        """Return the mean squared distance between the cumulative distributions."""
        target = nn.functional.one_hot(batch[self.key], outputs.shape[1])
        distance = outputs.softmax(1).cumsum(1) - target.cumsum(1)
        return distance.square().sum() / max(len(target), 1)


class FlatTrunk(Trunk):
    """Average the first layer's output; no maps."""

    def __init__(self, dim):
        super().__init__()
        self.dim, self.channels, self.strides = dim, [], []
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, stemmed):
        """Return pooled features `(B, dim)`."""
        return Features(self.norm(stemmed.values).relu().mean((2, 3)), {}, stemmed.size)


def flat(width: Annotated[int, AtLeast(1)] = 16, channels: int = 3) -> Backbone:
    """Build a backbone: a network of one convolution."""
    return Backbone(ImageStem(nn.Conv2d(channels, width, 3, stride=2, bias=False)), FlatTrunk(width))


class Confusion(Objective):
    """An objective: the sum, and a layer that tells the roles' features apart while the trunk learns to hide it.

    Gradient reversal (Ganin et al. 2016): the layer descends on its loss, and all before it ascends.
    """

    several = True

    def __init__(self, tasks, widths, weight: Annotated[float, AtLeast(0)] = 0.1):
        super().__init__(tasks, widths)
        self.weight, self.layer = weight, nn.Linear(widths["target"], len(tasks))

    def forward(self, losses, features, stage):
        """Return the sum of the losses and the weighted cross-entropy of the layer."""
        values = torch.cat([one.pooled.float() for one in features.values()])
        reversed_ = 2 * values.detach() - values  # the same values, the opposite gradient
        domain = torch.cat([torch.full((len(one.pooled),), i) for i, one in enumerate(features.values())])
        told = nn.functional.cross_entropy(self.layer(reversed_), domain.to(values.device))
        return torch.stack(list(losses.values())).sum() + self.weight * told


class Grain:
    """An augmentation: noise on the images, drawn from the generator it is given."""

    active = True

    def __init__(self, strength: Annotated[float, AtLeast(0)] = 0.05):
        self.strength = strength

    def __call__(self, batch, generator):
        """Return the batch with noisy images."""
        image = batch["image"]
        image = image if image.is_floating_point() else image.float() / 255
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        return {**batch, "image": (image + self.strength * noise).clamp(0, 1)}


class Stripes(DatasetModule):
    """A dataset: stripes that run across or down.

    Args:
        kind: `classification`, or `my_parts.Ordinal` for the head above.
        role: `source` or `target`: the two have different pictures.
        image_size: Height and width in pixels.
        train_size: Training pictures; None for 100.
        val_size: Validation pictures; None for 50.
        seed: Root of the noise.
        task: The task's name.
        domain: The domain's name.
    """

    def __init__(
        self,
        kind: str = "classification",
        role: str = "target",
        image_size: Annotated[int, AtLeast(8)] = 48,
        train_size: int | None = None,
        val_size: int | None = None,
        seed: int = 0,
        task: str = "direction",
        domain: str = "stripes",
    ) -> None:
        super().__init__(Task(task, kind, ("across", "down"), domain), train_size, val_size, seed)
        self.role, self.image_size = role, image_size

    def setup(self, stage=None):
        """Draw the three splits."""
        sizes = {"train": self.train_size or 100, "val": self.val_size or 50, "test": 50}
        for split, count in sizes.items():
            rng = generator("stripes", split, self.role, self.seed)
            label = torch.randint(2, (count,), generator=rng)
            waves = torch.arange(self.image_size).div(4, rounding_mode="floor") % 2 * 128
            across = waves[None, :, None].expand(count, -1, self.image_size)
            image = torch.where(label[:, None, None] == 0, across, across.transpose(1, 2))
            noise = torch.randint(64, (count, 3, self.image_size, self.image_size), generator=rng)
            ids = [f"{self.role}-{split}-{i}" for i in range(count)]
            fields = {"id": ids, "image": (image[:, None] + noise).to(torch.uint8), "label": label}
            setattr(self, f"{split}_dataset", InMemory(fields))
