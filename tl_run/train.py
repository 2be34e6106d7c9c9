"""Train one cell on one or two datasets: what `train.py` and `tl-train` do."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tl_run.cli import BAD_CONFIG, announced, checked, one_line, run
from tl_run.errors import RunError
from tl_run.paths import CONF, CONFIG_NAME
from tl_run.report import ending
from tl_run.sweeping import check_direction, naming_what_varies, with_direction


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)
def train(cfg: DictConfig) -> float:
    """Check the configuration, run it, and return `optimized_metric` for a sweeper."""
    config = checked(announced(cfg, HydraConfig.get().overrides.task))
    check_direction(HydraConfig.get(), config)
    from tl_run.check_data import check  # only now: a configuration error is answered without torch
    from tl_run.runner import execute

    folder = Path(HydraConfig.get().runtime.output_dir)
    if config["check_data"]:
        wrong = check(config, folder)
        if wrong:
            raise one_line(RunError("\n".join(wrong)), BAD_CONFIG)
        return math.nan
    try:
        return execute(config, folder)
    except RunError as error:
        raise one_line(error) from error


def go_on(folder: Path, config: dict[str, Any]) -> float:
    """Go on with the run in a folder.

    Args:
        folder: The folder.
        config: Its checked configuration.
    """
    from tl_run.runner import execute

    logging.basicConfig(level=logging.INFO, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
    logging.getLogger("faster_coco_eval").setLevel(logging.WARNING)  # prints a table of its own at each evaluation
    return execute(config, folder)


def main() -> None:
    """Do what the command line asks for."""
    try:
        run(train, lambda arguments: naming_what_varies(with_direction(arguments)), go_on)
    finally:
        ending.show()


if __name__ == "__main__":
    main()
