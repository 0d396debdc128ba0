"""Find the pictures of a notebook, check them, and give them the size that a browser gives."""

import base64
import binascii
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes
from xml.etree import ElementTree

PIXEL = 0.75  # points: a browser shows 96 pixels an inch
UNITS = {"px": PIXEL, "": PIXEL, "pt": 1.0, "in": 72.0, "cm": 72 / 2.54, "mm": 72 / 25.4,
         "pc": 12.0, "em": 10.5, "rem": 10.5, "ex": 4.7}  # fmt: skip
LENGTH = re.compile(r"\s*([\d.]+)\s*([a-z]*)\s*(?:!important)?\s*", re.IGNORECASE)
KEPT = {"PNG": "png", "JPEG": "jpg", "GIF": "gif", "WEBP": "webp"}  # which Typst reads
REMOTE = re.compile(r"(?:https?:)?//", re.IGNORECASE)


class UnavailableError(Exception):
    """A picture that cannot be shown; the message says why."""


class Picture:
    """A picture in a form that Typst reads.

    Attributes:
        content: the file's bytes.
        suffix: of the file's name.
        width: in points as a browser shows it, or None for what the file says.
        text: the text that a picture of vectors holds.
    """

    def __init__(
        self, content: bytes, suffix: str, width: float | None, height: float | None, text: str = ""
    ) -> None:
        self.content = content
        self.suffix = suffix
        self.width = width
        self.height = height
        self.text = text


def find(source: str, folder: Path, attachments: Mapping[str, Mapping[str, str]]) -> bytes:
    """Return the bytes of the picture that a cell names.

    Args:
        source: a path from `folder`, a data URI, or the name of an attachment.
        folder: that of the notebook.
        attachments: the cell's: their content by MIME type, by name.

    Raises:
        UnavailableError: if it is elsewhere or cannot be read.
    """
    source = source.strip()
    if source.startswith("data:"):
        head, _, body = source.partition(",")
        return decoded(body) if head.endswith(";base64") else unquote_to_bytes(body)
    if source.startswith("attachment:"):
        name = source.removeprefix("attachment:")
        forms = attachments.get(name) or attachments.get(unquote(name)) or {}
        for content in forms.values():
            return as_bytes(content)
        raise UnavailableError("the cell has no such attachment")
    if REMOTE.match(source):
        raise UnavailableError("it is on another machine")
    return _read_file(source.removeprefix("file://"), folder)


def _read_file(source: str, folder: Path) -> bytes:
    problem = "there is no such file"
    for name in (unquote(source), source, unquote(source.split("?")[0].split("#")[0])):
        try:
            return (folder / name).read_bytes()
        except (OSError, ValueError) as error:
            if not isinstance(error, FileNotFoundError):
                problem = getattr(error, "strerror", None) or "its name is no path"
    raise UnavailableError(problem)


def as_bytes(content: object) -> bytes:
    """Return the bytes of a picture as a notebook holds it: text for SVG, else base64."""
    text = "".join(content) if isinstance(content, list) else str(content)
    return text.encode("utf-8", "replace") if text.lstrip()[:1] == "<" else decoded(text)


def decoded(text: str) -> bytes:
    """Return the bytes that base64 stands for."""
    try:
        return base64.b64decode(unquote(text) if "%" in text else text)
    except (binascii.Error, ValueError):
        raise UnavailableError("its base64 is damaged") from None


def read(content: bytes) -> Picture:
    """Return a picture in a form that Typst reads, with its size.

    Raises:
        UnavailableError: if the bytes are no picture, or one that only a browser shows.
    """
    if not content.strip():
        raise UnavailableError("it is empty")
    if content[:5] == b"%PDF-":
        return Picture(content, "pdf", None, None)
    if b"<svg" in content[:4000] or (b"<svg" in content and content.lstrip()[:1] == b"<"):
        return _read_svg(content)
    return _read_raster(content)


def _read_raster(content: bytes) -> Picture:
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            kind, (width, height) = image.format or "", image.size
            if kind == "PNG":
                image.verify()  # its checksums, much faster than decoding it
            else:
                image.load()
            if kind not in KEPT:
                buffer = io.BytesIO()
                image.convert("RGBA").save(buffer, "PNG")
                content, kind = buffer.getvalue(), "PNG"
    except Exception as error:  # Pillow raises many kinds
        raise UnavailableError("it cannot be read as a picture") from error
    return Picture(content, KEPT[kind], width * PIXEL, height * PIXEL)


def _read_svg(content: bytes) -> Picture:
    if b"foreignObject" in content:
        raise UnavailableError("only a browser shows it")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError):
        raise UnavailableError("it is not valid SVG") from None
    if root.tag.rpartition("}")[2] != "svg":
        raise UnavailableError("it is not valid SVG")
    width, height = points(root.get("width"), None), points(root.get("height"), None)
    box = re.findall(r"-?[\d.]+", root.get("viewBox", ""))
    ratio = float(box[3]) / float(box[2]) if len(box) == 4 and float(box[2]) else None
    if width is None and height is None and ratio:
        width = float(box[2]) * PIXEL
    if ratio and height is None and width is not None:
        height = width * ratio
    if ratio and width is None and height is not None:
        width = height / ratio
    return Picture(content, "svg", width, height, " ".join(root.itertext()))


def points(length: str | float | None, whole: float | None) -> float | None:
    """Return a length of HTML or CSS in points, or None if it is none.

    Args:
        length: such as `300`, `12px`, `50%`.
        whole: what per cent are of, in points.
    """
    if length is None:
        return None
    text = str(length)
    if text.strip().endswith("%"):
        share = LENGTH.match(text)
        return float(share[1]) / 100 * whole if share and whole and _is_number(share[1]) else None
    found = LENGTH.fullmatch(text)
    if not found or not _is_number(found[1]):
        return None
    factor = UNITS.get(found[2].lower())
    size = float(found[1]) * factor if factor else 0
    return size if 0 < size < 1e6 else None


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and text != "."
