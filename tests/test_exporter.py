"""The PDF exporter: the PDF holds what the notebook holds, or the export fails and says why."""

import base64
import io
import itertools
import json
import re
import subprocess
import sys
import tomllib
import unicodedata
from collections.abc import Callable
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbconvert.exporters import get_export_names, get_exporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, NullObject, PdfObject

from vqlib.documents.exporter import (
    IMAGES,
    ExportError,
    TypstPDFExporter,
    TypstPDFNoCodeExporter,
)
from vqlib.errors import UserError
from vqlib.paths import ROOT

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30">'
    '<rect width="60" height="30" fill="#ff0000"/></svg>'
)
BIBLIOGRAPHY = """@article{known2000, author = {Known, Ada}, title = {A Study of Bars},
  journal = {Journal}, year = {2000}}"""
SYMBOLS = [
    ("α ε θ λ μ ϕ Σ Ω", r"\alpha \varepsilon \theta \lambda \mu \phi \Sigma \Omega"),
    ("∇ ∂ ℓ ∞ ∅ ∀ ∃ ℜ", r"\nabla \partial \ell \infty \emptyset \forall \exists \Re"),
    ("⊙ ⊗ ⊖ ⊕ ∩ ∪ ⊓ ⊔", r"\odot \otimes \ominus \oplus \cap \cup \sqcap \sqcup"),
    ("⋂ ⋃ ⨂ ⨁ ⨀", r"\bigcap \bigcup \bigotimes \bigoplus \bigodot"),
    ("∑ ∏ ∫ ∮ ∧ ∨", r"\sum \prod \int \oint \wedge \vee"),
    ("⋅ × ± ∓ ÷ ∗ ∘ †", r"\cdot \times \pm \mp \div \ast \circ \dagger"),
    ("≤ ≥ ≠ ≈ ≡ ∼ ≃", r"\leq \geq \neq \approx \equiv \sim \simeq"),
    ("∝ ≪ ≫ ≜ ⟂ ∥ ⊨ ⊢", r"\propto \ll \gg \triangleq \perp \parallel \models \vdash"),
    ("∈ ∉ ⊂ ⊆ ⊃ ⊇", r"\in \notin \subset \subseteq \supset \supseteq"),
    ("→ ← ↦ ⇒ ⇔ ↔", r"\to \gets \mapsto \Rightarrow \Leftrightarrow \leftrightarrow"),
    ("↑ ↪ ⇀ ⟹", r"\uparrow \hookrightarrow \rightharpoonup \implies"),
    ("⊲ ⊳ ⊴ ⊵", r"\triangleleft \triangleright \trianglelefteq \trianglerighteq"),
    ("⟦ ⟧ ⟨ ⟩ ‖", r"\llbracket \rrbracket \langle \rangle \Vert"),
    ("⌊ ⌋ ⌈ ⌉", r"\lfloor \rfloor \lceil \rceil"),
    ("… ⋯ ⋮ ⋱ ′ °", r"\ldots \cdots \vdots \ddots \prime \degree"),
]
CONSTRUCTIONS = [
    *(rf"\{accent}{{17}}" for accent in (
        "hat", "widehat", "tilde", "widetilde", "bar", "overline", "vec", "dot", "ddot",
        "dddot", "check", "breve", "underline", "overrightarrow", "boxed",
    )),
    *(rf"\{font}{{17}}" for font in (
        "mathbb", "mathcal", "mathscr", "mathfrak", "mathbf", "boldsymbol", "bm", "mathrm",
        "mathsf", "mathtt", "operatorname", "text", "textbf", "mbox", "smash",
    )),
    r"{\bf 17}", r"{\rm 17}", r"\textcolor{red}{17}", r"\color{red}{17}",
    r"\frac{1}{7}", r"\tfrac17", r"\dfrac17", r"\cfrac{1}{7}", r"\binom{1}{7}",
    r"\tbinom{1}{7}", r"\sqrt[1]{7}", r"\bra{1}\ket{7}", r"1\thinspace\negthinspace 7",
    r"\overbrace{1}^{7}", r"\underbrace{1}_{7}", r"\overset{1}{7}", r"\underset{1}{7}",
    r"\stackrel{1}{7}", r"\xrightarrow{1} 7", r"\sum_{\substack{1 \\ 7}}", r"1 \bmod 7",
    r"\left\{ 1 \middle| 7 \right\}", r"\left.1\right|_{7}", r"\Bigl( 1 \Bigr) 7",
    r"\big\| 1 \big\| 7", r"\bigl\langle 1, 7 \bigr\rangle", r"\Big\lfloor 17 \Big\rfloor",
    r"\left\llbracket 17 \right\rrbracket", r"\left\lceil\frac17\right\rceil",
    *(rf"\begin{{{name}}} 1 & 7 \end{{{name}}}" for name in (
        "matrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix", "smallmatrix",
        "cases", "aligned", "split",
    )),
    r"\begin{array}{c|c} 1 & 7 \end{array}",
    r"\left(\begin{array}{cc} 1 & 7 \end{array}\right)",
]  # fmt: skip

