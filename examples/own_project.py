"""A backbone, a head and loaders of one's own, under a bare Trainer: `python examples/own_project.py`."""

import torch
from lightning.pytorch import Trainer
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tl_modules import MultiTask
from tl_modules.heads.classification import Classification


class DeepHead(Classification):
    """A perceptron where the usual head has a linear layer."""

    def __init__(self, dim, *args, **options):
        super().__init__(dim, *args, **options)
        self.linear = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, len(self.labels)))


class MyMultiTask(MultiTask):
    """`MultiTask` with that head for its target."""

    def new_head(self, task, dim, channels, strides, labels):
        """Return the digits' own head, and the usual one for others."""
        return (DeepHead if task.name == "digit" else Classification)(dim, channels, strides, labels, task.key)


backbone = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(64, 128), nn.ReLU())  # images to (B, 128)
digits = load_digits()
images, labels = torch.tensor(digits.images / 16).float()[:, None], torch.tensor(digits.target)
source = {"name": "even", "kind": "classification", "labels": ["even", "odd"], "domain": "digits", "channels": 1}
target = {"name": "digit", "kind": "classification", "labels": list("0123456789"), "domain": "digits", "channels": 1}
train = {"source": TensorDataset(images[:1000], labels[:1000] % 2), "target": TensorDataset(images[:200], labels[:200])}
loaders = {role: DataLoader(dataset, 32, shuffle=True) for role, dataset in train.items()}  # batches (images, labels)
module = MyMultiTask(target, source=source, backbone=backbone)
trainer = Trainer(max_steps=200, logger=False, enable_checkpointing=False, accelerator="cpu")
trainer.fit(module, loaders)
trainer.test(module, {"target": DataLoader(TensorDataset(images[1000:], labels[1000:]), 256)})
