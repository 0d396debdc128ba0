"""What cells share while they are translated, and the forms in which Typst reads them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vqlib.documents import pictures
from vqlib.documents.tokens import Definitions

TEXT_WIDTH = 459.0  # points: A4 without the template's margins
TEXT_HEIGHT = 660.0  # a little less than a page holds
PUNCTUATION = re.compile(r"[!#-&(-/:-@\[-`{-~]")  # all of ASCII but quotes, which Typst curls
NEGATIVE = re.compile(r"(?<![^\s(\[])-(?=\.?\d)")
# Control characters, and those that turn the direction of text, which would hide what code does
UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufdd0\ufdd1\ufffe\uffff]"
)
SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass
class Document:
    """What the cells of a notebook share while they are translated.

    Attributes:
        folder: where paths in the notebook start.
        build: the folder in which Typst finds the pictures.
        note: is told what cannot be shown.
        keys: the entries of the bibliography, or None without one.
        labels: those of headings, anchors, figures and tables.
        referred: labels of figures and tables that the text refers to, with the cell.
        characters: every character that is shown, with the first cell that shows it.
        title: a heading of level 1 with which the notebook begins.
        awaits_title: whether nothing has been written yet that would stand before the title.
        levels: those of all other headings.
        alone: how many pictures so far have a paragraph for themselves.
    """

    folder: Path
    build: Path
    note: Callable[[str], None]
    keys: set[str] | None = None
    cited: bool = False
    labels: set[str] = field(default_factory=set)
    referred: dict[str, str] = field(default_factory=dict)
    characters: dict[str, str] = field(default_factory=dict)
    definitions: Definitions = field(default_factory=Definitions)
    title: str | None = None
    awaits_title: bool = False
    levels: list[int] = field(default_factory=list)
    alone: int = 0
    place: str = ""
    files: dict[bytes, str] = field(default_factory=dict)

    def see(self, text: str) -> None:
        """Remember the characters of text that is shown in the present cell."""
        for character in set(text).difference(self.characters):
            if ord(character) > 126:
                self.characters[character] = self.place

    def absent(self, what: str) -> str:
        """Return a note in place of something that cannot be shown, and log it."""
        self.note(what)
        self.see(what)
        return f"#absent[{escaped(f'[{what}]')}];"


def clean(text: str) -> str:
    """Return text without characters that no PDF can hold."""
    return UNPRINTABLE.sub("", SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))


def escaped(text: str) -> str:
    """Return text as it stands in Typst's markup; negative numbers get a minus sign."""
    return PUNCTUATION.sub(r"\\\g<0>", NEGATIVE.sub("−", text))


def string(text: str) -> str:
    """Return text as a string in Typst's code."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def code_block(text: str, language: str = "", call: str = "code") -> str:
    """Return a block of code or output in Typst's markup."""
    lang = f", lang: {string(language)}" if language else ""
    return f"\n\n#{call}({string(text)}{lang});\n\n"


def figure(document: Document, body: str, caption: str, label: str, kind: str) -> str:
    """Return a numbered figure or table with its caption, to which text can refer by its label."""
    written = ""
    if label and label not in document.labels:
        document.labels.add(label)
        written = f"#label({string(label)})"
    return f"\n\n#[#figure(kind: {kind}, caption: [{caption}])[{body}]{written}]\n\n"


def fitted(
    picture: pictures.Picture, width: Any, height: Any, room: float
) -> tuple[float | None, float | None]:
    """Return width and height in points: those asked for, or the picture's own, within the room.

    Args:
        picture: the picture.
        width, height: of HTML or of a notebook's metadata, or None.
        room: what fits, in points.
    """
    wide, high = pictures.points(width, room), pictures.points(height, None)
    own_width, own_height = picture.width, picture.height
    if own_width and own_height:
        ratio = own_height / own_width
        if wide is None and high is None:
            wide, high = own_width, own_height
        elif wide is None and high is not None:
            wide = high / ratio
        elif high is None and wide is not None:
            high = wide * ratio
    share = min(1, room / (wide or room), TEXT_HEIGHT / (high or TEXT_HEIGHT))
    return wide and wide * share, high and high * share


def add_picture(
    document: Document,
    picture: pictures.Picture,
    size: tuple[float | None, float | None],
    alt: str,
    is_alone: bool = False,
) -> str:
    """Store a picture where Typst finds it, and return what shows it, alone or in a line."""
    document.see(picture.text)
    name = document.files.get(picture.content)
    if name is None:
        name = document.files[picture.content] = f"{len(document.files)}.{picture.suffix}"
        (document.build / name).write_bytes(picture.content)
    options = [string(name)]
    options += [f"{side}: {value:.2f}pt" for side, value in
                zip(("width", "height"), size, strict=True) if value]  # fmt: skip
    options += [f"alt: {string(' '.join(alt.split()))}"] if alt else []
    if is_alone and size[0]:
        document.alone += 1
        return f"\n\n#alone({document.alone}, {', '.join(options)});\n\n"
    call = f"picture({', '.join(options)})"
    return f"#align(center, {call});" if is_alone else f"#box({call});"


def anchor(name: str) -> str:
    """Return the label for the name of a heading or an anchor, or for a link to it."""
    return unquote(name).strip().lower().replace(" ", "-")
