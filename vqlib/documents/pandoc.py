"""Convert Markdown to Typst with pandoc, and translate what its Typst writer would leave out."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from nbconvert.utils.exceptions import ConversionException

from vqlib.documents.formulas import equations, is_definition, mend, with_macros
from vqlib.errors import UserError

TEMPLATE = Path(__file__).with_name("report.typ")

# pandoc's Markdown, changed to read what Jupyter shows: lists, headings and quotes need no blank
# line before them, and `---` is a rule and never begins a table or metadata.
READER = (
    "markdown+lists_without_preceding_blankline-blank_before_header-blank_before_blockquote"
    "-yaml_metadata_block-simple_tables-multiline_tables"
)
CROSS_REFERENCES = ("fig-", "tbl-")
LOST_TAGS = re.compile(r"<(sub|sup|video|audio|iframe|object|embed|a\s+href)\b", re.IGNORECASE)
NUMBER = re.compile(r"[-+−–]?[\d.,e+\-%−]*|nan|NaN|inf|\.\.\.")

Element = dict[str, Any]  # of pandoc's document tree: its kind as "t", its content as "c"


class ExportError(UserError, ConversionException):
    """A notebook that cannot be printed as it is; the message says why and what to do."""


def read_markdown(markdown: str, metadata: dict[str, Any], build: Path) -> dict[str, Any]:
    """Return pandoc's document tree of a notebook, in terms that its Typst writer knows.

    Args:
        markdown: the body.
        metadata: values for the template by name, text as Markdown; None for those not given.
            Without a title, the first heading of level 1 becomes the title.
        build: a folder for temporary files.

    Raises:
        ExportError: if something would be missing from the PDF.
    """
    from pandocfilters import walk

    given = {key: value for key, value in metadata.items() if value is not None}
    (build / "metadata.json").write_text(json.dumps(given), encoding="utf-8")
    tree = _pandoc(
        with_macros(markdown), f"--from={READER}", "--to=json", "--metadata-file=metadata.json",
        "--columns=100000",  # a longer line would give its table equal columns over the whole width
        folder=build,
    )  # fmt: skip
    document: dict[str, Any] = walk(walk(json.loads(tree), _translate, "", {}), _describe, "", {})
    if "title" not in given:
        _take_title(document)
    return document


def find_bibliography(name: str | None, folder: Path) -> Path | None:
    """Return the path of the bibliography that a notebook in `folder` names, or None.

    Raises:
        ExportError: if there is no such file.
    """
    if name is None:
        return None
    path = folder / name
    if not path.is_file():
        raise ExportError(
            f"no file {path}, which the notebook's metadata names as `bibliography`: "
            "correct the name or add the file"
        )
    return path


def write_typst(
    document: dict[str, Any], bibliography: Path | None, folder: Path, build: Path
) -> str:
    """Return the Typst source of a document, and copy the pictures it names to `build`.

    Args:
        document: pandoc's document tree.
        bibliography: a file with the entries of all citations, if there are any.
        folder: where pictures are looked for that are not in `build`.
        build: the folder in which Typst will find the pictures.

    Raises:
        ExportError: if a picture or a citation is not found, or pandoc warns of something else.
    """
    options = ["--citeproc", "--metadata=link-citations:true"]
    if bibliography:
        options.append(f"--bibliography={bibliography}")
    return _pandoc(
        json.dumps(document), "--from=json", "--to=typst", f"--template={TEMPLATE}", *options,
        "--syntax-highlighting=idiomatic", "--extract-media=media",
        f"--resource-path={os.pathsep.join([str(build), str(folder)])}",
        folder=build,
    )  # fmt: skip


def _translate(kind: str, value: Any, *_: Any) -> list[Element] | None:
    """Return what an element of the document is replaced by, or None if it stays."""
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


def _describe(kind: str, value: Any, *_: Any) -> list[Element] | None:
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


def _lone_image(blocks: list[Element]) -> list[Any] | None:
    """Return the content of an image that is all there is in blocks, or None."""
    inlines = blocks[0]["c"] if [block["t"] for block in blocks] == ["Plain"] else []
    return inlines[0]["c"] if [inline["t"] for inline in inlines] == ["Image"] else None


def _take_alt(image: list[Any]) -> str:
    """Remove an image's `alt` attribute and its text, and return the first that is not empty."""
    from pandocfilters import stringify, walk

    (_, _, pairs), inlines, _ = image
    image[0][2] = [pair for pair in pairs if pair[0] != "alt"]
    image[1] = []
    # A citation holds its text twice, in its parts and as a whole
    whole = walk(inlines, lambda kind, value, *_: value[1] if kind == "Cite" else None, "", {})
    text: str = dict(pairs).get("alt") or stringify(whole)
    return text.strip()