Export = Callable[..., PdfReader]


def picture(kind: str = "png") -> bytes:
    """A blue picture as a file of some kind."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4), "blue").save(buffer, kind)
    return buffer.getvalue()


def in_base64(mimetype: str = "image/png") -> str:
    """A picture as outputs of notebooks hold it; SVG is text there."""
    return SVG if "svg" in mimetype else base64.b64encode(picture(mimetype.split("/")[1])).decode()


def display(data: dict[str, object], **metadata: object) -> NotebookNode:
    """An output with its forms by MIME type."""
    return new_output("display_data", data=data, metadata=metadata)


def shown(*outputs: NotebookNode, source: str = "", **metadata: object) -> NotebookNode:
    """A code cell that has run; keywords are its metadata."""
    return new_code_cell(source, outputs=list(outputs), metadata=metadata)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Export cells of a notebook in tmp_path; text is a Markdown cell, keywords are metadata."""

    def run(*cells: NotebookNode | str, strict: bool = False, **metadata: object) -> PdfReader:
        made = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
        notebook = new_notebook(cells=made, metadata=metadata)
        (tmp_path / "references.bib").write_text(BIBLIOGRAPHY)
        path = tmp_path / "notebook.ipynb"
        nbformat.write(notebook, path)
        pdf, resources = TypstPDFExporter(strict=strict).from_filename(str(path))
        assert resources["output_extension"] == ".pdf"
        assert "outputs" not in resources  # nbconvert would write them beside the PDF
        return PdfReader(io.BytesIO(pdf))

    return run


def text(pdf: PdfReader) -> str:
    """The text of all pages in one line."""
    whole = "\n".join(page.extract_text() for page in pdf.pages)
    return " ".join(whole.replace("\N{NO-BREAK SPACE}", " ").split())


def pictures(pdf: PdfReader) -> int:
    """How many raster images the pages hold."""
    return sum(len(page.images) for page in pdf.pages)


def alt_texts(pdf: PdfReader) -> list[str | None]:
    """The alt text of each picture in the PDF's structure tree, None for a picture without."""
    found: list[str | None] = []

    def look(node: PdfObject) -> None:
        node = node.get_object()
        if isinstance(node, ArrayObject):
            for child in node:
                look(child)
        elif isinstance(node, DictionaryObject):
            if node.get("/S") == "/Figure":
                found.append(node.get("/Alt"))
            look(node.get("/K", NullObject()))

    look(pdf.root_object["/StructTreeRoot"])
    return found


def refusal(ask: Callable[[], object]) -> str:
    """The one line with which an export fails."""
    with pytest.raises(ExportError) as refused:
        ask()
    message = str(refused.value)
    assert "\n" not in message
    return message


