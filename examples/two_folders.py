"""Two folders of pictures, a folder a class, and one cell: `python examples/two_folders.py SOURCE TARGET`."""

import sys

from lightning.pytorch import Trainer

from datamodules.pair import SequentialData
from datamodules.readers.image_folder import ImageFolder
from tl_modules import DomainAdaptation

source, target = (ImageFolder(root, domain=root, image_size=64, batch_size=32) for root in sys.argv[1:3])
data = SequentialData(target, source, batch_size=32)
module = DomainAdaptation(target.task, source=source.task, backbone="resnet18")
for stage in module.plan:  # the source's, then the target's
    data.enter(stage)
    print(stage.name, module.enter(stage.name))
    trainer = Trainer(max_steps=20, logger=False, enable_checkpointing=False)
    trainer.fit(module, data)
trainer.test(module, data)
