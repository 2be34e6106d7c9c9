"""A source without data: weights that were trained on it elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pretrained:
    """What the source's stage would have left behind; the stage is skipped, and `scratch` does not have it.

    Args:
        weights: A name of torchvision such as `DEFAULT`, for timm `DEFAULT`, a file of weights, or the folder of a
            run.
        task: The task that they were trained on.
        domain: The domain.
    """

    weights: str
    task: str = "objects-imagenet"
    domain: str = "photographs"
