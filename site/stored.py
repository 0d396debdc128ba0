"""Notebooks as the site shows them: with the outputs that they store."""

from html import escape
from typing import Any

import nbformat

SOURCE = r"\begin{Verbatim}"  # how IPython stores a function's source


def read(text: str) -> nbformat.NotebookNode:
    """Read a notebook; pictures keep their alt texts, and code gets the site's colours."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.get("text/latex", "").startswith(SOURCE):
                output.data = {"text/markdown": f"```python\n{data['text/plain']}\n```"}
            elif "image/png" in data:
                output.data = {"text/html": _picture(data["image/png"], output.metadata)}
    return notebook


def _picture(png: str, metadata: dict[str, Any]) -> str:
    """Return a picture as HTML: myst-nb knows one alt text for a cell, not one for each output."""
    about = metadata.get("image/png", {})
    known = [f'{name}="{escape(str(about[name]))}"' for name in ("alt", "width") if name in about]
    return f'<img {" ".join(known)} src="data:image/png;base64,{"".join(png.split())}">'
