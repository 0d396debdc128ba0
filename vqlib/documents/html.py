"""Translate Markdown and HTML, as a browser would show them, to Typst's markup."""

import re
from collections.abc import Mapping
from typing import Any

from selectolax.lexbor import LexborNode

from vqlib.documents import dom, pictures
from vqlib.documents.document import Document, add_picture, clean, figure, fitted, string
from vqlib.documents.markdown import FORMULA, to_html
from vqlib.documents.writer import Writer

ABSENT = {"video": "video", "audio": "audio", "canvas": "drawing of a script", "object": "object",
          "embed": "object", "applet": "object"}  # fmt: skip
VIDEO_SITES = re.compile(r"youtu\.?be|vimeo|bilibili|dailymotion|loom\.com", re.IGNORECASE)


def of_markdown(text: str, document: Document, attachments: Mapping[str, Any] | None = None) -> str:
    """Return a Markdown cell or output in Typst's markup."""
    html, formulas = to_html(clean(text))
    return Page(document, formulas, attachments or {}, references=True).translate(html)


def of_html(html: str, document: Document) -> str:
    """Return an output of HTML in Typst's markup; formulas are set, as Jupyter does."""
    return Page(document, [], {}, formulas_in_text=True).translate(clean(html))


class Page(Writer):
    """A translator of all of a cell's HTML: its text, its pictures, and what only moves."""

    def _tag_img(self, node: LexborNode) -> str:
        attributes = node.attributes
        source = attributes.get("src") or ""
        styles = dom.styles(node)
        width = styles.get("width") or attributes.get("width")
        height = styles.get("height") or attributes.get("height")
        alt = FORMULA.sub(
            lambda found: self.formulas[int(found[1])].tex, attributes.get("alt") or ""
        )
        try:
            picture = pictures.read(pictures.find(source, self.document.folder, self.attachments))
        except pictures.UnavailableError as problem:
            return self._missing(source, alt, problem)
        size = fitted(picture, width, height, self.width)
        return add_picture(self.document, picture, size, alt, dom.is_alone(node))

    def _missing(self, source: str, alt: str, problem: Exception) -> str:
        name = "in the notebook itself" if source.startswith("data:") else source[:120]
        named = f" ({alt})" if alt else ""
        return self.document.absent(f"picture not available: {name}{named}: {problem}")

    def _tag_svg(self, node: LexborNode) -> str:
        svg = node.html or ""
        if "xmlns=" not in svg.partition(">")[0]:
            svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        if "xlink:" in svg and "xmlns:xlink" not in svg:
            svg = svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
        try:
            picture = pictures.read(svg.encode())
        except pictures.UnavailableError as problem:
            text = self.text(node.text())
            return f"{text} {self._missing('a drawing', '', problem)}"
        return add_picture(self.document, picture, fitted(picture, None, None, self.width), "")

    def _tag_figure(self, node: LexborNode) -> str:
        label = node.attributes.get("id") or ""
        captions = [child for child in node.iter() if child.tag == "figcaption"]
        if not label or not captions:
            return f"\n\n{self.children(node)}\n\n"
        caption = self.children(captions[0]).strip()
        body = "".join(self.element(child) for child in node.iter() if child.tag != "figcaption")
        return figure(self.document, body, caption, label, "image")

    def _tag_picture(self, node: LexborNode) -> str:
        image = node.css_first("img")
        return self.element(image) if image else ""

    def _absent(self, node: LexborNode, tag: str) -> str:
        inner = node.css_first("img")
        source = node.css_first("source")
        named = node.attributes.get("src") or node.attributes.get("data") or ""
        named = named or (source.attributes.get("src") or "" if source else "")
        shown = f" ({named})" if named and not named.startswith("data:") else ""
        note = self.document.absent(f"{ABSENT[tag]}: not in print{shown}")
        return f"{self.element(inner)} {note}" if inner else note

    def _tag_iframe(self, node: LexborNode) -> str:
        source = node.attributes.get("src") or ""
        kind = "video" if VIDEO_SITES.search(source) else "embedded page"
        if source.startswith("data:") or not source:
            return self.document.absent(f"{kind}: not in print")
        note = self.document.absent(f"{kind}: not in print ({source})")
        return f"#link({string(source)})[{note}];"

    def _tag_input(self, node: LexborNode) -> str:
        if node.attributes.get("type") == "checkbox":
            self.document.see("☐☑")
            return "☑" if "checked" in node.attributes else "☐"
        return ""

    def _tag(self, node: LexborNode, tag: str) -> str:
        return self._absent(node, tag) if tag in ABSENT else super()._tag(node, tag)
