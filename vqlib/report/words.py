"""How notebooks and report put figures, tables and numbers into words and Markdown."""

import math
from base64 import b64encode
from pathlib import Path

import pandas as pd
from IPython.display import Markdown


def figure(path: Path, caption: str, label: str) -> Markdown:
    """The figure that `save_figure` put at `path` (without suffix), with caption and label.

    It is held in the output itself, so that the notebook can be moved.
    """
    picture = b64encode(path.with_suffix(".svg").read_bytes()).decode()
    return Markdown(f"![{caption}](data:image/svg+xml;base64,{picture}){{#{label}}}")


def table(frame: pd.DataFrame, caption: str, label: str) -> Markdown:
    """A table of text, numbers to the right, with caption and label."""
    return Markdown("\n".join([*rows(frame), "", f": {caption} {{#{label}}}"]))


def rows(frame: pd.DataFrame) -> list[str]:
    """The lines of a Markdown table."""
    frame = frame.reset_index() if frame.index.name else frame
    cells = [frame.columns, [":--", *["--:"] * (frame.shape[1] - 1)], *frame.to_numpy()]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def span(values: pd.Series, decimals: int = 3) -> str:
    """From the lowest to the highest value."""
    low, high = (f"{value:.{decimals}f}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def number(mean: float, deviation: float, decimals: int) -> str:
    """A mean and, where it is one of several values that differ, their standard deviation."""
    if math.isnan(mean):
        return "–"
    spread = "" if not deviation > 0 else f" ± {deviation:,.{decimals}f}"
    return f"{mean:,.{decimals}f}{spread}"


def plural(word: str, count: int) -> str:
    """The word as it stands after this count."""
    return word if count == 1 else word + "s"


def listed(values: list[object]) -> str:
    """Values as a text: a, b and c."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
