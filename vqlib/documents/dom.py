"""Questions about elements of HTML: where they stand, their style, their captions."""

import re

from selectolax.lexbor import LexborNode

BLOCKS = {
    "p", "div", "section", "article", "header", "footer", "main", "nav", "aside", "address",
    "form", "fieldset", "legend", "hgroup", "figcaption", "center", "dl", "dd", "dt",
}  # fmt: skip
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
    return properties(node.attributes.get("style") or "")


def properties(css: str) -> dict[str, str]:
    """Return the properties of a declaration in CSS, by name."""
    pairs = (part.partition(":") for part in css.split(";"))
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
