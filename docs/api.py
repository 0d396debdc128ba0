"""Write docs/api.md from the docstrings and annotations of vqlib: `make docs` runs this."""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import vqlib
from vqlib.paths import ROOT

PAGE = Path(__file__).with_name("api.md")
INTRODUCTION = """\
# The library, module by module

Made by `make docs` from the docstrings of `vqlib`. What most programs need is in `vqlib` itself:
{names}.
"""


def modules() -> list[ModuleType]:
    """Return all modules of vqlib but the one that `python -m vqlib` runs."""
    found = pkgutil.walk_packages(vqlib.__path__, "vqlib.")
    names = sorted(module.name for module in found if module.name != "vqlib.__main__")
    return [importlib.import_module(name) for name in names]


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield name and object of each public function and class that the module defines."""
    for name, thing in vars(module).items():
        is_here = getattr(thing, "__module__", None) == module.__name__
        if is_here and callable(thing) and not name.startswith("_"):
            yield name, thing


def members(class_: type) -> Iterator[tuple[str, object, str]]:
    """Yield name, function and kind (method or property) of each public member of a class."""
    for name, thing in vars(class_).items():
        if (
            name.startswith("_")
            or getattr(thing, "__module__", class_.__module__) != class_.__module__
        ):
            continue  # matplotlib, say, adds methods to what inherits from it
        if isinstance(thing, property):
            yield name, thing.fget, "property"
        elif isinstance(thing, functools.cached_property):
            yield name, thing.func, "property"
        elif inspect.isroutine(thing):
            yield name, getattr(thing, "__func__", thing), "method"


def signature(function: object) -> str:
    """Return parameters and result with their types, without the modules of these."""
    text = re.sub(r"\((self|cls)(, )?", "(", str(inspect.signature(function)))
    text = re.sub(rf"\w+Path\('{re.escape(str(ROOT))}'\)", "ROOT", text)
    text = re.sub(rf"\w+Path\('{re.escape(str(ROOT))}/(.*?)'\)", r"Path('\1')", text)
    text = re.sub(r"(: |-> |\| )'([\w.]+)'", r"\1\2", text)  # names of types that come later
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)


def described(thing: object) -> str:
    """Return the docstring, with headings such as `Args:` in bold and their entries as a list."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"^(\w[\w ]*):$", r"\n**\1**\n", text, flags=re.MULTILINE)
    text = re.sub(r"^    (\w+(?: \([^)]*\))?): ", r"- `\1`: ", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text)


def entry(name: str, thing: object) -> str:
    """Return a function, or a class with its members, in Markdown."""
    if not inspect.isclass(thing):
        return f"### `{name}{signature(thing)}`\n\n{described(thing)}\n"
    has_fields = dataclasses.is_dataclass(thing) or "__init__" in vars(thing)
    title = f"### class `{name}{signature(thing).split(' -> ')[0] if has_fields else ''}`"
    parts = [f"{title}\n\n{described(thing)}\n"]
    for member, function, kind in members(thing):
        form = signature(function)
        shown = member + (form if kind == "method" else f": {form.split(' -> ')[-1]}")
        parts.append(f"#### `{name}.{shown}`\n\n{described(function)}\n")
    return "\n".join(parts)


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION.format(names=", ".join(f"`{name}`" for name in vqlib.__all__))]
    for module in modules():
        parts.append(f"## {module.__name__}\n\n{described(module)}\n")
        parts += [entry(name, thing) for name, thing in public(module)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
