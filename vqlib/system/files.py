"""Files that are written whole or not at all, and folders that one process writes at a time."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vqlib.errors import UserError


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's content; a damaged file is a `UserError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} cannot be read: it holds no JSON object")
    return content


def read_bytes(path: Path) -> bytes:
    """Return a file's content; a `UserError` says why it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically, in plain Unicode."""
    write_atomically(path, (as_json(content) + "\n").encode("utf-8", "backslashreplace"))


def as_json(content: dict[str, Any]) -> str:
    """Return JSON in plain Unicode, with a line for each value."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def write_atomically(path: Path, content: bytes, previous: Path | None = None) -> None:
    """Write a file under another name, then rename it: nobody ever reads a part of it.

    Args:
        path: the file.
        content: all of it.
        previous: keeps the old file once the new one is written.

    Raises:
        UserError: if it cannot be written, as on a full disk; the old file is still there.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            os.replace(path, previous)
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the system releases it when the process ends.

    Raises:
        UserError: if another process holds it; the message has its pid and host.
    """
    make_folder(folder)
    try:
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UserError(
            f"{folder} is being written by another process{_read_holder(folder)}: wait for it, or "
            "stop it"
        ) from None
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None
    holder = folder / ".holder"
    try:
        for left in folder.glob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink()
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _read_holder(folder: Path) -> str:
    try:
        holder = read_json(folder / ".holder")
        return f" (pid {holder['pid']} on {holder['host']})"
    except (UserError, KeyError):  # it has just taken or released the lock
        return ""
