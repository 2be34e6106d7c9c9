"""A trunk's blocks in order, whatever library it is from: by one rule on the order of its children."""

from __future__ import annotations

from torch import nn

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # as they are, not classes derived from them
HALF = 0.5  # of a trunk's parameters: what holds more is the frame that holds the blocks


def blocks_of(trunk: nn.Module) -> list[list[nn.Module]]:
    """Return a trunk's blocks, first to last, each the modules of one depth.

    The children stand in the order in which they were made, which is that of the layers. A list or sequence of modules,
    and a module that holds more than half of the trunk's parameters, such as the network or its encoder, stands for its
    children. One without a matrix or filter, a normalisation, belongs to the block before it; where none is before it
    (the norm after the stem) it is in no block, as are parameters of the network itself (a class token, positions).

    Args:
        trunk: A trunk, or any module.

    Example:
        >>> from tl_modules.backbones import build_backbone
        >>> len(blocks_of(build_backbone("small").trunk)), len(blocks_of(build_backbone("resnet18").trunk))
        (3, 8)
    """
    most = HALF * sum(parameter.numel() for parameter in trunk.parameters())
    blocks: list[list[nn.Module]] = []

    def walk(module: nn.Module) -> None:
        for child in module.children():
            own = list(child.parameters())
            if not own:
                continue
            frame = sum(parameter.numel() for parameter in own) > most and any(True for _ in child.children())
            if type(child) in LISTS or frame:
                walk(child)
            elif any(parameter.ndim > 1 for parameter in own):
                blocks.append([child])
            elif blocks:
                blocks[-1].append(child)

    walk(trunk)
    return blocks
