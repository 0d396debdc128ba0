"""Translate HTML, as a browser would show it, to Typst's markup."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from vqlib.documents import citations, pictures
from vqlib.documents.markdown import FORMULA, Formula, take_formulas, to_html
from vqlib.documents.tex import Notebook as Definitions
from vqlib.documents.tex import to_typst

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

TEXT_WIDTH = 459.0  # points: A4 without the template's margins
PUNCTUATION = re.compile(r"[!#-&(-/:-@\[-`{-~]")  # all of ASCII but quotes, which Typst curls
NEGATIVE = re.compile(r"(?<![^\s(\[])-(?=\.?\d)")
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ufdd0\ufdd1\ufffe\uffff]")
SURROGATE = re.compile("[\ud800-\udfff]")
WRAPPED = {
    "strong": "strong", "b": "strong", "em": "emph", "i": "emph", "dfn": "emph", "var": "emph",
    "cite": "emph", "del": "strike", "s": "strike", "strike": "strike", "u": "underline",
    "ins": "underline", "sub": "sub", "sup": "super", "mark": "highlight", "small": "small",
}  # fmt: skip
CODE = {"code", "kbd", "samp", "tt"}
BLOCKS = {
    "p", "div", "section", "article", "header", "footer", "main", "nav", "aside", "address",
    "form", "fieldset", "legend", "hgroup", "figcaption", "center", "dl", "dd", "dt",
}  # fmt: skip
HIDDEN = {"script", "style", "head", "title", "template", "meta", "link", "base", "noscript",
          "select", "textarea", "input", "colgroup", "col", "map", "area", "wbr", "-comment"}  # fmt: skip
ABSENT = {"video": "video", "audio": "audio", "canvas": "drawing of a script", "object": "object",
          "embed": "object", "applet": "object"}  # fmt: skip
VIDEO_SITES = re.compile(r"youtu\.?be|vimeo|bilibili|dailymotion|loom\.com", re.IGNORECASE)
NUMBER = re.compile(r"[-+−–]?[$€£]?[\d.,e+\-%−\s]*|nan|NaN|inf|None|\.\.\.|…|NaT|<NA>")
LABELLED = re.compile(r":\s+.*?\s*\{#([\w:.-]+)\}\s*", re.DOTALL)


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


def of_markdown(
    text: str, document: Document, attachments: Mapping[str, Any] | None = None
) -> str:
    """Return a Markdown cell or output in Typst's markup."""
    html, formulas = to_html(clean(text))
    return Writer(document, formulas, attachments or {}, references=True).translate(html)


def of_html(html: str, document: Document) -> str:
    """Return an output of HTML in Typst's markup; formulas are set, as Jupyter does."""
    return Writer(document, [], {}, formulas_in_text=True).translate(clean(html))


def parse(html: str) -> "LexborNode":
    """Return the body of HTML, mended as browsers mend it."""
    from selectolax.lexbor import LexborHTMLParser

    body = LexborHTMLParser(f"<!doctype html><body>{html}").body
    assert body is not None
    return body


