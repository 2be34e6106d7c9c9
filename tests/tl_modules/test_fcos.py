"""The layout that takes the weights of torchvision's detector: the same outputs, loss and predictions."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import FCOS_ResNet50_FPN_Weights, fcos_resnet50_fpn

from tl_modules import TransferModule
from tl_modules.backbones import build_backbone
from tl_modules.heads import build_head
from tl_modules.task import Task
from tl_modules.weights.files import load_state

COCO = FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
NAMES = ["dog", "Traffic Light", "raccoon", "cat"]  # in an order of their own; COCO has no raccoon
ROWS = [COCO.index("dog"), COCO.index("traffic light"), COCO.index("cat")]
SIZE = (72, 100)  # no multiples of 32


@pytest.fixture(scope="module")
def theirs():
    """Return torchvision's detector with random weights and statistics that differ from those of new layers."""
    torch.manual_seed(0)
    options = {"score_thresh": 0.05, "min_size": SIZE[0], "max_size": SIZE[1]}
    net = fcos_resnet50_fpn(weights=None, weights_backbone=None, **options)
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if key.endswith("running_mean"):
                value.normal_(std=0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif "head" in key and key.endswith(("cls_logits.weight", "bbox_reg.weight", "bbox_ctrness.weight")):
                value.normal_(std=0.05)
        net.head.regression_head.bbox_reg.bias.fill_(2.0)
    return net.eval()


@pytest.fixture(scope="module")
def file(theirs, tmp_path_factory):
    """Return a file of its weights as torchvision publishes them: frozen layers count no batches."""
    path = tmp_path_factory.mktemp("weights") / "fcos.pth"
    state = theirs.state_dict()
    torch.save({key: one for key, one in state.items() if not key.endswith("num_batches_tracked")}, path)
    return path


def task(labels, kind="detection"):
    return {"name": "animals", "kind": kind, "labels": labels, "domain": "photographs"}


@pytest.fixture(scope="module")
def ours(file):
    return TransferModule(task(NAMES), backbone={"name": "fcos_resnet50_fpn", "weights": str(file)}).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def raw(theirs, images):
    """Return the outputs of torchvision's detector for the pictures, with its anchors and how many a level has."""
    with torch.no_grad():
        filled, _ = theirs.transform(list(images))
        maps = list(theirs.backbone(filled.tensors).values())
        return theirs.head(maps), theirs.anchor_generator(filled, maps), [one.shape[2] * one.shape[3] for one in maps]


@pytest.fixture(scope="module")
def outputs(ours, images):
    with torch.no_grad():
        return ours(images)


def test_outputs_are_those_of_the_detector_whose_weights_they_are(ours, outputs, raw):
    wanted, anchors, levels = raw
    assert outputs.logits.shape == (2, sum(levels), len(NAMES)) and len(levels) == 5
    mine = [NAMES.index(name) for name in ("dog", "Traffic Light", "cat")]
    torch.testing.assert_close(outputs.logits[..., mine], wanted["cls_logits"][..., ROWS], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs.distances, wanted["bbox_regression"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs.centred, wanted["bbox_ctrness"][..., 0], rtol=1e-4, atol=1e-5)
    assert torch.equal(outputs.centres, (anchors[0][:, :2] + anchors[0][:, 2:]) / 2)
    assert torch.equal(outputs.stride, anchors[0][:, 2] - anchors[0][:, 0])
    said = str(ours.parts.report)
    assert "3 rows by name (dog, Traffic Light, cat), 1 new" in said and "0 reinitialised, 0 unused" in said


BOXES = [
    [[3.3, 4.1, 40.2, 60.7], [30.4, 10.2, 61.9, 33.8], [50.6, 20.3, 99.1, 71.4]],
    [[1.2, 2.3, 98.7, 70.1], [10.0, 16.0, 42.0, 48.0]],  # one whose farthest sides lie on a bound between two maps
]
LABELS = [[0, 3, 1], [3, 0]]


@pytest.mark.parametrize("boxes", [BOXES, [BOXES[0], []], [[], []]], ids=["boxes", "one without", "none"])
def test_the_loss_is_the_detectors(ours, theirs, outputs, raw, boxes):
    labels = [names[: len(some)] for names, some in zip(LABELS, boxes, strict=True)]
    found, anchors, levels = raw
    logits = outputs.logits.clone()  # the row of a name that is new is not theirs
    order = [NAMES.index(name) for name in ("dog", "Traffic Light", "cat")]
    logits[..., order] = found["cls_logits"][..., ROWS]
    targets = [
        {"boxes": torch.tensor(some).view(-1, 4), "labels": torch.tensor(names, dtype=torch.long)}
        for some, names in zip(boxes, labels, strict=True)
    ]
    wanted = theirs.compute_loss(targets, {**found, "cls_logits": logits}, anchors, levels)
    batch = {name: [one[name] for one in targets] for name in ("boxes", "labels")}
    loss = ours.head("target").loss(outputs, {"boxes": batch["boxes"], "box_labels": batch["labels"]})
    torch.testing.assert_close(loss, sum(wanted.values()), rtol=1e-4, atol=1e-6)
    assert not any(boxes) or float(wanted["bbox_regression"]) > 0  # some place answers for a box


def test_predictions_are_the_detectors(ours, theirs, images):
    """With all of COCO's names; the rows without one, which no dataset's label can be, are ruled out in theirs."""
    labels, nameless = [name for name in dict.fromkeys(COCO) if name != "N/A"], [name == "N/A" for name in COCO]
    trunk = ours.parts.trunk["target"]
    head = build_head(Task.of(task(labels)), trunk.dim, trunk.channels, trunk.strides, made=trunk.heads["detection"])
    state = ours.head("target").state_dict()
    given = theirs.head.classification_head.cls_logits.state_dict()
    rows = [COCO.index(name) for name in labels]
    state |= {f"classification.cls_logits.{key}": value[rows] for key, value in given.items()}
    head.load_state_dict(state)
    rule_out = theirs.head.classification_head.register_forward_hook(
        lambda _, __, logits: logits.masked_fill(torch.tensor(nameless), -100.0)
    )
    with torch.no_grad(), rule_out:
        wanted = theirs(list(images))
        found = head.predict(head(ours.features({"image": images})))
    for mine, other in zip(found, wanted, strict=True):
        assert len(other["scores"]) == 100
        torch.testing.assert_close(mine["scores"], other["scores"], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(mine["boxes"], other["boxes"], rtol=1e-3, atol=1e-3)
        assert [labels[index] for index in mine["labels"]] == [COCO[index] for index in other["labels"]]


def test_a_detector_that_knows_none_of_the_names_still_brings_the_rest_of_its_head(ours, file):
    module = TransferModule(task(["cell"]), backbone={"name": "fcos_resnet50_fpn", "weights": str(file)})
    own, known = module.head("target").state_dict(), ours.head("target").state_dict()
    assert all(torch.equal(own[key], known[key]) for key in own if key not in module.head("target").rows)
    assert len(own["classification.cls_logits.bias"]) == 1
    assert "0 rows by name" not in str(module.parts.report) and module.parts.report.new_rows == ["cell"]


@pytest.fixture(scope="module")
def fresh():
    return build_backbone("fcos_resnet50_fpn")


def test_trained_statistics_are_kept_in_training_and_random_ones_are_not(ours, fresh, images):
    trained = ours.parts.trunk["target"]
    for trunk, moves in ((trained, False), (fresh.trunk, True)):
        before = trunk.body["bn1"].running_mean.clone()
        trunk.train()
        with torch.no_grad():
            trunk(fresh.stem({"image": images}))
        trunk.eval()
        assert torch.equal(trunk.body["bn1"].running_mean, before) is not moves
    fresh.trunk.load_state_dict(trained.state_dict())  # what keeps them goes where the weights go
    assert not fresh.trunk.train().body["bn1"].training


def test_weights_of_another_network_are_refused_in_a_line(theirs, fresh):
    state = theirs.state_dict()
    other = {key.replace("head.conv.0.", "head.conv.0.0."): one for key, one in state.items()}  # as RetinaNet's
    for named, said in (
        (other, r"head\.classification\.conv\.0\.0\.weight is unknown"),
        ({key: one for key, one in state.items() if "layer4" not in key}, r"trunk\.body\.layer4\.\S+ is missing"),
        ({f"body.{key}": one for key, one in state.items()}, "is missing"),
    ):
        with pytest.raises(ValueError, match=f"^other.pth: does not fit this backbone: .*{said}") as caught:
            load_state(fresh, named, "other.pth")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"backbone\.weights='COCO_V2' is unknown .* allowed: COCO_V1, DEFAULT"):
        build_backbone({"name": "fcos_resnet50_fpn", "weights": "COCO_V2"})


def test_published_weights_are_asked_for_by_name(file, monkeypatch, ours):
    monkeypatch.setattr(type(FCOS_ResNet50_FPN_Weights.COCO_V1), "get_state_dict", lambda *_, **__: torch.load(file))
    backbone = build_backbone({"name": "fcos_resnet50_fpn", "weights": "FCOS_ResNet50_FPN_Weights.COCO_V1"})
    assert backbone.classifier.labels == COCO
    assert torch.equal(backbone.stem.conv.weight, ours.parts.stem["target"].conv.weight)


def test_other_heads_read_its_pyramid_and_its_vector(ours, images):
    trunk = ours.parts.trunk["target"]
    with torch.no_grad():
        features = ours.features({"image": images[:, :1]})  # grey
        for kind, shape in (("classification", (2, 2)), ("segmentation", (2, 2, *SIZE))):
            head = build_head(Task.of(task(["ground", "dog"], kind)), trunk.dim, trunk.channels, trunk.strides)
            assert head(features).shape == shape
