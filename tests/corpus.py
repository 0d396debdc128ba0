"""Export public notebooks in three ways, and count what arrives: run by hand, not by pytest.

    python tests/corpus.py FOLDER [--ways vqlib pandoc browser] [--keep FOLDER] [--list CSV]

FOLDER holds the notebooks that `corpus.csv` lists (repository, commit, path), each as
`owner/name/path`, with the pictures beside it. The ways: this project; pandoc with its Typst
writer (`pypandoc_binary`); nbconvert's HTML printed by Chromium. Nothing is fetched, and pictures
from the network are out of reach for all three.
"""

import argparse
import collections
import csv
import html
import re
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from pypdf import PdfReader

LIST = Path(__file__).with_name("corpus.csv")
IMAGES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif", "image/webp")
INVISIBLE = re.compile(
    r"<(script|style|head|title|template|audio|video)\b.*?</\1\s*>|<!--.*?-->", re.S | re.I
)
REMOVED = {f"{verb}{dash}{part}" for verb in ("remove", "hide") for dash in "-_"
           for part in ("cell", "input", "output")}  # fmt: skip
TABLE = re.compile(r"<table\b.*?</table>", re.S | re.I)
FORMULA = re.compile(
    r"\$\$.+?\$\$|(?<![\\$])\$(?!\s*\n)[^$]+?\$|\\\\\(.+?\\\\\)|\\\\\[.+?\\\\\]"
    r"|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", re.S,
)  # fmt: skip
FENCE = re.compile(r"(`{4,}.*?`{4,}|```.*?```|`[^`\n]+`)", re.S)
SECONDS = 300
COUNTED = ("pictures", "tables", "formulas")


def shown_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the cells that no tag hides."""
    return [cell for cell in notebook.cells if not REMOVED & set(cell.metadata.get("tags", []))]


def visible(notebook: NotebookNode) -> Iterator[str]:
    """Yield the texts that a reader sees: Markdown without formulas, code, and text outputs."""
    for cell in shown_cells(notebook):
        if cell.cell_type == "markdown":
            yield text_of(rendered(cell.source))
        elif cell.cell_type == "code":
            yield cell.source
            for output in cell.outputs:
                yield shown(output)


def rendered(source: str) -> str:
    """Return a Markdown cell as HTML, without its formulas."""
    from markdown_it import MarkdownIt

    parts = FENCE.split(source)
    parts[::2] = [FORMULA.sub(" ", part) for part in parts[::2]]
    return MarkdownIt("commonmark").enable("table").render("".join(parts))


def tables(notebook: NotebookNode) -> list[set[str]]:
    """Return the words of each table in Markdown and in outputs."""
    cells = shown_cells(notebook)
    pages = [rendered(cell.source) for cell in cells if cell.cell_type == "markdown"]
    outputs = (output for cell in cells for output in cell.get("outputs", []))
    pages += [output.get("data", {}).get("text/html", "") for output in outputs]
    found = (set(words(text_of(table))) for page in pages for table in TABLE.findall(page))
    return [table for table in found if table]


def formulas(notebook: NotebookNode) -> list[str]:
    """Return those formulas of Markdown cells that have a command, as they are written."""
    sources = (cell.source for cell in shown_cells(notebook) if cell.cell_type == "markdown")
    texts = (part for source in sources for part in FENCE.split(source)[::2])
    found = (match[0].strip("$") for text in texts for match in FORMULA.finditer(text))
    return [squeezed(formula) for formula in found if re.search(r"\\[a-zA-Z]{2}", formula)]


def shown(output: NotebookNode) -> str:
    """Return the text of an output, as a terminal or a browser shows it."""
    if output.output_type == "stream":
        return terminal(output.text)
    if output.output_type == "error":
        return terminal("\n".join(output.traceback))
    data = output.get("data", {})
    if any(name in data for name in (*IMAGES, "text/latex")) or "widget" in " ".join(data):
        return ""
    if "text/html" in data:
        page = data["text/html"]
        is_script = "<script" in page or "<iframe" in page or "sk-top-container" in page
        return "" if is_script else text_of(page)
    return terminal(data.get("text/markdown") or data.get("text/plain") or "")


def terminal(text: str) -> str:
    """Return text without colours; of a line that was written again, the last state."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def text_of(page: str) -> str:
    """Return the text of HTML."""
    return html.unescape(re.sub(r"<[^>]*>", " ", INVISIBLE.sub(" ", page)))


def words(text: str) -> list[str]:
    """Return the words of a text, at least two letters or digits each."""
    return re.findall(r"\w{2,}", unicodedata.normalize("NFKC", text).replace("\xad", ""))


def squeezed(text: str) -> str:
    """Return text without spaces and marks of wrapped lines."""
    return re.sub(r"[\s\u200b\u200c\u200d\ufeff\xad↪]+", "", text)


