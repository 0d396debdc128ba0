"""What a check says: right, wrong with a hint, or not solved yet."""

import html
from dataclasses import dataclass

MARKS = {"right": "✓", "wrong": "✗", "not yet": "○"}
COLOURS = {"right": "#1a7f37", "wrong": "#c0392b", "not yet": "#8a6d00"}


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
        mark, colour = MARKS[self.kind], COLOURS[self.kind]
        return (
            f'<div style="border-left: 4px solid {colour}; padding: 4px 10px">'
            f'<strong style="color: {colour}">{mark} {html.escape(self.name)}</strong>: '
            f"{html.escape(self.text)}</div>"
        )


class Found(Exception):  # noqa: N818
    """Ends a check with a verdict's kind and text; it is no error of ours."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind
        self.text = text


def wrong(text: str) -> Found:
    """Return what ends a check of a function that is wrong."""
    return Found("wrong", text)
