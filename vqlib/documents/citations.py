"""Citations of literature and references to figures and tables, in pandoc's notation: `@key`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vqlib.errors import UserError

if TYPE_CHECKING:
    from vqlib.documents.document import Document

KEY = r"[A-Za-z0-9_][\w:.+/-]*\w|\w"
CITATION = re.compile(rf"\[(?P<group>[^\[\]]*?@[^\[\]]*)\]|(?<![\w@/.`])@(?P<key>{KEY})")
PART = re.compile(rf"(?P<before>.*?)(?P<year>-?)@(?P<key>{KEY})(?P<after>.*)", re.DOTALL)
ENTRY = re.compile(r"^\s*@(?!comment|string|preamble)\w+\s*[{(]\s*([^,\s]+)\s*,", re.I | re.M)
CROSS_REFERENCES = ("fig-", "tbl-")


def read_keys(name: str | None, folder: Path) -> tuple[bytes, set[str]] | None:
    """Return the bibliography that a notebook in `folder` names, and the keys of its entries.

    Raises:
        UserError: if there is no such file.
    """
    if not name:
        return None
    path = folder / name
    if not path.is_file():
        raise UserError(
            f"no file {path}, which the notebook's metadata names as `bibliography`: "
            "correct the name or add the file"
        )
    content = path.read_bytes()
    return content, set(ENTRY.findall(content.decode("utf-8", "replace")))


def cited(text: str, document: "Document", escape: Callable[[str], str]) -> str:
    """Return text in Typst's markup with what its citations and references stand for."""
    parts, done = [], 0
    for found in CITATION.finditer(text):
        if found["group"] is None:
            written = _in_prose(found["key"], document)
        else:
            written = _in_brackets(found["group"].split(";"), document, escape)
        if written is not None:
            parts += [escape(text[done : found.start()]), written]
            done = found.end()
    return "".join([*parts, escape(text[done:])])


def _in_prose(key: str, document: "Document") -> str | None:
    if key.startswith(CROSS_REFERENCES):
        return _reference(key, document)
    return f'#cite(label("{key}"), form: "prose");' if _is_known(key, document) else None


def _in_brackets(
    group: list[str], document: "Document", escape: Callable[[str], str]
) -> str | None:
    """Return `[before @key after; @other]` in parentheses, references to figures without."""
    parts = [PART.fullmatch(part.strip()) for part in group]
    found = [part for part in parts if part]
    if len(found) < len(parts):
        return None
    if all(part["key"].startswith(CROSS_REFERENCES) for part in found):
        return ", ".join(
            escape(part["before"]) + _reference(part["key"], document) + escape(part["after"])
            for part in found
        )
    known = [_is_known(part["key"], document) for part in found]  # says each that is not
    if not all(known):
        return None
    written = []
    for part in found:
        forms = ("year",) if part["year"] else ("author", "year")
        cites = "~".join(f'#cite(label("{part["key"]}"), form: "{form}");' for form in forms)
        written.append(escape(part["before"]) + cites + escape(part["after"]))
    return f"\\({'; '.join(written)}\\)"


def _is_known(key: str, document: "Document") -> bool:
    if document.keys is None:
        return False
    if key not in document.keys:
        document.note(
            f"citation not found: {key}: add it to the file that the notebook's metadata names "
            "as `bibliography`, or write the @ in `code`"
        )
        return False
    document.cited = True
    return True


def _reference(key: str, document: "Document") -> str:
    document.referred.setdefault(key, document.place)
    return f'#see("{key}");'
