"""What is public in vqlib: its modules, their functions and classes, and the members of these."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import vqlib


def modules() -> list[ModuleType]:
    """Return all modules of vqlib but the one that `python -m vqlib` runs."""
    found = pkgutil.walk_packages(vqlib.__path__, "vqlib.")
    names = sorted(module.name for module in found if module.name != "vqlib.__main__")
    return [importlib.import_module(name) for name in names]


def documented() -> Iterator[tuple[str, object]]:
    """Yield full name and object of every public function, class, method and property."""
    for module in modules():
        for name, thing in vars(module).items():
            is_here = getattr(thing, "__module__", None) == module.__name__
            if is_here and callable(thing) and not name.startswith("_"):
                yield f"{module.__name__}.{name}", thing
                if inspect.isclass(thing):
                    for member, function in members(thing):
                        yield f"{module.__name__}.{name}.{member}", function


def members(class_: type) -> Iterator[tuple[str, object]]:
    """Yield name and function of each public method and property of a class."""
    for name, thing in vars(class_).items():
        if (
            name.startswith("_")
            or getattr(thing, "__module__", class_.__module__) != class_.__module__
        ):
            continue  # matplotlib, say, adds methods to what inherits from it
        if isinstance(thing, property):
            yield name, thing.fget
        elif isinstance(thing, functools.cached_property):
            yield name, thing.func
        elif inspect.isroutine(thing):
            yield name, getattr(thing, "__func__", thing)
