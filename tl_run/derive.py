"""Models of options made from the constructors that use them, read from their sources; no torch.

A constructor's signature is where an option is said: its name, its type with its range (`tl_modules.ranges`), and its
default. Importing it would take seconds, and a wrong option is to be answered at once.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, create_model
from pydantic_core import PydanticCustomError

from datamodules.folds import ALLOWED as FOLDS
from datamodules.folds import fold_of
from datamodules.readers.sizes import ALLOWED, sides
from tl_modules import task


class Group(BaseModel):
    """A group of options; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Open(Group):
    """A group whose other options are for a class from elsewhere to check."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


def _distinct(value: list[Any], least: int) -> list[Any]:
    if len(set(value)) < max(least, len(value)):
        count = {1: "one", 2: "two"}.get(least, str(least))
        raise PydanticCustomError("distinct", f"must name at least {count}, each once")  # type: ignore[arg-type]
    return value


def _sides(value: Any) -> Any:
    try:
        sides(value)
    except ValueError as error:
        raise PydanticCustomError("sides", ALLOWED) from error  # type: ignore[arg-type]
    return value


def _given_sides(value: Any) -> Any:
    return _sides("null" if value is None else value)


def _fold(value: str) -> str:
    try:
        fold_of(value)
    except ValueError as error:
        raise PydanticCustomError("fold", FOLDS) from error  # type: ignore[arg-type]
    return value


def _called(value: Any) -> Any:
    if not (isinstance(value, dict) and value and all(new is None or isinstance(new, str) for new in value.values())):
        raise PydanticCustomError("labels", "must be a mapping of names, such as {name: new, other: null}")
    return value


def _labels(value: Any) -> Any:
    if not isinstance(value, list):
        return _called(value)
    if not (value and all(isinstance(name, str) for name in value)):
        raise PydanticCustomError("labels", "must be a list of names, or a mapping such as {name: new, other: null}")
    return value


SIZE = Annotated[Any, PlainValidator(_given_sides)]
SIZE_OR_NONE = Annotated[Any, PlainValidator(_sides)]
MORE = "**"  # stands for further arguments that a constructor takes by name
OURS = ("tl_modules.", "datamodules.")
TYPES: dict[str, Any] = {
    **{"bool": bool, "dict": dict, "float": float, "int": int, "list": list, "str": str, "tuple": tuple},
    **{"Annotated": Annotated, "Any": Any, "Literal": Literal, "Mapping": dict, "Sequence": list},
    "Size": SIZE,
    "Called": Annotated[Any, PlainValidator(_called)],
    "Labels": Annotated[Any, PlainValidator(_labels)],
    "Fold": Annotated[str, AfterValidator(_fold)],
    "Split": Literal["train", "val", "test"],
    **{"INPUTS": task.INPUTS, "KINDS": task.KINDS, "ROLES": task.ROLES},
}
RANGES: dict[str, Callable[..., Any]] = {
    "Above": lambda bound: Field(gt=bound),
    "AtLeast": lambda bound: Field(ge=bound),
    "Below": lambda bound: Field(lt=bound),
    "AtMost": lambda bound: Field(le=bound),
    "MultipleOf": lambda of: Field(multiple_of=of),
    "NotEmpty": lambda: Field(min_length=1),
    "Matches": lambda pattern: Field(pattern=pattern),
    "Distinct": lambda least: AfterValidator(partial(_distinct, least=least)),
}


def derived(path: str, without: Iterable[str] = (), base: type[Group] = Group, **also: Any) -> type[Group]:
    """Return the model of the options of a constructor.

    Args:
        path: Import path of the function, or of the class whose `__init__` it is.
        without: Arguments that are no options.
        base: What the model derives from.
        **also: More fields, as `pydantic.create_model` takes them.

    Raises:
        ValueError: If there is no such function.
    """
    own = {name: one for name, one in arguments(path).items() if name not in without and name != MORE}
    return create_model(path.rpartition(".")[2], __base__=base, **{**also, **own})


@cache
def arguments(path: str) -> dict[str, tuple[Any, Any]]:
    """Return type and default of a constructor's arguments by name; the default is `...` where one is required.

    Args:
        path: Import path of the function, or of the class.

    Raises:
        ValueError: If there is no such function.
    """
    module, _, name = path.rpartition(".")
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    constants = _constants(tree)
    defined = (one for one in tree.body if isinstance(one, ast.ClassDef | ast.FunctionDef) and one.name == name)
    node: Any = next(defined, None)
    if node is None:
        homes = _homes(module, tree)
        if name not in homes:
            raise ValueError(f"{path}: the module has no function or class {name}")
        return arguments(homes[name])
    if isinstance(node, ast.ClassDef):
        own = [one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
        if not own:
            return _inherited(node, module, tree)
        node = own[0]
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    defaults: list[Any] = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    pairs = [*zip(positional, defaults, strict=True), *zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    made = {}
    for argument, default in pairs:
        if argument.arg != "self":
            made[argument.arg] = (_type(argument.annotation, constants), _default(default, constants))
    return made | ({} if given.kwarg is None else _handed_on(given.kwarg.annotation, module, tree))


def class_values(path: str) -> dict[str, Any]:
    """Return the plain values that a class says in its body by annotated assignments.

    Args:
        path: Import path of the class.
    """
    module, _, name = path.rpartition(".")
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    body = next((one.body for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name), [])
    said = (one for one in body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name))
    return {str(one.target.id): _default(one.value, {}) for one in said if one.value is not None}  # type: ignore[union-attr]


def _inherited(node: ast.ClassDef, module: str, tree: ast.Module) -> dict[str, tuple[Any, Any]]:
    """Return the arguments that a class without a constructor has from its first base; none where that is unknown."""
    homes = {one.name: f"{module}.{one.name}" for one in tree.body if isinstance(one, ast.ClassDef)}
    homes |= _homes(module, tree)
    base = node.bases[0] if node.bases else None
    return arguments(homes[base.id]) if isinstance(base, ast.Name) and base.id in homes else {}


def _handed_on(annotation: ast.expr | None, module: str, tree: ast.Module) -> dict[str, tuple[Any, Any]]:
    """Return the options that a constructor hands on as `**shared: Unpack[<TypedDict>]`, else `MORE`."""
    if not (isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Name)):
        return {MORE: (Any, None)}
    return fields_of(_named(annotation.slice.id, module, tree))


@cache
def fields_of(path: str) -> dict[str, tuple[Any, Any]]:
    """Return type and default, None, of the fields of a TypedDict and of what it extends.

    Args:
        path: Its import path.
    """
    module, _, name = path.rpartition(".")
    tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
    constants = _constants(tree)
    node = next(one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name)
    found: dict[str, tuple[Any, Any]] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id != "TypedDict":
            found |= fields_of(_named(base.id, module, tree))
    for said in node.body:
        if isinstance(said, ast.AnnAssign) and isinstance(said.target, ast.Name):
            found[said.target.id] = (_type(said.annotation, constants), None)
    return found


def _named(name: str, module: str, tree: ast.Module) -> str:
    """Return the import path of a class that a module defines or takes from another."""
    return _homes(module, tree).get(name, f"{module}.{name}")


def _homes(module: str, tree: ast.Module) -> dict[str, str]:
    """Return the import paths of the names that a module takes from others."""
    found: dict[str, str] = {}
    for line in (line for line in tree.body if isinstance(line, ast.ImportFrom)):
        package = module.rsplit(".", line.level)[0] + "." if line.level else ""
        found |= {one.asname or one.name: f"{package}{line.module}.{one.name}" for one in line.names if line.module}
    return found


def source_of(module: str) -> Path:
    """Return the file of a module, without importing it.

    Raises:
        ValueError: If there is none.
    """
    top, *rest = module.split(".")
    spec = find_spec(top)
    for place in spec.submodule_search_locations or [] if spec else []:
        path = Path(place, *rest)
        for found in (path.with_suffix(".py"), path / "__init__.py"):
            if found.is_file():
                return found
    if spec and spec.origin and not rest:
        return Path(spec.origin)
    raise ValueError(f"{module}: cannot be found")


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Return a module's plain values by name."""
    found: dict[str, Any] = {}
    for line in tree.body:
        if isinstance(line, ast.ImportFrom) and (line.module or "").startswith(OURS):
            names = [one.name for one in line.names if one.name.isupper()]
            path = source_of(str(line.module)) if names else None
            theirs = _constants(ast.parse(path.read_text(encoding="utf-8"))) if path else {}
            found |= {name: theirs[name] for name in names if name in theirs}
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            try:
                found[line.targets[0].id] = ast.literal_eval(line.value)
            except ValueError:  # so no default of an option
                continue
    return found


def _default(node: ast.expr | None, constants: Mapping[str, Any]) -> Any:
    if node is None:
        return ...
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _type(node: ast.expr | None, constants: Mapping[str, Any]) -> Any:
    """Return what an annotation stands for; Any where it names what only other modules know."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return TYPES.get(node.id, constants.get(node.id, Any))
    if isinstance(node, ast.BinOp):
        if isinstance(node.left, ast.Name) and node.left.id == "Size":
            return SIZE_OR_NONE
        return Union[_type(node.left, constants), _type(node.right, constants)]  # noqa: UP007 -- of values
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RANGES:
        return RANGES[node.func.id](*(_type(one, constants) for one in node.args))
    if isinstance(node, ast.Tuple):
        return tuple(_type(one, constants) for one in node.elts)
    if isinstance(node, ast.UnaryOp):
        return ast.literal_eval(node)
    if isinstance(node, ast.Subscript):
        outer, inner = _type(node.value, constants), _type(node.slice, constants)
        if outer is tuple:  # YAML has lists alone
            return list
        return Any if outer is Any else outer[inner]
    return Any
