"""Which networks train under which heads: `python benchmarks/backbones.py` writes `docs/backbones.md`.

One network of each of torchvision's families and ten of timm's, each under the four picture tasks: one training step on
a batch of scenes, after which stem, trunk and head must have moved. The images are 64 pixels wide, or the fewest
that the network takes. Times are of that step relative to `small`'s, the median of three, on the machine at hand.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from datamodules.pair import fetch
from datamodules.synthetic.scenes import TARGETS, Scenes
from tl_modules import TransferModule
from tl_modules.backbones import build_backbone
from tl_run.runner import quiet

PAGE = Path(__file__).resolve().parents[1] / "docs" / "backbones.md"
OURS = ("small", "document")
TORCHVISION = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_16",
    "wide_resnet50_2",
)
TIMM = (
    "timm/resnet10t",
    "timm/efficientnet_lite0",
    "timm/mobilenetv4_conv_small",
    "timm/convnext_atto",
    "timm/vit_tiny_patch16_224",
    "timm/deit_tiny_distilled_patch16_224",
    "timm/swin_tiny_patch4_window7_224",
    "timm/mixer_s32_224",
    "timm/coatnet_0_rw_224",
    "timm/vit_small_r26_s32_224",
)
SIZES = (64, 96, 112, 224)
BATCH, TRIES = 4, 3


def batch_of(target: str, size: int) -> dict[str, object]:
    """Return a batch of scenes with one task's targets, enlarged where scenes are not made so large."""
    made = min(size, 112)
    data = Scenes("textured", target, image_size=made, train_size=BATCH, val_size=1)
    data.setup()
    batch = fetch(data.train_dataset, range(BATCH), data.task)
    if made < size:
        scale = size // made
        for key in ("image", "mask"):
            if key in batch:
                batch[key] = batch[key].repeat_interleave(scale, -2).repeat_interleave(scale, -1)
        batch["boxes"] = [boxes * scale for boxes in batch.get("boxes", [])]
    return batch


def step(name: str, size: int, target: str) -> float:
    """Return the seconds of a training step; raise if a kind of part did not move."""
    torch.manual_seed(0)
    data = Scenes("textured", target, train_size=BATCH)
    named = "torchvision" if name in TORCHVISION else "timm" if name in TIMM else ""
    module = TransferModule(data.task, backbone={"name": name, "image_size": size} if named else name)
    module.enter("target")
    module.train()
    batch = batch_of(target, size)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    before = {key: value.detach().clone() for key, value in module.parts.named_parameters()}
    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        loss: Tensor = module.loss("target", module.features(batch), dict(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    moved = {key.split(".")[0] for key, value in module.parts.named_parameters() if not torch.equal(value, before[key])}
    if moved != {"stem", "trunk", "head"} or not bool(torch.isfinite(loss)):
        raise RuntimeError(f"only {sorted(moved)} moved, loss {float(loss)}")
    return statistics.median(times)


def row(name: str, reference: dict[str, float]) -> list[str]:
    """Return a network's line of the table."""
    said = ""
    for size in SIZES:
        try:
            spec = {"name": name, "image_size": size} if name in TORCHVISION + TIMM else name
            backbone = build_backbone(spec)
        except ValueError as error:
            said = str(error)
            continue
        cells = []
        for target in TARGETS:
            try:
                seconds = step(name, size, target)
                if name == OURS[0]:
                    reference[target] = seconds
                cells.append(f"{seconds / reference[target]:.1f}")
            except ValueError as error:
                cells.append("no maps" if "feature maps" in str(error) else f"no: {error}")
        count = sum(p.numel() for p in backbone.parameters()) / 1e6
        strides = ", ".join(map(str, backbone.strides)) or "none"
        return [f"`{name}`", f"{count:.1f}", str(size), str(backbone.dim), strides, *cells]
    return [f"`{name}`", "", "", "", said, *[""] * len(TARGETS)]


def main() -> None:
    """Write the page, or print the lines of some networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="print the lines of these networks and write nothing")
    only = parser.parse_args().only
    quiet()
    torch.set_num_threads(1)
    reference: dict[str, float] = {}
    lines = []
    for name in [*OURS, *(only if only is not None else (*TORCHVISION, *TIMM))]:
        lines.append("| " + " | ".join(row(name, reference)) + " |")
        print(lines[-1], flush=True)
    if only is None:
        tasks = [f"{target} ({kind})" for target, (_, kind, _) in TARGETS.items()]
        header = ["backbone", "million parameters", "pixels", "features", "strides of its maps", *tasks]
        table = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *lines]
        about = "\n".join((__doc__ or "").split("\n")[2:]).strip()
        PAGE.parent.mkdir(exist_ok=True)
        text = ["# Backbones", "", "Made by `python benchmarks/backbones.py`.", "", about, "", *table, ""]
        PAGE.write_text("\n".join(text))


if __name__ == "__main__":
    main()
