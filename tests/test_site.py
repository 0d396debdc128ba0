"""The site: whole, without network, and readable by everyone.

It is built once for all these tests. They need the extra `site`; those that open pages need the
extra `browser` and Chromium or Chrome, too.
"""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from markdown_it import MarkdownIt
from public import documented
from selectolax.lexbor import LexborHTMLParser

from vqlib.paths import ROOT

NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx-mathjax-offline")
if any(importlib.util.find_spec(name) is None for name in NEEDED):
    pytest.skip('the site needs: .venv/bin/pip install -e ".[site]"', allow_module_level=True)

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
NOTEBOOKS = [path for path in NOTEBOOKS if ".ipynb_checkpoints" not in path.parts]
WITHOUT_NETWORK = """
import runpy, socket, sys
def refuse(*_):
    raise OSError("no network in tests")
socket.socket.connect = socket.getaddrinfo = refuse
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built without a network; a warning is an error."""
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", WITHOUT_NETWORK, str(ROOT / "site" / "build.py"), str(built)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return built / "html"


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, LexborHTMLParser]:
    """Return all pages by their paths."""
    paths = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return {path: LexborHTMLParser(path.read_text(encoding="utf-8")) for path in paths}


def html_of(site: Path, notebook: Path) -> Path:
    return site / notebook.relative_to(ROOT).with_suffix(".html")


def plain(text: str) -> str:
    """Return text with straight quotes and single spaces."""
    return " ".join(text.translate(str.maketrans("’‘“”", "''\"\"")).split())


def named(path: Path) -> str:
    return path.relative_to(ROOT / "notebooks").as_posix()


# --- what is in it -------------------------------------------------------------------------


def test_no_link_is_dead_and_nothing_is_loaded_from_elsewhere(
    pages: dict[Path, LexborHTMLParser],
) -> None:
    anchors = {path: {node.id for node in page.css("[id]")} for path, page in pages.items()}
    dead = []
    for path, page in pages.items():
        for node in page.css("[href], [src], [srcset], [data]"):
            target = node.attributes.get("href") or node.attributes.get("src") or ""
            is_elsewhere = re.match(r"(https?:)?//", target) is not None
            if is_elsewhere and node.tag == "a":
                continue
            if target.startswith(("data:", "javascript:")) or target in ("", "#"):
                continue
            name, _, anchor = unquote(target.split("?")[0]).partition("#")
            there = (path.parent / name).resolve() if name else path
            is_there = there.is_file() and (there not in anchors or not anchor or
                                            anchor in anchors[there])  # fmt: skip
            if is_elsewhere or not is_there:
                dead.append((path.name, target))
    assert dead == []


def test_every_picture_says_what_it_shows(pages: dict[Path, LexborHTMLParser]) -> None:
    pictures = [node for page in pages.values() for node in page.css("img")]
    assert len(pictures) > 30
    silent = [node.html for node in pictures if not (node.attributes.get("alt") or "").strip()]
    assert silent == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_has_all_that_it_stores(
    site: Path, pages: dict[Path, LexborHTMLParser], path: Path
) -> None:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    page = pages[html_of(site, path)]
    shown = [node.attributes["alt"] for node in page.css(".cell_output img")]
    assert shown == [
        output.metadata["image/png"]["alt"]
        for output in outputs
        if "image/png" in output.get("data", {})
    ]
    text = plain(page.css_first("article").text())
    for output in outputs:
        sentence = output.get("data", {}).get("text/markdown", "")
        if "$" not in sentence:
            made = LexborHTMLParser(MarkdownIt().render(sentence))
            assert plain(made.body.text() if sentence else "") in text
    tables = [
        output for output in outputs if "<table" in output.get("data", {}).get("text/html", "")
    ]
    assert len(page.css(".cell_output table")) >= len(tables)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_can_be_downloaded_as_it_is(
    site: Path, pages: dict[Path, LexborHTMLParser], path: Path
) -> None:
    html = html_of(site, path)
    offered = [node.attributes["href"] for node in pages[html].css("a[href$='.ipynb']")]
    (button,) = [href for href in set(offered) if "_sources" in href]
    assert (html.parent / button).read_bytes() == path.read_bytes()


def test_everything_public_is_on_a_page_of_the_library(
    site: Path, pages: dict[Path, LexborHTMLParser]
) -> None:
    listed = {node.id for path, page in pages.items() if path.parent == site / "api" for node in
              page.css("dt[id]")}  # fmt: skip
    assert [name for name, _ in documented() if name not in listed] == []
    assert str(ROOT) not in "".join(page.html for page in pages.values())


def test_the_explorer_and_the_report_are_in_it(site: Path) -> None:
    assert (site / "explorer.html").stat().st_size > 1_000_000
    (report,) = site.rglob("report.pdf")
    assert report.read_bytes() == (ROOT / "report" / "report.pdf").read_bytes()


# --- for every reader ----------------------------------------------------------------------

playwright = pytest.importorskip(
    "playwright.sync_api", reason='the browser tests need: .venv/bin/pip install -e ".[browser]"'
)
Page = playwright.Page
OPENED = (
    *("index.html", "play.html", "report.html", "docs/answers.html", "docs/speed.html"),
    *("docs/glossary.html", "docs/teaching.html", "results/README.html", "tests/README.html"),
    *("api/index.html", "api/vqlib.models.html", "search.html"),
    *(f"notebooks/{named(path)[:-6]}.html" for path in NOTEBOOKS),
)
SET = """() => [".math", "mjx-container"].map(
    (formula) => document.querySelectorAll(formula).length).reduce((all, set) => all === set)"""
SIDEWAYS = """() => [...document.querySelectorAll('pre')].filter(
    (code) => code.scrollWidth > code.clientWidth + 1).map((code) => code.innerText.slice(0, 80))"""


@pytest.fixture
def page(browser: "playwright.Browser") -> Iterator[Page]:
    """Return a page in dark mode at the width of a phone."""
    context = browser.new_context(
        offline=True, color_scheme="dark", viewport={"width": 400, "height": 800}
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", OPENED)
def test_a_page_is_whole_at_any_width(site: Path, page: Page, name: str) -> None:
    wrong: list[str] = []
    page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url))
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto((site / name).as_uri())
    page.wait_for_function(SET)
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    for width in (400, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(SIDEWAYS) == []
    own = ("data:", "blob:", site.as_uri())
    assert [what for what in wrong if not what.startswith(own)] == []
