"""Every ResNet of torchvision: ResNet, ResNeXt and Wide-ResNet."""

from __future__ import annotations

from torch import nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.resnet import ResNet

from tl_modules.backbones.base import Backbone, ImageStem, Stemmed, Trunk
from tl_modules.features import Features

RESNETS = tuple(name for name in list_models() if name.startswith(("resnet", "resnext", "wide_resnet")))


class ResNetTrunk(Trunk):
    """All of a ResNet after its first convolution; maps at strides 4, 8, 16 and 32.

    Args:
        net: A torchvision ResNet; its first convolution and its classifier are not used.
    """

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.enter = nn.Sequential(net.bn1, net.relu, net.maxpool)
        self.layers = nn.ModuleList([net.layer1, net.layer2, net.layer3, net.layer4])
        self.dim, self.strides = net.fc.in_features, [4, 8, 16, 32]
        self.channels = [self.dim // 8, self.dim // 4, self.dim // 2, self.dim]

    def forward(self, stemmed: Stemmed) -> Features:
        """Return pooled features and the maps of the four stages (He et al. 2016, table 1)."""
        x = self.enter(stemmed.values)
        maps = {}
        for stride, layer in zip(self.strides, self.layers, strict=True):
            x = maps[stride] = layer(x)
        return Features(x.mean((2, 3)), maps, stemmed.size)


def resnet(name: str, channels: int = 3, weights: str | None = None) -> Backbone:
    """Build a ResNet.

    Args:
        name: torchvision's name, such as `resnet18`.
        channels: Channels of the images; pretrained filters are adapted to them.
        weights: A torchvision weight name such as `DEFAULT`; None for random weights.

    Raises:
        ValueError: If the weights' name is unknown.
    """
    if weights is not None and weights != "DEFAULT" and weights not in get_model_weights(name).__members__:
        allowed = ", ".join(["DEFAULT", *get_model_weights(name).__members__])
        raise ValueError(f"backbone.weights={weights!r} is unknown for {name}; allowed: {allowed}")
    net = get_model(name, weights=weights)
    conv = net.conv1
    if channels != conv.in_channels:
        fresh = nn.Conv2d(channels, conv.out_channels, 7, stride=2, padding=3, bias=False)
        if weights is None:
            nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
        else:
            from tl_modules.transplant import adapt_channels

            fresh.weight.data.copy_(adapt_channels(conv.weight.data, channels))
        conv = fresh
    return Backbone(ImageStem(conv), ResNetTrunk(net))
