"""The check of what does not go together, in a configuration whose groups are each in order; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tl_run.attached import check_attached
from tl_run.baselines import check_baseline
from tl_run.rules.cells import check_cell, check_pretrained, check_second_input
from tl_run.rules.choosing import check_metric, check_selection, check_unlabelled
from tl_run.rules.data import check_datasets, check_files, check_loading, check_mode
from tl_run.rules.learning import check_budget, check_objective, check_shares
from tl_run.rules.networks import check_backbones, check_finetuning, check_normalisation, check_tokenizer


def check_together(cfg: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not go together, in a configuration whose groups are each in order."""
    checks: tuple[Callable[[Mapping[str, Any]], Iterator[str]], ...] = (
        check_cell,
        check_baseline,
        check_pretrained,
        check_second_input,
        check_datasets,
        check_finetuning,
        check_mode,
        check_normalisation,
        check_shares,
        check_objective,
        check_backbones,
        check_tokenizer,
        check_budget,
        check_files,
        check_selection,
        check_metric,
        check_unlabelled,
        check_loading,
        check_attached,
    )
    for one in checks:
        yield from one(cfg)
