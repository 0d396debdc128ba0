"""What a check says: right, wrong with a hint, or not solved yet."""

import html
import re
from dataclasses import dataclass

MARKS = {"right": "✓", "wrong": "✗", "not yet": "○"}
COLOURS = {"right": "#2a9d4a", "wrong": "#d9483b", "not yet": "#b58900"}  # on white and black


@dataclass(frozen=True)
class Verdict:
    """The answer of a check; true if the function is right.

    JupyterLab shows it in a coloured box, a terminal as a line.

    Attributes:
        kind: `right`, `wrong` or `not yet`.
        name: of the function.
        text: what was found, in a sentence or two.
    """

    kind: str
    name: str
    text: str

    def __bool__(self) -> bool:
        return self.kind == "right"

    def __repr__(self) -> str:
        return f"{MARKS[self.kind]} {self.name}: {self.text}"

    def _repr_html_(self) -> str:
        colour, name = COLOURS[self.kind], html.escape(self.name)
        text = re.sub("`(.*?)`", r"<code>\1</code>", html.escape(self.text))
        mark = f'<span style="color: {colour}">{MARKS[self.kind]}</span>'
        style = f"border-left: 4px solid {colour}; padding: 4px 10px"
        return f'<div style="{style}"><strong>{mark} {name}</strong>: {text}</div>'


class Found(Exception):  # noqa: N818
    """Ends a check with a verdict's kind and text; it is no error of ours."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind
        self.text = text


def wrong(text: str) -> Found:
    """Return what ends a check of a function that is wrong."""
    return Found("wrong", text)
