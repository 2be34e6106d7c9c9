from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from tests.conftest import module_for, pair_for, trainer_for
from tl_modules import DatasetMerging, MultiTask, Task
from tl_modules.batch import annotated
from tl_modules.heads import build_head, head_of
from tl_modules.heads.base import Head
from tl_modules.union import UnionScores, union_task

SIZE = 32


def tasks(kind: str, source: tuple[str, ...], target: tuple[str, ...], absent: str = "unknown") -> dict[str, Task]:
    return {
        "source": Task("t", kind, source, "d", absent=absent),
        "target": Task("t", kind, target, "d", absent=absent),
    }


def head(kind: str, labels: tuple[str, ...]) -> Head:
    return build_head(Task("t", kind, labels), 8, [8, 8], [4, 8])


def one_hot(indices: list[int], count: int) -> torch.Tensor:
    return 9.0 * torch.nn.functional.one_hot(torch.tensor(indices), count).float()


def test_names_of_the_other_dataset_count_as_errors_over_the_union() -> None:
    both = tasks("classification", ("cat", "dog"), ("dog", "fox"))
    scores = UnionScores(head("classification", ("cat", "dog", "fox")), both)
    assert scores.labels == ["cat", "dog", "fox"]
    made = head("classification", ("cat", "dog", "fox"))
    scores.update("source", made, one_hot([0, 2], 3), {"label": torch.tensor([0, 1])})  # a dog is called a fox
    scores.update("target", made, one_hot([1, 2], 3), {"label": torch.tensor([0, 1])})
    values = scores.compute()
    assert float(values["union/accuracy"]) == 0.75
    assert scores.confusion["source"].tolist() == [[1, 0, 0, 0], [0, 0, 1, 0], [0] * 4, [0] * 4]
    assert scores.confusion["target"].tolist() == [[0] * 4, [0, 1, 0, 0], [0, 0, 1, 0], [0] * 4]
    scores.update("source", made, one_hot([0], 3), {"label": torch.tensor([0])})
    assert scores.compute() == {}  # of one dataset alone there is no union


@pytest.mark.parametrize(("absent", "expected"), [("unknown", 1.0), ("negative", 0.5)])
def test_pixels_of_background_are_judged_on_what_is_annotated(absent: str, expected: float) -> None:
    both = tasks("segmentation", ("background", "car"), ("background", "tree"), absent)
    made = head("segmentation", ("background", "car", "tree"))
    scores = UnionScores(made, both)
    truth = torch.tensor([[[0, 1, 1, 255]]])
    for role, found in (("source", [2, 1, 1, 0]), ("target", [0, 2, 2, 0])):
        outputs = one_hot(found, 3).T.view(1, 3, 1, 4)  # in the source a tree, which it may well be
        scores.update(role, made, outputs, {"mask": truth})
    values = scores.compute()
    assert float(values["union/miou"]) == pytest.approx(1.0 if absent == "unknown" else (0.5 + 1 + 2 / 3) / 3)
    assert int(scores.confusion["source"][0, 2]) == 1  # the confusion has it all the same


def boxes(*corners: tuple[float, ...], labels: tuple[int, ...], scores: tuple[float, ...] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {"boxes": torch.tensor(corners).view(-1, 4), "labels": torch.tensor(labels).long()}
    return made | ({"scores": torch.tensor(scores)} if scores else {})


def test_detections_of_other_names_are_judged_where_they_lie_on_a_box() -> None:
    made: Any = head("detection", ("cat", "dog"))
    there, elsewhere = (0.0, 0.0, 10.0, 10.0), (20.0, 20.0, 30.0, 30.0)
    found = [boxes(there, there, elsewhere, labels=(0, 1, 1), scores=(0.9, 0.7, 0.6))]
    truth = [boxes(there, labels=(0,))]
    kept, _ = made.judgeable(found, truth, torch.tensor([True, False]), ["cat", "dog"])
    assert kept[0]["labels"].tolist() == [0, 1]  # a dog elsewhere may be one
    assert made.confused(found, truth, ["cat", "dog"]).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]
    nothing = [boxes(labels=(), scores=(0.0,)) | {"scores": torch.zeros(0)}]
    assert made.confused(nothing, truth, ["cat", "dog"]).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    flagged = [truth[0] | {"flags": torch.tensor([1])}]
    assert int(made.confused(found, flagged, ["cat", "dog"]).sum()) == 1


