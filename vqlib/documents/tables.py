"""Translate tables of HTML to Typst's markup: their grid, their colours, and parts that fit."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from vqlib.documents import dom
from vqlib.documents.document import TEXT_WIDTH, string

NUMBER = re.compile(r"[-+−–]?[$€£]?[\d.,e+\-%−\s]*|nan|NaN|inf|None|\.\.\.|…|NaT|<NA>")
RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
LAST_ID = re.compile(r"#([\w-]+)\s*$")
STOP = re.compile(r"(#\w+|rgba?\([^)]*\)|[a-z]+)\s+(-?[\d.]+)%", re.IGNORECASE)
LETTER, GAP = 4.9, 11.4  # points: how wide a letter and the space around a column are
LINE = 20  # letters; longer texts may wrap
WIDEST = TEXT_WIDTH / 0.6  # of a table; a smaller one is hard to read
RGBA = re.compile(r"rgba\(([^,]*,[^,]*,[^,]*),\s*([\d.]+)\s*\)")
WHITE, PALE = "#ffffff", 600  # of the 765 that a colour's parts can sum to

Rules = Mapping[str, Mapping[str, str]]


@dataclass
class Cell:
    """A cell in its place in the grid; where the table lacks one, there is no node."""

    node: LexborNode | None
    column: int
    wide: int = 1
    high: int = 1


def to_typst(table: LexborNode, inner: Callable[[LexborNode, int], str], rules: Rules) -> str:
    """Return a table in Typst's markup, or "" if it has no cells.

    A table that is too wide for a page becomes several with some of its columns each.

    Args:
        table: the element.
        inner: translates what a cell holds; is told how many columns there are.
        rules: the properties of elements in style sheets, by id.
    """
    found = list(rows(table))
    count = max((sum(span(cell, "colspan") for cell in row) for _, row in found), default=0)
    if not count:
        return ""
    heads = next((i for i, (in_head, _) in enumerate(found) if not in_head), len(found))
    heads = heads if heads < len(found) else min(heads, 1)
    head, body = (grid(part, count) for part in (found[:heads], found[heads:]))
    below = by_column(body, count)
    aligns = [alignment(nodes, rules) for nodes in below]
    written = []
    for columns in parts(by_column(head, count), below):
        cells = [_in_markup(part, columns, inner, rules) for part in (head, body)]
        header = f"table.header({', '.join(cells[0])}), table.hline(), " if head else ""
        sides = ", ".join(aligns[n] for n in columns)
        written.append(
            f"#table(columns: {len(columns)}, align: ({sides},), {header}{', '.join(cells[1])});"
        )
    return "\n\n".join(written)


def rows(table: LexborNode) -> Iterator[tuple[bool, list[LexborNode]]]:
    """Yield whether each row of a table belongs to its head, and the cells of the row."""
    for part in table.iter():
        rows = [part] if part.tag == "tr" else [row for row in part.iter() if row.tag == "tr"]
        if part.tag not in ("thead", "tbody", "tfoot", "tr"):
            continue
        for row in rows:
            cells = [cell for cell in row.iter() if cell.tag in ("td", "th")]
            is_head = part.tag == "thead" or (
                part.tag != "tfoot" and all(c.tag == "th" for c in cells)
            )
            if cells:
                yield is_head, cells


def span(cell: LexborNode, name: str) -> int:
    """Return over how many columns or rows a cell goes."""
    value = cell.attributes.get(name) or "1"
    return max(1, min(int(value), 1000)) if value.isdigit() else 1


def grid(rows: list[tuple[bool, list[LexborNode]]], count: int) -> list[list[Cell]]:
    """Return the cells of each row in their places; no place of the grid is left empty."""
    taken: set[tuple[int, int]] = set()
    placed = []
    for y, (_, row) in enumerate(rows):
        left, cells = iter(row), []
        for x in range(count):
            if (y, x) in taken:
                continue
            node = next(left, None)
            if node is None:
                cells.append(Cell(None, x))
                continue
            free = next((n for n in range(1, count - x) if (y, x + n) in taken), count - x)
            wide = min(span(node, "colspan"), free)
            high = min(span(node, "rowspan"), len(rows) - y)
            taken |= {(y + dy, x + dx) for dy in range(high) for dx in range(wide)}
            cells.append(Cell(node, x, wide, high))
        placed.append(cells)
    return placed


def by_column(rows: list[list[Cell]], count: int) -> list[list[LexborNode]]:
    """Return the elements of each column, without those that go over several."""
    columns: list[list[LexborNode]] = [[] for _ in range(count)]
    for cell in (cell for row in rows for cell in row):
        if cell.node and cell.wide == 1:
            columns[cell.column].append(cell.node)
    return columns


def parts(head: list[list[LexborNode]], body: list[list[LexborNode]]) -> list[list[int]]:
    """Return the columns of each table that a table becomes, so that each fits on a page.

    The first columns, if they hold names of rows, are in all of them.

    Args:
        head, body: the elements of each column.
    """
    count = len(body)
    widths = [
        GAP + LETTER * max((_letters(node) for node in (*above, *below)), default=0)
        for above, below in zip(head, body, strict=True)
    ]
    if sum(widths) <= WIDEST:
        return [list(range(count))]
    is_name = [bool(nodes) and all(node.tag == "th" for node in nodes) for nodes in body]
    names = is_name.index(False) if False in is_name else 0
    names = names if sum(widths[:names]) < WIDEST / 2 else 0
    rest = widths[names:]
    least = math.ceil(sum(rest) / (WIDEST - sum(widths[:names])))
    room = sum(rest) / least  # so that the parts are about equally wide
    found = [list(range(names)) for _ in range(least)]
    before = 0.0
    for column, width in enumerate(rest, names):
        found[min(int((before + width / 2) / room), least - 1)].append(column)
        before += width
    return [columns for columns in found if len(columns) > names]


def _letters(node: LexborNode) -> int:
    """Return how many letters wide a column has to be for a cell."""
    text = " ".join(node.text().split())
    longest = max(map(len, text.split()), default=0)
    return min(max(longest, min(len(text), LINE)), 2 * LINE)


def _in_markup(
    rows: list[list[Cell]],
    columns: list[int],
    inner: Callable[[LexborNode, int], str],
    rules: Rules,
) -> list[str]:
    """Return those cells of rows that are in some columns."""
    written = []
    for cell in (cell for row in rows for cell in row):
        wide = sum(cell.column <= n < cell.column + cell.wide for n in columns)
        if not wide:
            continue
        options = [f"colspan: {wide}"] * (wide > 1) + [f"rowspan: {cell.high}"] * (cell.high > 1)
        content = inner(cell.node, len(columns)) if cell.node else ""
        if cell.node and content:
            content = f"#strong[{content}]" if cell.node.tag == "th" else content
            look = styles(cell.node, rules)
            paint, ink = background(cell.node, look), color(look.get("color", ""))
            is_pale = sum(bytes.fromhex(ink[1:])) > PALE  # it would vanish on paper
            if ink and (paint or not is_pale):
                content = f"#text(fill: {_rgb(ink)})[{content}]"
            options += [f"fill: {paint}"] if paint else []
        written.append(
            f"table.cell({', '.join(options)})[{content}]" if options else f"[{content}]"
        )
    return written


def alignment(nodes: list[LexborNode], rules: Rules) -> str:
    """Return how a column is aligned: as its first cell says, and numbers to the right."""
    for node in nodes[:1]:
        side = styles(node, rules).get("text-align") or node.attributes.get("align") or ""
        if side.lower() in ("left", "center", "right"):
            return side.lower()
    texts = [node.text().strip() for node in nodes]
    return "right" if any(texts) and all(NUMBER.fullmatch(text) for text in texts) else "left"


def read_rules(sheets: list[LexborNode]) -> Rules:
    """Return the properties that style sheets give to elements with an id, by id."""
    rules: dict[str, dict[str, str]] = {}
    for sheet in sheets:
        for selectors, properties in RULE.findall(sheet.text()):
            for selector in selectors.split(","):
                if name := LAST_ID.search(selector):
                    rules.setdefault(name[1], {}).update(dom.properties(properties))
    return rules


def styles(node: LexborNode, rules: Rules) -> dict[str, str]:
    """Return the properties of an element, from style sheets and its own."""
    return {**rules.get(node.attributes.get("id") or "", {}), **dom.styles(node)}


def background(node: LexborNode, look: Mapping[str, str]) -> str:
    """Return what is behind the text of a cell as Typst's code: a colour, or bars of colours."""
    paint = look.get("background", "")
    if "linear-gradient" in paint:
        return _gradient(paint)
    name = color(look.get("background-color") or paint or node.attributes.get("bgcolor") or "")
    return _rgb(name) if name else ""


