"""A new head starts with the rows of another one's labels, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tl_modules.heads.base import Head
from tl_modules.weights.transfer import Report


def rows_by_name(labels: Sequence[str], given: Sequence[str], folded: bool = False) -> dict[int, int]:
    """Return which of the given names each label is, by index: names that are equal, never names that are alike.

    Args:
        labels: The new head's names.
        given: The other's.
        folded: Whether case and underscores for spaces do not count, as with the names of published weights and the
            folders of pictures. A name that then stands twice on either side is none.
    """
    own, others = list(labels), list(given)
    if folded:
        own, others = ([name.replace("_", " ").casefold() for name in names] for names in (own, others))
    once = [Counter(names) for names in (own, others)]
    places = {name: index for index, name in enumerate(others) if once[1][name] == 1}
    return {index: places[name] for index, name in enumerate(own) if name in places and once[0][name] == 1}


@torch.no_grad()
def take_rows(
    head: Head, state: Mapping[str, Tensor], labels: Sequence[str], folded: bool = False, whole: bool = False
) -> Report:
    """Let a head start with the rows of labels that another one knows, and with all that is not a label's.

    Args:
        head: The head as initialised; rows of labels that the other does not know stay so.
        state: The other's state dict.
        labels: Its names, in the order of its rows.
        folded: See `rows_by_name`.
        whole: Whether what is not a label's is taken where no label is known, too.

    Returns:
        What became of each tensor and which labels found their row; empty where nothing was taken: no label is known,
        this kind has no rows per label, or the tensors differ in width.
    """
    own, rows = head.state_dict(), rows_by_name(head.labels, labels, folded)
    fits = all(name in state for name in own) and all(
        state[name].shape[1:] == value.shape[1:] and (len(state[name]) == len(labels))
        if name in head.rows
        else state[name].shape == value.shape
        for name, value in own.items()
        if name in state
    )
    if not head.rows or not (rows or whole) or not fits:
        return Report()
    report = Report()
    mine, theirs = list(rows), list(rows.values())
    for name, value in own.items():
        if name in head.rows:
            value[mine] = state[name][theirs].to(value)
            report.adapted.append(name)
        else:
            value.copy_(state[name])
            report.loaded.append(name)
    report.by_name = [head.labels[row] for row in mine]
    report.new_rows = [name for name in head.labels if name not in report.by_name]
    return report