def test_nbconvert_lists_it_under_its_name() -> None:
    assert "typst_pdf" in get_export_names()
    assert get_exporter("typst_pdf") is TypstPDFExporter


def test_the_project_offers_it_with_and_without_code() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    offered = project["entry-points"]["nbconvert.exporters"]
    classes = {name: get_exporter(path.replace(":", ".")) for name, path in offered.items()}
    assert classes == {"typst_pdf": TypstPDFExporter, "typst_pdf_no_code": TypstPDFNoCodeExporter}


def test_importing_it_leaves_typst_alone() -> None:
    """A broken installation of it must not take the other formats from JupyterLab's menu."""
    check = "import sys, vqlib.documents.exporter; print({'typst'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_command_line_writes_one_file(tmp_path: Path) -> None:
    cells = [shown(display({"image/png": in_base64()}))]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "typst_pdf", "n.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"n.ipynb", "n.pdf"}


def test_metadata_make_the_title_block(export: Export) -> None:
    pdf = export(
        "# Motivation",
        title="On *small* images",
        authors=[{"name": 'Ada "A." Known'}, {"name": "Zoë O'Neil"}],
        abstract="We look at $x^2$.",
        date="May 2025",
        number_sections=True,
    )
    assert pdf.metadata.title == "On small images"
    assert "Ada" in pdf.metadata.author
    assert "Zoë O" in pdf.metadata.author
    for part in ("On small images", "Zoë O", "We look at", "May 2025", "1 Motivation"):
        assert part in text(pdf)


def test_a_markdown_cell_tagged_abstract_is_the_abstract(export: Export) -> None:
    cell = new_markdown_cell(
        "As [@known2000] found, $x^{17}$ is *large*.\n\nNew paragraph.",
        metadata={"tags": ["abstract"]},
    )
    whole = text(export("# Body", cell, "Prose.", title="T", bibliography="references.bib"))
    assert whole.startswith("T Abstract As (Known 2000) found, ")
    assert "17 is large. New paragraph. Body Prose." in whole


def test_the_markdown_output_of_a_code_cell_tagged_abstract_is_the_abstract(
    export: Export,
) -> None:
    outputs = [
        new_output("stream", text="a note"),
        display({"text/markdown": "We found 42.", "text/plain": "<Markdown>"}),
        display({"text/markdown": "It is certain."}),
    ]
    cell = shown(*outputs, source="answer = 6 * 7", tags=["abstract"])
    whole = text(export("Prose.", cell, title="T", abstract="Of the metadata."))
    assert whole == "T Abstract We found 42. It is certain. Prose. 1"  # and the page's number


@pytest.mark.parametrize(
    "cell",
    [
        new_markdown_cell("  \n", metadata={"tags": ["abstract"]}),
        shown(source="answer = 1\nanswer", tags=["abstract"]),
        shown(display({"text/plain": "1"}), source="answer = 1\nanswer", tags=["abstract"]),
    ],
    ids=["empty", "not run", "no Markdown"],
)
def test_an_abstract_cell_without_text_is_an_error_that_names_it(
    export: Export, cell: NotebookNode
) -> None:
    message = refusal(lambda: export("Prose.", cell))
    assert [fact for fact in ("'abstract'", repr(cell.source)) if fact not in message] == []


def test_the_first_heading_is_the_title_if_the_metadata_have_none(export: Export) -> None:
    pdf = export("# The title\n\nProse.", "## Part one\n\nMore.")
    assert pdf.metadata.title == "The title"
    assert text(pdf).count("The title") == 1
    assert [entry.title for entry in pdf.outline] == ["Part one"]
    assert "1 Part one" not in text(pdf)  # sections have numbers only on request


def test_a_list_needs_no_blank_line_before_it_as_in_jupyter(export: Export) -> None:
    assert "• one" in text(export("They are:\n- one\n- two"))


