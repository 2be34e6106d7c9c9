"""A ninth way: the source first, then both at once, so that nothing is forgotten: `python examples/new_cell.py`."""

from datamodules.pair import SequentialData
from datamodules.synthetic.scenes import Scenes
from tl_modules import Stage, TransferModule, fit


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
    module = Rehearsal(target=target.task, source=source.task)
    records = fit(module, data, {"logger": False, "enable_checkpointing": False}, steps=20)
    trainer = records[-1].trainer
    trainer.test(module, data)