def test_labels_that_are_not_annotated_are_left_out_of_the_metrics() -> None:
    made: Any = head("multilabel", ("cat", "dog"))
    found, truth = made.predict(torch.tensor([[4.0, 4.0], [-4.0, 4.0]])), torch.tensor([[1, 0], [0, 0]])
    told = made.judgeable(found, truth, torch.tensor([True, False]), ["cat", "dog"])
    values = []
    for predicted, true in (told, (found, truth)):
        metrics = made.metrics(["cat", "dog"])
        metrics.update(predicted, true)
        metrics.update(made.predict(torch.tensor([[4.0, 2.0]])), torch.tensor([[1, 1]]))  # of a dataset that has dogs
        values.append({name: float(value) for name, value in metrics.compute().items()})
    assert values[0] == {"map": 1.0, "f1": 1.0}
    assert values[1]["map"] < 0.7 and values[1]["f1"] < 0.8
    assert made.confused(found, truth, ["cat", "dog"]).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_labels_are_joined_by_their_maximum_and_dropped() -> None:
    columns = torch.tensor([0, 0, -1])
    joined = head_of("multilabel").to_union({"labels": torch.tensor([[0, 1, 1], [0, 0, 1]])}, "labels", columns, 1)
    assert joined["labels"].tolist() == [[1.0], [0.0]]
    mask = head_of("segmentation").to_union({"mask": torch.tensor([[[0, 1, 2, 255]]])}, "mask", columns, 1)["mask"]
    assert mask.tolist() == [[[0, 0, 255, 255]]]
    given = {"boxes": [torch.rand(3, 4)], "box_labels": [torch.tensor([2, 1, 0])]}
    kept = head_of("detection").to_union(given, "boxes", columns, 1)
    assert torch.equal(kept["boxes"][0], given["boxes"][0][1:]) and kept["box_labels"][0].tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["classification", "segmentation", "detection", "multilabel"])
def test_what_is_negative_is_learned_as_such(kind: str) -> None:
    """With `negative` the gradient pushes a name of the other dataset down where with `unknown` it has none."""
    torch.manual_seed(0)
    batch: dict[str, Any] = {"role": torch.tensor([0]), "id": ["s"], "image": torch.rand(1, 3, SIZE, SIZE)}
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.long)
    batch |= {"label": torch.tensor([0]), "labels": torch.tensor([[1.0, 0.0, 0.0]]), "mask": mask}
    batch |= {"boxes": [torch.zeros(0, 4)], "box_labels": [torch.zeros(0, dtype=torch.long)]}
    own, other = ("background", "car"), ("background", "tree")

    def gradient(absent: str) -> torch.Tensor:
        module = DatasetMerging(**tasks(kind, own, other, absent))
        loss = module.loss("target", module.features(batch), batch)
        assert loss is not None
        loss.backward()
        made = module.head("target")
        row = dict(made.named_parameters())[made.rows[-1]].grad
        assert row is not None
        return row[made.labels.index("tree")]

    assert float(gradient("unknown").abs().sum()) == 0
    assert float(gradient("negative")) > 0


def test_absent_is_told_by_role_and_refused_where_nothing_is_merged() -> None:
    both = tasks("classification", ("a", "b"), ("b", "c"))
    both["source"] = Task.of({**both["source"].to_dict(), "absent": "negative"})
    told = annotated({"role": torch.tensor([0, 1])}, None, both, ["a", "b", "c"], torch.device("cpu"))
    assert told.tolist() == [[True, True, True], [False, True, True]]
    with pytest.raises(ValueError, match=r"source.absent=negative: has no effect in MultiTask"):
        MultiTask(**both)
    with pytest.raises(ValueError, match="absent='no' of task 't': allowed: unknown, negative"):
        Task("t", "classification", ("a",), absent="no")
    with pytest.raises(ValueError, match="a regression task has no names"):
        Task("t", "regression", absent="negative")


def test_predictions_and_exports_of_a_merged_module_have_all_names() -> None:
    module = DatasetMerging(**tasks("classification", ("cat", "dog"), ("dog", "fox"))).eval()
    images = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        module.head("target").linear.bias.copy_(torch.tensor([9.0, 0, 0]))  # type: ignore[union-attr, operator]
        assert [one["label"] for one in module.predict_step({"image": images}, 0)] == ["cat", "cat"]
        assert [one["label"] for one in module.predict_step({"target": {"image": images}}, 0)] == ["cat", "cat"]
        exported = module.export()
        assert exported.labels == ["cat", "dog", "fox"] and exported(images).argmax(1).tolist() == [0, 0]
        assert module.export("target").labels == ["dog", "fox"]
        assert module(images).shape == (2, 2)
    assert union_task(module.tasks).labels == module.task_of("union").labels
    with pytest.raises(KeyError):
        MultiTask(**tasks("classification", ("a",), ("b",))).task_of("union")


def test_a_test_has_metrics_over_the_union_beside_each_roles_own() -> None:
    data = pair_for("dataset_merging")
    module = module_for("dataset_merging", data)
    trainer: Trainer = trainer_for(1)
    tested = trainer.test(module, datamodule=data, verbose=False)
    values = {name: value for part in tested for name, value in part.items()}
    alike = {name for name in values if name.startswith("test/union/")}
    assert alike == {f"test/union/{name}" for name in ("accuracy", "macro_f1", "auroc")}
    own = [float(values[f"test/{role}/accuracy"]) for role in ("source", "target")]
    sizes = [len(data.split(role, "test")) for role in ("source", "target")]
    mean = sum(a * n for a, n in zip(own, sizes, strict=True)) / sum(sizes)
    assert float(values["test/union/accuracy"]) == pytest.approx(mean)  # both datasets have the same names
    assert module.union_scores is not None
    assert {role: int(table.sum()) for role, table in module.union_scores.confusion.items()} == dict(
        zip(("source", "target"), sizes, strict=True)
    )
