"""What every figure has: a style, an alt text, and files of it.

Colours can be told apart by colour-blind readers and in grey print; markers and dashes differ too.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from vqlib.models import MODELS
from vqlib.paths import expanded
from vqlib.system.files import make_folder, write_atomically

STYLES = (  # one for each model, in the order of MODELS; Okabe & Ito's palette
    *({"color": "#D55E00", "marker": "s"}, {"color": "#0072B2", "marker": "o"}),
    *({"color": "#009E73", "marker": "^"}, {"color": "#CC79A7", "marker": "D"}),
    *({"color": "#E69F00", "marker": "v"}, {"color": "#56B4E9", "marker": "P"}),
)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # of several lines
FILLS = ("full", "none", "left", "right", "top", "bottom")  # of their markers
FORMATS = {  # where the alt text stands, and what would hold a date
    "png": ("Description", ""),
    "pdf": ("Subject", "CreationDate"),
    "svg": ("Description", "Date"),
}
DEFAULTS: dict[Any, Any] = {  # whatever the user's matplotlibrc says
    name: value
    for name, value in mpl.rcParamsDefault.items()
    if "." in name  # the others are about windows
}
STYLE = DEFAULTS | {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


class Picture(Figure):
    """A matplotlib figure with an alt text, which a notebook stores with the picture.

    Attributes:
        alt: what the figure shows, in a sentence or more, for readers who cannot see it.
    """

    alt: str = ""

    def _ipython_display_(self) -> None:
        """Show the figure in the formats that the notebook asks for, with the alt text."""
        from IPython.display import display

        data, metadata = self.formats()
        display(data, metadata=metadata, raw=True)

    def formats(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the figure in the formats that the notebook asks for, and metadata of each."""
        from IPython import get_ipython

        data: dict[str, Any] = {"text/plain": repr(self)}
        metadata: dict[str, Any] = {}
        for mimetype, formatter in get_ipython().display_formatter.formatters.items():
            made = formatter(self) if "image/" in mimetype or "pdf" in mimetype else None
            if made is not None:
                data[mimetype], more = made if isinstance(made, tuple) else (made, {})
                metadata[mimetype] = {**more, "alt": self.alt}
        return data, metadata


def model_style(model: str) -> dict[str, Any]:
    """Return a model's colour and marker."""
    return STYLES[list(MODELS).index(model) % len(STYLES)]


def save_figure(figure: Picture, folder: str | Path, name: str) -> None:
    """Save a figure as PNG, PDF and SVG, each with its alt text in its metadata.

    Args:
        figure: what to save.
        folder: is made; an empty name saves nothing.
        name: of the files, without suffix.
    """
    if not folder:
        return
    folder = expanded(folder)
    make_folder(folder)
    with mpl.rc_context(DEFAULTS | {"svg.hashsalt": name}):  # the same figure makes the same file
        for suffix, (described, dated) in FORMATS.items():
            metadata = {described: figure.alt} | ({dated: None} if dated else {})
            content = BytesIO()
            figure.savefig(content, format=suffix, metadata=metadata)
            write_atomically(folder / f"{name}.{suffix}", content.getvalue())


def alt_text(path: Path) -> str:
    """Return the alt text of a figure that `save_figure` put at `path` (without suffix)."""
    with Image.open(path.with_suffix(".png")) as picture:
        return str(picture.info["Description"])


def as_list(names: str | Sequence[str]) -> list[str]:
    """Return the names of settings as a list, even if there is only one."""
    return [names] if isinstance(names, str) else list(names)


def span(values: pd.Series, decimals: int) -> str:
    """Return the lowest and the highest value as alt texts state them: `16 to 256`."""
    low, high = f"{values.min():.{decimals}f}", f"{values.max():.{decimals}f}"
    return low if low == high else f"{low} to {high}"