def arriving(notebook: NotebookNode, pdf: Path) -> dict[str, Any]:
    """Return the share of a notebook's words that are in the PDF, and which are not.

    A table arrives if all its words do. A formula arrives if it does not stand there as it is
    written, or only as often as code has it.
    """
    done = subprocess.run(["pdftotext", str(pdf), "-"], capture_output=True, text=True, check=True)
    text = re.sub(r"\n\d+\s*\f", "\n", done.stdout)  # the numbers of pages
    text = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    plain = squeezed(text)
    joined = squeezed(re.sub(r"[-\u2010]\s*\n\s*", "", text))  # words hyphenated at a line's end
    seen = list(visible(notebook))
    code = squeezed("".join(seen))
    wanted = collections.Counter(word for part in seen for word in words(part))
    there = {word: max(plain.count(word), joined.count(word)) for word in wanted}
    missing = {word: count - there[word] for word, count in wanted.items() if there[word] < count}
    total = sum(wanted.values())
    return {
        "words": 1 - sum(missing.values()) / total if total else 1.0,
        "missing": list(missing)[:12],
        "tables": sum(not table & set(missing) for table in tables(notebook)),
        "formulas": sum(plain.count(one) <= code.count(one) for one in formulas(notebook)),
        "pictures": pictures(pdf),
    }


def pictures(pdf: Path) -> int:
    """Return how many raster pictures the pages of a PDF show."""

    def count(resources: Any, depth: int = 0) -> int:
        things = resources.get("/XObject", {}) if depth < 5 else {}
        found = 0
        for thing in things.values():
            thing = thing.get_object()
            is_image = thing.get("/Subtype") == "/Image"
            found += is_image or count(thing.get("/Resources", {}), depth + 1)
        return found

    return sum(count(page.get("/Resources", {})) for page in PdfReader(pdf).pages)


def with_vqlib(source: Path, pdf: Path) -> None:
    """Export with this project, from the command line."""
    run([sys.executable, "-m", "vqlib", "pdf", str(source), str(pdf)])


def with_pandoc(source: Path, pdf: Path) -> None:
    """Export with pandoc's Typst writer."""
    import pypandoc
    import typst

    with tempfile.TemporaryDirectory() as name:
        typ = Path(name) / "main.typ"
        run([
            pypandoc.get_pandoc_path(), str(source.resolve()), "--standalone", "-o", str(typ),
            f"--resource-path={source.parent.resolve()}", f"--extract-media={name}/media",
        ])  # fmt: skip
        pdf.write_bytes(typst.compile(str(typ), root="/"))


def with_browser(source: Path, pdf: Path) -> None:
    """Export with nbconvert's HTML and Chromium."""
    with tempfile.TemporaryDirectory(dir=source.parent) as name:
        page = Path(name) / "page.html"
        run([sys.executable, "-m", "nbconvert", "--to", "html", str(source), "--output",
             str(page.resolve())])  # fmt: skip
        run([
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
            "--virtual-time-budget=20000", f"--print-to-pdf={pdf}", f"file://{page.resolve()}",
        ])  # fmt: skip


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "vqlib": with_vqlib, "pandoc": with_pandoc, "browser": with_browser,
}  # fmt: skip


def run(command: list[str]) -> None:
    """Run a command, and raise with the end of what it says if it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=SECONDS
    )
    if done.returncode:
        raise RuntimeError(" ".join(done.stderr.split())[-300:])


def measure(source: Path, way: str, pdf: Path) -> dict[str, Any]:
    """Export a notebook, and return what arrived, in how many seconds."""
    begun = time.monotonic()
    try:
        WAYS[way](source, pdf)
        seconds = time.monotonic() - begun
        notebook = nbformat.read(source, as_version=4)
        there = arriving(notebook, pdf)
    except Exception as error:
        return {"way": way, "ok": False, "seconds": time.monotonic() - begun, "error": str(error)}
    return {"way": way, "ok": True, "seconds": seconds, **there}


def main() -> None:
    """Export all notebooks that are there, and print a line for each and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--keep", type=Path, help="a folder for the PDFs")
    parser.add_argument("--list", type=Path, default=LIST)
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as name:
        keep = options.keep or Path(name)
        keep.mkdir(exist_ok=True)
        for number, row in enumerate(csv.DictReader(options.list.open())):
            source = options.folder / row["repository"] / row["path"]
            if not source.is_file():
                print(f"not there: {source}")
                continue
            for way in options.ways:
                result = measure(source, way, keep / f"{number:03d}-{way}.pdf")
                results.append(result)
                print(f"{number:03d} {way:8} {line(result)}  {source.name}", flush=True)
    for way in options.ways:
        print(summary(way, [result for result in results if result["way"] == way]))


def line(result: dict[str, Any]) -> str:
    """Return in a line what arrived of a notebook."""
    if not result["ok"]:
        return f"{result['seconds']:5.1f} s  {result['error']}"
    counts = " ".join(f"{result[name]:3} {name}" for name in COUNTED)
    missing = " ".join(result["missing"])[:80]
    return f"{result['seconds']:5.1f} s  {result['words']:.2%}  {counts}  {missing}"


def summary(way: str, results: list[dict[str, Any]]) -> str:
    """Return in a line what arrived in one way."""
    good = [result for result in results if result["ok"]]
    shares = sorted(result["words"] for result in good)
    counts = ", ".join(f"{sum(result[name] for result in good)} {name}" for name in COUNTED)
    return (
        f"{way}: {len(good)} of {len(results)} exported; words: median "
        f"{statistics.median(shares):.2%}, worst {shares[0]:.2%}, "
        f"{sum(share < 0.97 for share in shares)} below 97%; {counts}; "
        f"{statistics.median(result['seconds'] for result in good):.1f} s a notebook"
    )


if __name__ == "__main__":
    main()
