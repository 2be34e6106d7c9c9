from __future__ import annotations

import warnings
from collections.abc import Iterable

import pytest
import torch
from lightning.pytorch import Trainer
from matplotlib.figure import Figure
from torchmetrics import MeanAbsoluteError, MetricCollection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList

from tl_modules import DatasetMerging, Head, Task, TransferModule
from tl_modules.features import Features
from tl_modules.heads import HEADS, build_head
from tl_modules.heads.detection import _to_boxes
from tl_modules.heads.pyramid import WIDTH
from tl_modules.heads.segmentation import MeanIoU

NAMES = ("a", "b", "c")
SIZE = 32


def features(count: int = 4, seed: int = 0) -> Features:
    rng = torch.Generator().manual_seed(seed)
    maps = {s: torch.randn(count, c, SIZE // s, SIZE // s, generator=rng) for s, c in ((4, 16), (8, 32))}
    return Features(torch.randn(count, 24, generator=rng), maps, (SIZE, SIZE))


def head(kind: str, labels: tuple[str, ...] = NAMES, **more: object):
    torch.manual_seed(0)
    return build_head(Task("t", kind, () if kind == "regression" else labels, **more), 24, [16, 32], [4, 8])


def batch(kind: str) -> dict[str, object]:
    mask = torch.zeros(4, SIZE, SIZE, dtype=torch.long)
    mask[0, 4:14, 4:16], mask[1, 2:12, 3:13], mask[2, 0:2] = 1, 2, 255
    boxes = [torch.tensor([[4.0, 4, 16, 14]]), torch.tensor([[3.0, 2, 13, 12], [16, 16, 30, 30]]), torch.zeros(0, 4)]
    return {
        "classification": {"label": torch.tensor([0, 1, 2, 1])},
        "multilabel": {"labels": torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]])},
        "regression": {"value": torch.tensor([1.0, 2, 3, 2])},
        "segmentation": {"mask": mask},
        "detection": {
            "boxes": [*boxes, torch.tensor([[8.0, 8, 20, 24]])],
            "box_labels": [
                torch.tensor([0]),
                torch.tensor([1, 2]),
                torch.zeros(0, dtype=torch.long),
                torch.tensor([1]),
            ],
        },
    }[kind]


@pytest.mark.parametrize("kind", HEADS)
def test_it_learns_and_every_parameter_takes_part(kind: str):
    made, given, wanted = head(kind), features(), batch(kind)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = made.loss(made(given), wanted)
        loss.backward()
        assert all(p.grad is not None for p in made.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]
    metrics = made.metrics(made.labels)
    with torch.no_grad():
        outputs = made(given)
        metrics.update(made.predict(outputs), made.targets(wanted))
    values = metrics.compute()
    assert made.monitor in values and all(torch.as_tensor(v).ndim == 0 for v in values.values())
    best = float(values[made.monitor])
    assert best < 0.4 if made.mode == "min" else best > 0.6
    named = made.named(made.predict(outputs), made.labels)
    assert len(named) == 4 and all(isinstance(one, dict) for one in named)


EMPTY = {
    "classification": {"label": torch.zeros(0, dtype=torch.long)},
    "multilabel": {"labels": torch.zeros(0, 3)},
    "regression": {"value": torch.zeros(0)},
    "segmentation": {"mask": torch.full((4, SIZE, SIZE), 255)},
    "detection": {"boxes": [torch.zeros(0, 4)] * 4, "box_labels": [torch.zeros(0, dtype=torch.long)] * 4},
}


@pytest.mark.parametrize("kind", HEADS)
def test_without_targets_the_loss_is_finite_and_tied(kind: str):
    made = head(kind)
    given = features() if kind in ("segmentation", "detection") else features().take(torch.zeros(0, dtype=torch.long))
    loss = made.loss(made(given), EMPTY[kind])
    loss.backward()
    assert torch.isfinite(loss) and all(p.grad is not None for p in made.parameters())
    if kind != "detection":  # a picture without boxes still says that there is nothing
        assert float(loss.detach()) == 0


def logits(outputs):
    return outputs.logits if hasattr(outputs, "logits") else outputs