class Writer:
    """A translator of the HTML of one cell.

    Args:
        document: what all cells share.
        formulas: those whose marks the HTML holds.
        attachments: the cell's pictures.
        references: whether text may cite literature and refer to figures, as `@key`.
        formulas_in_text: whether dollars in the text begin a formula.
    """

    def __init__(
        self,
        document: Document,
        formulas: list[Formula],
        attachments: Mapping[str, Any],
        references: bool = False,
        formulas_in_text: bool = False,
    ) -> None:
        self.document = document
        self.formulas = formulas
        self.attachments = attachments
        self.references = references
        self.formulas_in_text = formulas_in_text
        self.footnotes: dict[str, LexborNode] = {}
        self.width = TEXT_WIDTH
        self.depth = 0

    def translate(self, html: str) -> str:
        """Return HTML in Typst's markup."""
        body = parse(html)
        for item in body.css("li.footnote-item"):
            self.footnotes[item.attributes.get("id") or ""] = item
        return self.children(body)

    def children(self, node: "LexborNode") -> str:
        """Return everything inside an element."""
        parts, skipped = [], False
        for child in node.iter(include_text=True):
            if skipped and child.tag == "p":
                skipped = False
                continue
            if child.tag == "table" and (after := _labelled_caption(child)):
                label = LABELLED.fullmatch(after.text())[1]  # type: ignore[index]
                caption = self.children(after).strip().removeprefix(escaped(":"))
                caption = caption.removesuffix(escaped(f"{{#{label}}}"))
                parts.append(self.table(child, caption.strip(), label))
                skipped = True
            else:
                parts.append(self.element(child))
        return "".join(parts)

    def element(self, node: "LexborNode") -> str:
        """Return an element, with what marks its place if something links to it."""
        tag = node.tag
        if tag == "-text":
            return self.text(node.text_content or "")
        if tag in HIDDEN or tag is None or _is_hidden(node):
            return self._input(node) if tag == "input" else ""
        self.depth += 1
        try:
            if self.depth > 120:
                return self.text(node.text())
            content = self._tag(node, tag)
        finally:
            self.depth -= 1
        if tag[0] == "h" and tag[1:].isdigit() or tag == "figure":
            return content
        return self.anchors(node) + content

    def _tag(self, node: "LexborNode", tag: str) -> str:
        if method := getattr(self, f"_tag_{tag}", None):
            result: str = method(node)
            return result
        if tag in WRAPPED:
            inner = self.children(node)
            return f"#{WRAPPED[tag]}[{inner}];" if inner.strip() else inner
        if tag in CODE:
            return self.code(node)
        if tag in ABSENT:
            return self._absent(node, tag)
        if tag[0] == "h" and tag[1:].isdigit():
            return self.heading(node, int(tag[1:]))
        inner = self.children(node)
        return f"\n\n{_aligned(node, inner)}\n\n" if tag in BLOCKS else inner

    # --- text

    def text(self, text: str) -> str:
        """Return text with its formulas, citations and references."""
        text = re.sub(r"[ \t\r\n\f]+", " ", text)
        if self.formulas_in_text and re.search(r"\$|\\\\[(\[]|\\begin", text):
            marked, formulas = take_formulas(text)
            marked = FORMULA.sub(
                lambda found: f"\ufdd0{int(found[1]) + len(self.formulas)}\ufdd1", marked
            )
            self.formulas += formulas
            text = marked
        parts = FORMULA.split(text)
        written = []
        for index, part in enumerate(parts):
            written.append(self.formula(int(part)) if index % 2 else self.plain(part))
        return "".join(written)

    def plain(self, text: str) -> str:
        """Return text without formulas."""
        self.document.see(text)
        if self.references and "@" in text:
            return citations.cited(text, self.document, escaped)
        return escaped(text)

    def formula(self, index: int) -> str:
        """Return a formula; one that Typst could not read is shown as it is written."""
        if index >= len(self.formulas):
            return ""
        formula = self.formulas[index]
        typst = to_typst(formula.tex, formula.display, self.document.definitions)
        self.document.see(typst)
        return f"{typst};" if typst[:1] == "#" else typst

    def restored(self, text: str) -> str:
        """Return text with its formulas as they are written."""
        return FORMULA.sub(
            lambda found: self.formulas[int(found[1])].source
            if int(found[1]) < len(self.formulas) else "", text,
        )  # fmt: skip

    def code(self, node: "LexborNode") -> str:
        """Return code in a line of text."""
        if node.css_first("img, a, table, pre"):
            return self.children(node)
        text = self.restored(node.text())
        self.document.see(text)
        return f"#raw({string(' '.join(text.split(chr(10))))});" if text else ""

    def _tag_pre(self, node: "LexborNode") -> str:
        inner = node.css_first("code")
        classes = ((inner.attributes.get("class") if inner else None) or "").split()
        language = next((name[9:] for name in classes if name.startswith("language-")), "")
        if node.css_first("img, table, svg"):
            return f"\n\n{self.children(node)}\n\n"
        text = self.restored(node.text()).strip("\n")
        self.document.see(text)
        is_code = inner or "highlight" in (node.parent.attributes.get("class") or "")
        return code_block(text, language, "code" if is_code else "output")

    def anchors(self, node: "LexborNode", *more: str) -> str:
        """Return what links inside the notebook lead to."""
        written = ""
        attributes = node.attributes
        for name in (attributes.get("id"), attributes.get("name"), *more):
            label = anchor(name or "")
            if label and label not in self.document.labels:
                self.document.labels.add(label)
                written += f"#anchor({string(label)});"
        return written

    def heading(self, node: "LexborNode", level: int) -> str:
        """Return a heading, with the name by which Jupyter lets one link to it."""
        inner = self.children(node)
        if not inner.strip():
            return inner
        name = self.restored(node.text()).strip().replace(" ", "-")
        if level == 1 and self.document.awaits_title and _comes_first(node):
            self.document.title, self.document.awaits_title = inner.strip(), False
            self.document.labels.add(anchor(name))
            return ""
        self.document.levels.append(level)
        return f"\n\n#section({level})[{self.anchors(node, name)}{inner.strip()}];\n\n"

    def _tag_br(self, node: "LexborNode") -> str:
        return "#linebreak();"

    def _tag_hr(self, node: "LexborNode") -> str:
        is_of_footnotes = "footnotes-sep" in (node.attributes.get("class") or "")
        return "" if is_of_footnotes else "\n\n#rule;\n\n"

    def _tag_q(self, node: "LexborNode") -> str:
        return f"“{self.children(node)}”"

    def _tag_a(self, node: "LexborNode") -> str:
        inner = self.children(node)
        target = (node.attributes.get("href") or "").strip()
        if not target or not inner.strip() or target.lower().startswith(("javascript:", "data:")):
            return inner
        if target.startswith("#"):
            label = anchor(target[1:])
            return f"#go({string(label)})[{inner}];" if label else inner
        return f"#link({string(target)})[{inner}];"

    def _tag_sup(self, node: "LexborNode") -> str:
        inner = node.css_first("a")
        name = (inner.attributes.get("href") or "") if inner else ""
        note = self.footnotes.get(name[1:])
        if "footnote-ref" in (node.attributes.get("class") or "") and note is not None:
            return f"#footnote[{self.children(note).strip()}];"
        content = self.children(node)
        return f"#super[{content}];" if content.strip() else content

    def _tag_section(self, node: "LexborNode") -> str:
        is_of_footnotes = "footnotes" in (node.attributes.get("class") or "").split()
        return "" if is_of_footnotes else f"\n\n{self.children(node)}\n\n"

    def _tag_blockquote(self, node: "LexborNode") -> str:
        return f"\n\n#quote(block: true)[{self.children(node).strip()}];\n\n"

    def _tag_details(self, node: "LexborNode") -> str:
        return f"\n\n{self.children(node)}\n\n"

    def _tag_summary(self, node: "LexborNode") -> str:
        return f"\n\n#strong[{self.children(node).strip()}];\n\n"

    def _tag_dt(self, node: "LexborNode") -> str:
        return f"\n\n#strong[{self.children(node).strip()}];\n\n"

    def _tag_dd(self, node: "LexborNode") -> str:
        return f"\n\n#pad(left: 1.5em)[{self.children(node).strip()}];\n\n"

    def _tag_rt(self, node: "LexborNode") -> str:
        return f"({self.children(node)})"

    def _tag_rp(self, node: "LexborNode") -> str:
        return ""

    def _tag_button(self, node: "LexborNode") -> str:
        return self.children(node)

    # --- lists

    def _tag_ul(self, node: "LexborNode") -> str:
        return self._list(node, "list")

    def _tag_ol(self, node: "LexborNode") -> str:
        attributes = node.attributes
        start = attributes.get("start") or ""
        kind = attributes.get("type") or "1"
        options = f"start: {int(start)}, " if start.isdigit() else ""
        options += f"numbering: {string(kind + '.')}, " if kind in "aAiI" else ""
        return self._list(node, "enum", options)

    _tag_menu = _tag_ul

    def _list(self, node: "LexborNode", call: str, options: str = "") -> str:
        items = []
        for child in node.iter(include_text=True):
            inner = self.children(child) if child.tag == "li" else self.element(child)
            if child.tag == "li":
                inner = re.sub(r"^\s*\\\[([ xX]?)\\\] ", _checkbox, inner)
                items.append(self.anchors(child) + inner.strip())
            elif inner.strip() and items:  # such as a list right in a list
                items[-1] += inner
            elif inner.strip():
                items.append(inner.strip())
        body = "".join(f"[{item}]" for item in items)
        return f"\n\n#{call}({options.rstrip(', ')}){body};\n\n" if items else ""

    def _tag_li(self, node: "LexborNode") -> str:
        return f"\n\n#list[{self.children(node).strip()}];\n\n"

    def _input(self, node: "LexborNode") -> str:
        if node.attributes.get("type") == "checkbox":
            self.document.see("☐☑")
            return "☑" if "checked" in node.attributes else "☐"
        return ""

    # --- pictures and what moves

    def _tag_img(self, node: "LexborNode") -> str:
        attributes = node.attributes
        source = attributes.get("src") or ""
        styles = _styles(node)
        width = styles.get("width") or attributes.get("width")
        height = styles.get("height") or attributes.get("height")
        alt = FORMULA.sub(lambda found: self.formulas[int(found[1])].tex, attributes.get("alt") or "")
        try:
            picture = pictures.read(pictures.find(source, self.document.folder, self.attachments))
        except pictures.Unavailable as problem:
            return self._missing(source, alt, problem)
        size = fitted(picture, width, height, self.width)
        image = add_picture(self.document, picture, size, alt)
        return _aligned(node, f"#align(center, {image});") if _is_alone(node) else f"#box({image});"

    def _missing(self, source: str, alt: str, problem: Exception) -> str:
        name = "in the notebook itself" if source.startswith("data:") else source[:120]
        named = f" ({alt})" if alt else ""
        return self.document.absent(f"picture not available: {name}{named}: {problem}")

    def _tag_svg(self, node: "LexborNode") -> str:
        svg = node.html or ""
        if "xmlns=" not in svg.partition(">")[0]:
            svg = svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
        if "xlink:" in svg and "xmlns:xlink" not in svg:
            svg = svg.replace("<svg", '<svg xmlns:xlink="http://www.w3.org/1999/xlink"', 1)
        try:
            picture = pictures.read(svg.encode())
        except pictures.Unavailable as problem:
            text = self.text(node.text())
            return f"{text} {self._missing('a drawing', '', problem)}"
        image = add_picture(self.document, picture, fitted(picture, None, None, self.width), "")
        return f"#box({image});"

    def _tag_figure(self, node: "LexborNode") -> str:
        label = node.attributes.get("id") or ""
        captions = [child for child in node.iter() if child.tag == "figcaption"]
        if not label or not captions:
            return f"\n\n{self.children(node)}\n\n"
        caption = self.children(captions[0]).strip()
        body = "".join(self.element(child) for child in node.iter() if child.tag != "figcaption")
        return figure(self.document, body, caption, label, "image")

    def _tag_picture(self, node: "LexborNode") -> str:
        image = node.css_first("img")
        return self.element(image) if image else ""

    def _absent(self, node: "LexborNode", tag: str) -> str:
        inner = node.css_first("img")
        source = node.css_first("source")
        named = node.attributes.get("src") or node.attributes.get("data") or ""
        named = named or (source.attributes.get("src") or "" if source else "")
        shown = f" ({named})" if named and not named.startswith("data:") else ""
        note = self.document.absent(f"{ABSENT[tag]}: not in print{shown}")
        return f"{self.element(inner)} {note}" if inner else note

    def _tag_iframe(self, node: "LexborNode") -> str:
        source = node.attributes.get("src") or ""
        kind = "video" if VIDEO_SITES.search(source) else "embedded page"
        if source.startswith("data:") or not source:
            return self.document.absent(f"{kind}: not in print")
        note = self.document.absent(f"{kind}: not in print ({source})")
        return f"#link({string(source)})[{note}];"

    # --- tables

    def _tag_table(self, node: "LexborNode") -> str:
        caption = next((child for child in node.iter() if child.tag == "caption"), None)
        return self.table(node, self.children(caption).strip() if caption else "", "")

    def table(self, node: "LexborNode", caption: str, label: str) -> str:
        """Return a table; one with a caption is a figure with a number."""
        rows = list(_rows(node))
        count = max((sum(_span(cell, "colspan") for cell in row) for _, row in rows), default=0)
        if not count:
            return self.children(node)
        heads = next((i for i, (in_head, _) in enumerate(rows) if not in_head), len(rows))
        heads = heads if heads < len(rows) else min(heads, 1)
        width, self.width = self.width, max(40.0, self.width / count)
        parts = (rows[:heads], rows[heads:])
        head, body = (self._cells([row for _, row in part], count) for part in parts)
        self.width = width
        header = f"table.header({', '.join(head)}), table.hline(), " if head else ""
        aligns = ", ".join(_column_alignments(parts[1], count))
        table = f"#table(columns: {count}, align: ({aligns},), {header}{', '.join(body)});"
        return figure(self.document, table, caption, label, "table") if caption else (
            f"\n\n#align(center)[{table}];\n\n"
        )  # fmt: skip

    def _cells(self, rows: list[list["LexborNode"]], count: int) -> list[str]:
        """Return the cells of rows of a table; each place of the grid has one."""
        taken: set[tuple[int, int]] = set()
        cells = []
        for y, row in enumerate(rows):
            left = iter(row)
            for x in range(count):
                if (y, x) in taken:
                    continue
                cell = next(left, None)
                if cell is None:
                    cells.append("[]")
                    continue
                free = next((n for n in range(1, count - x) if (y, x + n) in taken), count - x)
                wide = min(_span(cell, "colspan"), free)
                high = min(_span(cell, "rowspan"), len(rows) - y)
                taken |= {(y + dy, x + dx) for dy in range(high) for dx in range(wide)}
                inner = self.children(cell).strip()
                inner = f"#strong[{inner}]" if cell.tag == "th" and inner else inner
                spans = [f"colspan: {wide}"] * (wide > 1) + [f"rowspan: {high}"] * (high > 1)
                cells.append(f"table.cell({', '.join(spans)})[{inner}]" if spans else f"[{inner}]")
        return cells


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
    if wide is not None and wide > room:
        high = high * room / wide if high is not None else None
        wide = room
    return wide, high


