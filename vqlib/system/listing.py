"""The pictures in a folder or an archive, each once, however many links lead to it."""

import os
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vqlib.errors import UserError
from vqlib.system.pictures import MOST_BYTES, SUFFIXES, one_line

Read = Callable[[], bytes]


@dataclass(frozen=True)
class Entry:
    """A picture's file.

    Attributes:
        parts: its path below the folder or in the archive.
        size: in bytes.
        mark: changes when the file does; an archive's member has its place in it.
    """

    parts: tuple[str, ...]
    size: int
    mark: tuple[int, ...]


@dataclass
class Listing:
    """What there is in a folder or an archive.

    Attributes:
        root: the folder or the archive.
        entries: the pictures, in order of their paths.
        folders: the paths of all folders below the root.
        others: how many files of each suffix or name are no pictures.
        links: the paths of links that lead to what is listed already.
        problems: why a path cannot be read.
    """

    root: Path
    entries: list[Entry] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def contents(self) -> Iterator[tuple[int, Read]]:
        """Yield each picture's index and a function that returns its file's content.

        They come in an order in which they can be read quickly.
        """
        for index, entry in enumerate(self.entries):
            yield index, partial(_read_file, os.path.join(self.root, *entry.parts))

    def add(self, parts: tuple[str, ...], size: int, mark: tuple[int, ...]) -> None:
        """Add a file, if it is a picture by its name."""
        if is_picture(parts[-1]):
            self.entries.append(Entry(parts, size, mark))
        else:
            self.others[Path(parts[-1]).suffix.lower() or parts[-1]] += 1


def list_pictures(root: Path) -> Listing:
    """Return the pictures in a folder, or in a .zip or .tar file; skip hidden files.

    Raises:
        UserError: if the archive is none or cannot be read.
    """
    listing = _list_folder(root) if root.is_dir() else _list_archive(root)
    listing.entries.sort(key=lambda entry: entry.parts)
    return listing


