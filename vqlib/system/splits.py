"""Which pictures of a folder are for training and which for testing, and of which class each is."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from vqlib.errors import UserError

Path = tuple[str, ...]

TENTH = 10  # every so-manieth picture of a folder without a split is a test image
ROLES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
FOR_TESTING = ("test", "testing", "val", "validation")  # which no class is called
ELSEWHERE = "."  # the class of pictures that are next to the folders of the other classes


@dataclass(frozen=True)
class Split:
    """The split of a listing, by folders if they say so.

    Attributes:
        roles: of each picture: train, test, or "" if it is in neither.
        rule: a sentence about it.
        classes: names, in order.
        labels: the number of each picture's class.
        unused: how many pictures are in each folder that is in neither.
    """

    roles: np.ndarray
    rule: str
    classes: tuple[str, ...]
    labels: np.ndarray
    unused: Counter[str] = field(default_factory=Counter)

    def is_given(self) -> bool:
        """Return whether folders say which pictures are for testing."""
        return "test" in self.roles


def role(name: str) -> str:
    """Return `train`, `val` or `test` if a folder is named so, in any common spelling, else ""."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    found = {ROLES[word.lower()] for word in words if word.lower() in ROLES}
    return found.pop() if len(found) == 1 else ""


def split_by_folders(files: Sequence[Path], folders: set[Path]) -> Split:
    """Return the split of pictures by the names of their folders.

    The highest level at which there is a folder for training and one for testing is the split. A
    folder for validation is for testing if there is no other. Without such a level all pictures
    have the role train.

    Args:
        files: paths of the pictures.
        folders: paths of all folders, also of those without pictures.

    Raises:
        UserError: if a folder of the split is empty, or only one for testing is there; the message
            begins with its path.
    """
    level = _split_level(folders)
    if level is None:
        _refuse_lone_test(files)
        classes, labels = _classes([path[:-1] for path in files])
        return Split(np.full(len(files), "train"), "", classes, labels)
    names = {path[level] for path in folders if len(path) > level and role(path[level])}
    test = "test" if "test" in map(role, names) else "val"
    wanted = {"train": "train", test: "test"}
    roles = np.array([wanted.get(_role_at(path[:-1], level), "") for path in files])
    for one, used in wanted.items():
        if used not in roles:
            there = next(path for path in sorted(folders) if _role_at(path, level) == one)
            raise UserError(f"{'/'.join(there[: level + 1])} holds no pictures")
    used_names = [name for one in wanted for name in sorted(names) if role(name) == one]
    rule = f"The split is that of the folders {_listed(used_names)}."
    below = [_below(path[:-1], level) for path in files]
    classes, labels = _classes([p for p, r in zip(below, roles, strict=True) if r])
    all_labels = np.full(len(files), -1)
    all_labels[roles != ""] = labels
    unused = Counter(
        "/".join(path[:-1][: level + 1]) or ELSEWHERE
        for path, used in zip(files, roles, strict=True)
        if not used
    )
    return Split(roles, rule, classes, all_labels, unused)


def every_tenth(looks: Sequence[bytes], labels: np.ndarray) -> np.ndarray:
    """Return which pictures are for testing: every tenth, and one of each class that has several.

    Pictures that look the same stay together.

    Args:
        looks: a digest of each picture's pixels.
        labels: the number of each picture's class.
    """
    first: dict[bytes, int] = {}
    for index, look in enumerate(looks):
        first.setdefault(look, index)
    chosen = {index for rank, index in enumerate(first.values()) if rank % TENTH == 1}
    tested = {labels[index] for index in chosen}
    members: dict[int, list[int]] = {}
    for index in first.values():
        members.setdefault(labels[index], []).append(index)
    for label, indices in members.items():
        if label not in tested and len(indices) > 1:
            chosen.add(indices[1])
    return np.array([first[look] in chosen for look in looks], bool)


def spread(labels: np.ndarray, count: int | None) -> np.ndarray:
    """Return the indices of so many pictures, as many of each class as there can be, in order."""
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    turns: Counter[int] = Counter()
    ranks: list[int] = []
    for label in labels.tolist():
        ranks.append(turns[label])
        turns[label] += 1
    return np.sort(np.lexsort((labels, np.array(ranks)))[:count])


def _split_level(folders: set[Path]) -> int | None:
    for level in range(max(map(len, folders), default=0)):
        roles = {_role_at(path, level) for path in folders}
        if "train" in roles and roles & {"val", "test"}:
            return level
    return None


def _role_at(path: Path, level: int) -> str:
    return role(path[level]) if len(path) > level else ""


def _refuse_lone_test(files: Sequence[Path]) -> None:
    """Refuse a folder named test or val next to pictures that would be mixed with it."""
    above = len(_common([path[:-1] for path in files]))
    for path in files:
        if len(path) > above + 1 and path[above].lower() in FOR_TESTING:
            name = "/".join(path[: above + 1])
            raise UserError(
                f"{name} is a folder for testing, but there is none for training: name the "
                f"folder for training train, or rename {name}"
            )


def _below(path: Path, level: int) -> Path:
    """Return a path without the folder of the split, also if its name stands there twice."""
    rest, one = path[level + 1 :], _role_at(path, level)
    repeated = len(list(takewhile(lambda name: one and role(name) == one, rest)))
    return (*path[:level], *rest[repeated:])


def _classes(paths: list[Path]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of classes, and the number of each picture's class.

    A class is a folder at the highest level that has several; if none has, the lowest.
    """
    above = len(_common(paths))
    if above and all(len(path) == above for path in paths):
        above -= 1  # a single folder of pictures is one class
    names = [path[above] if len(path) > above else ELSEWHERE for path in paths]
    classes = tuple(sorted(set(names)))
    if classes == (ELSEWHERE,):
        return (), np.zeros(len(names), int)
    numbers = {name: number for number, name in enumerate(classes)}
    return classes, np.array([numbers[name] for name in names], int)


def _common(paths: Sequence[Path]) -> Path:
    """Return the folders that all paths start with."""
    lowest, highest = min(paths), max(paths)
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(lowest, highest, strict=False))
    return tuple(one for one, _ in pairs)


def _listed(names: Sequence[str]) -> str:
    *most, last = [f"`{name}`" for name in names]
    return f"{', '.join(most)} and {last}" if most else last
