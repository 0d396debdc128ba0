"""Read Markdown as Jupyter does: formulas first, then CommonMark with GitHub's additions."""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from vqlib.documents.symbols import MATRICES
from vqlib.documents.tex import CASES, LAYOUTS

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

# A formula in text: its number between two characters that no text has
FORMULA = re.compile("\ufdd0(\\d+)\ufdd1")
BLANK_LINE = re.compile(r"\n[ \t]*\n")
ENVIRONMENTS = "|".join(LAYOUTS | CASES | set(MATRICES) - {"tabular"})
OPENING = re.compile(
    r"^[ \t>]*(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)\n"
    r"|(?P<ticks>`+)"
    r"|\\\\(?P<bracket>[(\[])"
    rf"|\\begin\{{(?P<name>{ENVIRONMENTS})(?P<star>\*?)\}}"
    r"|^[ \t]*(?P<macro>\\(?:(?:re|provide)?newcommand|def|DeclareMathOperator)\b[^\n]*)$"
    r"|(?P<reference>\\(?:eq)?ref\{[^}\n]*\})"
    r"|\\."
    r"|(?P<dollars>\$\$?)",
    re.MULTILINE | re.DOTALL,
)
AMOUNT = re.compile(r"\d[\d.,]*[^\\^_={}+*<>]* [^\\^_={}+*<>]*")  # a price: $5 and $10
SPACED_PICTURE = re.compile(r"(!\[[^\]\n]*\]\()[ \t]*([^()<>\n\"']* [^()<>\n\"']*?)[ \t]*(\))")
TAG = re.compile(
    r"\s*</?(?:a|article|b|br|center|dd|details|div|dl|dt|em|figure|font|h\d|hr|i|img|li|ol|p|"
    r"section|small|span|strong|style|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|ul)\b[^`]*",
    re.IGNORECASE,
)


class Formula:
    """A formula found in Markdown.

    Attributes:
        source: with its delimiters.
        tex: without them.
        display: whether it has a line of its own.
    """

    def __init__(self, source: str, tex: str, display: bool) -> None:
        self.source = source
        self.tex = tex
        self.display = display


def take_formulas(text: str) -> tuple[str, list[Formula]]:
    """Return text with a mark in place of each formula, and the formulas by number."""
    text = text.replace("\ufdd0", "").replace("\ufdd1", "")
    parts: list[str] = []
    formulas: list[Formula] = []
    position = done = 0
    while found := OPENING.search(text, position):
        if found["fence"] or found["ticks"]:
            position = _end_of_code(text, found)
            continue
        formula, position = _read_formula(text, found)
        if formula is not None:
            parts += [text[done : found.start()], f"\ufdd0{len(formulas)}\ufdd1"]
            formulas.append(formula)
            done = position
    return "".join([*parts, text[done:]]), formulas


def _end_of_code(text: str, found: re.Match[str]) -> int:
    """Return where code ends, or where its opening ends if it is none."""
    if fence := found["fence"]:
        closing = re.compile(rf"^[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        end = closing.search(text, found.end())
        return end.end() if end else len(text)
    end = re.compile(rf"(?<!`){found['ticks']}(?!`)").search(text, found.end())
    blank = BLANK_LINE.search(text, found.end())
    is_closed = end and not (blank and blank.start() < end.start())
    return end.end() if end and is_closed else found.end()


def _read_formula(text: str, found: re.Match[str]) -> tuple[Formula | None, int]:
    """Return the formula that begins here, if it is one, and where to read on."""
    start, inner = found.span()
    if found["macro"] and found["macro"].count("{") == found["macro"].count("}"):
        return Formula(found["macro"], found["macro"], False), inner
    if found["reference"]:
        return Formula(found["reference"], found["reference"], False), inner
    if found["bracket"]:
        closing = re.compile(r"\\\\\)" if found["bracket"] == "(" else r"\\\\\]")
        end = closing.search(text, inner)
    elif found["name"]:
        closing = re.compile(rf"\\end\{{{found['name']}{re.escape(found['star'])}\}}")
        end = closing.search(text, inner)
    elif found["dollars"]:
        return _in_dollars(text, start, found["dollars"])
    else:
        return None, inner
    if end is None or BLANK_LINE.search(text, inner, end.start()):
        return None, inner
    whole = text[start : end.end()]
    if found["name"]:
        return Formula(whole, whole, True), end.end()
    return Formula(whole, text[inner : end.start()], found["bracket"] == "["), end.end()


def _in_dollars(text: str, start: int, dollars: str) -> tuple[Formula | None, int]:
    """Return the formula between dollars; one of them in braces does not end it."""
    inner = start + len(dollars)
    depth, last, position = 0, None, inner
    for token in re.compile(r"\\.|[{}`]|\$\$?|\n[ \t]*\n", re.DOTALL).finditer(text, inner):
        mark = token[0]
        if mark[0] in "\n`":
            break
        if mark[0] == "$" and (mark == dollars or dollars == "$"):
            last = token.start()
            if depth <= 0:
                break
        depth += (mark == "{") - (mark == "}")
    if last is None or last == inner:
        return None, inner
    position = last + len(dollars)
    tex = text[inner:last]
    if dollars == "$" and AMOUNT.fullmatch(tex):
        return None, inner
    return Formula(text[start:position], tex, dollars == "$$"), position


def to_html(text: str) -> tuple[str, list[Formula]]:
    """Return Markdown as HTML with marks in place of its formulas, and the formulas."""
    marked, formulas = take_formulas(text)
    marked = SPACED_PICTURE.sub(r"\1<\2>\3", marked)
    html: str = _reader().render(marked)
    return html, formulas


@cache
def _reader() -> "MarkdownIt":
    from markdown_it import MarkdownIt
    from mdit_py_plugins.attrs import attrs_plugin
    from mdit_py_plugins.footnote import footnote_plugin

    reader = MarkdownIt("gfm-like", {"html": True, "linkify": True})
    assert reader.linkify is not None
    reader.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    reader.use(footnote_plugin, inline=False)
    reader.use(attrs_plugin, after=("image",))
    reader.__dict__["validateLink"] = lambda url: True  # any data URI may hold a picture
    reader.add_render_rule("image", _image)
    reader.add_render_rule("code_block", _code_block)
    return reader


def _image(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Return an image in HTML; one that has a label is a figure, and its text the caption."""
    token = tokens[index]
    label = token.attrs.pop("id", None)
    text = renderer.renderInlineAsText(token.children, options, env)
    token.attrs["alt"] = re.sub(r'\\(["\\])', r"\1", str(token.attrs.get("alt") or "")) or text
    image: str = renderer.renderToken(tokens, index, options, env)
    if label is None:
        return image
    caption = renderer.renderInline(token.children, options, env)
    return f'<figure id="{label}">{image}<figcaption>{caption}</figcaption></figure>'


def _code_block(renderer: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """Return an indented block: HTML if it begins with a tag, as after a blank line in a <div>."""
    content: str = tokens[index].content
    if TAG.match(content):
        return content
    block: str = type(renderer).code_block(renderer, tokens, index, options, env)
    return block
