from __future__ import annotations

import warnings

import pytest
import torch

from tl_modules import MultiTask, TransferModule

LABELS = {
    "classification": ["a", "b", "c"],
    "multilabel": ["a", "b"],
    "regression": [],
    "segmentation": ["background", "a"],
    "detection": ["a", "b"],
}


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def module_for(kind, backbone="small"):
    task = {"name": kind, "kind": kind, "labels": LABELS[kind], "domain": "d"}
    return TransferModule(task, backbone=backbone).eval()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_than_colours_are_exported(channels):
    module = TransferModule({"name": "t", "kind": "regression", "channels": channels}, backbone="small").eval()
    images = torch.rand(3, channels, 32, 32)
    program = torch.export.export(module.export(), (images,))
    with torch.no_grad():
        assert torch.allclose(program.module()(images), module.head("target").predict(module(images)), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["small", "mobilenet_v3_small", {"name": "vit_b_32", "image_size": 64}])
@pytest.mark.parametrize("kind", LABELS)
def test_exported_program_gives_the_modules_predictions(kind, backbone):
    if isinstance(backbone, dict) and kind != "classification":
        pytest.skip("one kind is enough for a large network")
    module = module_for(kind, backbone)
    images = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    plain = module.export()
    assert plain.labels == LABELS[kind] and not any(p.requires_grad for p in plain.parameters())
    with torch.no_grad():
        head, outputs = module.head("target"), module(images)
        wanted = as_tuple(head.tensors(outputs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(plain, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
        for given in (images, torch.cat([images, images])):
            found = as_tuple(program.module()(given))
            for one, other in zip(found, as_tuple(plain(given)), strict=True):
                assert torch.allclose(one.float(), other.float(), atol=1e-4)
        for one, other in zip(as_tuple(plain(images)), wanted, strict=True):
            assert torch.equal(one, other)


def test_detections_are_those_of_the_exported_places():
    module = module_for("detection")
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        boxes, scores = module.export()(images)
        found = module.head("target").predict(module(images))
    for row, one in enumerate(found):
        for box, label, score in zip(one["boxes"], one["labels"], one["scores"], strict=True):
            same = (boxes[row] - box).abs().amax(1) < 1e-4
            assert bool((same & ((scores[row, :, label] - score).abs() < 1e-5)).any())


def test_a_role_is_exported_in_its_own_label_space_and_apart_from_the_module():
    source = {"name": "t", "kind": "classification", "labels": ["b", "a"], "domain": "d"}
    target = {"name": "u", "kind": "classification", "labels": ["x", "y", "z"], "domain": "d"}
    module = MultiTask(target, source=source).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        plain = module.export("source")
        before = plain(images)
        assert torch.allclose(before, module(images, "source").softmax(1))
        for parameter in module.parameters():
            parameter.add_(1)
        assert torch.equal(plain(images), before)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_onnx_gives_the_same(channels, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    images = torch.rand(2, channels, 48, 48)
    task = {"name": "t", "kind": "classification", "labels": ["a", "b", "c"], "channels": channels}
    plain = TransferModule(task, backbone="small").export()
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(plain, (images,), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    assert torch.allclose(torch.from_numpy(found), plain(images), atol=1e-5)


def test_a_text_encoder_is_refused_in_one_line():
    with pytest.raises(ValueError, match="export: BagStem does not take images"):
        module_for("classification", "bag").export()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LABELS)
def test_onnx_takes_batches_of_any_size_from_a_module_in_training_mode(kind, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    module = module_for(kind).train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module.to_onnx(tmp_path / "model.onnx", torch.rand(1, 3, 32, 32), verbose=False)
    assert module.training
    session, plain = runtime.InferenceSession(tmp_path / "model.onnx"), module.export()
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32)
        found = session.run(None, {"image": images.numpy()})
        for one, other in zip(found, as_tuple(plain(images)), strict=True):
            assert torch.allclose(torch.from_numpy(one).float(), other.float(), atol=1e-4)
