"""The `weight_sharing` cell."""

from __future__ import annotations

from tl_modules.forward import inputs_of
from tl_modules.module import TransferModule
from tl_modules.parts import Wiring
from tl_modules.stages import Stage, at_once


class WeightSharing(TransferModule):
    """Learn both domains on one trunk: same task, different domain, at once.

    A stem per domain, one trunk and one head over the union of the label names. A target whose samples carry two inputs
    has two domains in itself and needs no source: with a backbone of several inputs each has its encoder.

    Example:
        >>> task = {"name": "digits", "kind": "classification", "labels": ["a", "b"]}
        >>> module = WeightSharing(target={**task, "domain": "mail"}, source={**task, "domain": "scans"})
        >>> module.parts.wires
        {'source': ('source', 'shared', 'shared'), 'target': ('target', 'shared', 'shared')}
    """

    def wiring(self) -> Wiring:
        """Return the parts of each role."""
        return {"source": ("source", "shared", "shared"), "target": ("target", "shared", "shared")}

    def stages(self) -> list[Stage]:
        """Return the one stage that learns both.

        Raises:
            ValueError: If there is neither a source nor a backbone of several inputs.
        """
        if "source" not in self.tasks and len(inputs_of(self.parts.of("target", "stem"))) < 2:
            raise ValueError("source=None: WeightSharing needs two domains, a source or a backbone of several inputs")
        return at_once(tuple(self.tasks))
