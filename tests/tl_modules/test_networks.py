"""Networks of torchvision and timm, cut into stem and trunk by one rule."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from tl_modules import MultiTask, TransferModule
from tl_modules.backbones import ImageStem, build_backbone
from tl_modules.backbones.network import cut

SHARED = Path(__file__).parents[3] / "shared" / "data"

# One network of each of torchvision's families, the smallest that is quick to build; side of the images; strides.
PYRAMID = [4, 8, 16, 32]
FAMILIES = {
    "alexnet": (64, [4, 8, 16]),
    "convnext_tiny": (64, PYRAMID),
    "densenet121": (64, PYRAMID),
    "efficientnet_b0": (64, PYRAMID),
    "efficientnet_v2_s": (64, PYRAMID),
    "googlenet": (64, PYRAMID),
    "inception_v3": (96, [4, 8, 16]),
    "mnasnet0_5": (64, PYRAMID),
    "mobilenet_v2": (64, PYRAMID),
    "mobilenet_v3_small": (64, PYRAMID),
    "regnet_x_400mf": (64, PYRAMID),
    "resnet18": (64, PYRAMID),
    "shufflenet_v2_x0_5": (64, PYRAMID),
    "squeezenet1_1": (64, [4, 8, 16]),
    "swin_t": (64, PYRAMID),
    "vit_b_32": (64, [32]),
}


def uncut(name, size):
    """Return the network as torchvision builds it, without its classifier's last layer."""
    options = {"image_size": size} if name.startswith("vit") else {}
    options |= {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    net = get_model(name, weights=None, **options)
    kind = nn.Linear if any(isinstance(m, nn.Linear) for m in net.modules()) else nn.Conv2d
    last = [key for key, module in net.named_modules() if isinstance(module, kind)][-1]
    parent, _, leaf = last.rpartition(".")
    setattr(net.get_submodule(parent), leaf, nn.Identity())
    return net.eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_network_computes_what_the_whole_one_does(name):
    size, strides = FAMILIES[name]
    torch.manual_seed(0)
    net = uncut(name, size)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        wanted = net(images)
        backbone = cut(net, 3, size, (0.0,) * 3, (1.0,) * 3, classifier=False).eval()
        features = backbone({"image": images})
        other = backbone({"image": torch.rand(1, 3, size, size)})
    assert torch.equal(features.pooled, wanted)
    assert backbone.strides == strides and list(features.maps) == strides
    for stride, channels in zip(strides, backbone.channels, strict=True):
        batch, width, rows, columns = features.maps[stride].shape
        assert (batch, width) == (2, channels) and rows == columns
        assert size / stride - 4 <= rows <= size / stride  # families without padding have fewer
        assert not torch.equal(features.maps[stride][:1], other.maps[stride])


@pytest.mark.parametrize("size", [48, 50, 64, 97])
def test_strides_do_not_depend_on_the_size_of_the_images(size):
    assert build_backbone({"name": "resnet18", "image_size": size}).strides == PYRAMID
    assert build_backbone({"name": "squeezenet1_1", "image_size": size}).strides == [4, 8, 16]


@pytest.mark.parametrize(
    "name",
    ["timm/resnet10t", "timm/vit_tiny_patch16_224", "timm/swin_tiny_patch4_window7_224", "timm/mobilevit_xxs"],
)
def test_timm_networks_are_cut_by_the_same_rule(name):
    timm = pytest.importorskip("timm")
    options = {"img_size": 64} if "vit_tiny" in name or "swin" in name else {}
    torch.manual_seed(0)
    net = timm.create_model(name.removeprefix("timm/"), num_classes=0, **options).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = net(images)
        backbone = cut(net, 3, 64, (0.0,) * 3, (1.0,) * 3, classifier=False).eval()
        assert torch.equal(backbone({"image": images}).pooled, wanted)
    built = build_backbone({"name": name, "image_size": 64}, channels=1)
    assert built.strides == backbone.strides and (built.stem.channels, built.stem.conv.in_channels) == (1, 3)
    assert built.dim == net.num_features


@pytest.mark.slow
@pytest.mark.parametrize("source", ["weights", "file", "random"])
@pytest.mark.parametrize("name", ["resnet18", "timm/vit_tiny_patch16_224"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_a_grey_picture_gives_what_the_unmodified_network_gives(channels, name, source, monkeypatch, tmp_path):
    """To rounding and at the borders too, with a mean and a deviation per channel; further channels start unseen."""
    if name.startswith("timm"):
        timm = pytest.importorskip("timm")
        torch.manual_seed(0)
        net = timm.create_model(name.removeprefix("timm/"), img_size=64, num_classes=0)
        create = "timm.create_model"
    else:
        torch.manual_seed(0)
        net, create = get_model(name, weights=None), "torchvision.models.get_model"
    whole = copy.deepcopy(net)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    monkeypatch.setattr(create, lambda *_, **__: copy.deepcopy(net))
    weights = {"weights": "DEFAULT", "file": str(tmp_path / "net.pth"), "random": None}[source]
    backbone = build_backbone({"name": name, "image_size": 64, "weights": weights}, channels).eval()
    if hasattr(whole, "fc"):
        whole.fc = nn.Identity()
    mean, std = (getattr(backbone.stem, key)[:, :3] for key in ("mean", "std"))
    assert channels < 3 or source == "random" or torch.equal(backbone.stem.conv.weight[:, :3], net_first(net).weight)
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        wanted = whole.eval()((grey.expand(-1, 3, -1, -1) - mean) / std)
        for given in {1, channels} if source != "random" or channels <= 3 else ():
            found = backbone({"image": grey.expand(-1, given, -1, -1)}).pooled
            assert torch.allclose(found, wanted, atol=1e-5, rtol=1e-5)
        picture = torch.rand(2, channels, 64, 64)
        if channels >= 3 and source != "random":
            wanted = whole((picture[:, :3] - mean) / std)
            assert torch.allclose(backbone({"image": picture}).pooled, wanted, atol=1e-5, rtol=1e-5)
    if source == "random":
        assert all(bool(one.any()) for one in backbone.stem.conv.weight.transpose(0, 1))
    else:
        assert backbone.report.adapted == (["stem.conv.weight"] if channels > 3 else [])
        assert not backbone.report.reinitialised
    with pytest.raises(ValueError, match=f"images have 5 channels, but their stem takes {channels}"):
        backbone({"image": torch.rand(1, 5, 64, 64)})


def net_first(net):
    return next(module for module in net.modules() if isinstance(module, nn.Conv2d))


def test_x_rays_give_what_imagenet_weights_give_for_grey_pictures():
    """Stem and features on the real thing."""
    path, data = SHARED / "weights/mobilenet_v2_tf2ptq-bd4cb33c.pth", SHARED / "pneumoniamnist.npz"
    if not path.exists() or not data.exists():
        pytest.skip(f"{path} or {data} is absent")
    net = get_model("mobilenet_v2", weights=None)
    net.load_state_dict(torch.load(path, weights_only=True))
    net.classifier = nn.Identity()
    images = torch.from_numpy(numpy.load(data)["test_images"][:16])[:, None]
    backbone = build_backbone({"name": "mobilenet_v2", "weights": str(path), "image_size": 28}, channels=1).eval()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (images / 255 - mean[None, :, None, None]) / std[None, :, None, None]
    with torch.no_grad():
        assert torch.allclose(backbone.stem({"image": images}).values, net.features[0][0](normal), atol=1e-5)
        assert torch.allclose(backbone({"image": images}).pooled, net.eval()(normal), atol=1e-4)


def test_a_checkpoint_with_filters_for_grey_alone_loads():
    stem, plain = build_backbone("small", 1).stem, torch.nn.Conv2d(1, 32, 5, stride=2, padding=2, bias=False)
    old = ImageStem(plain)
    stem.load_state_dict(old.state_dict())
    grey = torch.rand(2, 1, 32, 32)
    assert torch.allclose(stem({"image": grey}).values, old({"image": grey}).values, atol=1e-5)


def test_positions_of_a_pretrained_vit_are_interpolated_to_the_images_size(monkeypatch):
    trained = get_model("vit_b_32", weights=None)
    calls = []

    def given(name, weights=None, **options):
        calls.append((weights, options))
        return trained if weights else get_model(name, weights=None, **options)

    monkeypatch.setattr("torchvision.models.get_model", given)
    backbone = build_backbone({"name": "vit_b_32", "weights": "DEFAULT", "image_size": 64})
    assert calls[0] == ("DEFAULT", {}) and calls[1][1] == {"image_size": 64}
    positions = backbone.trunk.net.encoder.pos_embedding
    assert positions.shape == (1, 5, 768)
    assert torch.equal(positions[:, 0], trained.encoder.pos_embedding[:, 0])
    layer = "encoder.layers.encoder_layer_0.mlp.0.weight"
    assert torch.equal(backbone.trunk.net.get_parameter(layer), trained.get_parameter(layer))


def test_weights_bring_their_normalisation(monkeypatch):
    monkeypatch.setattr(
        "torchvision.models.get_model", lambda name, weights=None, **options: get_model(name, weights=None, **options)
    )
    stem = build_backbone({"name": "inception_v3", "weights": "DEFAULT", "image_size": 96}).stem
    assert stem.mean.flatten().tolist() == [0.5] * 3 and stem.std.flatten().tolist() == [0.5] * 3
    stem = build_backbone({"name": "resnet18", "weights": "DEFAULT", "image_size": 64}).stem
    assert stem.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "inception_v3", "image_size": 64}, "does not take images of 64 pixels; the smallest size .* is 96"),
        ({"name": "resnet18", "weights": "IMAGENET"}, "backbone.weights='IMAGENET' is unknown for resnet18; allowed"),
        ({"name": "resnet18", "size": 3}, "backbone.size is no option of resnet18; allowed: weights, image_size"),
        ("timm/resnet10x", "timm has no such model; did you mean resnet10t"),
        ("resnet19", "backbone='resnet19' is unknown"),
    ],
)
def test_what_does_not_fit_is_answered_in_one_line(spec, message):
    with pytest.raises(ValueError, match=message) as raised:
        build_backbone(spec)
    assert "\n" not in str(raised.value)