def test_code_and_what_it_printed_are_shown(export: Export) -> None:
    stream = new_output("stream", text="10%\r\x1b[31m100%\x1b[0m\nfence ``` inside\n")
    error = new_output("error", ename="E", evalue="v", traceback=["\x1b[31mE: bad luck\x1b[0m"])
    whole = text(export(shown(stream, error, source="answer = 6 * 7  # ```")))
    for part in ("answer = 6 * 7", "100%", "fence ``` inside", "E: bad luck"):
        assert part in whole
    assert "10% " not in whole
    assert "[31m" not in whole


@pytest.mark.parametrize("tag", ["hide-input", "remove_input"])
def test_tags_hide_the_code_but_not_its_output(export: Export, tag: str) -> None:
    stream = new_output("stream", text="outcome")
    whole = text(export(shown(stream, source="secret = 1", tags=[tag]), "Prose."))
    assert "secret" not in whole
    assert "outcome" in whole


def test_remove_cell_hides_code_and_output(export: Export) -> None:
    cell = shown(new_output("stream", text="outcome"), source="secret = 1", tags=["remove_cell"])
    assert text(export(cell, "Prose.")) == "Prose. 1"  # and the page's number


def test_hide_code_hides_the_code_of_all_cells(export: Export) -> None:
    cells = [shown(new_output("stream", text=f"outcome{i}"), source="secret = 1") for i in range(2)]
    whole = text(export(*cells, hide_code=True))
    assert "secret" not in whole
    assert "outcome0" in whole
    assert "outcome1" in whole


def test_svg_is_preferred_to_png_and_stays_vectors(export: Export) -> None:
    assert pictures(export(shown(display({"image/png": in_base64()})))) == 1
    both = {"image/png": in_base64(), "image/svg+xml": SVG}
    pdf = export(shown(display(both)))
    assert pictures(pdf) == 0
    assert b"1 0 0 scn" in pdf.pages[0].get_contents().get_data()  # the SVG's red


def test_caption_of_the_metadata_numbers_and_labels_a_figure(export: Export) -> None:
    first = shown(display({"image/svg+xml": SVG}), caption="First, $x^2$.", label="fig-first")
    second = shown(display({"image/png": in_base64()}), caption="Second.", label="fig-second")
    whole = text(export("See @fig-second (below) and [@fig-first; @fig-second].", first, second))
    assert "See Figure 2 (below) and Figure 1, Figure 2." in whole
    assert "Figure 1: First" in whole
    assert "Figure 2: Second." in whole


@pytest.mark.parametrize("mimetype", IMAGES)
def test_alt_text_of_an_outputs_metadata_is_in_the_pdf(export: Export, mimetype: str) -> None:
    alt = 'SSIM "rises" by 5% & <more>, C:\\new {x} $y_1$ *z* @known2000 #1 \\alpha\nto α'
    output = display({mimetype: in_base64(mimetype)}, **{mimetype: {"alt": alt, "width": 8}})
    assert alt_texts(export(shown(output))) == [alt.replace("\n", " ")]


def test_a_captioned_picture_keeps_its_own_alt_text(export: Export) -> None:
    output = display({"image/png": in_base64()}, **{"image/png": {"alt": "A blue bar."}})
    pdf = export(shown(output, caption="Bars.", label="fig-bars"), "See @fig-bars.")
    assert alt_texts(pdf) == ["A blue bar."]
    assert "Figure 1: Bars. See Figure 1." in text(pdf)


