"""A trained backbone in the hands of the library that it came from: `strict=True`, and the same outputs."""

import json

import pytest
import torch
from torch import nn

from tl_modules import MultiTask, TransferModule
from tl_modules.backbones import build_backbone
from tl_modules.weights.files import load_weights

LABELS = ("cat", "dog", "fox")
TARGET = {"name": "animals", "kind": "classification", "labels": LABELS}
IMAGES = torch.rand(2, 3, 64, 64)


def moved(module):
    """Let statistics and weights be other than a new network's."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point() and value.ndim and "val_scores" not in name:
                noise = torch.rand(value.shape, generator=generator)
                value.copy_(0.5 + noise) if name.endswith("running_var") else value.add_(0.01 * (noise - 0.5))
    return module.eval()


def normalised(module, role="target"):
    stem = module.parts.of(role, "stem")
    return (IMAGES - stem.mean) / stem.std


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0", "vit_b_16", "squeezenet1_1", "swin_t"])
def test_torchvision_loads_it_strictly(name):
    from torchvision.models import get_model

    if name == "vit_b_16":
        spec, size = {"name": name, "image_size": 64}, {"image_size": 64}
    else:
        spec, size = name, {}
    module = moved(TransferModule(target=TARGET, backbone=spec))
    state = module.backbone_state_dict()
    net = get_model(name, num_classes=len(LABELS), **size).eval()
    if name == "squeezenet1_1":  # its classifier is a convolution, which no linear head can stand in for
        net.classifier[1] = nn.Identity()
    net.load_state_dict(state, strict=True)
    with torch.no_grad():
        own = module.outputs(module.features({"image": IMAGES})) if name != "squeezenet1_1" else None
        theirs = net(normalised(module))
    if own is not None:
        assert torch.allclose(own, theirs, atol=1e-4)
    net = get_model(name, num_classes=len(LABELS), **size)
    bare = module.backbone_state_dict(classifier=False)
    assert set(net.state_dict()) - set(bare) == set(state) - set(bare) or own is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "convnext_atto"])
def test_timm_loads_it_strictly(name):
    timm = pytest.importorskip("timm")
    module = moved(TransferModule(target=TARGET, backbone={"name": f"timm/{name}", "image_size": 64}))
    size = {"img_size": 64} if "vit" in name else {}
    net = timm.create_model(name, num_classes=len(LABELS), **size).eval()
    net.load_state_dict(module.backbone_state_dict(), strict=True)
    with torch.no_grad():
        assert torch.allclose(module.outputs(module.features({"image": IMAGES})), net(normalised(module)), atol=1e-4)
    bare = timm.create_model(name, num_classes=0, **size)
    bare.load_state_dict(module.backbone_state_dict(classifier=False), strict=True)


def test_hugging_face_loads_it_strictly():
    transformers = pytest.importorskip("transformers")
    from datamodules.tokenizing import train_tokenizer

    plain = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    plain |= {"vocab_size": 50, "pad_token_id": 0, "intermediate_size": 16}
    spec = {"name": "huggingface", "config": json.dumps(plain), "tokenizer": train_tokenizer(["some text"])}
    module = moved(TransferModule(target=TARGET, backbone=spec))
    net = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(**plain))
    found = net.load_state_dict(module.backbone_state_dict(), strict=True)
    assert not found.missing_keys and not found.unexpected_keys
    trunk = module.parts.of("target", "trunk").net.state_dict()
    assert trunk and all(torch.equal(net.state_dict()[key], value) for key, value in trunk.items())


def test_a_module_of_ones_own_and_our_backbones_load_it_too():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    module = moved(TransferModule(target=TARGET, backbone=net))
    again = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    again.load_state_dict(module.backbone_state_dict(), strict=True)
    assert torch.equal(again[0].weight, module.parts.of("target", "trunk").net[0].weight)
    module = moved(TransferModule(target=TARGET, backbone="small"))
    small = build_backbone("small")
    small.load_state_dict(module.backbone_state_dict(), strict=True)
    assert torch.equal(small.stem.conv.weight, module.parts.of("target", "stem").conv.weight)


def test_each_role_has_its_own_statistics_and_names_their_order():
    other = {"name": "things", "kind": "classification", "labels": ("x", "y")}
    module = moved(MultiTask(target=TARGET, source=other, backbone="resnet18", normalisation="per_role"))
    states = {role: module.backbone_state_dict(role) for role in ("source", "target")}
    assert not torch.equal(states["source"]["bn1.running_mean"], states["target"]["bn1.running_mean"])
    assert torch.equal(states["source"]["conv1.weight"], states["target"]["conv1.weight"])
    assert states["source"]["fc.weight"].shape[0] == 2
    module.head("target").labels = ["fox", "cat", "dog"]  # as after a stage that kept the source's order
    swapped = module.backbone_state_dict("target")["fc.weight"]
    assert torch.equal(swapped, module.head("target").linear.weight[[1, 2, 0]])


def test_a_classifier_that_cannot_be_is_refused_and_files_come_back(tmp_path):
    boxes = {"name": "boxes", "kind": "detection", "labels": ("a",)}
    module = moved(TransferModule(target=boxes, backbone="resnet18"))
    assert "fc.weight" not in module.backbone_state_dict()
    with pytest.raises(ValueError, match="a detection head cannot stand in for this network's classifier"):
        module.backbone_state_dict(classifier=True)
    pytest.importorskip("safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        module.save_backbone(tmp_path / name)
        backbone = build_backbone("resnet18")
        report = load_weights(backbone, tmp_path / name)
        assert not report.reinitialised and not report.adapted
        for key, value in backbone.trunk.state_dict().items():
            assert torch.equal(value, module.parts.of("target", "trunk").state_dict()[key])
