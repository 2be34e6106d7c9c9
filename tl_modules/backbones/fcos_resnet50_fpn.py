"""ResNet-50 with a feature pyramid, as in torchvision's detector of that name, whose weights it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models import resnet50
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7

from tl_modules.backbones.base import COLOURS, Backbone, Classifier, ImageStem, Stemmed, Trunk
from tl_modules.features import Features
from tl_modules.heads.base import Head
from tl_modules.heads.fcos import Fcos, filled
from tl_modules.weights.transfer import repeat_channels

WIDTH = 256
STRIDES = [8, 16, 32, 64, 128]
READ = {"layer2": 512, "layer3": 1024, "layer4": 2048}  # what the pyramid reads, with its channels
NAMES = {  # how the parts of torchvision's network are called here
    "backbone.body.conv1.": "stem.conv.",
    "backbone.body.": "trunk.body.",
    "backbone.fpn.": "trunk.fpn.",
    "head.classification_head.": "head.classification.",
    "head.regression_head.": "head.regression.",
}
OLD = re.compile(r"((?:inner|layer)_blocks\.\d+)\.(weight|bias)$")  # as before torchvision 0.13
HEAD = "head."


class FilledStem(ImageStem):
    """An `ImageStem` that fills up normalised pictures at the right and below, to multiples of 32 pixels."""

    def filled(self, image: Tensor) -> Tensor:
        """Return normalised pictures `(B, C, H, W)` with zeros behind their last rows and columns."""
        height, width = image.shape[-2:]
        return F.pad(image, (0, filled(width) - width, 0, filled(height) - height))


class PyramidTrunk(Trunk):
    """ResNet-50 after its first convolution, and a pyramid on its maps (Lin et al. 2017) with two coarser ones.

    The pooled vector is ResNet's. Where its weights were trained by torchvision, its layers of normalisation keep their
    running statistics in training too, as they did there: batches of large pictures are too small for better ones. The
    buffer `kept` says so, which goes where the weights go.

    Args:
        body: A ResNet-50.
    """

    heads: ClassVar[Mapping[str, type[Head]]] = {"detection": Fcos}
    kept: Tensor

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        left_out = ("conv1", "avgpool", "fc")
        self.body = nn.ModuleDict({name: child for name, child in body.named_children() if name not in left_out})
        self.fpn = FeaturePyramidNetwork(list(READ.values()), WIDTH, LastLevelP6P7(WIDTH, WIDTH))
        self.dim, self.channels, self.strides = READ["layer4"], [WIDTH] * len(STRIDES), list(STRIDES)
        self.register_buffer("kept", torch.zeros(()))

    def train(self, mode: bool = True) -> PyramidTrunk:
        """Set training mode, but for layers of normalisation that keep their statistics."""
        super().train(mode)
        if mode and self.kept:
            for layer in self.body.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def forward(self, stemmed: Stemmed) -> Features:
        """Return the pooled vector `(B, 2048)` and the pyramid's maps, of 256 channels each."""
        x = stemmed.values
        maps = {}
        for name, layer in self.body.items():
            x = layer(x)
            if name in READ:
                maps[name] = x
        levels = self.fpn(maps).values()
        return Features(x.mean((2, 3)), dict(zip(self.strides, levels, strict=True)), stemmed.size)

    def named(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Classifier | None]:
        """Return a state dict of torchvision's network under the names of a `Backbone`, and the head that it brings."""
        if not any(key.startswith(tuple(NAMES)) for key in state):
            return dict(state), None
        found = {}
        for key, value in state.items():
            old = next((prefix for prefix in NAMES if key.startswith(prefix)), "")
            found[OLD.sub(r"\1.0.\2", NAMES.get(old, "") + key.removeprefix(old))] = value
        own = {f"trunk.{key}": one for key, one in self.state_dict().items() if key.endswith("num_batches_tracked")}
        found = {**own, **found, "trunk.kept": torch.ones(())}  # frozen layers do not count
        head = {key.removeprefix(HEAD): found.pop(key) for key in list(found) if key.startswith(HEAD)}
        if not head:
            return found, None
        count = len(head.get(Fcos.rows[0], ()))
        with torch.device("meta"):
            fits = Fcos(self.dim, self.channels, self.strides, [""] * count).state_dict()
        if {key: one.shape for key, one in head.items()} != {key: one.shape for key, one in fits.items()}:
            return {**found, **{f"{HEAD}{key}": one for key, one in head.items()}}, None  # of another detector
        names = list(FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
        names = names if count == len(names) else [""] * count  # a file does not say others' names
        return found, Classifier("detection", names, head, folded=True, whole=True)


def fcos_resnet50_fpn(channels: int = COLOURS, weights: str | None = None) -> Backbone:
    """Build the detector's network, to which a head for boxes of its layout belongs.

    Args:
        channels: Channels of the images; pictures with fewer than three go through colour filters as well.
        weights: `DEFAULT` or `COCO_V1`, or as torchvision calls it, `FCOS_ResNet50_FPN_Weights.COCO_V1`; None for
            random ones.

    Raises:
        ValueError: If the weights are unknown or cannot be had.
    """
    body = resnet50(weights=None)
    conv: Any = body.conv1
    if channels > COLOURS:
        conv.weight, conv.in_channels = nn.Parameter(repeat_channels(conv.weight.data, channels)), channels
    backbone = Backbone(FilledStem(conv, channels=channels), PyramidTrunk(body))
    if weights is None:
        return backbone
    from tl_modules.weights.files import load_state

    known = list(FCOS_ResNet50_FPN_Weights.__members__)
    name = weights.removeprefix(f"{FCOS_ResNet50_FPN_Weights.__name__}.")
    if name not in known:
        raise ValueError(f"backbone.weights={weights!r} is unknown for fcos_resnet50_fpn; allowed: {', '.join(known)}")
    try:
        state = FCOS_ResNet50_FPN_Weights[name].get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:
        said = " ".join(str(error).split())
        raise ValueError(f"backbone.weights={weights}: cannot be had for fcos_resnet50_fpn ({said})") from error
    backbone.report = load_state(backbone, state, f"backbone.weights={weights}")
    return backbone
