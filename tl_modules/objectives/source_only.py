"""What adaptation is compared with: the source alone."""

from __future__ import annotations

from typing import ClassVar

from tl_modules.objectives.sum import Sum


class SourceOnly(Sum):
    """Learn the source to the end, as long as an arm that adapts trains, and read nothing of the target."""

    adapts: ClassVar[bool] = True
    sees: ClassVar[bool] = False
