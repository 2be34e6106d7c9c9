"""Two folders of pictures, a folder per class, and one cell: `python examples/two_folders.py SOURCE TARGET`."""

import sys

from datamodules.pair import SequentialData
from datamodules.readers.image_folder import ImageFolder
from tl_modules import DomainAdaptation, fit

source, target = (ImageFolder(root, domain=root, image_size=64, batch_size=32) for root in sys.argv[1:3])
data = SequentialData(target, source, batch_size=32)
module = DomainAdaptation(target=target.task, source=source.task, backbone="resnet18")
records = fit(module, data, {"logger": False, "enable_checkpointing": False}, steps=80)
for one in records:  # the source's stage, then the target's
    print(one.stage.name, one.steps, one.taken)
trainer = records[-1].trainer
trainer.test(module, data)