@pytest.mark.parametrize(
    ("markdown", "alt"),
    [
        (r'![Bars.](bars.png){#fig-x alt="A \"blue\" bar."}', 'A "blue" bar.'),
        ('![](bars.png){alt="A blue bar."}', "A blue bar."),
        ('Bars ![a bar](bars.png){alt="A blue bar." width=1cm} in a line', "A blue bar."),
        ("![A *blue* bar.](bars.png)", "A blue bar."),
        ("![A bar of $x^2$ [@known2000].](bars.png){#fig-x}", "A bar of x^2 [@known2000]."),
        ("A bar ![in a line](bars.png) of text", "in a line"),
        ("| bars |\n|---|\n| ![in a table](bars.png) |", "in a table"),
        ("[![in a link](bars.png)](https://example.org)", "in a link"),
        ("<img src='bars.png' alt='A blue bar.'>", "A blue bar."),
        ("![](bars.png)", None),
    ],
)
def test_alt_text_of_a_markdown_picture_is_in_the_pdf(
    export: Export, tmp_path: Path, markdown: str, alt: str | None
) -> None:
    (tmp_path / "bars.png").write_bytes(picture())
    assert alt_texts(export(markdown, bibliography="references.bib")) == [alt]


@pytest.mark.parametrize("html", ["{}", "<p>{} and text</p>", "<figure>{}</figure>"])
def test_alt_text_of_a_picture_in_html_output_is_in_the_pdf(
    export: Export, tmp_path: Path, html: str
) -> None:
    (tmp_path / "bars.png").write_bytes(picture())
    data = {"text/html": html.format('<img src="bars.png" alt="A blue bar.">')}
    assert alt_texts(export(shown(display(data)))) == ["A blue bar."]


def test_each_picture_has_its_own_alt_text(export: Export, tmp_path: Path) -> None:
    (tmp_path / "bars.png").write_bytes(picture())
    pdf = export("![One.](bars.png)", "![](bars.png)", '![](bars.png){alt="Three."}')
    assert alt_texts(pdf) == ["One.", None, "Three."]


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_markdown_output_shows_a_picture_file(
    export: Export, tmp_path: Path, kind: str, absolute: bool
) -> None:
    path = tmp_path / "sub folder" / f"picture.{kind}"
    path.parent.mkdir()
    path.write_bytes(SVG.encode() if kind == "svg" else picture(kind))
    name = path if absolute else path.relative_to(tmp_path)
    cell = shown(display({"text/markdown": f"![Made of photos.](<{name}>){{#fig-x}}"}))
    whole = text(export(cell, "As @fig-x shows."))
    assert "@fig-x" not in whole
    assert "Figure 1: Made of photos. As Figure 1 shows." in whole


def test_markdown_output_may_hold_its_picture_itself(export: Export) -> None:
    data = f"data:image/svg+xml;base64,{base64.b64encode(SVG.encode()).decode()}"
    pdf = export(shown(display({"text/markdown": f"![A caption.]({data}){{#fig-x}}"})), "@fig-x")
    assert "Figure 1: A caption. Figure 1" in text(pdf)
    assert b"1 0 0 scn" in pdf.pages[0].get_contents().get_data()  # the SVG's red


def test_markdown_table_with_a_caption_is_numbered(export: Export) -> None:
    table = "| a | b |\n|---|--:|\n| c | 2 |\n\n: Captioned. {#tbl-x}"
    plain = "| d | e |\n|---|---|\n| f | g |"
    whole = text(export(plain, shown(display({"text/markdown": table})), "See @tbl-x."))
    assert "Table 1: Captioned." in whole  # the plain table does not count
    assert "See Table 1." in whole
    assert "|" not in whole


def test_data_frame_becomes_a_table(export: Export) -> None:
    frame = pd.DataFrame({"model": ["VAE", "VQ-VAE"], "ssim": [0.78, 0.96]})
    data = {"text/html": frame._repr_html_(), "text/plain": "PLAIN"}
    whole = text(export(shown(display(data))))
    assert "model ssim 0 VAE 0.78 1 VQ-VAE 0.96" in whole
    assert "PLAIN" not in whole


