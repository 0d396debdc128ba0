"""Markdown to Typst by pandoc, with what its Typst writer would leave out put in its terms."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from nbconvert.utils.exceptions import ConversionException

from vqlib.documents.formulas import DEFINITIONS, equations, mend, with_macros
from vqlib.errors import UserError

TEMPLATE = Path(__file__).with_name("report.typ")

# pandoc's Markdown made to read what Jupyter shows: lists, headings and quotes need no blank line
# before them, and `---` is a line, not the start of a table or of metadata.
READER = (
    "markdown+lists_without_preceding_blankline-blank_before_header-blank_before_blockquote"
    "-yaml_metadata_block-simple_tables-multiline_tables"
)
CROSS_REFERENCES = ("fig-", "tbl-")
LOST_TAGS = re.compile(r"<(sub|sup|video|audio|iframe|object|embed|a\s+href)\b", re.IGNORECASE)


class ExportError(UserError, ConversionException):
    """A notebook that cannot become a PDF as it is; the message says why."""


def read_markdown(markdown: str, metadata: dict[str, Any], build: Path) -> dict[str, Any]:
    """pandoc's document tree, with what its Typst writer would leave out put in its terms."""
    from pandocfilters import walk

    given = {key: value for key, value in metadata.items() if value is not None}
    (build / "metadata.json").write_text(json.dumps(given), encoding="utf-8")
    tree = _pandoc(
        with_macros(markdown), f"--from={READER}", "--to=json", "--metadata-file=metadata.json",
        "--columns=100000",  # else a table with a long line has equal columns over the whole width
        folder=build,
    )  # fmt: skip
    document = walk(walk(json.loads(tree), _translate, "", {}), _describe, "", {})
    if "title" not in given:
        _take_title(document)
    return document


def _translate(kind: str, value: Any, *_: Any) -> Any:
    """What stands in the document for an element: None for itself, else a list."""
    if kind == "Cite":
        return _cross_reference(value[0])
    if kind == "Math":
        return [{"t": "Math", "c": [value[0], mend(value[1])]}]
    if kind in ("RawBlock", "RawInline"):
        format_, text = value
        translators = {"html": _html, "tex": _tex, "latex": _tex}
        return translators[format_](text, kind) if format_ in translators else None
    if kind == "Para" and [child["t"] for child in value] == ["Image"]:
        return [_raw("#align(center)["), {"t": "Plain", "c": value}, _raw("]")]
    return None


def _describe(kind: str, value: Any, *_: Any) -> list[dict[str, Any]] | None:
    """Return an image, or the figure of one, in a set rule that gives Typst its alt text.

    pandoc before 3.10 writes no alt text in Typst. The image loses its own, so that it gets no
    second rule as the content of its figure.
    """
    image = value if kind == "Image" else _lone_image(value[2]) if kind == "Figure" else None
    alt = _take_alt(image) if image else ""
    if not alt:
        return None
    raw = "RawInline" if kind == "Image" else "RawBlock"
    rule = f"#[#set image(alt: {json.dumps(alt, ensure_ascii=False)});"
    return [_raw(rule, raw), {"t": kind, "c": value}, _raw("]", raw)]


def _lone_image(blocks: list[dict[str, Any]]) -> list[Any] | None:
    """Return the content of the image that is all there is in blocks, or None."""
    inlines = blocks[0]["c"] if [block["t"] for block in blocks] == ["Plain"] else []
    return inlines[0]["c"] if [inline["t"] for inline in inlines] == ["Image"] else None


def _take_alt(image: list[Any]) -> str:
    """Remove an image's alt text, or its text if it has none, and return it."""
    from pandocfilters import stringify, walk

    (_, _, pairs), inlines, _ = image
    image[0][2] = [pair for pair in pairs if pair[0] != "alt"]
    image[1] = []
    cited = walk(inlines, lambda kind, value, *_: value[1] if kind == "Cite" else None, "", {})
    return (dict(pairs).get("alt") or stringify(cited)).strip()


def _raw(typst: str, kind: str = "RawBlock") -> dict[str, Any]:
    return {"t": kind, "c": ["typst", typst]}


