"""A ninth way: the source first, then both at once, so that nothing is forgotten: `python examples/new_cell.py`."""

from lightning.pytorch import Trainer

from datamodules.pair import SequentialData
from datamodules.synthetic.scenes import Scenes
from tl_modules import Stage, TransferModule


class Rehearsal(TransferModule):
    """Train on the source, then on both (rehearsal; Robins 1995)."""

    def wiring(self):
        """Return stem, trunk and head of each role: equal names are one part."""
        return {"source": ("shared", "shared", "source"), "target": ("shared", "shared", "target")}

    def stages(self):
        """Return the two stages."""
        return [
            Stage("source", learn=("source",), share=0.5),
            Stage("both", learn=("source", "target"), lr={"stem": 0.1, "trunk": 0.1}, share=0.5),
        ]


if __name__ == "__main__":
    source = Scenes("textured", "segment", "source", train_size=64, image_size=32)
    target = Scenes("textured", "classify", "target", train_size=64, image_size=32)
    data = SequentialData(target, source, batch_size=32)
    module = Rehearsal(target.task, source=source.task)
    for stage in module.plan:
        data.enter(stage)
        module.enter(stage.name)
        trainer = Trainer(max_steps=10, logger=False, enable_checkpointing=False, use_distributed_sampler=False)
        trainer.fit(module, data)
    trainer.test(module, data)
