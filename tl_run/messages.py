"""How values and problems are put into words; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from tl_run.derive import Group
from tl_run.options import names

TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
}
BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}

RENAMED = {"unusable": "is now max_invalid= of the run, for both roles"}


def near(value: object, allowed: Iterable[object]) -> str:
    """Return `did you mean x? ` for a close misspelling, else nothing.

    Args:
        value: What was given.
        allowed: What could have been meant.
    """
    close = get_close_matches(str(value), [str(name) for name in allowed], n=1, cutoff=0.7)
    return f"did you mean {close[0]}? " if close else ""


def plain(value: Any) -> str:
    """Return a value as it would be written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(plain(item) for item in value) + "]"
    return " ".join(str(value).split())


def value_of(problem: Mapping[str, Any], node: Any) -> Any:
    """Return the value that one of pydantic's problems is about, from a group's node."""
    if problem["type"] == "missing":
        return None
    return _at(node, problem["loc"])


def says(problem: Mapping[str, Any], model: type[Group]) -> str:
    """Return what is wrong with a value, from one of pydantic's problems.

    Args:
        problem: The problem.
        model: The group's model.
    """
    kind, context, loc = problem["type"], problem.get("ctx", {}), problem["loc"]
    if kind == "extra_forbidden":
        allowed = names(model)
        if loc[-1] in RENAMED:
            return RENAMED[str(loc[-1])]
        return f"unknown; {near(loc[-1], allowed)}allowed: {', '.join(allowed)}"
    if kind == "missing":
        return "is required"
    if kind in BOUNDS:
        words, key = BOUNDS[kind]
        bound = context[key]
        return f"must be {words} {int(bound) if float(bound).is_integer() else bound}"
    if kind == "literal_error":
        allowed = list(dict.fromkeys(context["expected"].replace("'", "").replace(" or ", ", ").split(", ")))
        return f"{near(problem['input'], allowed)}allowed: {', '.join(allowed)}"
    if kind == "string_type" and loc[-1] == "root" and problem["input"] is None:
        return "must be the folder or file that holds the data"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty" if context["min_length"] == 1 else f"must have at least {context['min_length']}"
    if kind == "string_pattern_mismatch" and context["pattern"].startswith("^(.|"):
        return "must be one character, or \\t"
    if kind in TYPES:
        return f"must be {TYPES[kind]}"
    message = str(problem["msg"])
    return message[:1].lower() + message[1:]


def _at(node: Any, path: Iterable[Any]) -> Any:
    for key in path:
        if isinstance(node, Mapping):
            node = node.get(key)
        elif isinstance(node, list) and isinstance(key, int):
            node = node[key]
    return node
