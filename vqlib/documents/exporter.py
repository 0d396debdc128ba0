"""Notebook to PDF through Markdown, pandoc and Typst: no TeX, no browser, no network.

nbconvert knows it as `typst_pdf`: `jupyter nbconvert --to typst_pdf report.ipynb`. Whatever pandoc
or Typst warns of is an error here, so that nothing is missing from a PDF that was written.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from nbconvert.exporters import Exporter, MarkdownExporter
from nbconvert.filters import strip_ansi
from nbconvert.utils.exceptions import ConversionException
from nbformat import NotebookNode
from traitlets.config import Config

from vqlib.errors import UserError

TEMPLATE = Path(__file__).with_name("report.typ")
METADATA = (
    "title",
    "authors",
    "date",
    "abstract",
    "number_sections",
)  # of a notebook, for TEMPLATE
IMAGES = ("image/svg+xml", "application/pdf", "image/png", "image/jpeg")
WIDGET = "application/vnd.jupyter.widget-view+json"
SHOWN = ["text/markdown", *IMAGES, "text/html", "text/latex", "text/plain"]  # preferred first

# pandoc's Markdown made to read what Jupyter shows: lists, headings and quotes need no blank line
# before them, and `---` is a line, not the start of a table or of metadata.
READER = (
    "markdown+lists_without_preceding_blankline-blank_before_header-blank_before_blockquote"
    "-yaml_metadata_block-simple_tables-multiline_tables"
)
# The comment keeps the end of one cell from running into the beginning of the next.
CELLS = """{% extends "markdown/index.md.j2" %}
{% block any_cell scoped %}

<!-- -->