@pytest.mark.parametrize("kind", [k for k in HEADS if k != "regression"])
def test_names_that_are_not_annotated_have_no_say(kind: str):
    """Neither the loss nor any gradient depends on the logits of names a sample's dataset does not annotate.

    But what has a name, a place in a box or a pixel that is no background, has no other one: there it does.
    """
    names = ("background", "b", "c") if kind == "segmentation" else NAMES
    made, wanted = head(kind, names), dict(batch(kind))
    annotated = torch.tensor([[True, True, True], [True, True, True], [True, True, False], [False, True, True]])
    if kind == "multilabel":
        wanted["labels"] = wanted["labels"] * annotated
    wanted |= {"annotated": annotated, "names": names}

    boxes = wanted.get("boxes", [])

    def loss_of(shift: float):
        outputs = made(features())
        raw = logits(outputs).detach().clone()
        hidden = ~annotated[:, None] if kind == "detection" else ~annotated.view(4, 3, *[1] * (raw.ndim - 2))
        if kind == "detection":
            matched = [made._match(own, outputs) >= 0 if len(own) else torch.zeros(raw.shape[1]) > 0 for own in boxes]
            assert any(bool(one.any()) for one in matched)
            hidden = hidden & ~torch.stack(matched)[..., None]
        elif kind == "segmentation":
            assert bool((wanted["mask"] == 1).any())
            hidden = hidden & (wanted["mask"] == 0)[:, None]
        raw = (raw + shift * hidden).requires_grad_()
        outputs = outputs._replace(logits=raw) if kind == "detection" else raw
        value = made.loss(made.restrict(outputs, annotated), wanted)
        (gradient,) = torch.autograd.grad(value, raw)
        return value, gradient, hidden.expand_as(raw)

    (first, gradient, hidden), (second, _, _) = loss_of(0.0), loss_of(7.0)
    assert torch.equal(first, second)
    assert float(gradient[hidden].abs().sum()) == 0
    assert float(gradient[~hidden].abs().sum()) > 0


@pytest.mark.parametrize("kind", [k for k in HEADS if k != "regression"])
def test_selecting_names_permutes_what_they_stand_for(kind: str):
    made = head(kind).eval()
    outputs = made(features())
    chosen = made.select(outputs, [2, 0])
    columns = logits(outputs)[..., [2, 0]] if kind == "detection" else logits(outputs)[:, [2, 0]]
    assert torch.equal(logits(chosen), columns)


def test_detection_loss_is_that_of_torchvision():
    """The same matches and the same sums, once torchvision's places (a cell's corner) stand for ours (its middle)."""
    made, given, wanted = head("detection"), features(), batch("detection")
    outputs = made(given)
    outputs = outputs._replace(centres=outputs.centres - outputs.stride[:, None] / 2)
    whole = FCOSHead(WIDTH, 1, len(NAMES))
    whole.classification_head, whole.regression_head = made.classification, made.regression

    class Shim:
        head = whole
        center_sampling_radius = 1.5

    maps = made.pyramid(given)
    raw = whole(maps)
    images = ImageList(given.pooled.new_empty((4, 3, SIZE, SIZE)), [(SIZE, SIZE)] * 4)
    anchors = AnchorGenerator(((4,), (8,)), ((1.0,),) * 2)(images, maps)
    targets = [{"boxes": b, "labels": n} for b, n in zip(wanted["boxes"], wanted["box_labels"], strict=True)]
    per_level = [m.shape[-2] * m.shape[-1] for m in maps]
    theirs = sum(FCOS.compute_loss(Shim(), targets, raw, anchors, per_level).values())
    assert torch.allclose(made.loss(outputs, wanted), theirs, rtol=1e-4)


