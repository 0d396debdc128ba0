"""Calls of the reader's function: they end in time, and errors are told in a line."""

import ctypes
import inspect
import linecache
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from vqlib.check.verdict import Found, wrong

SECONDS = 10.0  # that a call may take
LONGEST = 200  # characters of an error's message


def call(mine: Callable, arguments: Mapping[str, Any]) -> Any:
    """Return what the reader's function returns; its parameters may have other names.

    Raises:
        Found: if it fails, does not end in time, or returns nothing.
    """
    if not callable(mine):
        if mine is None or mine is ...:
            raise Found("not yet", "not solved yet.")
        raise wrong("give the check the function itself, without brackets behind its name.")
    try:
        result = in_time(lambda: apply(mine, arguments))
    except NotImplementedError:
        result = None
    except Found:
        raise
    except Exception as error:
        raise wrong(f"{_place(mine, error)}{message(error)}") from None
    if result is None or result is ...:
        raise Found("not yet", "not solved yet: it returns nothing.")
    return result


def apply(mine: Callable, arguments: Mapping[str, Any]) -> Any:
    """Call a function by position, or by name if it has the same names in another order."""
    try:
        signature = inspect.signature(mine)
    except (TypeError, ValueError):  # of some functions written in C
        return mine(*arguments.values())
    try:
        in_order = list(signature.bind(*arguments.values()).arguments) == list(arguments)
    except TypeError:
        in_order = False
    if not in_order and arguments.keys() <= signature.parameters.keys():
        return mine(**arguments)
    return mine(*arguments.values())


def fitted(mine: Callable, *names: str) -> Callable:
    """Return the reader's function in the form that a model calls.

    Its parameters have this order, it gets copies of tensors, so that it may work in place, and a
    tuple or list of one thing is that thing.
    """

    def run(*values: Any) -> Any:
        copies = [value.clone() if isinstance(value, Tensor) else value for value in values]
        result = apply(mine, dict(zip(names, copies, strict=True)))
        return result[0] if isinstance(result, (tuple, list)) and len(result) == 1 else result

    return run


def in_time(work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or raise what it raises.

    It runs in a thread of its own: unlike an alarm signal, this works on every system. If time
    runs out, the thread is told to stop, and abandoned if it does not.
    """
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = work()
        except SystemExit:
            outcome["error"] = RuntimeError("it ends the program")
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        thread.join(SECONDS)
        if thread.is_alive():
            raise wrong(f"still running after {SECONDS:g} seconds. Does a loop never end?")
    finally:  # Ctrl-C, too, leaves no thread behind
        if thread.is_alive():
            _stop(thread)
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


class _OutOfTime(BaseException):
    """Raised in a thread whose time is over; `except Exception` does not catch it."""


def _stop(thread: threading.Thread) -> None:
    ident = ctypes.c_ulong(thread.ident or 0)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_OutOfTime))


def _place(mine: Callable, error: Exception) -> str:
    """Return the line of the reader's function in which the error arose, for a message."""
    code = getattr(inspect.unwrap(mine), "__code__", None)
    steps = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in steps if frame.f_code is code]
    if code is None or not lines:
        return "it cannot be called as the exercise asks. "
    source = linecache.getline(code.co_filename, lines[-1]).strip()
    return f"line {lines[-1] - code.co_firstlineno + 1} of your function, `{source}`, fails. "


def message(error: Exception) -> str:
    """Return kind and first line of an error."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}".removesuffix(": ")
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
