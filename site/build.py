"""Build the site from the project's pages, notebooks and docstrings: `make site` runs this.

Nothing is executed and nothing is fetched. Pages keep their places, so links between them hold.
"""

import importlib.util
import os
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sphinx.cmd.build import main as run_sphinx

import vqlib
from vqlib import load_run
from vqlib.figures import alt_text
from vqlib.generation import load_prior
from vqlib.page import write_page
from vqlib.paths import ROOT

HERE = Path(__file__).parent
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "results/README.md", "tests/README.md")
NOTEBOOKS = ("notebooks/*.ipynb", "notebooks/exercises/**/*.ipynb")
EXPLORED = ("vae-cifar10-b256-e40-s0", "vqvae-cifar10-b256-e40-s0")
PRIORS = f"transformer-*-of-{EXPLORED[1]}"
EXPLORER = '<p><a class="explorer" href="explorer.html">Play with both models</a></p>'
MATHJAX = ("tex-chtml.js", "output/chtml/fonts/woff-v2")  # what the site needs of it
CODE = re.compile(r"(```.*?```)", re.DOTALL)
LINK = re.compile(r"\[([^]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def build(built: Path) -> int:
    """Build the site into `built/html`, and return Sphinx's exit code: a warning is an error."""
    source, html = built / "source", built / "html"
    shutil.rmtree(built, ignore_errors=True)
    gather(source)
    options = ["-W", "--keep-going", "-q", "-j", str(os.cpu_count()), "-c", str(HERE)]
    failed = run_sphinx([*options, str(source), str(html)])
    add_mathjax(html / "_static" / "mathjax")
    runs = [load_run(ROOT / "results" / "paper" / name) for name in EXPLORED]
    priors = [load_prior(path) for path in sorted((ROOT / "results" / "generation").glob(PRIORS))]
    write_page([*runs, *priors], html / "explorer.html")
    return failed


def gather(source: Path) -> None:
    """Copy pages, notebooks and what they link to, and write the pages of the library."""
    contents = (HERE / "contents.md").read_text(encoding="utf-8")
    start, rest = page(ROOT / "README.md", source).split("\n## ", 1)
    put(source / "index.md", f"{start}\n{EXPLORER}\n\n## {rest}{contents}")
    for path in found(PAGES):
        put(source / path.relative_to(ROOT), page(path, source))
    for path in found(NOTEBOOKS):
        copy(path, source)
    put(source / "play.md", (HERE / "play.md").read_text(encoding="utf-8"))
    put(
        source / "report.md", page(HERE / "report.md", source, ROOT / "report.md") + figures(source)
    )
    for package, modules in library().items():
        put(source / "api" / f"{package}.rst", reference(package, modules))
    put(source / "api" / "index.md", library_contents())


def found(patterns: Iterable[str]) -> list[Path]:
    """Return the project's files that match, in order."""
    return [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def put(path: Path, text: str) -> None:
    """Write a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def copy(path: Path, source: Path) -> None:
    """Copy a file of the project to its place."""
    place = source / path.relative_to(ROOT)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, place)


def page(path: Path, source: Path, place: Path | None = None) -> str:
    """Return a page without comments, its links changed to what the site has.

    Args:
        path: the page.
        source: where what it links to is copied.
        place: where its links start in the project, if that is not where it is.
    """
    place = place or path
    text = re.sub(r"<!--.*?-->\n?", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    parts = CODE.split(text)
    parts[::2] = [LINK.sub(lambda link: linked(link, place, source), part) for part in parts[::2]]
    return "".join(parts)


def linked(link: re.Match, path: Path, source: Path) -> str:
    """Return a page's link as the site has it; the file that it leads to comes along."""
    text, target, anchor = link.group(1), link.group(2), link.group(3) or ""
    if "://" in target:
        return link.group()
    there = (path.parent / target).resolve()
    if there == ROOT / "README.md":
        return f"[{text}]({os.path.relpath(ROOT / 'index.md', path.parent)}{anchor})"
    if there.suffix == ".py":
        package = ".".join(there.relative_to(ROOT).with_suffix("").parts[:2])
        return f"[{text}]({os.path.relpath(ROOT / 'api' / f'{package}.rst', path.parent)})"
    if there.is_dir():  # its first page, if it has one
        pages = [each for each in found((*PAGES, *NOTEBOOKS)) if there in each.parents]
        if not pages:
            return text
        return f"[{text}]({os.path.relpath(pages[0], path.parent)})"
    if there not in found((*PAGES, *NOTEBOOKS)):
        copy(there, source)
    return link.group()


def figures(source: Path) -> str:
    """Return the report's figures with what they show, and copy them."""
    shown = ""
    for path in sorted((ROOT / "figures").glob("*.png")):
        copy(path, source)
        alt = alt_text(path.with_suffix(""))
        number = re.findall(r"\d+", path.stem)[0]
        shown += f"\n## Figure {number}\n\n![{alt}](figures/{path.name})\n\n{alt}\n"
    return shown


def library() -> dict[str, list[str]]:
    """Return the modules of each page: a module of the top level, or a wing with its modules."""
    pages: dict[str, list[str]] = {}
    for module in sorted(each.name for each in pkgutil.walk_packages(vqlib.__path__, "vqlib.")):
        if module != "vqlib.__main__":
            pages.setdefault(".".join(module.split(".")[:2]), []).append(module)
    return pages


def reference(package: str, modules: Sequence[str]) -> str:
    """Return the page of a package, in reStructuredText for autodoc."""
    parts = [f"{package}\n{'=' * len(package)}\n\n"]
    for module in modules:
        if module != package:
            parts.append(f"{module}\n{'-' * len(module)}\n\n")
        only_text = ":no-members:" if module == package and len(modules) > 1 else ""
        parts.append(f".. automodule:: {module}\n   {only_text}\n\n")
    return "".join(parts)


def library_contents() -> str:
    """Return the page that lists the others of the library."""
    names = ", ".join(f"{{py:obj}}`~vqlib.{getattr(vqlib, name).__module__[6:]}.{name}`"
                      for name in vqlib.__all__)  # fmt: skip
    listed = "\n".join(library())
    return (
        "# The library\n\nWhat most programs need is in `vqlib` itself: "
        f"{names}.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )


def add_mathjax(place: Path) -> None:
    """Copy what sets formulas, so that the site asks no other host."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    for name in MATHJAX:
        there = Path(package.origin).parent / "static" / "mathjax" / name
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        copied = shutil.copytree if there.is_dir() else shutil.copy
        copied(there, place / name)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "_build"
    failed = build(place)
    if not failed:
        print(f"The site is ready: open {place / 'html' / 'index.html'}")
    sys.exit(failed)
