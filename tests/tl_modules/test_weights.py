"""Weights from files: whole or not at all."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from tests.conftest import trainer_for
from tl_modules import TransferModule
from tl_modules.backbones import build_backbone
from tl_modules.backbones.families import statistics_of
from tl_modules.backbones.network import cut
from tl_modules.weights.files import unweighted

TASK = {"name": "t", "kind": "classification", "labels": ["a", "b"], "domain": "d"}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATS = ((0.0,) * 3, (1.0,) * 3)


def built(path, name="mobilenet_v3_small", channels=3, **options):
    return build_backbone({"name": name, "weights": str(path), "image_size": 64, **options}, channels)


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(3)
    net = get_model("mobilenet_v3_small", weights=None)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    return net.eval(), tmp_path / "net.pth"


@pytest.mark.parametrize("wrapped", ["plain", "state_dict", "module."])
def test_a_state_dict_of_the_whole_network_is_taken_but_for_its_classifier(network, wrapped):
    net, path = network
    state = net.state_dict()
    if wrapped == "module.":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif wrapped != "plain":
        torch.save({wrapped: state, "epoch": 3}, path)
    backbone = built(path).eval()
    backbone.stem.mean.zero_()
    backbone.stem.std.fill_(1)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found = backbone({"image": images}).pooled
        wanted = cut(net, 3, 64, *STATS).eval()({"image": images}).pooled
    assert torch.equal(found, wanted)
    assert backbone.report.unused == ["trunk.classifier.3.weight", "trunk.classifier.3.bias"]
    assert not backbone.report.reinitialised and not backbone.report.adapted
    assert len(backbone.report.loaded) == len(state) - 2


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_first_layer_keeps_its_filters_whatever_the_images_channels(network, channels, tmp_path):
    net, path = network
    backbone = built(path, channels=channels)
    assert backbone.report.adapted == ([] if channels < 4 else ["stem.conv.weight"])
    assert torch.equal(backbone.stem.conv.weight[:, :3], net.features[0][0].weight)
    assert not backbone.stem.conv.weight[:, 3:].any()
    torch.save(backbone.state_dict(), tmp_path / "own.pth")  # a state dict of ours brings its statistics
    for other in (1, 3, 4):
        again = built(tmp_path / "own.pth", channels=other)
        assert torch.equal(again.stem.conv.weight[:, :3], net.features[0][0].weight)
        assert len(again.report.adapted) == (3 if max(channels, other) > 3 and channels != max(other, 3) else 0)


def test_positions_are_interpolated(tmp_path):
    net = get_model("vit_b_32", weights=None, image_size=96)
    torch.save(net.state_dict(), tmp_path / "vit.pth")
    backbone = built(tmp_path / "vit.pth", "vit_b_32")
    assert backbone.trunk.net.encoder.pos_embedding.shape == (1, 5, 768)
    assert torch.equal(backbone.trunk.net.encoder.pos_embedding[:, 0], net.encoder.pos_embedding[:, 0])


def test_a_checkpoint_and_a_run_folder_give_their_targets_backbone(tmp_path):
    module = TransferModule(TASK, seed=5)
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    folder = tmp_path / "run" / "checkpoints" / "target"
    folder.mkdir(parents=True)
    trainer.save_checkpoint(folder / "best.ckpt")
    (folder / "DONE.json").write_text('{"checkpoint": "best.ckpt"}')
    for path in (tmp_path / "run", folder / "best.ckpt"):
        other = TransferModule(TASK, backbone={"name": "small", "weights": str(path)}, seed=6)
        for kind in ("stem", "trunk"):
            state = module.parts.of("target", kind).state_dict()
            assert all(torch.equal(value, state[k]) for k, value in other.parts.of("target", kind).state_dict().items())
        head = module.parts.of("target", "head").linear.weight
        assert torch.equal(other.parts.of("target", "head").linear.weight, head)
        assert "0 reinitialised" in str(other.parts.report) and "2 rows by name (a, b), 0 new" in str(
            other.parts.report
        )
        multilabel = {**TASK, "kind": "multilabel"}
        other = TransferModule(multilabel, backbone={"name": "small", "weights": str(path)}, seed=6)
        assert not torch.equal(other.parts.of("target", "head").linear.weight, head)  # of another kind


def test_a_reloaded_checkpoint_needs_the_file_no_more(network, tmp_path):
    _, path = network
    module = TransferModule(TASK, backbone={"name": "mobilenet_v3_small", "weights": str(path), "image_size": 64})
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    path.unlink()
    again = TransferModule.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in module.state_dict().items())
    assert unweighted({"name": "document", "encoders": {"image": {"name": "small", "weights": "x"}}}) == {
        "name": "document",
        "encoders": {"image": {"name": "small"}},
    }


class Dangerous:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("case", ["another", "fewer", "pickle", "cut", "list", "text", "folder", "head only"])
def test_a_file_that_does_not_fit_is_refused_and_named(network, case, tmp_path, capsys):
    net, path = network
    state = net.state_dict()
    message = {
        "another": "does not fit this backbone: .* is missing, .* and .* more",
        "fewer": r"does not fit this backbone: trunk.net.features.2.block.0.0.weight is missing$",
        "pickle": "holds more than tensors and plain values, which could run code",
        "cut": "cannot be read as weights; is the file whole",
        "list": "must hold a state dict, not a list",
        "text": "cannot be read as weights|holds more than tensors",
        "folder": "is neither a file of weights nor the folder of a finished run",
        "head only": "must hold a state dict, names and tensors",
    }[case]
    if case == "another":
        torch.save(get_model("squeezenet1_1", weights=None).state_dict(), path)
    elif case == "fewer":
        torch.save({key: value for key, value in state.items() if key != "features.2.block.0.0.weight"}, path)
    elif case == "pickle":
        path.write_bytes(pickle.dumps({"weight": Dangerous()}))
    elif case == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif case == "list":
        torch.save([torch.zeros(2)], path)
    elif case == "text":
        path.write_text("no weights at all")
    elif case == "head only":
        torch.save({"epoch": 3}, path)
    else:
        path = tmp_path
    with pytest.raises(ValueError, match=message) as raised:
        built(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)
    assert "run" not in capsys.readouterr().out


def test_nothing_is_loaded_by_halves(network):
    net, path = network
    state = net.state_dict()
    state["features.12.0.weight"] = torch.zeros(3, 3)
    torch.save(state, path)
    torch.manual_seed(0)
    fresh = build_backbone({"name": "mobilenet_v3_small", "image_size": 64})
    with pytest.raises(ValueError, match=r"trunk.net.features.12.0.weight is \(3, 3\), not"):
        built(path)
    from tl_modules.weights.files import load_weights

    before = {key: value.clone() for key, value in fresh.state_dict().items()}
    with pytest.raises(ValueError):
        load_weights(fresh, path)
    assert all(torch.equal(value, before[key]) for key, value in fresh.state_dict().items())
    assert isinstance(fresh.trunk, nn.Module)


@pytest.mark.parametrize(
    ("name", "file", "statistics"),
    [
        ("mobilenet_v3_small", "net.pth", IMAGENET),
        ("efficientnet_v2_l", "mine.pth", ((0.5,) * 3, (0.5,) * 3)),
        ("googlenet", "net.pth", ((0.5,) * 3, (0.5,) * 3)),
        ("vgg16", "vgg16_features-amdegroot-88682ab5.pth", ((0.48235, 0.45882, 0.40784), (1 / 255,) * 3)),
        ("vgg16", "vgg16-397923af.pth", IMAGENET),
    ],
)
def test_a_files_statistics_are_those_of_its_published_weight(name, file, statistics):
    for found, wanted in zip(statistics_of(name, file), statistics, strict=True):
        assert found == pytest.approx(wanted)


def test_a_file_gets_the_statistics_that_its_network_was_trained_with(network, monkeypatch, tmp_path):
    _, path = network
    monkeypatch.setattr("tl_modules.backbones.statistics_of", lambda name, file: ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    stem = built(path, channels=4).stem
    assert stem.mean.flatten().tolist() == pytest.approx([0.5, 0.4, 0.3, 0.5])
    torch.save(built(path).state_dict(), tmp_path / "own.pth")
    monkeypatch.undo()
    again = built(tmp_path / "own.pth").stem  # a backbone's file brings its own
    assert again.std.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_a_timm_state_dict_may_bring_its_classifier(name, tmp_path):
    timm = pytest.importorskip("timm")
    options = {"img_size": 64} if "patch" in name else {}
    net = timm.create_model(name, **options).eval()
    torch.save(net.state_dict(), tmp_path / "net.pth")
    backbone = built(tmp_path / "net.pth", f"timm/{name}").eval()
    assert not backbone.report.reinitialised and backbone.report.unused
    weight = net.get_classifier()[0].weight if "distilled" in name else net.get_classifier().weight
    net.reset_classifier(0)
    images = torch.rand(2, 3, 64, 64)
    mean, std = backbone.stem.mean, backbone.stem.std
    with torch.no_grad():
        assert torch.allclose(backbone({"image": images}).pooled, net((images - mean) / std), atol=1e-5)
    if "distilled" in name:  # two classifiers, whose mean the network gives
        assert backbone.classifier is None
    else:
        assert torch.equal(backbone.classifier.state["linear.weight"], weight)
        assert backbone.classifier.labels[1] == "goldfish"
