"""Features of frozen networks in the store: a run that needs those of an earlier one takes them over.

Features are known by what they are made from and by nothing else: the pictures or texts themselves where they are in
memory, else the files they are read from and the options they are read by; the weights and running statistics they pass
through; precision and arithmetic; and how many samples pass at once, since that decides the last bits. So two probes of
one network share them whatever becomes of them, and a rate or a head changes nothing.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from datamodules.base import InMemory, Rows
from datamodules.pair import PairedData
from tl_modules.features import Features
from tl_modules.module import TransferModule
from tl_modules.task import INPUTS
from tl_run.attached import further
from tl_run.store import Store, arithmetic, code_of, key_of, samples_of

FEATURES = "features.pt"
WAITING = "same features of a frozen network are being computed"
# Options of a dataset that decide which samples are read, or what becomes of them, never how they are read.
NOT_READING = ("train_size", "val_size", "labelled", "fold", "augment", "weight", "domain", "task", "backbone")


class SharedFeatures:
    """The store, as a stage with a frozen network uses it.

    Args:
        config: The run's checked configuration.
        channels_last: Whether images lay channels last.
    """

    def __init__(self, config: Mapping[str, Any], channels_last: bool) -> None:
        self.config, self.channels_last = config, channels_last

    def through(
        self,
        module: TransferModule,
        data: PairedData,
        role: str,
        split: str,
        made: tuple[int, str],
        compute: Callable[[], tuple[Features | None, int]],
    ) -> tuple[Features | None, int]:
        """Return a split's features with the operations that they took, from the store if they are in it.

        Args:
            module: The module, with stem and trunk frozen.
            data: Its data.
            role: Whose samples.
            split: Of which split.
            made: Samples per pass, and Lightning's precision.
            compute: Computes them; None for features that are not kept.
        """
        key = self.address(module, data, role, split, made)
        store = Store(self.config["store"]["gigabytes"])
        found = None if key is None else store.take(key, WAITING)
        if found is not None:
            print(f"{module.stage.name}: features of the frozen network are taken over ({role}, {split})")
            return unpacked(found.files[FEATURES]), int(found.record["flops"])
        try:
            features, flops = compute()
            if features is not None and store.lock is not None:
                store.put({FEATURES: packed(features)}, {"flops": flops})
        finally:
            store.leave()
        return features, flops

    def address(
        self, module: TransferModule, data: PairedData, role: str, split: str, made: tuple[int, str]
    ) -> str | None:
        """Return what a split's features are known by; None where it cannot be told.

        Args:
            module: The module.
            data: Its data.
            role: Whose samples.
            split: Of which split.
            made: Samples per pass, and Lightning's precision.
        """
        options = {key: value for key, value in self.config[role].items() if key not in NOT_READING}
        samples = inputs_of(data, role, split, options)
        if samples is None:
            return None
        stem, trunk = module.parts.of(role, "stem"), module.parts.of(role, "trunk")
        said = {
            "samples": samples,
            "network": [str(stem), str(trunk), digest_of_tensors(stem, trunk, module.parts.normalisation)],
            "backbone": [_described(module.hparams.get(name)) for name in ("source_backbone", "backbone")],
            "role": role,  # whose running statistics
            "maps": bool(module.head(role).needs_maps),
            "made": [*made, self.channels_last, str(module.device)],
            "trainer": {name: self.config["trainer"][name] for name in further(self.config["trainer"])},
            "code": code_of(stem, trunk, data.data[role]),
            "arithmetic": arithmetic(),
        }
        return f"features-{key_of(said)}"


def _described(backbone: Any) -> Any:
    """Return a backbone's options but for where its weights came from: the weights themselves are told."""
    if not isinstance(backbone, Mapping):
        return backbone
    return {key: _described(one) for key, one in backbone.items() if key != "weights"}


def inputs_of(data: PairedData, role: str, split: str, options: Mapping[str, Any]) -> Any:
    """Return what tells a split's inputs from all others; None where nothing does.

    Args:
        data: The data.
        role: Whose samples.
        split: Of which split.
        options: Those by which files are read.
    """
    dataset = data.split(role, split)
    if isinstance(dataset, InMemory):
        given = {key: dataset.fields[key] for key in INPUTS if key in dataset.fields}
        if not any(isinstance(values, Rows) for values in given.values()):
            held = {key: _digest(one) if isinstance(one, Tensor) else list(one) for key, one in given.items()}
            return [held, {key: list(map(bool, dataset.present[key])) for key in given if key in dataset.present}]
    files = samples_of(data.data[role], (split,))
    return None if files in (None, "generated") else [files, dict(options)]


def digest_of_tensors(*modules: nn.Module) -> str:
    """Return the checksum of all weights and buffers of some modules, with their names."""
    every = {f"{i}.{name}": one for i, module in enumerate(modules) for name, one in module.state_dict().items()}
    return key_of({name: _digest(one) for name, one in every.items()})


def _digest(tensor: Tensor) -> list[Any]:
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return [str(tensor.dtype), list(tensor.shape), hashlib.blake2b(raw.data, digest_size=16).hexdigest()]


def packed(features: Features) -> bytes:
    """Return features as the content of a file."""
    content = io.BytesIO()
    size = None if features.size is None else list(features.size)
    torch.save({"pooled": features.pooled, "maps": features.maps, "size": size}, content)
    return content.getvalue()


def unpacked(content: bytes) -> Features:
    """Return the features that a file holds."""
    held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return Features(held["pooled"], held["maps"], None if held["size"] is None else tuple(held["size"]))
