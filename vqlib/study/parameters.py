"""The parameters of a notebook: what its cell tagged `parameters` sets, and of which types."""

import ast
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any

from vqlib.config import TrainConfig, typed
from vqlib.documents.convert import source_of
from vqlib.documents.notebook import read_notebook
from vqlib.errors import UserError

SCALARS = {"int": int, "float": float, "str": str, "bool": bool}
CONTAINERS = {"list": list, "tuple": tuple, "dict": dict, "set": set}
MAY_BE_NONE = {each.name for each in fields(TrainConfig) if each.type == int | None}
MAGIC = re.compile(r"^\s*[%!].*", re.MULTILINE)  # a line that only IPython understands


@dataclass(frozen=True)
class Parameter:
    """What a parameter may be: a value of one of the kinds, or one of the choices.

    Attributes:
        kinds: of int, float, str, bool, containers and None; without any, every value is taken.
        choices: the values that an annotation such as `Literal["a", "b"]` names.
    """

    kinds: tuple[type, ...] = ()
    choices: tuple[Any, ...] = ()

    def convert(self, name: str, value: Any) -> Any:
        """Return a value, which may be text, as the parameter's type; or raise a `UserError`."""
        for choice in self.choices:
            if value == choice or (isinstance(value, str) and value == str(choice)):
                return choice
        if self.choices and not self.kinds:
            choices = ", ".join(map(str, self.choices))
            raise UserError(f"unknown {name} {value!r}: choose one of {choices}")
        refused: UserError | None = None
        for kind in self.kinds:
            try:
                return _converted(name, value, kind)
            except UserError as error:
                refused = refused or error
        if refused:
            raise refused
        return value


@cache
def parameters_of(path: Path) -> dict[str, Parameter]:
    """Return the parameters of a notebook by name: the names that its parameters cell sets.

    Raises:
        UserError: if the file is not a notebook, has no cell tagged `parameters`, or none that is
            Python.
    """
    for number, cell in enumerate(read_notebook(path)["cells"], 1):
        if "parameters" in cell.get("metadata", {}).get("tags", []):
            try:
                lines = ast.parse(MAGIC.sub("", source_of(cell))).body
            except SyntaxError as error:
                raise UserError(
                    f"{path}: cell {number}, line {error.lineno}, is not Python: {error.msg}"
                ) from None
            found = dict(each for line in lines for each in _set_by(line))
            if found:
                return found
    raise UserError(f"{path} has no cell tagged 'parameters': tag the cell that sets them")


