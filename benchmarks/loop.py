"""Time a run's training steps against a hand-written loop over the same model, data and arithmetic.

`python benchmarks/loop.py [--steps 200] [--backbone small] [--rounds 3]` prints seconds a step of both and their ratio,
the two sides in turn in one process.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from lightning.pytorch import Trainer

from datamodules.pair import SequentialData
from datamodules.synthetic.scenes import Scenes
from tl_modules import TransferModule
from tl_modules.augment import Augment
from tl_modules.optim import named_groups, one_cycle
from tl_modules.seeding import generator
from tl_run.precision import resolve
from tl_run.runner import quiet

AUGMENT = {"shift": 0.08, "scale": 0.1, "brightness": 0.2}
BATCH = 32


def build(backbone: str) -> tuple[TransferModule, SequentialData]:
    """Return the same module and data for both sides."""
    data = SequentialData(Scenes(train_size=512, val_size=64), batch_size=BATCH)
    data.setup()
    module = TransferModule(data.tasks["target"], backbone=backbone, augment={"target": AUGMENT})
    return module.to(memory_format=torch.channels_last), data  # type: ignore[call-overload]


def ours(backbone: str, steps: int, precision: str) -> float:
    """Return the seconds a step of a Trainer on our modules takes."""
    module, data = build(backbone)
    trainer = Trainer(
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        accelerator="cpu",
        precision=precision,
    )
    began = time.perf_counter()
    trainer.fit(module, datamodule=data)
    return (time.perf_counter() - began) / steps


def by_hand(backbone: str, steps: int, precision: str) -> float:
    """Return the seconds a step of a plain loop takes: fetch, augment, forward, backward, clip, step, schedule."""
    module, data = build(backbone)
    images, labels = (data.split("target", "train").fields[key] for key in ("image", "label"))
    stem, trunk, head = (module.parts.of("target", kind) for kind in ("stem", "trunk", "head"))
    augment, noise = Augment(**AUGMENT), generator(0)
    optimizer = torch.optim.AdamW(named_groups(module.parts.named(), 3e-3, 1e-4, {}))
    schedule = one_cycle(optimizer, steps)
    module.train()
    began = time.perf_counter()
    order = torch.randperm(len(labels), generator=noise)
    for step in range(steps):
        rows = order[(step * BATCH) % len(labels) :][:BATCH]
        batch = augment({"image": images[rows], "label": labels[rows]}, noise)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = torch.nn.functional.cross_entropy(head(trunk(stem(batch))), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parts.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return (time.perf_counter() - began) / steps


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", default="small")
    options = parser.parse_args()
    quiet()
    precision, _ = resolve("auto", "cpu")
    for side in (ours, by_hand):
        side(options.backbone, 5, precision)  # warm up
    pairs = [
        (ours(options.backbone, options.steps, precision), by_hand(options.backbone, options.steps, precision))
        for _ in range(options.rounds)
    ]
    for number, (mine, plain) in enumerate(pairs):
        print(f"round {number}: Trainer {1e3 * mine:.1f} ms a step, by hand {1e3 * plain:.1f} ms, {mine / plain:.2f}x")
    print(f"{options.backbone}, {precision}: median ratio {statistics.median(m / p for m, p in pairs):.2f}")


if __name__ == "__main__":
    main()
