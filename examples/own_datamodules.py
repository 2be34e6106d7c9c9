"""Two LightningDataModules that exist already, paired: `python examples/own_datamodules.py`."""

import torch
from lightning.pytorch import LightningDataModule, Trainer
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from datamodules.pair import CombinedData
from tl_modules import WeightSharing


class Digits(LightningDataModule):
    """scikit-learn's digits, as somebody's project has them: pairs (image, label)."""

    def __init__(self, negative=False):
        super().__init__()
        self.negative = negative

    def setup(self, stage=None):
        """Fill the three datasets; `CombinedData` reads these."""
        images, labels = (torch.tensor(values) for values in load_digits(return_X_y=True))
        images = images.float().view(-1, 1, 8, 8).expand(-1, 3, -1, -1).repeat_interleave(4, 2).repeat_interleave(4, 3)
        pairs = TensorDataset(1 - images / 16 if self.negative else images / 16, labels)
        parts = torch.utils.data.random_split(pairs, [0.5, 0.2, 0.3], torch.Generator().manual_seed(0))
        self.train_dataset, self.val_dataset, self.test_dataset = parts


task = {"name": "digit", "kind": "classification", "labels": list("0123456789")}
tasks = {"source_task": {**task, "domain": "white on black"}, "target_task": {**task, "domain": "black on white"}}
data = CombinedData(target=Digits(negative=True), source=Digits(), mode="cycle", batch_size=32, **tasks)
module = WeightSharing(tasks["target_task"], source=tasks["source_task"], backbone="small")
trainer = Trainer(
    max_steps=60, logger=False, enable_checkpointing=False, accelerator="cpu", use_distributed_sampler=False
)
trainer.fit(module, data)
trainer.test(module, data)
