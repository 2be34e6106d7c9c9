"""Hydra configs without files: every network of torchvision and timm, and the cells that no `cell=glob(*)` has."""

from __future__ import annotations

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from tl_modules.cube import SCRATCH_PATH
from tl_modules.discovery import TIMM, torchvision_networks
from tl_run.baselines import FINETUNINGS

GROUP = "backbone"
AUTO = "auto"
UNLISTED_CELLS = (AUTO, *FINETUNINGS)


class NetworkConfigs(ConfigSource):
    """A place on Hydra's search path: `backbone/<torchvision network>`, `backbone/timm/<anything>` and some cells.

    A name of timm is checked with the rest of the configuration. `cell/auto` and the baselines that need weights are
    not listed, so that `cell=glob(*)` is the eight cells and `scratch`, which run without weights at hand.
    """

    @staticmethod
    def scheme() -> str:
        """Return the scheme of the place."""
        return "networks"

    def available(self) -> bool:
        """Tell that the place is there."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Tell whether a path is the group or the part of it that is timm's."""
        return config_path in ("", "cell", GROUP, f"{GROUP}/{TIMM.rstrip('/')}")

    def is_config(self, config_path: str) -> bool:
        """Tell whether a path is a network."""
        path = config_path.removesuffix(".yaml")
        group, _, name = path.partition("/")
        timm = name.startswith(TIMM) and name != TIMM
        unlisted = group == "cell" and name in UNLISTED_CELLS
        return unlisted or (group == GROUP and (timm or name in torchvision_networks()))

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a network's options.

        Raises:
            ConfigLoadError: If there is no such network.
        """
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {config_path}")
        path = config_path.removesuffix(".yaml")
        group, _, name = path.partition("/")
        if group == "cell":
            made: dict[str, Any] = {"cell": {"_target_": SCRATCH_PATH, "name": name}}
            if name in FINETUNINGS:
                made |= {
                    "defaults": [{"override /finetuning": FINETUNINGS[name]}],
                    "datamodule": {"mode": "sequential"},
                }
            return ConfigResult(self.provider, self.full_path(), OmegaConf.create(made), {"package": "_global_"})
        config = OmegaConf.create({"name": name, "weights": None, "image_size": None})
        header = {"package": GROUP if name.startswith(TIMM) else None}
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header=header)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return what is below a path; timm's names are too many to list."""
        if config_path == "":
            return [GROUP] if results_filter is not ObjectType.CONFIG else []
        shown = config_path == GROUP and results_filter is not ObjectType.GROUP
        return sorted(torchvision_networks()) if shown else []


class OnSearchPath(SearchPathPlugin):
    """Put the networks' configs behind those of `conf/`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the place."""
        search_path.append("tl-modules", f"{NetworkConfigs.scheme()}://")


for plugin in (NetworkConfigs, OnSearchPath):
    Plugins.instance().register(plugin)