def test_segmentation_loss_is_weighted_cross_entropy_plus_dice():
    """Against the textbook's form, with a map a name."""
    made, noise = head("segmentation"), torch.Generator().manual_seed(0)
    outputs, target = torch.randn(2, 3, 8, 8, generator=noise), torch.randint(2, (2, 8, 8), generator=noise)
    target[0, :3] = 255
    valid = target != 255
    shown = torch.stack([(target == k) for k in range(3)], 1).float()
    p = outputs.softmax(1) * valid[:, None]
    counts = shown.sum((0, 2, 3))
    dice = 1 - (2 * (p * shown).sum((0, 2, 3)) + 1) / (p.sum((0, 2, 3)) + counts + 1)
    weight = torch.where(counts > 0, counts.clamp(min=1).rsqrt(), 0.0)
    cross = torch.nn.functional.cross_entropy(outputs, target, weight, ignore_index=255)
    assert torch.allclose(made.loss(outputs, {"mask": target}), cross + dice[:2].mean())  # the third name is not there


def test_detection_predicts_inside_the_picture_and_names_a_flat_box():
    made = head("detection").eval()
    with torch.no_grad():
        outputs = made(features())
        found = made.predict(outputs._replace(logits=outputs.logits + 5))
    assert all(len(one["boxes"]) <= 100 and bool((one["boxes"] >= 0).all()) for one in found)
    assert all(bool((one["boxes"] <= SIZE).all()) for one in found)
    flat = {
        "boxes": [torch.tensor([[1.0, 1, 1, 5]])] + [torch.zeros(0, 4)] * 3,
        "box_labels": batch("detection")["box_labels"],
    }
    with pytest.raises(ValueError, match=r"boxes: the box \[1.0, 1.0, 1.0, 5.0\] has no width or no height"):
        made.loss(outputs, flat)
    assert _to_boxes(torch.tensor([[8.0, 8]]), torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([4.0])).tolist() == [
        [4, 4, 16, 16]
    ]


def test_heads_that_need_maps_say_so():
    for kind in ("segmentation", "detection"):
        with pytest.raises(
            ValueError, match=f"task 't': a {kind} head needs a backbone with feature maps; this has none"
        ):
            build_head(Task("t", kind, NAMES), 24, [], [])


def test_metrics_by_hand():
    iou = MeanIoU(["background", "x", "y"])
    iou.update(torch.tensor([[[0, 1, 1, 0]]]), torch.tensor([[[0, 1, 0, 255]]]))
    values = iou.compute()
    assert float(values["miou"]) == pytest.approx(0.5)  # 1/2 each; y does not occur
    assert float(values["miou_foreground"]) == pytest.approx(0.5)
    assert "miou_foreground" not in MeanIoU(["road", "car"]).compute()

    two = head("classification", ("no", "yes"), positive="yes").metrics(["no", "yes"])
    two.update(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]), torch.tensor([0, 1, 0]))
    values = two.compute()
    assert float(values["accuracy"]) == pytest.approx(2 / 3)
    assert float(values["f1"]) == pytest.approx(2 / 3)  # one hit, one false alarm, none missed
    assert float(values["auroc"]) == pytest.approx(1.0)

    many = head("multilabel").metrics(list(NAMES))
    many.update(torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1]]), torch.tensor([[1, 0, 0], [0, 1, 0]]))
    assert float(many.compute()["map"]) == pytest.approx(1.0)  # c never occurs and does not count


