"""Any notebook as a PDF: no TeX, no browser, no network, no torch.

- `notebook` reads a notebook's file and writes the PDF's (`vqlib pdf`); `exporter` does the same
  for nbconvert and for JupyterLab's menu.
- `convert` takes a notebook cell by cell. `markdown` turns Markdown into HTML, `html`, `writer` and
  `tables` translate HTML to Typst's markup, with questions that `dom` answers. `outputs` chooses
  the form of an output, `pictures` finds and sizes pictures, `citations` reads `@key` and `@fig-x`.
- `tex` translates formulas, on top of `grammar` and `tokens`; `symbols` has the names.
- `document` is what all cells share. `compiler` runs Typst; `report.typ` is the layout, and
  `literature.csl` that of the bibliography.

The package imports nothing of vqlib but `errors` and `system.files`. To install it alone one day,
make a project of these two files and this folder, with the entry points of `nbconvert.exporters`
in pyproject.toml. It depends on filelock, linkify-it-py, markdown-it-py, mdit-py-plugins, pillow,
selectolax and typst, and for the exporter and notebooks of old formats on nbconvert.
"""
