"""The table at a run's end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def show_results(results: Mapping[str, Any], folder: Path) -> None:
    """Print a run's test results.

    Args:
        results: The content of `results.json`.
        folder: The run's folder.
    """
    what = f"{results['cell']}, seed {results['seed']}"
    rule = results["selection"]
    chosen = "last checkpoint" if rule == "last" else f"checkpoint with the best {rule}"
    table = Table(title=f"{what}: test of the {chosen}", title_justify="left")
    for column in ("role", "dataset", "metric"):
        table.add_column(column)
    table.add_column("test", justify="right")
    for key, value in results["test"].items():
        role, metric = key.split("/", 1)
        table.add_row(role, results[role]["dataset"], metric, f"{value:.4f}")
    console = Console(soft_wrap=True)
    console.print(table)
    for role in ("source", "target"):
        labelled = (results[role] or {}).get("labelled")
        if labelled:
            known = f"{sum(labelled.values())} labelled samples are known"
            console.print(
                f"{role}: {known}, {labelled['train']} to train on and {labelled['val']} to choose by", highlight=False
            )
    console.print(f"{results['steps']} steps, {results['seconds']:.0f} s. Everything is in {folder}", highlight=False)