def _gradient(paint: str) -> str:
    found = [(color(name) or WHITE, float(share)) for name, share in STOP.findall(paint)]
    if not found:
        return ""
    names = [found[0][0], *(name for name, _ in found), found[-1][0]]
    shares = [0.0, *(min(max(share, 0.0), 100.0) for _, share in found), 100.0]
    rising = itertools.accumulate(shares, max)
    stops = (f"({_rgb(name)}, {share:.1f}%)" for name, share in zip(names, rising, strict=True))
    return f"gradient.linear({', '.join(stops)})"


def color(css: str) -> str:
    """Return a colour of CSS, on white, in the form #rrggbb, or "" if it is none."""
    css = css.lower().replace("!important", "").strip()
    if not css or css == "transparent":
        return ""
    from PIL import ImageColor

    seen = RGBA.fullmatch(css)
    try:
        parts = ImageColor.getrgb(f"rgb({seen[1]})" if seen else css)
        share = float(seen[2]) if seen else parts[3] / 255 if len(parts) > 3 else 1.0
    except ValueError:
        return ""
    shades = [round(255 - min(share, 1) * (255 - part)) for part in parts[:3]]
    return f"#{bytes(shades).hex()}" if share > 0 else ""


def _rgb(name: str) -> str:
    return f"rgb({string(name)})"
