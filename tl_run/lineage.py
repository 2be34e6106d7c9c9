"""What the runs that a run starts from were trained on: its own test samples must not be among that."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datamodules.contents import akin, same
from datamodules.overlap import held_of
from datamodules.pair import PairedData
from tl_run.baselines import weights_in
from tl_run.build import build_data
from tl_run.options import DATASETS
from tl_run.resuming import recorded
from tl_run.rules.facts import is_pretrained, with_data

log = logging.getLogger(__name__)
Config = Mapping[str, Any]
# The target's splits, each with what of an earlier run must not hold their samples: see `overlap.ACROSS`.
AGAINST = {"test": ("train", "val"), "val": ("train",)}


def runs_of(config: Config) -> dict[str, Path]:
    """Return the folders of the runs that a run starts from, by option.

    Args:
        config: The run's checked configuration.
    """
    given = {} if config["source_checkpoint"] is None else {"source_checkpoint": config["source_checkpoint"]}
    given |= {"source.weights": config["source"]["weights"]} if is_pretrained(config) else {}
    for role in ("source", "target"):
        given |= weights_in(f"{role}.backbone", config[role].get("backbone"))
    given |= weights_in("backbone", config["backbone"])
    return {option: Path(path) for option, path in given.items() if (Path(path) / "config.yaml").is_file()}


def compare(config: Config, data: PairedData) -> dict[str, Any]:
    """Compare the target's test and validation samples with what the runs that it starts from were trained on.

    Args:
        config: The run's checked configuration.
        data: Its data, set up.

    Returns:
        By option, how many samples of the earlier run were found by where they are; None where its data are made by a
        class from elsewhere, or are no longer there, and so could not be compared.

    Raises:
        ValueError: If there are any and `datamodule.overlap` is not `allow`.
    """
    found: dict[str, Any] = {}
    for option, folder in runs_of(config).items():
        earlier = _data_of(folder)
        if earlier is None:
            log.warning(
                "%s=%s: what it was trained on cannot be read, and is not compared with the test", option, folder
            )
            found[option] = None
            continue
        said, found[option] = [], {}
        for where, count, text in _twins(data, earlier):
            found[option][where] = found[option].get(where, 0) + count
            said.append(text)
        if said and data.overlap != "allow":
            raise ValueError(
                f"{option}={folder}: was trained on samples that are tested or chosen by here: {'; '.join(said)}; "
                "they cannot be left out of its weights: take another split, or set datamodule.overlap=allow"
            )
        if said:
            log.warning("datamodule.overlap=allow: %s=%s: %s", option, folder, "; ".join(said))
    return found


def _data_of(folder: Path) -> PairedData | None:
    """Return a run's data, set up, or None; only this project's own classes are made from a recorded configuration."""
    try:
        config = recorded(folder)
        if any(config[role]["_target_"] not in DATASETS for role in with_data(config)):
            return None
        earlier = build_data(config)
        earlier.overlap = "allow"  # that was asked when it ran
        earlier.setup()
    except (ValueError, OSError, KeyError, TypeError):
        return None
    return earlier


def _twins(data: PairedData, earlier: PairedData) -> Iterator[tuple[str, int, str]]:
    """Yield where an earlier run holds samples of the target's, how many, and a text with one of them."""
    for split, others in AGAINST.items():
        mine = held_of(data.data["target"], split, data.tasks["target"])
        for role, other in ((role, other) for role in earlier.data for other in others):
            theirs = held_of(earlier.data[role], other, earlier.tasks[role])
            twins = same(mine, theirs)
            kin = {row: twin for row, twin in akin(mine, theirs).items() if row not in twins}
            for pairs, so, like in ((twins, "are in", "which is"), (kin, "share a group with", "as")):
                if pairs:
                    row, twin = next(iter(pairs.items()))
                    which = f"{theirs.id(row)}, {like} {mine.id(twin)}"
                    where = f"{len(pairs)} of {len(theirs)} in its {role}'s {other} {so} the target's {split}"
                    yield f"{role}/{other}", len(pairs), f"{where} ({which})"
