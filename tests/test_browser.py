"""JupyterLab in a real browser: every notebook runs, shows its figures and is exported as PDF.

This needs the extra `browser` (`.venv/bin/pip install -e ".[browser]"`) and Chromium or Chrome.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import pytest
from conftest import copy_project
from nbformat.reader import NotJSONError
from pypdf import PageObject, PdfReader

from vqlib.paths import ROOT

playwright = pytest.importorskip(
    "playwright.sync_api", reason='the browser test needs: .venv/bin/pip install -e ".[browser]"'
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MINUTE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with the shipped results and notebooks without outputs."""
    folder = tmp_path_factory.mktemp("browser")
    copy_project(folder)
    for path in (folder / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(notebook, path)
    return folder


@pytest.fixture(scope="module")
def address(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the project as `make lab` does; all cells are drawn, not only those in view."""
    settings = tmp_path_factory.mktemp("settings")
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    config = project / ".jupyter" / "jupyter_lab_config.py"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
        *(f"--config={config}", "--IdentityProvider.token="),
        f"--LabApp.user_settings_dir={settings}",
    ]
    server = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"{url}/api")
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait_for(url: str, seconds: float = 120) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + seconds
    while True:
        try:
            opener.open(url).close()
            return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.5)


@pytest.fixture(scope="module")
def page(browser: "playwright.Browser", address: str) -> Iterator["playwright.Page"]:
    """Return a page of the browser."""
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(2 * MINUTE)
    yield page
    page.close()


def _menu(page: "playwright.Page", *entries: str) -> None:
    page.get_by_role("menuitem", name=entries[0], exact=True).first.click()
    for entry in entries[1:]:
        page.locator(".lm-Menu-item:visible", has_text=re.compile(entry)).first.click()


@contextmanager
def _running(page: "playwright.Page", address: str, name: str) -> Iterator[None]:
    """Open a notebook and run all cells; shut down its kernel at the end, for it holds memory."""
    page.goto(f"{address}/lab/tree/notebooks/{name}?reset")
    page.locator(".jp-Notebook-cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # else it asks for a kernel
    _menu(page, "Run", "^Run All Cells$")
    yield
    _menu(page, "Kernel", "^Shut Down Kernel")
    page.get_by_text("No Kernel").first.wait_for()


def _wait_until_run(page: "playwright.Page", path: Path) -> int:
    """Wait for the number of the last code cell, and return it."""
    count = len(_code_cells(path))
    prompt = page.locator(".jp-InputPrompt", has_text=f"[{count}]:")
    prompt.wait_for(state="attached", timeout=4 * MINUTE)
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    return count


def _with_parameters(project: Path, name: str, **values: object) -> Path:
    """Copy a notebook, with other parameters, and return its path."""
    notebook = nbformat.read(project / "notebooks" / name, 4)
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    notebook.cells.insert(3, nbformat.v4.new_code_cell("\n".join(lines)))
    path = project / "notebooks" / f"other_{name}"
    nbformat.write(notebook, path)
    return path


def _code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def _pictures(outputs: list[nbformat.NotebookNode]) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_and_is_exported_in_jupyterlab(
    project: Path, address: str, page: "playwright.Page", path: Path, tmp_path: Path
) -> None:
    executed = project / "notebooks" / path.name
    with _running(page, address, path.name):
        count = _wait_until_run(page, executed)
        _menu(page, "File", "^Save Notebook")
        outputs = _saved_outputs(executed, count)
        assert not [output for output in outputs if output.output_type == "error"]
        shipped = [output for cell in _code_cells(path) for output in cell.outputs]
        assert _visible_pictures(page) == _pictures(outputs) == _pictures(shipped) >= 3

        with page.expect_download(timeout=3 * MINUTE) as download:
            _menu(page, "File", "^Save and Export Notebook As", "^Typst_pdf$")
    download.value.save_as(tmp_path / "exported.pdf")
    _check_pdf(PdfReader(tmp_path / "exported.pdf"), path)


def test_jupyterlab_opens_on_the_readme_with_notebooks_and_results_in_sight(
    address: str, page: "playwright.Page"
) -> None:
    page.goto(f"{address}/lab?reset")
    page.goto(address)
    readme = page.locator(".jp-MarkdownViewer")
    readme.get_by_role("heading", name="Two commands").wait_for()
    listed = page.locator(".jp-DirListing-itemName")
    for name in ("notebooks", "README.md", "results"):
        playwright.expect(listed.get_by_text(name, exact=True)).to_be_visible()


def test_the_export_menu_has_no_entry_that_fails(address: str, page: "playwright.Page") -> None:
    page.goto(f"{address}/lab/tree/notebooks/{NOTEBOOKS[0].name}?reset")
    page.locator(".jp-Notebook-cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    _menu(page, "File", "^Save and Export Notebook As")
    page.locator(".lm-Menu-item:visible", has_text=re.compile("^Typst_pdf$")).wait_for()
    entries = page.locator(".lm-Menu:visible").last.locator(".lm-Menu-itemLabel").all_inner_texts()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    offered = {entry.lower() for entry in entries}
    assert "html" in offered
    assert not offered & {"pdf", "webpdf", "qtpdf", "qtpng"}  # TeX, a browser to download, Qt
    assert shutil.which("pandoc") or not offered & {"asciidoc", "latex", "restructured text"}


def _visible_pictures(page: "playwright.Page") -> int:
    return page.locator(".jp-OutputArea-output img").evaluate_all(
        """async images => {
            await Promise.all(images.map((image) => image.decode()));
            return images.filter(i => i.naturalWidth > 100 && i.offsetWidth > 100).length;
        }"""
    )


def _check_pdf(pdf: PdfReader, path: Path) -> None:
    """Check that a PDF has the notebook's title, figures and equations."""
    cells = nbformat.read(path, 4).cells
    title = cells[0].source.splitlines()[0].removeprefix("# ")
    assert pdf.metadata.title == title
    assert title in " ".join(pdf.pages[0].extract_text().split())
    shipped = [output for cell in _code_cells(path) for output in cell.outputs]
    assert sum(len(page.images) for page in pdf.pages) == _pictures(shipped)
    fonts = {str(f.get_object()["/BaseFont"]) for p in pdf.pages for f in _fonts(p)}
    has_equations = any("$$" in c.source for c in cells if c.cell_type == "markdown")
    assert any("Math" in font for font in fonts) == has_equations


def _fonts(page: PageObject) -> list:
    return list(page["/Resources"].get("/Font", {}).values())


def _saved_outputs(path: Path, count: int, seconds: float = 60) -> list[nbformat.NotebookNode]:
    """Return a notebook's outputs once JupyterLab has saved it with all cells run."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(NotJSONError):  # it is being written
            cells = _code_cells(path)
            if all(cell.execution_count for cell in cells) and len(cells) == count:
                return [output for cell in cells for output in cell.outputs]
        assert time.monotonic() < deadline, f"{path.name} was not saved with all cells run"
        time.sleep(0.5)


def test_a_training_shows_how_far_it_is(
    project: Path, address: str, page: "playwright.Page"
) -> None:
    few = {"dataset": "photos", "limit": 1000, "batch_size": 16, "epochs": 8}
    path = _with_parameters(project, "01_vae_baseline.ipynb", **few)
    with _running(page, address, path.name):
        page.get_by_text(
            re.compile(r"^[█░]{20} \d+% · epoch \d/8 · loss [\d.]+ · ")
        ).first.wait_for()
        curve = page.locator(".jp-OutputArea-output img").first
        curve.wait_for()
        before = curve.get_attribute("src")
        playwright.expect(curve).not_to_have_attribute("src", before, timeout=MINUTE)
        page.get_by_text(re.compile(r"^epoch 8/8 · loss [\d.]+ · ")).first.wait_for()
        _wait_until_run(page, path)


def test_the_explorer_shows_the_image_that_its_slider_chooses(
    project: Path, address: str, page: "playwright.Page"
) -> None:
    path = _with_parameters(project, "03_ssim_comparison.ipynb", interactive=True)
    with _running(page, address, path.name):
        _wait_until_run(page, path)
        picture = page.locator(".jupyter-widgets img").first
        before = picture.get_attribute("src")
        page.locator(".jupyter-widgets .noUi-handle").first.press("ArrowRight")
        playwright.expect(picture).not_to_have_attribute("src", before)
        playwright.expect(page.locator(".widget-readout").first).to_have_text("1")
