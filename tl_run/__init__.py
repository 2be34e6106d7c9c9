"""What `train.py` is made of: the configuration's check, the run's folder, its stages and its pictures."""

from collections.abc import Callable

from omegaconf import OmegaConf

from tl_run.defaults import by_rule, settled_cell
from tl_run.naming import job_name, run_name, sweep_name

# `conf/` uses it to leave `steps` unset where `epochs` is given; here, so that whoever composes it can read it.
OmegaConf.register_new_resolver(
    "default_unless", lambda default, other: default if other is None else None, replace=True
)
OmegaConf.register_new_resolver("by_rule", by_rule, replace=True)
# A list of names that a mapping can stand in for: a list itself can only be replaced by another.
OmegaConf.register_new_resolver("names", lambda *names: [str(name) for name in names], replace=True)
_MADE: dict[str, Callable[..., str]] = {"run_name": run_name, "sweep_name": sweep_name, "job_name": job_name}
for _name, _make in _MADE.items():
    OmegaConf.register_new_resolver(_name, _make, replace=True)
OmegaConf.register_new_resolver("cell_name", lambda _root_: settled_cell(_root_), replace=True)