@pytest.mark.parametrize("count", [12, 40])
def test_wide_tables_are_set_smaller_and_cells_do_not_overlap(export: Export, count: int) -> None:
    frame = pd.DataFrame([[1.234567] * count])
    page = export(shown(display({"text/html": frame.to_html()}))).pages[0]
    lines: dict[float, list[tuple[float, float]]] = {}

    def note(part: str, matrix: list[float], _tm: object, _font: object, size: float) -> None:
        if part.strip() == "1.234567":
            width = 3.78 * size  # seven digits of 0.5 em and a point of 0.28 em
            lines.setdefault(matrix[5], []).append((matrix[4], matrix[4] + width))

    page.extract_text(visitor_text=note)
    assert sum(map(len, lines.values())) == count
    for line in lines.values():
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(line))
        assert line[-1][1] < float(page.mediabox.width) - 60


@pytest.mark.parametrize(("rows", "pages"), [(12, 2), (150, 4)])
def test_only_a_table_longer_than_a_page_is_broken(export: Export, rows: int, pages: int) -> None:
    """Forty lines leave no room for twelve more: they go to the next page together."""
    lines = "\n\n".join(["line"] * 36)
    cells = "\n".join(f"| row{number:03} | x |" for number in range(rows))
    pdf = export(f"{lines}\n\n| a | b |\n|---|---|\n{cells}\n\n: Long. {{#tbl-x}}")
    holding = {number for number, page in enumerate(pdf.pages) if "row" in page.extract_text()}
    assert len(re.findall(r"row\d{3}", text(pdf))) == rows
    assert len(pdf.pages) <= pages
    assert (len(holding) == 1) == (rows == 12)


def test_long_lines_of_code_and_output_wrap(export: Export) -> None:
    output = new_output("stream", text="x" * 300)
    page = export(shown(output, source=f'"{"y" * 300}"')).pages[0].extract_text()
    for letter in "xy":
        runs = [len(run) for run in re.findall(f"{letter}+", page)]
        assert sum(runs) == 300
        assert max(runs) <= 101


def test_a_table_of_long_texts_wraps_instead_of_shrinking(export: Export) -> None:
    frame = pd.DataFrame({"text": ["some words " * 40]})
    sizes: list[float] = []

    def note(part: str, _cm: object, _tm: object, _font: object, size: float) -> None:
        if "words" in part:
            sizes.append(size)

    page = export(shown(display({"text/html": frame.to_html()}))).pages[0]
    page.extract_text(visitor_text=note)
    assert min(sizes) > 7


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"},
            "interactive widget",
        ),
        ({"application/json": {"a": 1}}, '"a": 1'),
        ({"application/x-own": "a"}, "no printable form: application/x-own"),
        ({"text/html": "<script>draw()</script>", "text/plain": "<Plot>"}, "<Plot>"),
        ({"text/html": "<iframe src='x.html'></iframe>", "text/plain": "<Frame>"}, "page: not"),
        ({"text/html": "<p>some <b>bold</b></p>", "text/plain": "<HTML>"}, "some bold"),
        ({"text/html": "<a href='x.csv'>the file</a>", "text/plain": "<HTML>"}, "the file"),
        ({"text/latex": r"$\alpha + 17$", "text/plain": "<Math>"}, "17"),
    ],
)
def test_other_outputs_have_their_best_form(
    export: Export, data: dict[str, object], expected: str
) -> None:
    assert expected in text(export(shown(display(data))))


def test_equations_are_set(export: Export) -> None:
    whole = text(export(r"$$L = \left\|\mathrm{sg}[z] - 42\right\|_2^2 + \|e\|$$"))
    assert "42" in whole
    assert "left" not in whole
    assert whole.count("‖") == 4  # of norms, not "∥" for parallel lines
    assert "∥" not in whole


@pytest.mark.parametrize("name", ["align", "align*", "equation", "gather"])
def test_bare_equation_environments_are_set(export: Export, name: str) -> None:
    whole = text(export(f"Before\n\\begin{{{name}}}\n y = 42\n\\end{{{name}}}\nafter"))
    assert "42" in whole
    assert "after" in whole
    assert "begin" not in whole


def test_an_equations_tag_is_shown(export: Export) -> None:
    assert "(7b)" in text(export(r"$$x = y \tag{7b}$$"))


