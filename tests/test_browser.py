"""JupyterLab in a real browser: every notebook runs, shows its figures, and is exported as PDF.

It needs the extra `browser` (`.venv/bin/pip install -e .[browser]`) and Chromium or Chrome.
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
from pathlib import Path

import nbformat
import pytest
from pypdf import PdfReader

from vqlib.paths import ROOT

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the browser test needs: .venv/bin/pip install -e .[browser]"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the browser test needs Chromium")

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MINUTE = 60_000  # milliseconds


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with the shipped results, whose notebooks have no outputs yet."""
    folder = tmp_path_factory.mktemp("browser")
    for part in ("vqlib", "notebooks", "results/paper"):
        shutil.copytree(ROOT / part, folder / part)
    for path in (folder / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.update(outputs=[], execution_count=None)
        nbformat.write(notebook, path)
    return folder


@pytest.fixture(scope="module")
def address(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where JupyterLab serves the project's notebooks, all cells drawn and not those in view."""
    settings = tmp_path_factory.mktemp("settings")
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.parent.mkdir(parents=True)
    tracker.write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"),
        *(f"--notebook-dir={project / 'notebooks'}", "--IdentityProvider.token="),
        f"--LabApp.user_settings_dir={settings}",
    ]
    server = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(project)},
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
def page(address: str) -> Iterator["playwright.Page"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(2 * MINUTE)
        yield page
        browser.close()


def _menu(page: "playwright.Page", *entries: str) -> None:
    page.get_by_role("menuitem", name=entries[0], exact=True).first.click()
    for entry in entries[1:]:
        page.locator(".lm-Menu-item:visible", has_text=re.compile(entry)).first.click()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_runs_and_is_exported_in_jupyterlab(
    project: Path, address: str, page: "playwright.Page", path: Path, tmp_path: Path
) -> None:
    page.goto(f"{address}/lab/tree/{path.name}?reset")
    page.locator(".jp-Notebook-cell").first.wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # else it asks for a kernel

    _menu(page, "Run", "^Run All Cells$")
    executed = project / "notebooks" / path.name
    code_cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    prompt = f"[{len(code_cells)}]:"
    page.locator(".jp-InputPrompt", has_text=prompt).wait_for(state="attached", timeout=4 * MINUTE)
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    _menu(page, "File", "^Save Notebook")
    outputs = _saved_outputs(executed, len(code_cells))
    assert not [output for output in outputs if output.output_type == "error"]
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert drawn == sum("image/png" in o.get("data", {}) for c in code_cells for o in c.outputs)
    assert drawn >= 3

    with page.expect_download(timeout=3 * MINUTE) as download:
        _menu(page, "File", "^Save and Export Notebook As", "(?i)^typst")
    pdf = tmp_path / "exported.pdf"
    download.value.save_as(pdf)
    pages = PdfReader(pdf).pages
    text = " ".join(page.extract_text() for page in pages)
    title = code_cells and nbformat.read(path, 4).cells[0].source.splitlines()[0].lstrip("# ")
    assert title.split(" · ")[1].split(":")[0].split(",")[0] in " ".join(text.split())
    assert sum(len(page.images) for page in pages) == drawn


def _saved_outputs(path: Path, count: int, seconds: float = 60) -> list[nbformat.NotebookNode]:
    """The notebook's outputs, once JupyterLab has saved it with all cells run."""
    deadline = time.monotonic() + seconds
    while True:
        cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
        if all(cell.execution_count for cell in cells) and len(cells) == count:
            return [output for cell in cells for output in cell.outputs]
        assert time.monotonic() < deadline, f"{path.name} was not saved with all cells run"
        time.sleep(0.5)
