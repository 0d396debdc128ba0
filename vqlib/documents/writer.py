"""Translate the text, lists and tables of HTML to Typst's markup."""

import re
from collections.abc import Mapping
from typing import Any

from selectolax.lexbor import LexborHTMLParser, LexborNode

from vqlib.documents import citations, dom, tables
from vqlib.documents.document import (
    TEXT_WIDTH,
    Document,
    anchor,
    code_block,
    escaped,
    figure,
    string,
)
from vqlib.documents.markdown import FORMULA, Formula, take_formulas
from vqlib.documents.tex import to_typst

WRAPPED = {
    "strong": "strong", "b": "strong", "em": "emph", "i": "emph", "dfn": "emph", "var": "emph",
    "cite": "emph", "del": "strike", "s": "strike", "strike": "strike", "u": "underline",
    "ins": "underline", "sub": "sub", "sup": "super", "mark": "highlight", "small": "small",
}  # fmt: skip
CODE = {"code", "kbd", "samp", "tt"}

HIDDEN = {
    "script", "style", "head", "title", "template", "meta", "link", "base", "noscript", "select",
    "textarea", "colgroup", "col", "map", "area", "wbr", "-comment",
}  # fmt: skip


def parse(html: str) -> LexborNode:
    """Return the body of HTML, mended as browsers mend it."""
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
        self.rules: tables.Rules = {}
        self.width = TEXT_WIDTH
        self.depth = 0

    def translate(self, html: str) -> str:
        """Return HTML in Typst's markup."""
        body = parse(html)
        self.rules = tables.read_rules(body.css("style"))
        for item in body.css("li.footnote-item"):
            self.footnotes[item.attributes.get("id") or ""] = item
        return self.children(body)

    def children(self, node: LexborNode) -> str:
        """Return everything inside an element."""
        parts, skipped = [], False
        for child in node.iter(include_text=True):
            if skipped and child.tag == "p":
                skipped = False
                continue
            if child.tag == "table" and (after := dom.labelled_caption(child)):
                label = dom.LABELLED.fullmatch(after.text())[1]  # type: ignore[index]
                caption = self.children(after).strip().removeprefix(escaped(":"))
                caption = caption.removesuffix(escaped(f"{{#{label}}}"))
                parts.append(self.table(child, caption.strip(), label))
                skipped = True
            else:
                parts.append(self.element(child))
        return "".join(parts)

    def element(self, node: LexborNode) -> str:
        """Return an element, with what marks its place if something links to it."""
        tag = node.tag
        if tag == "-text":
            return self.text(node.text_content or "")
        if tag in HIDDEN or tag is None or dom.is_hidden(node):
            return ""
        self.depth += 1
        try:
            if self.depth > 120:
                return self.text(node.text())
            content = self._tag(node, tag)
        finally:
            self.depth -= 1
        if (tag[0] == "h" and tag[1:].isdigit()) or tag == "figure":
            return content
        return self.anchors(node) + content

    def _tag(self, node: LexborNode, tag: str) -> str:
        if method := getattr(self, f"_tag_{tag}", None):
            result: str = method(node)
            return result
        if tag in WRAPPED:
            inner = self.children(node)
            return f"#{WRAPPED[tag]}[{inner}];" if inner.strip() else inner
        if tag in CODE:
            return self.code(node)
        if tag[0] == "h" and tag[1:].isdigit():
            return self.heading(node, int(tag[1:]))
        inner = self.children(node)
        return f"\n\n{_aligned(node, inner)}\n\n" if tag in dom.BLOCKS else inner

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

    def code(self, node: LexborNode) -> str:
        """Return code in a line of text."""
        if node.css_first("img, a, table, pre"):
            return self.children(node)
        text = self.restored(node.text())
        self.document.see(text)
        return f"#raw({string(' '.join(text.split(chr(10))))});" if text else ""

    def _tag_pre(self, node: LexborNode) -> str:
        inner = node.css_first("code")
        classes = ((inner.attributes.get("class") if inner else None) or "").split()
        language = next((name[9:] for name in classes if name.startswith("language-")), "")
        if node.css_first("img, table, svg"):
            return f"\n\n{self.children(node)}\n\n"
        text = self.restored(node.text()).strip("\n")
        self.document.see(text)
        parent = node.parent.attributes if node.parent else {}
        is_code = inner or "highlight" in (parent.get("class") or "")
        return code_block(text, language, "code" if is_code else "output")

    def anchors(self, node: LexborNode, *more: str) -> str:
        """Return what links inside the notebook lead to."""
        written = ""
        attributes = node.attributes
        for name in (attributes.get("id"), attributes.get("name"), *more):
            label = anchor(name or "")
            if label and label not in self.document.labels:
                self.document.labels.add(label)
                written += f"#anchor({string(label)});"
        return written

    def heading(self, node: LexborNode, level: int) -> str:
        """Return a heading, with the name by which Jupyter lets one link to it."""
        inner = self.children(node)
        if not inner.strip():
            return inner
        name = self.restored(node.text()).strip().replace(" ", "-")
        if level == 1 and self.document.awaits_title and dom.comes_first(node):
            self.document.title, self.document.awaits_title = inner.strip(), False
            self.document.labels.add(anchor(name))
            return ""
        self.document.levels.append(level)
        return f"\n\n#section({level})[{self.anchors(node, name)}{inner.strip()}];\n\n"

    def _tag_br(self, node: LexborNode) -> str:
        return "#linebreak();"

    def _tag_hr(self, node: LexborNode) -> str:
        is_of_footnotes = "footnotes-sep" in (node.attributes.get("class") or "")
        return "" if is_of_footnotes else "\n\n#rule;\n\n"

    def _tag_q(self, node: LexborNode) -> str:
        return f"“{self.children(node)}”"

    def _tag_a(self, node: LexborNode) -> str:
        inner = self.children(node)
        target = (node.attributes.get("href") or "").strip()
        if not target or not inner.strip() or target.lower().startswith(("javascript:", "data:")):
            return inner
        if target.startswith("#"):
            label = anchor(target[1:])
            return f"#go({string(label)})[{inner}];" if label else inner
        return f"#link({string(target)})[{inner}];"

    def _tag_sup(self, node: LexborNode) -> str:
        inner = node.css_first("a")
        name = (inner.attributes.get("href") or "") if inner else ""
        note = self.footnotes.get(name[1:])
        if "footnote-ref" in (node.attributes.get("class") or "") and note is not None:
            return f"#footnote[{self.children(note).strip()}];"
        content = self.children(node)
        return f"#super[{content}];" if content.strip() else content

    def _tag_section(self, node: LexborNode) -> str:
        is_of_footnotes = "footnotes" in (node.attributes.get("class") or "").split()
        return "" if is_of_footnotes else f"\n\n{self.children(node)}\n\n"

    def _tag_blockquote(self, node: LexborNode) -> str:
        return f"\n\n#quote(block: true)[{self.children(node).strip()}];\n\n"

    def _tag_details(self, node: LexborNode) -> str:
        return f"\n\n{self.children(node)}\n\n"

    def _tag_summary(self, node: LexborNode) -> str:
        return f"\n\n#strong[{self.children(node).strip()}];\n\n"

    def _tag_dt(self, node: LexborNode) -> str:
        return f"\n\n#strong[{self.children(node).strip()}];\n\n"

    def _tag_dd(self, node: LexborNode) -> str:
        return f"\n\n#pad(left: 1.5em)[{self.children(node).strip()}];\n\n"

    def _tag_rt(self, node: LexborNode) -> str:
        return f"({self.children(node)})"

    def _tag_rp(self, node: LexborNode) -> str:
        return ""

    def _tag_button(self, node: LexborNode) -> str:
        return self.children(node)

    # --- lists

    def _tag_ul(self, node: LexborNode) -> str:
        return self._list(node, "list")

    def _tag_ol(self, node: LexborNode) -> str:
        attributes = node.attributes
        start = attributes.get("start") or ""
        kind = attributes.get("type") or "1"
        options = f"start: {int(start)}, " if start.isdigit() else ""
        options += f"numbering: {string(kind + '.')}, " if kind in "aAiI" else ""
        return self._list(node, "enum", options)

    _tag_menu = _tag_ul

    def _list(self, node: LexborNode, call: str, options: str = "") -> str:
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

    def _tag_li(self, node: LexborNode) -> str:
        return f"\n\n#list[{self.children(node).strip()}];\n\n"

    # --- tables

    def _tag_table(self, node: LexborNode) -> str:
        caption = next((child for child in node.iter() if child.tag == "caption"), None)
        return self.table(node, self.children(caption).strip() if caption else "", "")

    def table(self, node: LexborNode, caption: str, label: str) -> str:
        """Return a table; one with a caption is a figure with a number."""

        def inner(cell: LexborNode, count: int) -> str:
            width, self.width = self.width, max(40.0, self.width / count)
            content = self.children(cell).strip()
            self.width = width
            return content

        table = tables.to_typst(node, inner, self.rules)
        if not table:
            return self.children(node)
        return figure(self.document, table, caption, label, "table") if caption else (
            f"\n\n#align(center)[{table}];\n\n"
        )  # fmt: skip


def _checkbox(found: re.Match[str]) -> str:
    return "☐ " if found[1] in ("", " ") else "☑ "


def _aligned(node: LexborNode, inner: str) -> str:
    """Return what an element holds, centred or set to the right if the element says so."""
    align = dom.styles(node).get("text-align") or node.attributes.get("align") or ""
    align = "center" if node.tag == "center" else align.lower()
    has_content = align in ("center", "right") and inner.strip()
    return f"#align({align})[{inner.strip()}];" if has_content else inner