def test_another_size_of_images_is_refused_by_networks_built_for_one():
    backbone = build_backbone({"name": "vit_b_32", "image_size": 64})
    with pytest.raises(ValueError, match="refuses images of"):
        backbone({"image": torch.rand(1, 3, 96, 96)})


def test_detection_places_lie_symmetrically_where_a_map_does_not_fill_the_picture():
    module = TransferModule(
        {"name": "t", "kind": "detection", "labels": ["a"], "domain": "d"},
        backbone={"name": "alexnet", "image_size": 64},
    ).eval()
    with torch.no_grad():
        outputs = module(torch.rand(1, 3, 64, 64))
    finest = outputs.centres[outputs.stride == 4]
    assert len(finest) == 15 * 15
    assert torch.allclose(finest.mean(0), torch.tensor([32.0, 32.0]))
    assert torch.allclose(finest[1] - finest[0], torch.tensor([4.0, 0.0]))


def test_a_network_trains_in_a_cell_and_its_checkpoint_loads(tmp_path):
    from tests.conftest import fit, module_for, pair_for, trainer_for

    data = pair_for("multitask", "segment")
    module = module_for("multitask", data, backbone={"name": "mobilenet_v3_small", "image_size": 32})
    before = {name: value.clone() for name, value in module.named_parameters()}
    fit(module, data, steps=2)
    moved = [name for name, value in module.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) > 0.9 * len(before)
    trainer = trainer_for(1)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only=True)
    again = MultiTask.load_from_checkpoint(tmp_path / "x.ckpt", weights_only=True).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), module.eval()(images))


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_medium_patch16_reg4_gap_256"])
@pytest.mark.parametrize("patches", [2, 3, 5])
def test_register_tokens_are_no_places(name, patches):
    """Two by two patches, a class and four registers are nine tokens, and yet no map of three by three."""
    pytest.importorskip("timm")
    patch = 14 if "patch14" in name else 16
    backbone = build_backbone({"name": f"timm/{name}", "image_size": patches * patch}).eval()
    assert backbone.strides == [patch]
    with torch.no_grad():
        features = backbone({"image": torch.rand(1, 3, patches * patch, patches * patch)})
    assert features.maps[patch].shape[2:] == (patches, patches)
