"""Any notebook as a PDF: no TeX, no browser, no network, no torch.

    notebook   reads a notebook's file and writes the PDF's (`vqlib pdf`)
    exporter   the same for nbconvert and for JupyterLab's menu
    convert    takes a notebook cell by cell: markdown, outputs → html → Typst's markup
    markdown   formulas first, then CommonMark and GitHub's additions, to HTML
    html       the one translator of HTML to Typst, for cells and outputs
    tex        the translator of formulas, with the names in `symbols`
    outputs    chooses the form of an output; `pictures` finds and sizes pictures
    citations  `@key` and `@fig-x`
    compiler   runs Typst on all of it; `report.typ` is the layout

This package imports nothing of vqlib but `errors` and `system.files`. To install it alone one day:
a project with these two files and this folder, the entry points of `nbconvert.exporters` that
pyproject.toml has, and the dependencies filelock, markdown-it-py[linkify], mdit-py-plugins, pillow,
selectolax and typst; nbconvert and nbformat only for the exporter and for old notebooks.
"""