def _raw(typst: str, kind: str = "RawBlock") -> Element:
    """Return an element that pandoc writes to the Typst source as it is."""
    return {"t": kind, "c": ["typst", typst]}


def _cross_reference(citations: list[dict[str, Any]]) -> list[Element] | None:
    """Return references to figures and tables for `@fig-x` and `@tbl-x`, None for literature."""
    if not all(citation["citationId"].startswith(CROSS_REFERENCES) for citation in citations):
        return None
    inlines: list[Element] = []
    for citation in citations:
        label = json.dumps(citation["citationId"], ensure_ascii=False)
        prefix, suffix = citation["citationPrefix"], citation["citationSuffix"]
        inlines += [{"t": "Str", "c": ","}, {"t": "Space"}] if inlines else []
        inlines += [*prefix, {"t": "Space"}] if prefix else []
        inlines += [_raw(f"#ref(label({label}));", "RawInline"), *suffix]
    return inlines


def _html(html: str, kind: str) -> list[Element]:
    """Return the elements that raw HTML stands for."""
    if html.startswith("<!--"):
        return []
    if "<table" in html and "</table" not in html:
        raise ExportError(
            "an HTML table in a Markdown cell cannot be printed: write it with | pipes | instead"
        )
    lost = f"the HTML {html!r} cannot be printed: use Markdown or LaTeX instead"
    if LOST_TAGS.match(html) and "</" not in html:
        raise ExportError(lost)
    if kind == "RawInline" and re.match(r"<br\b", html):
        return [{"t": "LineBreak"}]
    if kind == "RawInline" and not html.startswith("<img"):
        return []  # only a tag: the text inside it is in the document already
    # The sandbox keeps pandoc from fetching what an <iframe> names.
    blocks = json.loads(_pandoc(html, "--from=html", "--to=json", "--sandbox"))["blocks"]
    if LOST_TAGS.match(html) and not blocks:
        raise ExportError(lost)
    if kind == "RawInline":
        return blocks[0]["c"] if blocks else []
    blocks = _undivided(blocks)
    for table in (block for block in blocks if block["t"] == "Table"):
        _align_numbers(table["c"])
    return blocks


def _undivided(blocks: list[Element]) -> list[Element]:
    """Return blocks without the <div> around them, such as pandas puts around a table."""
    parts = [_undivided(block["c"][1]) if block["t"] == "Div" else [block] for block in blocks]
    return [block for part in parts for block in part]


def _align_numbers(table: list[Any]) -> None:
    """Align the columns of numbers in a table to the right, as a browser shows a data frame."""
    from pandocfilters import stringify

    _, _, columns, _, bodies, _ = table
    rows = [row[1] for body in bodies for row in body[3] if len(row[1]) == len(columns)]
    for index, column in enumerate(columns):
        texts = [stringify(row[index][4]).strip() for row in rows]
        if texts and all(NUMBER.fullmatch(text) for text in texts):
            column[0] = {"t": "AlignRight"}


def _tex(tex: str, kind: str) -> list[Element]:
    """Return the elements that raw TeX stands for."""
    if is_definition(tex):
        return []
    formula = equations(tex)
    if formula is None:
        raise ExportError(
            f"LaTeX outside of a formula cannot be printed: {tex!r}: put it between $ signs"
        )
    math = {"t": "Math", "c": [{"t": "DisplayMath"}, mend(formula)]}
    return [math] if kind == "RawInline" else [{"t": "Para", "c": [math]}]


def _take_title(document: dict[str, Any]) -> None:
    """Make the first heading of level 1 the title; if it is the only one, raise all others."""
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


def _pandoc(text: str, *options: str, folder: Path | None = None) -> str:
    """Return what pandoc makes of text, with `folder` as its working directory."""
    import pypandoc

    # pypandoc's own functions would change the working directory of this process.
    done = subprocess.run(
        [pypandoc.get_pandoc_path(), "--fail-if-warnings", "--wrap=preserve", *options],
        input=text, capture_output=True, text=True, encoding="utf-8", cwd=folder,
    )  # fmt: skip
    if done.returncode:
        raise ExportError(_explain(done.stderr))
    return done.stdout


def _explain(stderr: str) -> str:
    """Return pandoc's warnings or error in one line, with what to do about missing citations."""
    keys = re.findall(r"citation (\S+) not found", stderr)
    if keys:
        return (
            f"citations not found: {', '.join(keys)}: add them to the file that the notebook's "
            "metadata names as `bibliography`, or write \\@ to print a plain @"
        )
    problems = stderr.replace("Failing because there were warnings.", "").split("[WARNING]")
    return f"pandoc: {'; '.join(' '.join(one.split()) for one in problems if one.strip())}"
