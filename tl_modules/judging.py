"""What a module says of samples: features, outputs, predictions, and scores per split and role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from tl_modules.batch import Batch, by_roles, check_not_nan, check_range, says_roles, size_of, targets_of
from tl_modules.checks import Supervision, check_loaders, role_of
from tl_modules.features import Features
from tl_modules.forward import by_trunk, each_alone, features_of
from tl_modules.heads import Judged
from tl_modules.metrics import Scores
from tl_modules.portable import Portable
from tl_modules.precision import as_float32, full_precision
from tl_modules.processes import is_sharded, same_buffers
from tl_modules.selection import SOURCE, Unlabelled
from tl_modules.task import UNION
from tl_modules.union import UnionScores


class Judging(Portable):
    """The part of `TransferModule` that evaluates and predicts.

    Attributes:
        supervised: By split, which roles' samples had targets.
        val_scores: Metrics by role on validation.
        test_scores: Metrics by role on the test set.
        alone_scores: The same by input, of samples with several, each read alone.
        union_scores: Metrics over the names of both roles, where two datasets are merged.
        unlabelled: What the rules that choose without labels of the target look at.
        selection_metric: The target's metric that checkpoints are chosen by; None for its head's own choice.
        without_labels: The rule in a stage that reads no label of the target.
    """

    supervised: dict[str, Supervision]
    val_scores: Scores
    test_scores: Scores
    alone_scores: nn.ModuleDict
    union_scores: UnionScores | None
    unlabelled: Unlabelled
    selection_metric: str | None
    without_labels: str

    def features(self, batch: Batch, role: str = "target") -> Features:
        """Return a role's features of a batch dict; its images are uint8 or floats in 0..1."""
        check_range(batch)
        role = self.through(role)
        stem, trunk = self.parts.of(role, "stem"), self.parts.of(role, "trunk")
        with self.parts.passing("stem", role):
            stemmed = stem(batch)
        with self.parts.passing("trunk", role):
            return cast(Features, trunk(stemmed))

    def outputs(self, features: Features, role: str = "target", labels: list[str] | None = None) -> Any:
        """Return a role's raw outputs in a label space, the role's own by default: names are matched, never indices."""
        head = self.head(role)
        have, want = list(head.labels), list(self.task_of(role).labels) if labels is None else labels
        role = self.through(role)
        with self.parts.passing("head", role):
            outputs = as_float32(head(features))
        return outputs if have == want else head.select(outputs, [have.index(name) for name in want])

    def forward(self, batch: Any, role: str = "target") -> Any:
        """Return a role's raw outputs for a batch dict, or for images `(B, C, H, W)`."""
        batch = {"image": batch} if isinstance(batch, Tensor) else batch
        return self.outputs(self.features(batch, role), role)

    def _evaluate(self, split: str, batch: Any, dataloader_idx: int) -> dict[str, list[tuple[str, Judged]]]:
        batches = self._by_roles(split, batch, dataloader_idx)
        for part in batches.values():
            check_not_nan(part)
        judged = self._score(split, self.val_scores if split == "val" else self.test_scores, batches)
        if split == "test":  # a joint model can lose to the better single input
            for name, alone in each_alone(self.parts, batches):
                self._score(split, self.alone_scores[name], alone)
        return judged

    def _by_roles(self, split: str, batch: Any, index: int) -> dict[str, Batch]:
        """Return a batch by the roles it serves; one that does not say so is its loader's."""
        if says_roles(batch):
            return by_roles(batch, "target", self.tasks)
        loaders = self.trainer.train_dataloader if split == "train" else getattr(self.trainer, f"{split}_dataloaders")
        merged = split == "train" and isinstance(batch, Mapping) and "role" in batch
        stage = None if split == "test" else self.stage
        key = "target" if merged else role_of(loaders, index, split, type(self).__name__, self.tasks, stage)
        return by_roles(batch, key, self.tasks)

    def _score(self, split: str, scores: Any, batches: dict[str, Batch]) -> dict[str, list[tuple[str, Judged]]]:
        judged = {}
        for units in by_trunk(self.parts, batches):
            for (name, role), features in features_of(self.parts, batches, units).items():
                found = targets_of(batches[name], self.tasks[role], self.head(role).key)
                if split == "val" and self.stage.judge:
                    self._note_unlabelled(role, features, None if role == "target" else found)
                if split == "test" or role not in self.stage.judge or role in self.stage.learn:
                    self.supervised[split].note(role, batches[name], found is not None)
                if found is not None:
                    targets, rows = found
                    features = features if rows is None else features.take(rows)
                    outputs = self.outputs(features, role)
                    union = self.union_scores is not None and scores is self.test_scores
                    everything = self.outputs(features, UNION) if union else None
                    count = size_of(batches[name]) if rows is None else len(rows)
                    with full_precision(features.pooled.device):
                        if self.union_scores is not None and union:
                            self.union_scores.update(role, self.head(role), everything, targets)
                        found = scores.update(role, self.head(role), outputs, targets, count)
                    ids = batches[name].get("id", [""] * size_of(batches[name]))
                    kept = range(len(ids)) if rows is None else rows.tolist()
                    judged[role] = list(zip([ids[row] for row in kept], found, strict=False))
        return judged

    def _note_unlabelled(self, role: str, features: Features, found: tuple[Batch, Tensor | None] | None) -> None:
        """Keep what the rules without labels of the target need of a validation batch."""
        if self.tasks["target"].kind != "classification" or (role != "target" and found is None):
            return
        targets, rows = found or ({}, None)
        features = features if rows is None else features.take(rows)
        outputs = self.outputs(features, role)
        with full_precision(features.pooled.device):
            predicted = self.head(role).predict(outputs)
        self.unlabelled.add(role, features.pooled, predicted, targets.get(self.head(role).key))

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Update the validation scores of the batch's roles."""
        self._evaluate("val", batch, dataloader_idx)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> dict[str, list[tuple[str, Judged]]]:
        """Update the test scores of the batch's roles, and return each sample's id with what its head says of it."""
        return self._evaluate("test", batch, dataloader_idx)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Refuse targets that mean nothing, while they are where they were read; paired DataModules have done so."""
        trainer = self._trainer
        split = None if trainer is None or trainer.predicting else "train" if trainer.training else "val"
        if trainer is None or split is None or hasattr(getattr(trainer, "datamodule", None), "enter"):
            return batch
        split = "test" if trainer.testing else split
        for name, part in self._by_roles(split, batch, dataloader_idx).items():
            for role in (role for role in name.split("+") if "role" not in part):
                task = self.tasks[role]
                try:
                    if task.key in part:
                        self.head(role).check(part, task.key, task.labels)
                except ValueError as error:
                    raise ValueError(f"{split}, {role}: {error}") from error
        return batch

    def on_test_start(self) -> None:
        """Refuse loaders that are of no role, are empty, or have the labels in another order."""
        check_loaders(self.trainer.test_dataloaders, "test", type(self).__name__, self.tasks, None)

    def on_validation_start(self) -> None:
        """Give all processes the statistics that are saved."""
        check_loaders(self.trainer.val_dataloaders, "val", type(self).__name__, self.tasks, None)
        same_buffers(self)

    def on_validation_epoch_end(self) -> None:
        """Log `val/<role>/<metric>`; of a target without labels the rules' scores, and its metrics as `oracle/`."""
        seen = self.supervised["val"]
        seen.begin() if self.trainer.sanity_checking else seen.check("val", self.in_any_process)
        oracle = "target/" if self.stage.judge else None
        values = {
            f"{'oracle' if oracle and name.startswith(oracle) else 'val'}/{name}": value
            for name, value in self.val_scores.compute().items()
        }
        self.log_dict(values, batch_size=1)
        scores = self.unlabelled.scores(bool(self.stage.judge) and is_sharded(self.trainer.val_dataloaders))
        self.log_dict({f"val/target/{rule}": score for rule, score in scores.items()}, batch_size=1)
        monitor = self.monitor[0].rpartition("/")[2]
        if self.stage.judge and self.without_labels == monitor and monitor not in scores:
            need = "both roles" if monitor == "importance_weighted" else "the target"
            raise ValueError(f"without_labels={monitor!r}: there are no validation samples of {need}")

    def on_test_epoch_end(self) -> None:
        """Log `test/<role>/<metric>`, of samples with several inputs `test/<role>/<input>_alone/<metric>` too.

        Of two merged datasets, `test/union/<metric>` is over both test sets with the names of both allowed.
        """
        self.supervised["test"].check("test", self.in_any_process)
        values = {f"test/{name}": value for name, value in self.test_scores.compute().items()}
        for name, scores in self.alone_scores.items():
            for key, value in cast(Scores, scores).compute().items():
                values[f"test/{key.replace('/', f'/{name}_alone/', 1)}"] = value
        if self.union_scores is not None:
            values |= {f"test/{name}": value for name, value in self.union_scores.compute().items()}
        self.log_dict(values, batch_size=1)

    def in_any_process(self, here: bool) -> bool:
        """Tell whether something is so in any of the Trainer's processes, each of which asks."""
        return bool(self.trainer.strategy.reduce_boolean_decision(here, all=False))

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> list[dict[str, Any]]:
        """Return a role's predictions with label names, one dict per sample.

        A batch is the target's, or the role's whose name it or its loader bears; one that serves both is predicted by
        the target's head. Where two datasets are merged, the names are those of both, whosever it is.

        Raises:
            ValueError: If it holds the batches of two roles.
        """
        loaders = getattr(self._trainer, "predict_dataloaders", None) if self._trainer else None
        key = role_of(loaders, dataloader_idx, "predict", type(self).__name__, self.tasks, None)
        (name, part), *more = by_roles(batch, key, self.tasks).items()
        if more:
            raise ValueError(
                f"a batch to predict must be of one role, not of {', '.join([name, *(k for k, _ in more)])}"
            )
        check_not_nan(part)
        role = self.usual if self.merged else name.split("+")[-1]
        head, labels = self.head(role), self.task_of(role).labels
        outputs = self.outputs(self.features(part, role), role)
        with full_precision(self.device):
            return head.named(head.predict(outputs), labels)

    @property
    def monitor(self) -> tuple[str, str]:
        """The current stage's selection metric, and `max` or `min`: the target's where it learns, else by the rule."""
        if self.stage.judge and self.without_labels != SOURCE:
            return f"val/target/{self.without_labels}", "max"
        return self.monitor_of("target" if "target" in self.stage.learn else "source")

    def monitor_of(self, role: str) -> tuple[str, str]:
        """Return a role's selection metric, and `max` or `min`."""
        known = self.head(role).reported(self.tasks[role].labels)
        metric = self.selection_metric if self.selection_metric in known else self.head(role).monitor
        return f"val/{role}/{metric}", known[metric]