def test_undefined_metrics_are_left_out_and_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_class = head("classification").metrics(NAMES)
        one_class.update(torch.eye(3)[:1], torch.tensor([0]))
        assert set(one_class.compute()) == {"accuracy", "macro_f1"}
        one_value = head("regression").metrics([])
        one_value.update(torch.tensor([1.0]), torch.tensor([2.0]))
        assert set(one_value.compute()) == {"mae"}
        boxes = head("detection").metrics(NAMES)
        boxes.update(
            [{"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}],
            [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}],
        )
        assert boxes.compute() == {}
        none = head("multilabel").metrics(NAMES)
        none.update(torch.rand(2, 3), torch.zeros(2, 3, dtype=torch.long))
        assert "map" not in none.compute()


def test_one_label_is_a_label_space():
    for kind in ("classification", "multilabel", "segmentation"):
        made = head(kind, ("only",))
        wanted = {
            "classification": {"label": torch.zeros(4, dtype=torch.long)},
            "multilabel": {"labels": torch.ones(4, 1)},
            "segmentation": {"mask": torch.zeros(4, SIZE, SIZE, dtype=torch.long)},
        }[kind]
        metrics = made.metrics(["only"])
        outputs = made(features())
        assert torch.isfinite(made.loss(outputs, wanted))
        metrics.update(made.predict(outputs.detach()), made.targets(wanted))
        assert metrics.compute()


@pytest.mark.parametrize("kind", HEADS)
def test_losses_and_metrics_are_float32_under_bfloat16(kind: str):
    """The head computes in half precision, what is made of its outputs does not."""
    task = Task("t", kind, () if kind == "regression" else NAMES)
    module = TransferModule(task, seed=1)
    images, wanted = torch.rand(4, 3, SIZE, SIZE), batch(kind)
    seen = {}

    def spy(name: str):
        real = getattr(module.head("target"), name)

        def call(*args: object):
            seen[name] = real(*args), args[0], torch.is_autocast_enabled("cpu")
            return seen[name][0]

        setattr(module.head("target"), name, call)

    for name in ("loss", "predict"):
        spy(name)
    with torch.autocast("cpu", torch.bfloat16):
        features = module.features({"image": images})
        assert features.pooled.dtype == torch.bfloat16  # the trunk is as fast as ever
        loss = module.loss("target", features, wanted)
        module.predict_step({"image": images}, 0)
    assert loss.dtype == torch.float32
    for name, (result, outputs, autocast) in seen.items():
        made = head(kind)
        again = getattr(made, name)(outputs, wanted) if name == "loss" else getattr(made, name)(outputs)
        assert not autocast
        for one, other in zip(_tensors(result), _tensors(again), strict=True):
            assert torch.equal(one, other) and one.dtype in (torch.float32, torch.int64)
        assert all(one.dtype == torch.float32 for one in _tensors(list(outputs)))


def _tensors(values: object) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    values = values.values() if isinstance(values, dict) else values
    return [one for value in values for one in _tensors(value)] if isinstance(values, Iterable) else []


class Bare(Head):
    """A head that says only what it must."""

    kind, monitor, mode = "bare", "error", "min"

    def __init__(self, dim, channels, strides, labels, key="bare"):
        super().__init__(labels, key)
        self.layer = torch.nn.Linear(dim, 1)

    def forward(self, features):
        return self.layer(features.pooled)[:, 0].float()

    def loss(self, outputs, batch):
        return (outputs - batch[self.key]).square().mean() if len(outputs) else outputs.sum()

    def predict(self, outputs):
        return outputs

    def metrics(self, labels):
        return MetricCollection({"error": MeanAbsoluteError()})

    def named(self, predictions, labels):
        return [{"value": value} for value in predictions.tolist()]


def test_a_head_of_ones_own_is_found_by_its_path_and_never_merged_by_guess(tmp_path):
    kind = f"{__name__}.Bare"
    task = Task("own", kind, ("x",))
    assert (task.key, build_head(task, 4, [], []).kind) == ("bare", kind)
    with pytest.raises(ValueError, match="Bare does not say how targets are merged"):
        DatasetMerging(target=task, source=task)
    with pytest.raises(ValueError, match="Bare does not say how its targets are merged"):
        Bare.to_union({}, "bare", torch.zeros(1), 2)
    module = TransferModule(target=task)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    trainer = Trainer(max_steps=1, **quiet)
    samples = [{"image": torch.rand(3, 32, 32), "bare": torch.tensor(1.0)} for _ in range(4)]
    trainer.fit(module, torch.utils.data.DataLoader(samples, 2))
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    loaded = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert isinstance(loaded.head("target"), Bare)
    figure = Figure()
    axis = figure.subplots()
    loaded.head("target").draw(axis, {"value": 0.5}, ("x",))
    assert axis.get_title() == "0.5"


@pytest.mark.parametrize("kind", ["nowhere.Head", "torch.nn.Linear", "torch.nothing"])
def test_a_kind_that_is_no_head_is_refused_and_nothing_is_imported_for_it(kind):
    with pytest.raises(ValueError, match="kind="):
        TransferModule(target=Task("own", kind, ("x",)))
