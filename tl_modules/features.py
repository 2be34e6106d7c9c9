"""What a backbone gives to the heads."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Features:
    """A backbone's output.

    Args:
        pooled: One vector per sample, `(B, D)`.
        maps: Feature maps by stride (pixels of input a cell), each `(B, C, H, W)`; empty where the backbone has none.
        size: Height and width of the input in pixels; None for inputs without.
    """

    pooled: Tensor
    maps: dict[int, Tensor] = field(default_factory=dict)
    size: tuple[int, int] | None = None

    def take(self, rows: Tensor) -> Features:
        """Return the features of some samples.

        Args:
            rows: Their indices, int64 `(N,)`.
        """
        return Features(self.pooled[rows], {stride: m[rows] for stride, m in self.maps.items()}, self.size)

    def split(self, sizes: list[int]) -> list[Features]:
        """Return the features of consecutive samples.

        Args:
            sizes: How many belong together.
        """
        pooled = self.pooled.split(sizes)
        maps = {stride: m.split(sizes) for stride, m in self.maps.items()}
        return [Features(p, {stride: m[i] for stride, m in maps.items()}, self.size) for i, p in enumerate(pooled)]
