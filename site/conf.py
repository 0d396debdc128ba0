"""Sphinx's settings for the site; `build.py` gathers the pages and calls Sphinx."""

import functools
import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for stored.py

project = html_title = "vqlib"
language = "en"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the outputs are those that the notebooks store
nb_custom_formats = {".ipynb": "stored.read"}
nb_merge_streams = True
nb_render_markdown_format = "myst"  # links to other notebooks lead to their pages
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"chtml": {"scale": 0.92}}

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_preserve_defaults = True  # as they stand in the source, so no folder of this machine
autodoc_typehints_format = "short"
default_role = "py:obj"  # `fit` in a docstring leads to fit
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "sphinx_book_theme"
html_static_path = [str(HERE / "static")]
html_css_files = ["style.css"]
html_context = {"default_mode": "auto"}
html_sourcelink_suffix = ""  # the download button of a notebook offers the .ipynb
html_show_copyright = html_show_sphinx = False
html_theme_options = {
    "navbar_persistent": [],
    "show_toc_level": 2,
    "use_fullscreen_button": False,
    "footer_content_items": [],
}


def setup(app: Sphinx) -> None:
    """Document what vqlib defines: its functions and classes with their methods."""
    app.connect("autodoc-skip-member", _is_left_out)
    app.connect("autodoc-process-signature", _without_this_machine)


def _is_left_out(
    _app: Sphinx, kind: str, _name: str, thing: object, skip: bool, _options: object
) -> bool:
    module = getattr(thing, "__module__", None) or "vqlib"
    is_value = not (callable(thing) or isinstance(thing, property | functools.cached_property))
    return skip or not module.startswith("vqlib") or (kind == "class" and is_value)


def _without_this_machine(
    _app: Sphinx, _kind: str, _name: str, _thing: object, _options: object, signature: str | None,
    result: str | None,
) -> tuple[str | None, str | None]:  # fmt: skip
    """Name the project's folder in a default value as the source does."""
    return signature and re.sub(r"\w+Path\('[^']*'\)", "ROOT", signature), result