def test_macros_hold_in_later_cells(export: Export) -> None:
    assert "42" in text(export(r"\newcommand{\answer}{42}", r"It is $\answer$."))


def test_citations_are_resolved(export: Export) -> None:
    whole = text(
        export(
            "# Body\n\n@known2000 did, and others [e.g., @known2000].",
            "# References",
            bibliography="references.bib",
            number_sections=True,
            title="T",
        )
    )
    assert "Known (2000) did, and others (e.g., Known 2000)." in whole
    assert "A Study of Bars" in whole
    assert "1 Body" in whole
    assert "2 References" not in whole  # the heading over the entries is not a section
    assert "??" not in whole


@pytest.mark.parametrize(
    ("markdown", "name"),
    [
        ("[@unknown1999; @known2000]", "unknown1999"),
        ("See @fig-absent.", "fig-absent"),
        ("![A caption](absent.png)", "absent.png"),
        ("![One](absent.png) and ![two](missing.png)", "missing.png"),
        (r"$\unknowncommand{x}$", "unknowncommand"),
        (r"\eqref{nowhere}", "nowhere"),
        ('<iframe src="https://example.org"></iframe>', "https://example.org"),
        ("<video src='film.mp4'></video>", "film.mp4"),
        ("\U0010ff00", "no font has"),
    ],
)
def test_what_would_be_missing_is_an_error_that_names_it(
    export: Export, markdown: str, name: str
) -> None:
    message = refusal(
        lambda: export("# Title", markdown, strict=True, bibliography="references.bib")
    )
    assert name in message
    assert "cell 2: " in message


def test_a_missing_bibliography_is_an_error_that_names_it(export: Export) -> None:
    assert "absent.bib" in refusal(lambda: export("[@known2000]", bibliography="absent.bib"))


def test_an_export_error_is_one_that_the_command_line_prints_as_a_line() -> None:
    assert issubclass(ExportError, UserError)


def test_the_same_notebook_gives_the_same_bytes(tmp_path: Path) -> None:
    notebook = new_notebook(
        cells=[new_markdown_cell("# T"), shown(display({"image/svg+xml": SVG}))]
    )
    before = json.dumps(notebook)
    first, second = (TypstPDFExporter().from_notebook_node(notebook)[0] for _ in range(2))
    assert first == second
    assert json.dumps(notebook) == before


def formulas(export: Export, tex: list[str]) -> list[str]:
    """The text of each formula in the PDF of all."""
    whole = text(export(*(f"${one}$ next" for one in tex)))
    return unicodedata.normalize("NFKD", whole).split("next")[: len(tex)]


def test_common_symbols_are_set_as_jupyter_shows_them(export: Export) -> None:
    found = formulas(export, [tex for _, tex in SYMBOLS])
    for (symbols, tex), whole in zip(SYMBOLS, found, strict=True):
        wanted = unicodedata.normalize("NFKD", symbols).split()
        assert [symbol for symbol in wanted if symbol not in whole] == [], tex


def test_common_constructions_show_no_word_of_tex_or_typst(export: Export) -> None:
    """Fonts and accents change the digits; a letter would be part of a command's name."""
    for tex, whole in zip(CONSTRUCTIONS, formulas(export, CONSTRUCTIONS), strict=True):
        assert re.search(r"1.*7|7.*1", whole), tex
        assert not re.search(r"[a-zA-Z\\&#]", whole.replace("mod", "")), tex


def test_columns_of_a_matrix_without_brackets_stand_apart(export: Export) -> None:
    page = export(r"$$\begin{matrix} 1 & 7 \end{matrix}$$").pages[0]
    assert re.search(r"1 +7", page.extract_text(extraction_mode="layout"))


def test_a_notebooks_own_macro_goes_before_the_built_in_one(export: Export) -> None:
    assert "42" in text(export(r"\newcommand{\ket}[1]{42}", r"$\ket{x}$"))