@cache
def keywords(path: Path, function: str) -> set[str] | None:
    """Return the names of the arguments that a notebook's code gives to a function.

    Returns:
        None if the code does not call it, or passes `**values`.
    """
    names: set[str] = set()
    codes = [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]
    for cell in codes:
        with suppress(SyntaxError):  # a cell with %magic
            for node in ast.walk(ast.parse(source_of(cell))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == function:
                    names |= {keyword.arg or "**" for keyword in node.keywords}
    return None if not names or "**" in names else names


def typed_parameters(source: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters converted to the types that a notebook gives them.

    Args:
        source: a notebook with a cell tagged `parameters`.
        parameters: values by name; see `run_notebook`.

    Raises:
        UserError: if the notebook lacks a parameter or a value has the wrong type.
    """
    known = parameters_of(source)
    for name in parameters:
        if name not in known:
            raise UserError(f"{source.name} has no parameter {name!r}; it has {', '.join(known)}")
    try:
        return {name: known[name].convert(name, value) for name, value in parameters.items()}
    except UserError as error:
        raise UserError(f"{source.name}: {error}") from None


def _set_by(line: ast.stmt) -> list[tuple[str, Parameter]]:
    """Return the names that a statement sets, with what they may be."""
    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
        declared = _declared(line.annotation)
        if declared.kinds and _literal(line.value) is None:
            declared = Parameter(_in_order({*declared.kinds, NoneType}), declared.choices)
        if not declared.kinds and not declared.choices:
            declared = _of_default(line.value)
        return [(line.target.id, _of_setting(line.target.id, declared))]
    if isinstance(line, ast.Assign):
        return [each for target in line.targets for each in _assigned(target, line.value)]
    return []


def _assigned(target: ast.expr, value: ast.expr) -> list[tuple[str, Parameter]]:
    """Return the names in the target of an assignment; `a, b = 1, 2` sets two."""
    if isinstance(target, ast.Name):
        return [(target.id, _of_setting(target.id, _of_default(value)))]
    if isinstance(target, ast.Tuple | ast.List):
        values = value.elts if isinstance(value, ast.Tuple | ast.List) else []
        given = values if len(values) == len(target.elts) else [ast.Name("_")] * len(target.elts)
        return [
            each
            for part, own in zip(target.elts, given, strict=True)
            for each in _assigned(part, own)
        ]
    return []


def _of_setting(name: str, parameter: Parameter) -> Parameter:
    """Let `limit` be None, whatever stands in the cell: a notebook may be saved with a number."""
    if name in MAY_BE_NONE and parameter.kinds == (int,):
        return Parameter((int, NoneType))
    return parameter


def _of_default(value: ast.expr | None) -> Parameter:
    """Return what a parameter may be by its default; an expression may be anything."""
    kind = type(_literal(value))
    return Parameter((kind,)) if kind in (*SCALARS.values(), *CONTAINERS.values()) else Parameter()


def _literal(value: ast.expr | None) -> Any:
    """Return the value of a literal; `...` for another expression."""
    try:
        return ast.literal_eval(value) if value is not None else ...
    except (ValueError, TypeError, SyntaxError):
        return ...


def _declared(annotation: ast.expr) -> Parameter:
    """Return what an annotation allows; one that is not understood allows everything."""
    match annotation:
        case ast.Constant(value=None):
            return Parameter((NoneType,))
        case ast.Constant(value=str(text)):
            with suppress(SyntaxError):
                return _declared(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in SCALARS | CONTAINERS:
            return Parameter(((SCALARS | CONTAINERS)[name],))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _any_of([left, right])
        case ast.Subscript(value=of, slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            match ast.unparse(of).rpartition(".")[2]:
                case "Optional":
                    return _any_of([inner, ast.Constant(None)])
                case "Union":
                    return _any_of(parts)
                case "Literal":
                    return Parameter(choices=tuple(_literal(part) for part in parts))
                case "Annotated" | "Final":
                    return _declared(parts[0])
                case name:
                    return _declared(ast.Name(name.lower()))
    return Parameter()


def _any_of(annotations: list[ast.expr]) -> Parameter:
    """Return what a union allows: everything, if one of its parts does."""
    parts = [_declared(each) for each in annotations]
    if not all(part.kinds or part.choices for part in parts):
        return Parameter()
    kinds = _in_order({kind for part in parts for kind in part.kinds})
    return Parameter(kinds, tuple(choice for part in parts for choice in part.choices))


def _in_order(kinds: set[type]) -> tuple[type, ...]:
    """Return kinds in the order in which a value is tried to be of them; any text is text."""
    order = [bool, int, float, *CONTAINERS.values(), NoneType, str]
    return tuple(sorted(kinds, key=order.index))


def _converted(name: str, value: Any, kind: type) -> Any:
    if kind is NoneType:
        if value in (None, "", "None", "none", "null"):
            return None
        raise UserError(f"{name} must be None, got {value!r}")
    if kind in SCALARS.values():
        return typed(name, value, kind)
    given, several = value, kind in (list, tuple)
    if isinstance(value, str):
        bare = several and value[:1] not in ("[", "(")  # such as 8,5,5
        with suppress(ValueError, SyntaxError, MemoryError):
            given = ast.literal_eval(f"[{value}]" if bare else value)
    if not isinstance(given, (list, tuple) if several else kind):
        raise UserError(f"{name} must be a {kind.__name__}, got {value!r}")
    return kind(given) if several else given
