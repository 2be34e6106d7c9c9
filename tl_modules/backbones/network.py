"""Any image network cut into stem and trunk by one rule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tl_modules.backbones.base import IMAGENET_MEAN, IMAGENET_STD, Backbone, ImageStem, Stemmed, Trunk
from tl_modules.features import Features
from tl_modules.weights.transfer import adapt_channels, repeat_channels

FINEST = 4
LARGER = 64
MOST_EXTRA_TOKENS = 16


class Handed(nn.Module):
    """Stands where the first layer stood, and hands on what the stem made of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.stemmed: Stemmed | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Return the stem's output.

        Raises:
            ValueError: If the network did something to the images before its first layer, which the stem has not.
        """
        assert self.stemmed is not None
        if images.shape[-2:] != self.stemmed.size:
            raise ValueError(f"it changes the size {self.stemmed.size} of its images before its first layer")
        return self.stemmed.values


class MapOf(NamedTuple):
    """Where a feature map comes from: a block's output, its layout, its channels, and tokens that are no place."""

    block: str
    layout: str
    channels: int
    extra: int = 0


class NetworkTrunk(Trunk):
    """A network after its first layer with weights, and without its classifier.

    The network's own `forward` runs on an empty picture of the input's shape, so that what it does with sizes and
    tokens works as ever, while `Handed` gives the stem's output in the first layer's place. Maps are the outputs of its
    blocks, of each stride from 4 on the last one: `(B, C, H, W)`, `(B, H, W, C)`, or tokens `(B, extra + H * W, C)`.

    Args:
        net: The network, cut.
        handed: The module at the first layer's place.
        channels: Channels of the pictures that the uncut network takes.
        trial: The stem's output for one square picture.
        larger: The same for one larger by `LARGER`, from which the maps' strides are read. A network that takes one
            size only refuses it.
        first: The first layer's name in the whole network.
        classifier: The classifier's, or None.

    Attributes:
        classifiers: Names of the classifiers that the whole network has.
        linear_classifier: Whether that is one linear layer on the pooled vector.
        categories: Names of the outputs that its published weights have.

    Raises:
        ValueError: If the network gives no vector per picture.
    """

    def __init__(
        self,
        net: nn.Module,
        handed: Handed,
        channels: int,
        trial: Stemmed,
        larger: Stemmed,
        first: str,
        classifier: str | None,
    ) -> None:
        super().__init__()
        self.first = first
        self.classifiers: tuple[str, ...] = () if classifier is None else (classifier,)
        self.linear_classifier = False
        self.categories: list[str] = []
        self.net, self.handed, self.image_channels = net, handed, channels
        self.maps: dict[int, MapOf] = {}
        modes = {module: module.training for module in net.modules()}
        net.eval()
        blocks, grown = [name for name, _ in _blocks(net)], {}
        prefix = getattr(net, "num_prefix_tokens", None)
        with torch.no_grad():
            pooled, outputs = self._run(trial, blocks)
            with suppress(ValueError, RuntimeError, IndexError):
                grown = self._run(larger, blocks)[1]
        for module, training in modes.items():
            module.training = training
        if not isinstance(pooled, Tensor) or pooled.ndim != 2:
            raise ValueError(f"{type(net).__name__} gives no vector per picture without its classifier")
        for name, output in outputs.items():
            grid = trial.values.shape[-2:] if trial.values.ndim == 4 else (0, 0)
            found = _map_of(name, output, grown.get(name), (trial.size or (0, 0))[0], math.prod(grid), prefix)
            self.maps |= {} if found is None else {found[0]: found[1]}
        self.dim, self.strides = pooled.shape[1], sorted(self.maps)
        self.channels = [self.maps[stride].channels for stride in self.strides]

    def forward(self, stemmed: Stemmed) -> Features:
        """Return the pooled vector `(B, dim)` and the maps."""
        pooled, outputs = self._run(stemmed, [one.block for one in self.maps.values()])
        maps = {stride: _as_map(outputs[one.block], one, stemmed.size) for stride, one in sorted(self.maps.items())}
        return Features(pooled, maps, stemmed.size)

    def _run(self, stemmed: Stemmed, blocks: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the network's output and those of some blocks, in the order in which they were last computed."""
        outputs: dict[str, Tensor] = {}

        def keeper(name: str) -> Any:
            def keep(module: nn.Module, inputs: Any, output: Any) -> None:
                outputs.pop(name, None)
                if isinstance(output, Tensor):
                    outputs[name] = output

            return keep

        hooks = [self.net.get_submodule(name).register_forward_hook(keeper(name)) for name in blocks]
        self.handed.stemmed = stemmed
        try:
            shape = (stemmed.values.shape[0], self.image_channels, *(stemmed.size or ()))
            empty = stemmed.values.new_zeros(()).expand(shape)
            pooled: Tensor = self.net(empty)
        except AssertionError as error:  # how the families that are built for one size refuse another
            raise ValueError(f"{type(self.net).__name__} refuses images of {stemmed.size} pixels: {error}") from error
        finally:
            self.handed.stemmed = None
            for hook in hooks:
                hook.remove()
        return pooled, outputs


def cut(
    net: nn.Module,
    channels: int,
    size: int,
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    classifier: bool = True,
    pretrained: bool = False,
) -> Backbone:
    """Cut a network: its first convolution becomes the stem, the rest without its classifier the trunk.

    Args:
        net: The network; it is changed.
        channels: Channels of the images. Fewer than the network's go through its filters as they are; more are given
            further filters.
        size: Height and width in pixels of the picture of a trial pass, which finds the features' shapes.
        mean: Mean a channel that its weights were trained with.
        std: Standard deviation per channel.
        classifier: Whether its last linear layer (or, where there is none, its last convolution) is a classifier.
        pretrained: Whether its filters were trained: further channels then start without a say, so that pictures give
            what they give without them; else all start alike.

    Raises:
        ValueError: If its first layer is no convolution, or it gives no vector per picture.
        Exception: What the network raises on pictures of that size.
    """
    layers = [(name, module) for name, module in net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    first, conv = layers[0] if layers else ("", net)
    if not isinstance(conv, nn.Conv2d):
        raise ValueError(f"{type(net).__name__} has no convolution as its first layer, so it has no stem to cut")
    last = last_layer(net) if classifier else None
    removed = None if last is None else net.get_submodule(last)
    if last is not None:
        _replace(net, last, nn.Identity())
    handed = Handed()
    _replace(net, first, handed)
    expected = conv.in_channels
    if channels > expected:
        spread = adapt_channels if pretrained else repeat_channels
        conv.weight = nn.Parameter(spread(conv.weight.data, channels))
        conv.in_channels = channels
    stem = ImageStem(conv, mean, std, channels)
    with torch.no_grad():
        trials = [stem({"image": torch.zeros(1, channels, side, side)}) for side in (size, size + LARGER)]
    trial, larger = trials
    trunk = NetworkTrunk(net, handed, expected, trial, larger, first, last)
    trunk.linear_classifier = isinstance(removed, nn.Linear) and removed.in_features == trunk.dim
    return Backbone(stem, trunk)


def last_layer(net: nn.Module) -> str:
    """Return the name of a classification network's last linear layer, or last convolution where there is none."""
    layers = [(name, module) for name, module in net.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return ([name for name, module in layers if isinstance(module, nn.Linear)] or [layers[-1][0]])[-1]


def _blocks(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the network's children, and those of its sequences: where the families keep their blocks."""
    for name, child in net.named_children():
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from ((f"{name}.{inner}", block) for inner, block in child.named_children())
        elif not isinstance(child, (nn.AdaptiveAvgPool2d, Handed)):
            yield name, child


def _map_of(
    block: str, output: Tensor, grown: Tensor | None, size: int, patches: int, prefix: int | None
) -> tuple[int, MapOf] | None:
    """Return stride and description of a block's output for a square picture, or None if it is no map.

    Tokens are those of the patches that the first layer cuts, after the class and register tokens of which the network
    says how many it has. Only where tokens were pooled since, or it says nothing, their number is looked for.

    Families round and pad differently, so a map's side alone does not tell its stride: the side's growth with the
    picture's does, and where the network takes one size only, the nearest power of two is taken.
    """
    if output.ndim == 3:
        whole = output.shape[1] - patches
        may = [0, prefix] if prefix is not None else range(MOST_EXTRA_TOKENS + 1)
        for extra in [whole] if whole in may else [] if prefix is not None and whole > 0 else may:
            side = math.isqrt(max(0, output.shape[1] - extra))
            if side > 1 and side * side == output.shape[1] - extra:
                return round(size / side), MapOf(block, "tokens", output.shape[2], extra)
    if output.ndim != 4:
        return None
    for layout, first, channels in (("channels first", 2, 1), ("channels last", 1, 3)):
        rows, columns = output.shape[first : first + 2]
        more = 0 if grown is None else grown.shape[first] - rows
        stride = round(LARGER / more) if more > 0 else 2 ** round(math.log2(size / rows))
        if rows == columns and rows > 1 and stride >= FINEST and (grown is None or more > 0):
            return stride, MapOf(block, layout, output.shape[channels])
    return None


def _as_map(output: Tensor, one: MapOf, size: tuple[int, int] | None) -> Tensor:
    if one.layout == "channels last":
        return output.permute(0, 3, 1, 2)
    if one.layout == "tokens":
        count, (height, width) = output.shape[1] - one.extra, size or (1, 1)
        rows = round(math.sqrt(count * height / width))
        return output[:, one.extra :].transpose(1, 2).unflatten(2, (rows, count // rows))
    return output


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(parent), leaf, module)
