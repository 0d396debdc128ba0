"""JupyterLab as `make lab` opens it: on the project, with the README in view."""

import shutil
from pathlib import Path

HERE = Path(__file__).parent

c = get_config()  # noqa: F821 (JupyterLab gives it)
c.ServerApp.root_dir = str(HERE.parent)
c.LabApp.default_url = "/lab/tree/README.md"
c.LabApp.app_settings_dir = str(HERE)  # overrides.json: a page is shown, not its source

# Entries of the export menu that would end in an error page: Typst_pdf makes the PDF.
c.PDFExporter.enabled = False  # needs TeX
c.WebPDFExporter.enabled = False  # needs a browser that it downloads
c.QtPDFExporter.enabled = c.QtPNGExporter.enabled = False  # need Qt
for exporter in ("ASCIIDocExporter", "LatexExporter", "RSTExporter"):
    c[exporter].enabled = shutil.which("pandoc") is not None