def _read_file(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:  # a few microseconds faster than Path.read_bytes
        return file.read()


def is_picture(name: str) -> bool:
    """Return whether a file's name is a picture's."""
    return Path(name).suffix.lower() in SUFFIXES


# --- folders -------------------------------------------------------------------------------


def _list_folder(root: Path) -> Listing:
    """List real folders and files first, so that what a link leads to keeps its own name."""
    walk = _Walk(Listing(root))
    walk.enter(str(root), ())
    while walk.links:
        waiting, walk.links = sorted(walk.links), []
        for parts, path in waiting:
            walk.follow(parts, path)
    return walk.listing


class _Walk:
    """A walk through a folder that visits each real folder and file once."""

    def __init__(self, listing: Listing):
        self.listing = listing
        self.seen: set[tuple[int, int]] = set()
        self.links: list[tuple[tuple[str, ...], str]] = []

    def enter(self, folder: str, parts: tuple[str, ...]) -> None:
        """List a folder and those below it; put off its links."""
        waiting = [(folder, parts)]
        while waiting:
            path, above = waiting.pop()
            try:
                if not self._is_new(os.stat(path)):
                    self.listing.links.append("/".join(above))
                    continue
                with os.scandir(path) as entries:
                    found = [entry for entry in entries if entry.name[0] != "."]
                waiting += self._list(sorted(found, key=lambda entry: entry.name), above)
            except OSError as error:
                self.listing.problems["/".join(above)] = error.strerror or str(error)
            if above:
                self.listing.folders.add(above)

    def follow(self, parts: tuple[str, ...], path: str) -> None:
        """List what a link leads to, unless it leads back up."""
        try:
            there = os.stat(path)
        except OSError as error:
            if is_picture(path):
                self.listing.problems["/".join(parts)] = error.strerror or str(error)
            else:
                self.listing.others[parts[-1]] += 1
            return
        if not stat.S_ISDIR(there.st_mode):
            self._add_file(parts, path, there)
        elif self._is_above(path):
            self.listing.links.append("/".join(parts))
        else:
            self.enter(path, parts)

    def _list(
        self, entries: list[os.DirEntry[str]], above: tuple[str, ...]
    ) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Add the files of a folder; yield the folders in it."""
        for entry in entries:
            parts = (*above, entry.name)
            if entry.is_symlink():
                self.links.append((parts, entry.path))
            elif entry.is_dir():
                yield entry.path, parts
            else:
                self._add_file(parts, entry.path, entry.stat())

    def _add_file(self, parts: tuple[str, ...], path: str, there: os.stat_result) -> None:
        if not stat.S_ISREG(there.st_mode):  # reading a pipe would wait for ever
            self.listing.others[parts[-1]] += 1
        elif not is_picture(path) or self._is_new(there):
            mark = (there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)
            self.listing.add(parts, there.st_size, mark)
        else:
            self.listing.links.append("/".join(parts))

    def _is_new(self, there: os.stat_result) -> bool:
        key = (there.st_dev, there.st_ino)
        if key in self.seen:
            return False
        self.seen.add(key)
        return True

    def _is_above(self, path: str) -> bool:
        root = os.path.realpath(self.listing.root)
        return root.startswith(os.path.join(os.path.realpath(path), ""))


# --- archives ------------------------------------------------------------------------------


class _ZipListing(Listing):
    def contents(self) -> Iterator[tuple[int, Read]]:
        with zipfile.ZipFile(self.root) as archive:
            members = {member.header_offset: member for member in archive.infolist()}
            for index, entry in sorted(enumerate(self.entries), key=lambda each: each[1].mark):
                yield index, _read_now(partial(archive.open, members[entry.mark[0]]))


class _TarListing(Listing):
    def contents(self) -> Iterator[tuple[int, Read]]:
        places = {entry.mark[0]: index for index, entry in enumerate(self.entries)}
        with tarfile.open(self.root) as archive:
            for member in archive:  # in their order in the file: it may be one compressed stream
                if member.offset in places:
                    index = places[member.offset]
                    yield index, _read_now(partial(archive.extractfile, member))


def _read_now(opened: Callable[[], Any]) -> Read:
    """Read a member while the archive is open; an error comes when its content is asked for."""
    try:
        with opened() as file:
            content = file.read(MOST_BYTES + 1)
    except Exception as error:  # zlib and lzma have their own, and a password is a RuntimeError
        return partial(_refuse, one_line(error))
    return lambda: content


def _refuse(problem: str) -> bytes:
    raise UserError(problem)


def _list_archive(root: Path) -> Listing:
    try:
        if zipfile.is_zipfile(root):
            return _list_zip(root)
        if tarfile.is_tarfile(root):
            return _list_tar(root)
    except Exception as error:  # whatever damage makes these modules raise
        raise UserError(f"{root} cannot be read as an archive: {one_line(error)}") from None
    raise UserError(f"{root} is a file, but not a .zip or .tar: give a folder of pictures")


def _list_zip(root: Path) -> Listing:
    listing = _ZipListing(root)
    with zipfile.ZipFile(root) as archive:
        for member in archive.infolist():
            parts = _parts(member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                listing.links.append(member.filename)
            elif member.is_dir():
                _add_folders(listing, parts)
            else:
                mark = (member.header_offset, member.CRC)
                _add_member(listing, parts, member.file_size, mark)
    return _with_last_of_each_name(listing)


def _list_tar(root: Path) -> Listing:
    listing = _TarListing(root)
    with tarfile.open(root) as archive:
        for member in archive:
            parts = _parts(member.name)
            if member.issym() or member.islnk():
                listing.links.append(member.name)
            elif member.isdir():
                _add_folders(listing, parts)
            elif member.isfile():
                _add_member(listing, parts, member.size, (member.offset, int(member.mtime)))
            elif parts:
                listing.others[parts[-1]] += 1
    return _with_last_of_each_name(listing)


def _parts(name: str) -> tuple[str, ...]:
    """Return the path of a member; () if it is hidden."""
    parts = tuple(p for p in name.replace("\\", "/").split("/") if p not in ("", ".", ".."))
    return () if any(part[0] == "." or part == "__MACOSX" for part in parts) else parts


def _add_folders(listing: Listing, parts: tuple[str, ...]) -> None:
    listing.folders |= {parts[:depth] for depth in range(1, len(parts) + 1)}


def _add_member(listing: Listing, parts: tuple[str, ...], size: int, mark: tuple[int, ...]) -> None:
    if parts:
        _add_folders(listing, parts[:-1])
        listing.add(parts, size, mark)


def _with_last_of_each_name(listing: Listing) -> Listing:
    """Leave out members that a later one of the same name replaces, as in unpacking."""
    last = {entry.parts: entry for entry in listing.entries}
    replaced = [e for e in listing.entries if last[e.parts] is not e]
    listing.links += ["/".join(entry.parts) for entry in replaced]
    listing.entries = list(last.values())
    return listing