def add_picture(
    document: Document,
    picture: pictures.Picture,
    size: tuple[float | None, float | None],
    alt: str,
) -> str:
    """Store a picture where Typst finds it, and return the call that shows it."""
    document.see(picture.text)
    name = document.files.get(picture.content)
    if name is None:
        name = document.files[picture.content] = f"{len(document.files)}.{picture.suffix}"
        (document.build / name).write_bytes(picture.content)
    options = [string(name)]
    options += [f"{side}: {value:.2f}pt" for side, value in
                zip(("width", "height"), size, strict=True) if value]  # fmt: skip
    options += [f"alt: {string(' '.join(alt.split()))}"] if alt else []
    return f"picture({', '.join(options)})"


def anchor(name: str) -> str:
    """Return the label for the name of a heading or an anchor, or for a link to it."""
    return unquote(name).strip().lower().replace(" ", "-")


def _comes_first(node: "LexborNode") -> bool:
    before = node.prev
    while before is not None and (before.tag == "-comment" or not before.text().strip()):
        before = before.prev
    is_outside = node.parent is not None and node.parent.tag != "body"
    return before is None and (not is_outside or _comes_first(node.parent))


def _checkbox(found: re.Match[str]) -> str:
    return "☐ " if found[1] in ("", " ") else "☑ "


