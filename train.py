"""Train one cell on one or two datasets: `python train.py cell=multitask`; sweep with `-m`."""

from __future__ import annotations

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tl_modules.run.cli import announced, checked, one_line, run
from tl_modules.run.errors import RunError
from tl_modules.run.sweeping import check_direction, with_direction


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Check the configuration, run it, and return `optimized_metric` for a sweeper."""
    config = checked(announced(cfg, HydraConfig.get().overrides.task))
    check_direction(HydraConfig.get(), config)
    from tl_modules.run.runner import execute  # only now: a configuration error is answered without torch

    try:
        return execute(config, Path(HydraConfig.get().runtime.output_dir))
    except RunError as error:
        raise one_line(error) from error


if __name__ == "__main__":
    run(main, with_direction)
