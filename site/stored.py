"""Notebooks as the site shows them: with the outputs that they store."""

import nbformat

SOURCE = r"\begin{Verbatim}"  # how IPython stores a function's source


def read(text: str) -> nbformat.NotebookNode:
    """Read a notebook; pictures keep their alt text, and code gets the site's colours."""
    notebook = nbformat.reads(text, as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if data.get("text/latex", "").startswith(SOURCE):
                output.data = {"text/markdown": f"```python\n{data['text/plain']}\n```"}
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
    return notebook