def _cross_reference(citations: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """`@fig-x` and `@tbl-x` are references to a figure and a table, not to the literature."""
    if not all(citation["citationId"].startswith(CROSS_REFERENCES) for citation in citations):
        return None
    inlines: list[dict[str, Any]] = []
    for citation in citations:
        label = json.dumps(citation["citationId"], ensure_ascii=False)
        inlines += [{"t": "Str", "c": ","}, {"t": "Space"}] if inlines else []
        inlines += (
            [*citation["citationPrefix"], {"t": "Space"}] if citation["citationPrefix"] else []
        )
        inlines += [_raw(f"#ref(label({label}));", "RawInline"), *citation["citationSuffix"]]
    return inlines


def _html(html: str, kind: str) -> list[dict[str, Any]]:
    if html.startswith("<!--"):
        return []
    if "<table" in html and "</table" not in html:
        raise ExportError("HTML tables in a Markdown cell are not read: write a | pipe | table |")
    lost = f"HTML in a Markdown cell would be lost: {html!r}: use Markdown or LaTeX"
    if LOST_TAGS.match(html) and "</" not in html:
        raise ExportError(lost)
    if kind == "RawInline" and re.match(r"<br\b", html):
        return [{"t": "LineBreak"}]
    if kind == "RawInline" and not html.startswith("<img"):
        return []  # a tag; what it encloses is in the document already
    # The sandbox keeps the reader from fetching what an <iframe> names.
    blocks = json.loads(_pandoc(html, "--from=html", "--to=json", "--sandbox"))["blocks"]
    if LOST_TAGS.match(html) and not blocks:
        raise ExportError(lost)
    if kind == "RawInline":
        return blocks[0]["c"] if blocks else []
    blocks = _undivided(blocks)
    for table in (block for block in blocks if block["t"] == "Table"):
        _align_numbers(table["c"])
    return blocks


def _undivided(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Blocks without the divisions around them, such as pandas puts around a table."""
    parts = [_undivided(block["c"][1]) if block["t"] == "Div" else [block] for block in blocks]
    return [block for part in parts for block in part]


def _align_numbers(table: list[Any]) -> None:
    """Aligns columns of numbers to the right, as a browser shows a data frame."""
    from pandocfilters import stringify

    _, _, columns, _, bodies, _ = table
    rows = [row[1] for body in bodies for row in body[3] if len(row[1]) == len(columns)]
    for index, column in enumerate(columns):
        texts = [stringify(row[index][4]).strip() for row in rows]
        if texts and all(
            re.fullmatch(r"[-+−–]?[\d.,e+\-%−]*|nan|NaN|inf|\.\.\.", t) for t in texts
        ):
            column[0] = {"t": "AlignRight"}


def _tex(tex: str, kind: str) -> list[dict[str, Any]]:
    if DEFINITIONS.match(tex):
        return []  # pandoc has applied it
    math = equations(tex)
    if math is None:
        raise ExportError(
            f"LaTeX outside of formulas would be lost: {tex!r}: put it between $ signs"
        )
    return [math] if kind == "RawInline" else [{"t": "Para", "c": [math]}]


def _take_title(document: dict[str, Any]) -> None:
    """Makes the first heading of level 1 the title; a lone one leaves its level to the others."""
    blocks = document["blocks"]
    headings = [block for block in blocks if block["t"] == "Header"]
    tops = [heading for heading in headings if heading["c"][0] == 1]
    if not tops:
        return
    document["meta"]["title"] = {"t": "MetaInlines", "c": tops[0]["c"][2]}
    document["blocks"] = [block for block in blocks if block is not tops[0]]
    if len(tops) == 1:
        for heading in headings:
            heading["c"][0] = max(1, heading["c"][0] - 1)


def find_bibliography(name: str | None, folder: Path) -> Path | None:
    """The bibliography that a notebook in `folder` names; None if it names none."""
    if name is None:
        return None
    path = folder / name
    if not path.is_file():
        raise ExportError(f"bibliography {name!r} of the notebook's metadata: no file {path}")
    return path


def write_typst(
    document: dict[str, Any], bibliography: Path | None, folder: Path, build: Path
) -> str:
    """The document in Typst; the pictures that it names are copied to `build`."""
    options = ["--citeproc", "--metadata=link-citations:true"]
    if bibliography:
        options.append(f"--bibliography={bibliography}")
    return _pandoc(
        json.dumps(document), "--from=json", "--to=typst", f"--template={TEMPLATE}", *options,
        "--syntax-highlighting=idiomatic", "--extract-media=media",
        f"--resource-path={os.pathsep.join([str(build), str(folder)])}",
        folder=build,
    )  # fmt: skip


def _pandoc(text: str, *options: str, folder: Path | None = None) -> str:
    """Runs pandoc on text. A new process, since pypandoc would change this one's folder."""
    import pypandoc

    done = subprocess.run(
        [pypandoc.get_pandoc_path(), "--fail-if-warnings", "--wrap=preserve", *options],
        input=text, capture_output=True, text=True, encoding="utf-8", cwd=folder,
    )  # fmt: skip
    if done.returncode:
        raise ExportError(_explain(done.stderr))
    return done.stdout


def _explain(stderr: str) -> str:
    """What pandoc says, with what to do about it."""
    keys = re.findall(r"citation (\S+) not found", stderr)
    if keys:
        return (
            f"citations not found: {', '.join(keys)}: the file that the notebook's metadata names "
            "as `bibliography` has no such entries (a plain @ is written \\@)"
        )
    problem = stderr.replace("Failing because there were warnings.", "").strip()
    return f"pandoc: {problem}"