def _styles(node: "LexborNode") -> dict[str, str]:
    pairs = (part.partition(":") for part in (node.attributes.get("style") or "").split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value}


def _is_hidden(node: "LexborNode") -> bool:
    attributes = node.attributes
    return "hidden" in attributes or _styles(node).get("display") == "none"


def _is_alone(node: "LexborNode") -> bool:
    """Whether an image has its paragraph for itself, perhaps within a link."""
    parent = node.parent
    while parent is not None and parent.tag in ("a", "span", "b", "strong", "em", "i"):
        node, parent = parent, parent.parent
    if parent is None or parent.tag not in (*BLOCKS, "body", "figure"):
        return False
    others = [c for c in parent.iter(include_text=True) if c.tag not in ("br", "-comment", "figcaption")]
    return all(c == node or (c.tag == "-text" and not (c.text_content or "").strip()) for c in others)


def _aligned(node: "LexborNode", inner: str) -> str:
    """Return what an element holds, centred or set to the right if the element says so."""
    align = _styles(node).get("text-align") or node.attributes.get("align") or ""
    align = "center" if node.tag == "center" else align.lower()
    has_content = align in ("center", "right") and inner.strip()
    return f"#align({align})[{inner.strip()}];" if has_content else inner


def _labelled_caption(table: "LexborNode") -> "LexborNode | None":
    """Return the paragraph after a table if it is its caption: `: Text. {#tbl-x}`."""
    after = table.next
    while after is not None and after.tag == "-text" and not (after.text_content or "").strip():
        after = after.next
    is_caption = after is not None and after.tag == "p" and LABELLED.fullmatch(after.text())
    return after if is_caption else None