{{ super() }}
{% endblock %}
{% block input scoped %}
{% if cell.source.strip() and not nb.metadata.get("hide_code") %}
{{ cell.source | fenced(nb.metadata.get("language_info", {}).get("name", "python")) }}
{% endif %}
{% endblock %}
{% block stream scoped %}{{ output.text | fenced("output") }}{% endblock %}
{% block error scoped %}{{ output.traceback | join("\n") | fenced("output") }}{% endblock %}
{% block data_text scoped %}{{ output.data["text/plain"] | fenced("output") }}{% endblock %}
{% block data_html scoped %}{{ output.data["text/html"] | fenced("{=html}") }}{% endblock %}
{% block data_svg scoped %}{{ output | image(cell) }}{% endblock %}
{% block data_pdf scoped %}{{ output | image(cell) }}{% endblock %}
{% block data_png scoped %}{{ output | image(cell) }}{% endblock %}
{% block data_jpg scoped %}{{ output | image(cell) }}{% endblock %}
"""
CROSS_REFERENCES = ("fig-", "tbl-")
EQUATIONS = re.compile(
    r"\s*\\begin\{(align|alignat|eqnarray|equation|gather|multline)(\*?)\}(.*)"
    r"\\end\{\1\2\}\s*",
    re.DOTALL,
)
NORM_BARS = re.compile(r"\\\\|\\\||(?<=\\left)\\lVert|(?<=\\right)\\rVert")  # \\ ends a row
DETERMINANT = re.compile(r"\\begin\{vmatrix\}(.*?)\\end\{vmatrix\}", re.DOTALL)
MATRIX = re.compile(
    r"(\\left\s*(?:[(\[|]|\\\{)\s*)?\\begin\{(matrix|smallmatrix|array)\}(.*?)\\end\{\2\}",
    re.DOTALL,
)
SIZES = re.compile(r"\\[bB]igg?[lrm]?(?=\s*\\[a-zA-Z])")
OLD_FONTS = re.compile(r"\{\s*\\(bf|cal|it|rm|sf|tt)\b\s*([^{}]*)\}")
# What Jupyter shows and pandoc does not know.
MACROS = r"""\newcommand{\tbinom}[2]{\binom{#1}{#2}}
\newcommand{\cfrac}[2]{\dfrac{#1}{#2}}
\newcommand{\bra}[1]{\langle #1 |}
\newcommand{\ket}[1]{| #1 \rangle}
\newcommand{\textcolor}[2]{\color{#1}{#2}}
\newcommand{\smash}[1]{#1}
\newcommand{\vphantom}[1]{}
\newcommand{\thinspace}{\,}
\newcommand{\negthinspace}{\!}
\newcommand{\degree}{{}^\circ}
""".splitlines(keepends=True)
LOST_TAGS = re.compile(r"<(sub|sup|video|audio|iframe|object|embed|a\s+href)\b", re.IGNORECASE)
DEFINITIONS = re.compile(r"\s*\\(re|provide)?(newcommand|def|let|newenvironment|DeclareMath)")


class ExportError(UserError, ConversionException):
    """A notebook that cannot become a PDF as it is; the message says why."""


class TypstPDFExporter(Exporter):
    """Writes a notebook as a PDF.

    Title, authors, date, abstract, bibliography, `number_sections` and `hide_code` come from the
    notebook's metadata. Without a title there, the first heading of level 1 is the title.

    Raises:
        ExportError: if the PDF would lack something, such as a citation or a picture.
    """

    export_from_notebook = "PDF (Typst)"
    file_extension = ".pdf"
    output_mimetype = "application/pdf"

    @property
    def default_config(self) -> Config:
        """Tags that hide cells, or their source or output, mean what they do elsewhere."""
        tags = {
            "enabled": True,
            "remove_cell_tags": {"remove_cell", "remove-cell"},
            "remove_input_tags": {"remove_input", "remove-input", "hide_input", "hide-input"},
            "remove_all_outputs_tags": {"remove_output", "remove-output"},
        }
        return Config({"TagRemovePreprocessor": tags})

    def from_notebook_node(
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kwargs: Any
    ) -> tuple[bytes, dict[str, Any]]:
        """Gives the PDF and nbconvert's resources."""
        nb, resources = super().from_notebook_node(nb, resources, **kwargs)
        folder = Path(resources["metadata"].get("path") or ".").resolve()
        with tempfile.TemporaryDirectory() as name:
            build = Path(name)
            markdown = self._markdown(nb, build)
            document = _read(markdown, {key: nb.metadata.get(key) for key in METADATA}, build)
            typst = _write(document, _bibliography(nb, folder), folder, build)
            pdf = _compile(typst, build)
        resources.pop("outputs", None)
        return pdf, resources

    def _markdown(self, nb: NotebookNode, build: Path) -> str:
        """The notebook in Markdown; its pictures become files in `build`."""
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                _keep_printable(output)
        config = Config(
            {
                "NbConvertBase": {"display_data_priority": SHOWN},
                "TemplateExporter": self.config.get("TemplateExporter", {}),  # such as --no-input
            }
        )
        exporter = MarkdownExporter(
            config=config, raw_template=CELLS, filters={"fenced": _fenced, "image": _image}
        )
        place = {"unique_key": "output", "output_files_dir": "outputs"}
        markdown, resources = exporter.from_notebook_node(nb, place)
        for name, data in resources["outputs"].items():
            path = build / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return markdown


def _keep_printable(output: NotebookNode) -> None:
    """Drops HTML that shows only in a browser; what then has no form gets a line that says so."""
    data = output.get("data")
    if data is None:
        return
    if WIDGET in data and not set(IMAGES) & set(data):
        output.data = {"text/plain": "[interactive widget: not in print]"}
        return
    html = data.get("text/html", "")
    visible = re.sub(r"<(script|style)\b.*?</\1>|<(?!img|svg)[^>]*>", "", html, flags=re.DOTALL)
    if not visible.strip():
        data.pop("text/html", None)
    if not set(SHOWN) & set(data):
        data["text/plain"] = f"[no printable form: {', '.join(data) or 'empty output'}]"


def _fenced(text: str, kind: str) -> str:
    """A code block as a terminal would show the text, whatever backticks it contains."""
    lines = (
        line.rsplit("\r", 1)[-1] for line in strip_ansi(text).replace("\r\n", "\n").split("\n")
    )
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = "\n".join(lines).rstrip()
    return f"\n{fence}{kind}\n{body}\n{fence}\n" if body else ""


def _image(output: NotebookNode, cell: NotebookNode) -> str:
    """A picture, with caption and label if the cell's metadata has them."""
    files = output.metadata["filenames"]
    file = next(files[mimetype] for mimetype in IMAGES if mimetype in output.data)
    caption = " ".join(cell.metadata.get("caption", "").split())
    label = cell.metadata.get("label")
    return f"\n![{caption}](<{file}>)" + (f"{{#{label}}}" if label else "") + "\n"


def _read(markdown: str, metadata: dict[str, Any], build: Path) -> dict[str, Any]:
    """pandoc's document tree, with what its Typst writer would leave out put in its terms."""
    from pandocfilters import walk

    given = {key: value for key, value in metadata.items() if value is not None}
    (build / "metadata.json").write_text(json.dumps(given), encoding="utf-8")
    macros = "".join(macro for macro in MACROS if macro.split("}")[0] not in markdown)
    tree = _pandoc(
        macros + markdown, f"--from={READER}", "--to=json", "--metadata-file=metadata.json",
        "--columns=100000",  # else a table with a long line has equal columns over the whole width
        folder=build,
    )  # fmt: skip
    document = walk(json.loads(tree), _translate, "typst", {})
    if "title" not in given:
        _take_title(document)
    return document


def _translate(kind: str, value: Any, *_: Any) -> Any:
    """What stands in the document for an element: None for itself, else a list."""
    if kind == "Cite":
        return _cross_reference(value[0])
    if kind == "Math":
        return [{"t": "Math", "c": [value[0], _mend(value[1])]}]
    if kind in ("RawBlock", "RawInline"):
        format_, text = value
        translators = {"html": _html, "tex": _tex, "latex": _tex}
        return translators[format_](text, kind) if format_ in translators else None
    if kind == "Para" and [child["t"] for child in value] == ["Image"]:
        return [_raw("#align(center)["), {"t": "Plain", "c": value}, _raw("]")]
    return None


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


def _mend(tex: str) -> str:
    r"""A formula for pandoc, which takes \| for the sign of parallel lines, drops \tag, and
    writes out the names of large brackets."""
    tex = re.sub(r"\\tag\{([^{}]*)\}", r"\\qquad \\text{(\1)}", tex)
    tex = NORM_BARS.sub(lambda bar: bar[0] if bar[0] == r"\\" else r"\Vert ", tex)
    tex = SIZES.sub("", OLD_FONTS.sub(r"\\math\1{\2}", tex))
    tex = DETERMINANT.sub(r"\\left|\\begin{matrix}\1\\end{matrix}\\right|", tex)
    return MATRIX.sub(_spread, tex)


def _spread(matrix: re.Match[str]) -> str:
    """A matrix; without brackets, whose columns pandoc would set without a gap, with gaps."""
    return matrix[0] if matrix[1] else re.sub(r"(?<!\\)&", r"\\quad&&", matrix[0])


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
    found = EQUATIONS.fullmatch(tex)
    if not found:
        raise ExportError(
            f"LaTeX outside of formulas would be lost: {tex!r}: put it between $ signs"
        )
    body = found[3] if found[1] == "equation" else tex.strip()
    math = {"t": "Math", "c": [{"t": "DisplayMath"}, _mend(body)]}
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


def _bibliography(nb: NotebookNode, folder: Path) -> Path | None:
    name = nb.metadata.get("bibliography")
    if name is None:
        return None
    path = folder / name
    if not path.is_file():
        raise ExportError(f"bibliography {name!r} of the notebook's metadata: no file {path}")
    return path


def _write(document: dict[str, Any], bibliography: Path | None, folder: Path, build: Path) -> str:
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


def _compile(source: str, build: Path) -> bytes:
    """The PDF, with Typst's own fonts so that it is the same everywhere."""
    import typst

    path = build / "main.typ"
    path.write_text(source, encoding="utf-8")
    try:
        pdf, warnings = typst.compile_with_warnings(
            str(path), root=str(build), ignore_system_fonts=True
        )
    except typst.TypstError as error:
        raise ExportError(f"Typst: {_diagnostic(error)}") from None
    lacking = [warning for warning in warnings if " is deprecated" not in warning.message]
    if lacking:
        raise ExportError(f"Typst: {'; '.join(map(_diagnostic, lacking))}")
    return pdf


def _diagnostic(problem: Any) -> str:
    return "; ".join([problem.message, *problem.hints])
