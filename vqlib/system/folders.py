"""A folder or an archive of pictures as arrays for training and testing, and what became of it."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from vqlib.errors import UserError
from vqlib.system.data import Arrays
from vqlib.system.listing import Listing, list_pictures
from vqlib.system.pictures import SUFFIXES, tell_kinds, tell_sizes
from vqlib.system.reading import Pictures, read_pictures
from vqlib.system.splits import Split, every_tenth, split_by_folders, spread

MOST_NAMED = 100  # in a message


def read_folder(root: Path, side: int, limit: int | None, skip_unreadable: bool) -> Arrays:
    """Read all pictures of a folder, or of a .zip or .tar file, and split them.

    Args:
        root: the folder or the file.
        side: of the squares that the pictures become.
        limit: at most so many of each split, spread over the classes.
        skip_unreadable: leave out what cannot be read.

    Raises:
        UserError: if there are too few pictures, or some cannot be read; the message names them.
    """
    listing = list_pictures(root)
    if not listing.entries and not listing.problems:
        raise UserError(f"{root} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    split = _split(listing)
    pictures = read_pictures(listing, side)
    problems = _all_problems(listing, pictures)
    if problems and not skip_unreadable:
        raise UserError(_refusal(root, problems))
    if len(pictures.problems) == len(listing.entries):
        raise UserError(f"{root}: no picture can be read: {_named(problems)}")
    train, test, left_out = _divide(root, pictures, split)
    sizes = pictures.facts["size"][np.concatenate([train, test])]
    kinds = pictures.facts["kinds"][np.concatenate([train, test])]
    about = " ".join(
        [
            tell_sizes(sizes, side),
            *tell_kinds(kinds),
            *_left_out(listing, problems, left_out, split.unused),
            split.rule or _tenth_rule(split),
        ]
    )
    train, test = (some[spread(split.labels[some], limit)] for some in (train, test))
    tested = pictures.pixels[test]
    return Arrays(
        _to_the_front(pictures.pixels, train),
        tested,
        split.labels[train],
        split.labels[test],
        tuple(map(printable, split.classes)),
        about,
        len(problems),
    )


def printable(name: str) -> str:
    """Return a name as it can be printed in a line of Markdown, whatever bytes a disk has."""
    return "".join(c if c.isprintable() and c != "`" else "\N{REPLACEMENT CHARACTER}" for c in name)


def _split(listing: Listing) -> Split:
    """Return the split of a listing, and leave only the pictures in it that are in the split."""
    if not listing.entries:  # none can be reached
        return Split(np.zeros(0, str), "", (), np.zeros(0, int))
    try:
        split = split_by_folders([entry.parts for entry in listing.entries], listing.folders)
    except UserError as error:
        raise UserError(printable(f"{listing.root}{os.sep}{error}")) from None
    used = split.roles != ""
    listing.entries = [e for e, is_used in zip(listing.entries, used, strict=True) if is_used]
    return replace(split, roles=split.roles[used], labels=split.labels[used])


def _divide(
    root: Path, pictures: Pictures, split: Split
) -> tuple[np.ndarray, np.ndarray, Counter[str]]:
    """Return the indices for training and for testing, and how many are left out for what.

    Each file counts once, and pictures that look the same are on one side.
    """
    left_out: Counter[str] = Counter()
    usable = np.ones(len(split.roles), bool)
    usable[list(pictures.problems)] = False
    first: dict[bytes, int] = {}
    order = np.argsort(split.roles, kind="stable") if split.is_given() else range(len(usable))
    files, looks = (pictures.facts[name].tolist() for name in ("file", "look"))
    for index in map(int, order):  # a test picture counts before its copy for training
        if usable[index]:
            usable[index] = first.setdefault(files[index], index) == index
            left_out["exact copies of others"] += not usable[index]
    if split.is_given():
        test = np.flatnonzero(usable & (split.roles == "test"))
        tested = {looks[index] for index in test}
        train = np.flatnonzero(usable & (split.roles == "train"))
        alike = np.array([looks[index] in tested for index in train], bool)
        left_out["training pictures that look like a test picture"] += int(alike.sum())
        train = train[~alike]
        for name, some in (("training", train), ("test", test)):
            if not len(some):
                raise UserError(f"{root}: every {name} picture is in the other split, too")
    else:
        indices = np.flatnonzero(usable)
        is_test = every_tenth([looks[index] for index in indices], split.labels[indices])
        train, test = indices[~is_test], indices[is_test]
        if not len(test):
            what = "one picture" if len(indices) == 1 else "pictures that are all the same"
            raise UserError(f"{root} holds {what}: training and testing need at least two")
    return train, test, +left_out


def _all_problems(listing: Listing, pictures: Pictures) -> dict[str, str]:
    """Return why each path cannot be read, in order of the paths."""
    problems = dict(listing.problems)
    for index, problem in pictures.problems.items():
        problems["/".join(listing.entries[index].parts)] = problem
    return dict(sorted(problems.items()))


def _refusal(root: Path, problems: dict[str, str]) -> str:
    full = {str(root / path): problem for path, problem in problems.items()}
    if len(full) == 1:
        ((path, problem),) = full.items()
        what = f"{path} cannot be read as a picture: {problem}. Repair or remove it, or leave it"
    else:
        what = f"{len(full)} pictures cannot be read: {_named(full)}. Repair or remove them, or "
        what += "leave them"
    return f"{printable(what)} out with --skip-unreadable or VQLIB_SKIP_UNREADABLE=1"


def _named(problems: dict[str, str]) -> str:
    named = [f"{path} ({problem})" for path, problem in problems.items()]
    more = len(named) - MOST_NAMED
    return printable(", ".join(named[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")


def _left_out(
    listing: Listing, problems: dict[str, str], left_out: Counter[str], unused: Counter[str]
) -> list[str]:
    found = [f"{count:,} {what}" for what, count in left_out.items()]
    found += [f"{count:,} in `{printable(name)}`" for name, count in sorted(unused.items())]
    if problems:
        found.append(f"{len(problems):,} that cannot be read: {_code(problems)}")
    if listing.links:
        found.append(
            f"{len(listing.links):,} links and names of pictures that are read elsewhere: "
            f"{_code(listing.links)}"
        )
    if listing.others:
        others = (f"{count:,} {name}" for name, count in sorted(listing.others.items()))
        found.append(f"files that are not pictures: {_code(others)}")
    return [f"Left out: {'; '.join(found)}."] if found else []


def _code(names: Iterable[str]) -> str:
    names = [f"`{printable(name)}`" for name in names]
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _tenth_rule(split: Split) -> str:
    rule = "In order of their paths, every tenth picture is a test image"
    classes = ", and at least one of each class that has several" if len(split.classes) > 1 else ""
    return f"{rule}{classes}."


def _to_the_front(pixels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Move rows to the front, in their order, without a second copy of them all."""
    for place, index in enumerate(chosen):  # an index is never below its place
        pixels[place] = pixels[index]
    return pixels[: len(chosen)]