def _rows(table: "LexborNode") -> Iterator[tuple[bool, list["LexborNode"]]]:
    """Yield whether each row of a table belongs to its head, and the cells of the row."""
    for part in table.iter():
        rows = [part] if part.tag == "tr" else [row for row in part.iter() if row.tag == "tr"]
        if part.tag not in ("thead", "tbody", "tfoot", "tr"):
            continue
        for row in rows:
            cells = [cell for cell in row.iter() if cell.tag in ("td", "th")]
            is_head = part.tag == "thead" or (part.tag != "tfoot" and all(c.tag == "th" for c in cells))
            if cells:
                yield is_head, cells


def _span(cell: "LexborNode", name: str) -> int:
    value = cell.attributes.get(name) or "1"
    return max(1, min(int(value), 1000)) if value.isdigit() else 1


def _column_alignments(rows: list[tuple[bool, list["LexborNode"]]], count: int) -> list[str]:
    """Return how each column is aligned: as its cells say, and numbers to the right."""
    columns: list[list[LexborNode]] = [[] for _ in range(count)]
    for _, row in rows:
        if len(row) == count:
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
    return [_alignment(column) for column in columns]


def _alignment(cells: list["LexborNode"]) -> str:
    for cell in cells[:1]:
        said = _styles(cell).get("text-align") or cell.attributes.get("align") or ""
        if said.lower() in ("left", "center", "right"):
            return said.lower()
    texts = [cell.text().strip() for cell in cells]
    return "right" if any(texts) and all(NUMBER.fullmatch(text) for text in texts) else "left"

