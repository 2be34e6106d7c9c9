"""What leaves a module: a role for other programs, its backbone's weights, and what a checkpoint says of itself."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from lightning.pytorch import LightningModule
from torch import Tensor

from tl_modules.finetunings.base import Finetuning
from tl_modules.heads import Head
from tl_modules.health import Health
from tl_modules.parts import Parts
from tl_modules.stages import Stage
from tl_modules.task import UNION, Task
from tl_modules.union import union_task
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
        finetuning: What the target goes on by.
    """

    merged: ClassVar[bool] = False  # whether both roles are learned by one loss
    parts: Parts
    tasks: dict[str, Task]
    stage: Stage
    health: Health
    own_backbone: bool
    finetuning: Finetuning

    def head(self, role: str) -> Head:
        """Return a role's head."""
        return cast(Head, self.parts.of(self.through(role), "head"))

    @property
    def usual(self) -> str:
        """Whose names predictions have where nobody says: the target's, or where two datasets are merged all names."""
        return UNION if self.merged else "target"

    def through(self, role: str) -> str:
        """Return the role whose parts serve a role: for `union` the target's, which are both roles' then."""
        return "target" if role == UNION and self.merged else role

    def task_of(self, role: str) -> Task:
        """Return a role's task; for `union`, the target's with the names of both, where two datasets are merged."""
        return union_task(self.tasks) if role == UNION and self.merged else self.tasks[role]

    def export(self, role: str | None = None) -> Exported:
        """Return a role as a plain module from images to predictions; see `export.Exported`.

        Args:
            role: `target`, `source`, or where two datasets are merged `union`; None for that or the target.
        """
        role = role or self.usual
        stem, trunk = (self.parts.of(self.through(role), kind) for kind in ("stem", "trunk"))
        with self.finetuning.merged(self.parts), self.parts.as_role(self.through(role)):
            return Exported(stem, trunk, self.head(role), self.task_of(role).labels)

    def backbone_state_dict(self, role: str | None = None, classifier: bool | None = None) -> dict[str, Tensor]:
        """Return a role's backbone as its library loads it with `strict=True`; see `export.network_state_dict`.

        Args:
            role: The role, as for `export`.
            classifier: Whether the head stands in for the network's classifier; None where it can.

        Example:
            >>> from torchvision.models import resnet18
            >>> from tl_modules import Task, TransferModule
            >>> module = TransferModule(target=Task("animals", "classification", ("cat", "dog")), backbone="resnet18")
            >>> resnet18(num_classes=2).load_state_dict(module.backbone_state_dict(), strict=True)
            <All keys matched successfully>
        """
        role = role or self.usual
        stem, trunk = (self.parts.of(self.through(role), kind) for kind in ("stem", "trunk"))
        with self.finetuning.merged(self.parts), self.parts.as_role(self.through(role)):
            return network_state_dict(stem, trunk, self.head(role), self.task_of(role).labels, classifier)

    def save_backbone(self, path: Any, role: str | None = None, classifier: bool | None = None) -> None:
        """Write `backbone_state_dict`: as safetensors where the path ends so, else for `torch.load`."""
        save_state_dict(self.backbone_state_dict(role, classifier), path)

    def to_onnx(self, file_path: Any = None, input_sample: Any = None, role: str | None = None, **kwargs: Any) -> Any:
        """Write a role as ONNX, for batches of any size, whatever mode the module is in; see `export.to_onnx`.

        Args:
            file_path: The file; None for none.
            input_sample: Images `(B, C, H, W)` as they will come; by default the module's `example_input_array`.
            role: The role, as for `export`.
            **kwargs: Options of `torch.onnx.export`.
        """
        images: Any = self.example_input_array if input_sample is None else input_sample
        return to_onnx(self.export(role), file_path, images, **kwargs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add wiring, tasks and label names, so that any role can be planted into any other run's."""
        carried = carry(self.parts, self.tasks, self.stage.name, self.own_backbone)
        checkpoint["transfer"] = {**carried, "cell": type(self).__name__, "health": self.health.state_dict()}
        self.finetuning.save(checkpoint)
