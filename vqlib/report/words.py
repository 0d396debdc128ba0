"""How notebooks and report put figures, tables, numbers and claims into Markdown."""

import math
from base64 import b64encode
from pathlib import Path

import pandas as pd
from IPython.display import Markdown

from vqlib.figures import alt_text
from vqlib.system.folders import printable

NOT_BORNE_OUT = "Not borne out by these runs:"


def say(text: str, holds: bool = True) -> Markdown:
    """Return a paragraph if its claim holds; else the claim in a box that says it does not.

    Args:
        text: Markdown, with the numbers in it.
        holds: the condition under which the text is true of the results.
    """
    return Markdown(text if holds else f"> **{NOT_BORNE_OUT}** {text}")


def figure(path: Path, caption: str, label: str) -> Markdown:
    """Return the figure that `save_figure` put at `path` (without suffix), as Markdown.

    The output itself holds the picture and its alt text, so that the notebook can be moved.

    Args:
        path: of the picture; the SVG is taken.
        caption: printed below it.
        label: to refer to it, such as `fig-loss`.
    """
    picture = b64encode(path.with_suffix(".svg").read_bytes()).decode()
    quoted = alt_text(path).replace('"', "'")
    return Markdown(f'![{caption}](data:image/svg+xml;base64,{picture}){{#{label} alt="{quoted}"}}')


def table(frame: pd.DataFrame, caption: str, label: str) -> Markdown:
    """Return a table of text, with numbers to the right, caption and label."""
    return Markdown("\n".join([*rows(frame), "", f": {caption} {{#{label}}}"]))


def rows(frame: pd.DataFrame) -> list[str]:
    """Return the lines of a Markdown table."""
    frame = frame.reset_index() if frame.index.name else frame
    cells = [frame.columns, [":--", *["--:"] * (frame.shape[1] - 1)], *frame.to_numpy()]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def span(values: pd.Series, decimals: int = 3, unit: str = "") -> str:
    """Return the lowest and the highest value: `0.398 to 0.403`, or one if they look the same.

    Args:
        values: numbers.
        decimals: how many to show.
        unit: after each; `%` takes shares, and `0.2` is 20%.
    """
    scale = 100 if unit == "%" else 1
    low, high = (f"{scale * value:,.{decimals}f}{unit}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def number(mean: float, deviation: float, decimals: int) -> str:
    """Return a mean with the standard deviation, if it is one of several values that differ."""
    if math.isnan(mean):
        return "–"
    spread = f" ± {deviation:,.{decimals}f}" if deviation > 0 else ""
    return f"{mean:,.{decimals}f}{spread}"


def listed(values: list[object]) -> str:
    """Return values as a text: `a, b and c`."""
    words = [str(value) for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def data_title(dataset: str) -> str:
    """Return a data set's name for titles and captions; a folder is shown as code."""
    titles = {"cifar10": "CIFAR-10", "photos": "photographs from scikit-image"}
    return titles.get(dataset, f"`{printable(Path(dataset).name)}`")
