"""What leaves a module: a role for other programs, its backbone's weights, and what a checkpoint says of itself."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import LightningModule
from torch import Tensor

from tl_modules.heads import Head
from tl_modules.health import Health
from tl_modules.parts import Parts
from tl_modules.stages import Stage
from tl_modules.task import Task
from tl_modules.weights.checkpoint import carry
from tl_modules.weights.export import Exported, network_state_dict, save_state_dict, to_onnx


class Portable(LightningModule):
    """The part of `TransferModule` that gives its roles to other programs and other runs.

    Attributes:
        parts: The stems, trunks and heads.
        tasks: Task by role.
        stage: The current stage.
        health: Which roles have stopped learning in it.
        own_backbone: Whether a backbone is a module that was given.
    """

    parts: Parts
    tasks: dict[str, Task]
    stage: Stage
    health: Health
    own_backbone: bool

    def head(self, role: str) -> Head:
        """Return a role's head."""
        return cast(Head, self.parts.of(role, "head"))

    def export(self, role: str = "target") -> Exported:
        """Return a role as a plain module from images to predictions; see `export.Exported`."""
        stem, trunk = self.parts.of(role, "stem"), self.parts.of(role, "trunk")
        with self.parts.as_role(role):
            return Exported(stem, trunk, self.head(role), self.tasks[role].labels)

    def backbone_state_dict(self, role: str = "target", classifier: bool | None = None) -> dict[str, Tensor]:
        """Return a role's backbone as its library loads it with `strict=True`; see `export.network_state_dict`.

        Args:
            role: The role.
            classifier: Whether the head stands in for the network's classifier; None where it can.

        Example:
            >>> from torchvision.models import resnet18
            >>> from tl_modules import Task, TransferModule
            >>> module = TransferModule(target=Task("animals", "classification", ("cat", "dog")), backbone="resnet18")
            >>> resnet18(num_classes=2).load_state_dict(module.backbone_state_dict(), strict=True)
            <All keys matched successfully>
        """
        stem, trunk = self.parts.of(role, "stem"), self.parts.of(role, "trunk")
        with self.parts.as_role(role):
            return network_state_dict(stem, trunk, self.head(role), self.tasks[role].labels, classifier)

    def save_backbone(self, path: Any, role: str = "target", classifier: bool | None = None) -> None:
        """Write `backbone_state_dict`: as safetensors where the path ends so, else for `torch.load`."""
        save_state_dict(self.backbone_state_dict(role, classifier), path)

    def to_onnx(self, file_path: Any = None, input_sample: Any = None, role: str = "target", **kwargs: Any) -> Any:
        """Write a role as ONNX, for batches of any size, whatever mode the module is in; see `export.to_onnx`.

        Args:
            file_path: The file; None for none.
            input_sample: Images `(B, C, H, W)` as they will come; by default the module's `example_input_array`.
            role: The role.
            **kwargs: Options of `torch.onnx.export`.
        """
        images: Any = self.example_input_array if input_sample is None else input_sample
        return to_onnx(self.export(role), file_path, images, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add wiring, tasks and label names, so that any role can be planted into any other run's."""
        carried = carry(self.parts, self.tasks, self.stage.name, self.own_backbone)
        checkpoint["transfer"] = {**carried, "cell": type(self).__name__, "health": self.health.state_dict()}
