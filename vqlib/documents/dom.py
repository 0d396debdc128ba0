"""Questions about elements of HTML: where they stand, how they are aligned, what tables hold."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborNode

BLOCKS = {
    "p", "div", "section", "article", "header", "footer", "main", "nav", "aside", "address",
    "form", "fieldset", "legend", "hgroup", "figcaption", "center", "dl", "dd", "dt",
}  # fmt: skip
NUMBER = re.compile(r"[-+−–]?[$€£]?[\d.,e+\-%−\s]*|nan|NaN|inf|None|\.\.\.|…|NaT|<NA>")
LABELLED = re.compile(r":\s+.*?\s*\{#([\w:.-]+)\}\s*", re.DOTALL)


def comes_first(node: LexborNode) -> bool:
    """Return whether nothing of the cell stands before an element."""
    before = node.prev
    while before is not None and (before.tag == "-comment" or not before.text().strip()):
        before = before.prev
    parent = node.parent
    is_first = parent is None or parent.tag == "body" or comes_first(parent)
    return before is None and is_first


def styles(node: LexborNode) -> dict[str, str]:
    """Return the properties of an element's `style`, by name."""
    pairs = (part.partition(":") for part in (node.attributes.get("style") or "").split(";"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs if value}


def is_hidden(node: LexborNode) -> bool:
    """Return whether a browser leaves out an element."""
    attributes = node.attributes
    return "hidden" in attributes or styles(node).get("display") == "none"


def is_alone(node: LexborNode) -> bool:
    """Return whether an image has its paragraph for itself, perhaps within a link."""
    parent = node.parent
    while parent is not None and parent.tag in ("a", "span", "b", "strong", "em", "i"):
        node, parent = parent, parent.parent
    if parent is None or parent.tag not in (*BLOCKS, "body", "figure"):
        return False
    others = [
        c for c in parent.iter(include_text=True) if c.tag not in ("br", "-comment", "figcaption")
    ]
    return all(
        c == node or (c.tag == "-text" and not (c.text_content or "").strip()) for c in others
    )


def labelled_caption(table: LexborNode) -> LexborNode | None:
    """Return the paragraph after a table if it is its caption: `: Text. {#tbl-x}`."""
    after = table.next
    while after is not None and after.tag == "-text" and not (after.text_content or "").strip():
        after = after.next
    is_caption = after is not None and after.tag == "p" and LABELLED.fullmatch(after.text())
    return after if is_caption else None


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


def column_alignments(rows: list[tuple[bool, list[LexborNode]]], count: int) -> list[str]:
    """Return how each column is aligned: as its cells say, and numbers to the right."""
    columns: list[list[LexborNode]] = [[] for _ in range(count)]
    for _, row in rows:
        if len(row) == count:
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
    return [alignment(column) for column in columns]


def alignment(cells: list[LexborNode]) -> str:
    """Return how the cells of a column are aligned."""
    for cell in cells[:1]:
        said = styles(cell).get("text-align") or cell.attributes.get("align") or ""
        if said.lower() in ("left", "center", "right"):
            return said.lower()
    texts = [cell.text().strip() for cell in cells]
    return "right" if any(texts) and all(NUMBER.fullmatch(text) for text in texts) else "left"
