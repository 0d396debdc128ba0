"""Any notebook becomes a PDF: all of it is shown as Jupyter shows it, or a note says what is not.

The cases are from public reports of people whose notebooks other exporters refuse or mutilate.
"""

import base64
import io
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib.animation
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from conftest import examples
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output, new_raw_cell
from PIL import Image
from pypdf import PdfReader
from test_exporter import SVG, alt_texts, display, shown, text

from vqlib.documents import compiler
from vqlib.documents.exporter import TypstPDFExporter, TypstPDFNoCodeExporter


class Printed:
    """A notebook's PDF, its text in one line, and the notes of what it lacks."""

    def __init__(self, *cells: NotebookNode | str, folder: Path | None = None, **metadata: Any):
        made = [new_markdown_cell(one) if isinstance(one, str) else one for one in cells]
        notebook = new_notebook(cells=made, metadata=metadata)
        place = {"metadata": {"path": str(folder)}} if folder else None
        content, resources = TypstPDFExporter().from_notebook_node(notebook, place)
        self.content = content
        self.pdf = PdfReader(io.BytesIO(content))
        self.text = text(self.pdf)
        self.notes: list[str] = resources["notes"]

    def colors(self) -> list[tuple[int, ...]]:
        """The colour in the middle of each raster picture, in the order of the pages."""
        pictures = (image.image for page in self.pdf.pages for image in page.images)
        return [one.convert("RGB").getpixel((one.width // 2, one.height // 2)) for one in pictures]

    def links(self) -> list[str]:
        """The targets of all links: addresses, and `inside` for those within the PDF."""
        found = []
        for page in self.pdf.pages:
            for note in page.get("/Annots", []):
                action = note.get_object().get("/A", {})
                found.append(action.get("/URI") or "inside")
        return found


def picture(color: str = "blue", size: tuple[int, int] = (8, 4), kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def attached(source: str, **pictures: str) -> NotebookNode:
    """A Markdown cell with an attachment of a colour under each name."""
    forms = {name: {"image/png": in_base64(picture(color))} for name, color in pictures.items()}
    return new_markdown_cell(source, attachments=forms)


def widths(pdf: PdfReader) -> list[float]:
    """The widths in points at which the first page shows its raster pictures."""
    content = pdf.pages[0].get_contents().get_data().decode("latin-1")
    return [float(number) for number in re.findall(r"q ([\d.]+) 0 0 \S+ \S+ \S+ cm/x", content)]


def fills(pdf: PdfReader) -> set[tuple[float, ...]]:
    """The colours with which the first page fills areas and text."""
    content = pdf.pages[0].get_contents().get_data().decode("latin-1")
    found = re.findall(r"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|scn)\b", content)
    return {tuple(map(float, numbers)) for numbers in found}


# --- A: cells are read one by one, formulas first, then Markdown and HTML -------------------


def test_attachments_of_two_cells_with_one_name_are_two_pictures() -> None:
    source = "![image.png](attachment:image.png)"
    cells = [attached(source, **{"image.png": color}) for color in ("blue", "red")]
    assert Printed(*cells).colors() == [(0, 0, 255), (255, 0, 0)]


def test_an_attachment_named_like_an_outputs_file_replaces_nothing() -> None:
    plot = shown(display({"image/png": in_base64(picture("lime"))}))
    cell = attached("![](attachment:output_1_0.png)", **{"output_1_0.png": "blue"})
    assert Printed(plot, cell).colors() == [(0, 255, 0), (0, 0, 255)]


@pytest.mark.parametrize("name", ["my plot (1).png", "Bild ä.png", "a%20b.png"])
def test_attachments_may_have_any_name(name: str) -> None:
    written = name.replace("%", "%25").replace(" ", "%20").replace("(", "%28").replace(")", "%29")
    assert Printed(attached(f"![](attachment:{written})", **{name: "red"})).colors()
    if "(" not in name and "%" not in name:
        assert Printed(attached(f"![](attachment:{name})", **{name: "red"})).colors()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("The sum is $ x + y $ here.", "The sum is 𝑥 + 𝑦 here."),
        (r"32$\times$32 pixels", "32×32 pixels"),
        (r"Inline \\(x = 41\\) and \\[ y = 17 \\]", "Inline 𝑥 = 41 and 𝑦 = 17"),
        (r"$a &lt; b$", "𝑎 < 𝑏"),
        (r"$\LaTeX$ here", "LaTeX here"),
        (r"$a\hspace{5mm}b$", "𝑎 𝑏"),
        (r"$\rm d x$", "d"),
        (r"$\hbox{if so}$", "if so"),
        (r"$\left\{ 1 \middle| 7 \right\}$", "{1 | 7}"),
        (r"$\text{where $x$ is}$", "where 𝑥 is"),
        (r"$`a`$ is code: `$b$`", "$b$"),
        ("It costs $5 and later $10 more.", "It costs $5 and later $10 more."),
        (r"\$5 and \$6", "$5 and $6"),
        (r"$\R$ and ${a \over b}$", "ℝ"),
        (r"$\begin{dcases} a & b \\ c & d \end{dcases}$", "𝑎"),
        (r"$\ce{H2O -> OH^- + H+}$", "⟶"),
    ],
)
def test_formulas_are_what_jupyter_takes_for_one(source: str, expected: str) -> None:
    printed = Printed("# T", source)
    assert re.sub(r"\s", "", expected) in re.sub(r"\s", "", printed.text)
    assert not printed.notes


def test_references_to_formulas_have_their_numbers_and_tags() -> None:
    printed = Printed(
        r"\begin{equation} a = b \label{eq:one} \end{equation}",
        r"$$ c = d \tag{7b} \label{eq:two} $$",
        r"By \eqref{eq:one} and $\eqref{eq:two}$.",
    )
    assert "By (1) and (7b)." in printed.text


@pytest.mark.parametrize(
    "definition",
    [
        r"$$\newcommand{\E}{\mathbb{E}}$$", r"$\def\E{\mathbb{E}}$", r"$\let\E\sum$",
        r"$\DeclareMathOperator{\E}{E}$", r"$\newcommand{\E}[1][q]{E_{#1}}$",
    ],
)  # fmt: skip
def test_macros_in_dollars_hold_for_the_notebook(definition: str) -> None:
    printed = Printed(definition, r"Then $\E[x]$.")
    assert r"\E" not in printed.text
    assert not printed.notes


def test_a_macro_that_holds_itself_ends() -> None:
    assert "after" in Printed(r"$\newcommand{\a}{\a\a}$", r"$\a$", "after").text


@pytest.mark.parametrize(
    "cells",
    [
        ["[Part two](#Part-two)", "## Part two"],
        ['[x](#sec2)', '<a id="sec2"></a>\n## Part two'],
        ['[x](#sec2)', '<a name="sec2"></a>\n\n## Part two'],
        ["[d](#1.-Data)", "## 1. Data"],
        ["[d](#my%20part)", "## My part"],
    ],
)  # fmt: skip
def test_links_lead_to_headings_and_anchors_of_other_cells(cells: list[str]) -> None:
    printed = Printed("# T", *cells)
    assert printed.links() == ["inside"]
    assert not printed.notes


def test_a_link_to_nowhere_keeps_its_text() -> None:
    printed = Printed("[the text](#nowhere)")
    assert "the text" in printed.text
    assert printed.links() == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("The **np**.mean function.", "The np.mean function."),
        ("The **f**(x) and *g*[0] and `h`{1}.", "The f(x) and g[0] and h{1}."),
        ("All *.py and *.txt files.", "All *.py and *.txt files."),
        ("~~x~~.y", "x.y"),
        ("word[^1].next\n\n[^1]: A note.", ".next"),
        ("https://a.org/@x and @property", "https://a.org/@x and @property"),
        ("use the @jit decorator", "use the @jit decorator"),
        ("a@b.org, #tag, $5, 50%, x_y, <3, {z}", "a@b.org, #tag, $5, 50%, x_y, <3, {z}"),
        ("= no heading\n+ no list", "= no heading"),
        ("10<sup>6</sup> and H<sub>2</sub>O", "10 6 and H 2 O"),
        ("- [ ] open\n- [x] done", "open"),
        (r"// no comment /* at all */ \u{41}", r"// no comment /* at all */ \u{41}"),
    ],
)
def test_text_is_text_whatever_typst_would_make_of_it(source: str, expected: str) -> None:
    printed = Printed("# T", source)
    assert re.sub(r"\s", "", expected) in re.sub(r"\s", "", printed.text)
    assert not printed.notes


def test_cells_do_not_share_the_names_of_links_and_footnotes() -> None:
    printed = Printed(
        "See [a][1].\n\n[1]: https://example.org/a", "See [b][1].\n\n[1]: https://example.org/b",
        "One[^n].\n\n[^n]: First note.", "Two[^n].\n\n[^n]: Second note.",
    )  # fmt: skip
    assert {"https://example.org/a", "https://example.org/b"} <= set(printed.links())
    assert "First note." in printed.text
    assert "Second note." in printed.text


def test_a_fence_with_a_title_is_a_block_of_code() -> None:
    page = Printed('```python title="a.py"\nx = 1\nyy = 2\n```').pdf.pages[0].extract_text()
    assert "x = 1\nyy = 2" in page
    assert "title=" not in page


@pytest.mark.parametrize(
    ("source", "link", "words"),
    [
        ('See <a href="https://a.org">this</a>', "https://a.org", ["See this"]),
        ('<a target="_blank" href="https://a.org">it</a>', "https://a.org", ["it"]),
        ("<table><tr><th>h</th></tr><tr><td>1</td><td>2</td></tr></table>", None, ["h", "1", "2"]),
        ("<h1>My title</h1>\n\nA <b>bold</b> <i>word</i>.\n\n<ul><li>one</li><li>two</li></ul>",
         None, ["My title", "A bold word.", "• one", "• two"]),
        ("<div>\n\n    <p>indented</p>\n\n</div>", None, ["indented"]),
        ("<div>\n    <p>inside</p>\n</div>", None, ["inside"]),
        ("<details><summary>More</summary>\n\n- item\n</details>", None, ["More", "• item"]),
        ("<center>mid</center> <font color='red'>red</font> <kbd>Esc</kbd>", None,
         ["mid", "red", "Esc"]),
        ("<dl><dt>term</dt><dd>what it is</dd></dl>", None, ["term", "what it is"]),
        ("<ol start=3><li>three<li>four</ol>", None, ["3. three", "4. four"]),
        ("unclosed <b>bold and <i>more", None, ["unclosed bold and more"]),
    ],
)  # fmt: skip
def test_simple_html_is_shown(source: str, link: str | None, words: list[str]) -> None:
    printed = Printed("# T", source)
    assert [word for word in words if word not in printed.text] == []
    assert printed.links() == ([link] if link else [])
    assert "<" not in printed.text
    assert not printed.notes


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("![b](https://a.org/b.svg)", "picture not available: https://a.org/b.svg (b)"),
        ("[![b](https://a.org/b.svg)](https://a.org)", "picture not available"),
        ("![what](absent.png)", "picture not available: absent.png (what)"),
        ("<img src='absent.png'>", "picture not available: absent.png"),
        ("![x](foreign.svg)", "picture not available: foreign.svg"),
        ("![x](broken.png)", "picture not available: broken.png"),
        ("![x](attachment:gone.png)", "picture not available: attachment:gone.png"),
        ("<video src='a.mp4'>Your browser does not support it</video>", "video: not in print"),
        ("<iframe src='https://www.youtube.com/embed/x'></iframe>", "video: not in print"),
        ("<iframe src='https://a.org/x'></iframe>", "embedded page: not in print"),
        ("<audio controls><source src='a.wav'></audio>", "audio: not in print"),
    ],
)
def test_what_cannot_be_shown_leaves_a_note_in_its_place_and_in_the_log(
    tmp_path: Path, source: str, note: str
) -> None:
    foreign = SVG.replace("</svg>", "<foreignObject><p>x</p></foreignObject></svg>")
    (tmp_path / "foreign.svg").write_text(foreign)
    (tmp_path / "broken.png").write_bytes(picture()[:40])
    printed = Printed("# T", f"before\n\n{source}\n\nafter", folder=tmp_path)
    assert re.search(rf"before.*\[{re.escape(note)}.*after", printed.text)
    assert len(printed.notes) == 1
    assert printed.notes[0].startswith(f"cell 2: {note}")
    assert "browser" not in printed.text.replace("only a browser shows it", "")


def test_latex_output_with_text_is_shown() -> None:
    latex = r"\textbf{Result:} the value $x = 42$"
    printed = Printed(shown(display({"text/latex": latex, "text/plain": "<Latex>"})))
    assert "Result: the value" in printed.text
    assert "42" in printed.text
    assert "textbf" not in printed.text


def test_raw_cells_are_verbatim() -> None:
    printed = Printed(new_raw_cell("---\ntitle: x\n---\n\\newpage"))
    assert r"--- title: x --- \newpage" in printed.text


def test_a_formula_that_typst_refuses_costs_only_its_cell() -> None:
    printed = Printed("before", r"$\frac{1}{$ and \left( $\begin{matrix} a & b$ words", "after")
    assert re.search("before.*words.*after", printed.text)


def test_a_cell_on_which_the_layout_fails_is_shown_as_it_is_written(tmp_path: Path) -> None:
    cells = [
        compiler.Chunk("cell 1", "before", ""),
        compiler.Chunk("cell 2", "#go(5)[x];", "the source"),  # Typst names a line of report.typ
        compiler.Chunk("cell 3", "after", ""),
    ]
    notes: list[str] = []
    pdf = compiler.compile_pdf({}, False, cells, tmp_path, system_fonts=False, notes=notes)
    assert re.search("before.*the source.*after", text(PdfReader(io.BytesIO(pdf))))
    assert len(notes) == 1
    assert notes[0].startswith("cell 2: shown as it is written: ")


# --- B: nothing is missing, and what is, is said --------------------------------------------


def test_characters_that_no_font_has_are_said_with_their_cells() -> None:
    lacking = "\U0010ff00\U0010ff01"
    code = shown(new_output("stream", text=f"b {lacking[0]}"), source=f"a = '{lacking[1]}'")
    printed = Printed("# T", "text", code)
    assert len(printed.notes) == 1
    assert printed.notes[0].startswith(f"cell 3: no font has {lacking[1]} {lacking[0]}: install")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep fonts elsewhere")
def test_a_font_of_the_system_stands_in_for_typsts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = "\U0010ff02"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / ".local/share"))
    tables = f"<table><tr><td>{own}</td></tr></table>"
    cell = shown(new_output("stream", text=own), display({"text/html": tables}), source=f"# {own}")
    compiler._fonts.cache_clear()
    assert "no font has" in Printed("# T", own, cell).notes[0]
    add_font(own, tmp_path / ".local/share/fonts/own.ttf")
    compiler._fonts.cache_clear()
    printed = Printed("# T", own, cell)
    compiler._fonts.cache_clear()
    assert printed.notes == []
    assert printed.text.count(own) == 4


def add_font(character: str, path: Path) -> None:
    """Write a font that has one character, a black square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (500, 700), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "own"])
    builder.setupCharacterMap({ord(character): "own"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "own": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "own": (600, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Own", "styleName": "Regular", "psName": "Own-Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True)
    builder.save(path)


@pytest.mark.parametrize(
    ("metadata", "width"), [({}, 150), ({"width": 100}, 75), ({"width": "100", "height": 50}, 75)]
)
def test_a_picture_has_the_size_that_a_browser_gives_it(
    metadata: dict[str, Any], width: float
) -> None:
    content = in_base64(picture(size=(200, 100)))
    printed = Printed(shown(display({"image/png": content}, **{"image/png": metadata})))
    assert widths(printed.pdf) == [pytest.approx(width)]


@pytest.mark.parametrize(
    ("source", "width"),
    [
        ("![](p.png)", 150),
        ("<img src='p.png' width=100>", 75),
        ("<img src='p.png' width='50%'>", 229.5),
        ("<img src='p.png' style='width: 2in'>", 144),
        ("<img src='p.png' height='50px'>", 75),
        ("<p align='center'><img src='p.png' width=100></p>", 75),
        ("<img src=p.png width=9999>", 459),
    ],
)
def test_a_picture_in_text_has_the_size_that_its_attributes_ask_for(
    tmp_path: Path, source: str, width: float
) -> None:
    (tmp_path / "p.png").write_bytes(picture(size=(200, 100)))
    assert widths(Printed(source, folder=tmp_path).pdf) == [pytest.approx(width, abs=0.1)]


def test_the_text_of_a_picture_is_its_alt_text_and_no_caption(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(picture())
    printed = Printed("![A blue bar](p.png)", folder=tmp_path)
    assert alt_texts(printed.pdf) == ["A blue bar"]
    assert "blue bar" not in printed.text


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ("Step 1\rStep 9\r", "Step 9"),
        ("100%\r 50%", "50%"),
        ("abc\b\b\bxy", "xyc"),
        ("\x1b[31mred\x1b[0m \x1b]8;;http://a\x07link\x1b]8;;\x07", "red link"),
        ("a\r\nb", "a b"),
    ],
)
def test_a_stream_is_shown_as_a_terminal_leaves_it(stream: str, expected: str) -> None:
    assert Printed(shown(new_output("stream", text=stream))).text == f"{expected} 1"


def test_streams_that_follow_each_other_are_one() -> None:
    parts = [new_output("stream", name="stderr", text=f"{n}%\r") for n in (10, 50, 99)]
    assert Printed(shown(*parts)).text == "99% 1"


def test_sympys_formula_is_preferred_to_its_picture() -> None:
    data = {"text/latex": r"$\displaystyle \frac{41}{2}$", "text/plain": "41/2",
            "image/png": in_base64(picture())}  # fmt: skip
    printed = Printed(shown(display(data)))
    assert printed.colors() == []
    assert "41" in printed.text


@pytest.mark.parametrize("kind", ["gif", "webp", "bmp", "tiff"])
def test_pictures_of_other_kinds_are_shown(kind: str) -> None:
    data = {f"image/{kind}": in_base64(picture("red", kind=kind)),
            "text/plain": "<IPython.core.display.Image object>"}  # fmt: skip
    printed = Printed(shown(display(data)))
    assert len(printed.colors()) == 1
    assert "IPython" not in printed.text


def test_a_picture_that_cannot_be_read_is_said_and_its_text_shown() -> None:
    printed = Printed(shown(display({"image/x-own": "AAAA", "text/plain": "the text"})))
    assert "picture not available: image/x-own" in printed.text
    assert "the text" in printed.text
    assert len(printed.notes) == 1


def test_an_animation_is_its_first_frame_and_a_note() -> None:
    figure, axes = plt.subplots(figsize=(1, 1))
    (line,) = axes.plot([0], [0])
    with plt.rc_context({"animation.embed_limit": 1}):
        moving = matplotlib.animation.FuncAnimation(figure, lambda n: [line], frames=2)
        page = moving.to_jshtml()
    plt.close(figure)
    printed = Printed(shown(display({"text/html": page, "text/plain": "<Animation>"})))
    assert len(printed.colors()) == 1
    assert "[animation: not in print]" in printed.text
    assert "Once" not in printed.text


def test_an_estimator_is_its_text() -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=17)
    data = {"text/html": model._repr_html_(), "text/plain": repr(model)}
    assert Printed(shown(display(data))).text == "LogisticRegression(C=17) 1"


def test_tables_of_pandas_keep_all_cells() -> None:
    index = pd.MultiIndex.from_product([["alpha", "beta"], ["one", "two"]], names=["g", "h"])
    frame = pd.DataFrame({("top", "x"): range(4), ("top", "y"): range(4, 8)}, index=index)
    for page in (frame.to_html(), frame.style.format(precision=1)._repr_html_()):
        whole = Printed(shown(display({"text/html": page}))).text
        cells = ["top", "g", "h", "x", "y", "alpha", "beta", "one", "two", "two", *"01234567"]
        assert [cell for cell in cells if cell not in whole] == []


def test_a_styled_table_keeps_its_colours() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]})
    style = frame.style.highlight_max(color="#00ff00").bar(subset=["b"], color="#ff0000")
    shades = fills(Printed(shown(display({"text/html": style._repr_html_()}))).pdf)
    assert (0.0, 1.0, 0.0) in shades
    assert (0.0, 1.0, 0.0) not in fills(Printed(shown(display({"text/html": frame.to_html()}))).pdf)
    assert b"/ShadingType" in Printed(shown(display({"text/html": style._repr_html_()}))).content


def test_a_table_in_a_table_is_shown() -> None:
    inner = pd.DataFrame({"inside": [1.5] * 3}).to_html()
    wide = pd.DataFrame([[1.234567] * 20]).to_html()
    printed = Printed(f"<table><tr><td>outside</td><td>{inner}</td><td>{wide}</td></tr></table>")
    assert all(word in printed.text for word in ("outside", "inside", "1.5", "1.234567"))
    assert not printed.notes


@pytest.mark.parametrize(
    ("style", "shade"),
    [
        ("color: rgb(255, 0, 0)", (1.0, 0.0, 0.0)),
        ("background: yellow", (1.0, 1.0, 0.0)),
        ("background-color: rgba(0, 0, 255, 0.0)", None),
        ("background-color: rgba(0, 0, 255, 1)", (0.0, 0.0, 1.0)),
        ("color: white; background: blue", (1.0, 1.0, 1.0)),
        ("color: white", None),  # as on a black page
        ("color: var(--own)", None),
    ],
)
def test_a_cell_has_the_colours_of_its_style(style: str, shade: tuple[float, ...] | None) -> None:
    printed = Printed(f"<table><tr><td style='{style}'>word</td></tr></table>")
    assert "word" in printed.text
    assert (shade in fills(printed.pdf)) if shade else not fills(printed.pdf)


def test_a_table_wider_than_a_page_becomes_several_with_all_its_columns() -> None:
    frame = pd.DataFrame({f"a long column {n:02}": [n * 1000] for n in range(30)}, index=["name"])
    printed = Printed(shown(display({"text/html": frame.to_html()})))
    assert [n for n in range(30) if f"column {n:02}" not in printed.text] == []
    assert [n for n in range(1, 30) if str(n * 1000) not in printed.text] == []
    assert printed.text.count("name") == 4
    narrow = Printed(shown(display({"text/html": frame.iloc[:, :4].to_html()})))
    assert narrow.text.count("name") == 1


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ({"text/html": "<style>p {}</style><script>MathJax.Hub.Config({});</script>",
          "text/plain": "<IPython.core.display.HTML object>"}, "output of a script: not in print"),
        ({"application/vnd.plotly.v1+json": {}, "text/html": "<div></div><script>x</script>"},
         "interactive Plotly figure: not in print"),
        ({"application/javascript": "alert(1)", "text/plain": "<Javascript>"},
         "output of a script: not in print"),
        ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"},
         "interactive widget: not in print"),
    ],
)  # fmt: skip
def test_what_only_a_browser_runs_is_said(data: dict[str, Any], note: str) -> None:
    printed = Printed(shown(display(data)))
    assert f"[{note}]" in printed.text
    assert printed.notes == [f"cell 1: {note}"]
    assert "IPython" not in printed.text


# --- it reads well --------------------------------------------------------------------------


def test_a_wrapped_line_of_code_is_indented_and_marked() -> None:
    words = " ".join(f"word{n:02}" for n in range(30))
    page = Printed(shown(source=f"if x:\n    call({words})")).pdf.pages[0].extract_text()
    assert page.count("↪") >= 1
    assert len(re.findall(r"word\d\d", page)) == 30


def test_a_long_table_repeats_its_head_on_each_page() -> None:
    frame = pd.DataFrame({"heading": range(1000, 1150)})
    pages = Printed(shown(display({"text/html": frame.to_html()}))).pdf.pages
    assert len(pages) > 1
    assert all("heading" in page.extract_text() for page in pages)


def test_a_picture_that_would_leave_half_a_page_empty_is_smaller() -> None:
    plot = shown(display({"image/png": in_base64(picture(size=(600, 600)))}))
    lines = shown(source="\n".join(f"line{n}" for n in range(40)))
    pages = Printed(lines, plot, "after").pdf.pages
    assert len(pages[0].images) == 1
    assert 200 < widths(Printed(lines, plot).pdf)[0] < 450
    assert widths(Printed(plot).pdf) == [450]


def test_only_a_heading_that_comes_first_is_the_title() -> None:
    assert Printed("# The title\n\nProse.").pdf.metadata.title == "The title"
    late = Printed("Prose.", "# No title")
    assert late.pdf.metadata.title is None
    assert [entry.title for entry in late.pdf.outline] == ["No title"]


@pytest.mark.parametrize("cell", [shown(source="import x"), "[text](https://a.org)"])
def test_code_is_highlighted_and_links_have_a_colour(cell: NotebookNode | str) -> None:
    content = Printed(cell).pdf.pages[0].get_contents().get_data()
    assert re.search(rb"cs (0\.\d+) (?!\1)0\.\d+ \S+ scn", content)  # other than grey
    content = Printed("text").pdf.pages[0].get_contents().get_data()
    assert not re.search(rb"cs (0\.\d+) (?!\1)0\.\d+ \S+ scn", content)


def test_an_exporter_of_its_own_leaves_out_the_code() -> None:
    cells = [shown(new_output("stream", text="outcome"), source="secret = 1")]
    content, _ = TypstPDFNoCodeExporter().from_notebook_node(new_notebook(cells=cells))
    assert text(PdfReader(io.BytesIO(content))) == "outcome 1"


# --- any notebook at all --------------------------------------------------------------------

SPECIAL = ["*", "**", "_", "`", "```\n", "$", "$$", "\\", "{", "}", "[", "]", "(", ")", "<", ">",
           "#", "# ", "- ", "1. ", "> ", "|", "|-|\n", "!", "![x](y.png)", "[x](y)", "[^1]", "@x",
           "\n", "\n\n", "    ", "&amp;", "~~", "\\(", "\\\\(", "\\\\)", "\\frac", "\\begin{align}",
           "\\end{align}", "\\left(", "\\right)", "^", "_2", "<b>", "</b>", "<div>", "</div>",
           "<table><tr><td>", "</table>", "<img src=x>", "<a href='#x'>", "</a>", "\x00", "\x1b[0m",
           "\r", "\b", "\ud800", "\u202e", "/*", "//", "\\newcommand{\\a}{\\a}", "\\a",
           "http://a.b"]  # fmt: skip
WORDS = st.from_regex(r"[a-z]{3}[0-9]{2}", fullmatch=True)
TEXT = st.lists(WORDS | st.sampled_from(SPECIAL) | st.text(max_size=4), max_size=14).map(" ".join)
MIMETYPES = ["text/plain", "text/html", "text/markdown", "text/latex", "image/png",
             "image/svg+xml", "application/json", "application/x-own"]  # fmt: skip
OUTPUT = st.one_of(
    TEXT.map(lambda text: new_output("stream", text=text)),
    st.dictionaries(st.sampled_from(MIMETYPES), TEXT, max_size=3).map(display),
)
CELL = st.one_of(
    TEXT.map(new_markdown_cell),
    TEXT.map(new_raw_cell),
    st.builds(lambda source, outputs: new_code_cell(source, outputs=outputs),
              TEXT, st.lists(OUTPUT, max_size=2)),
)  # fmt: skip


@pytest.mark.faults
@examples(40)
@given(st.lists(CELL, max_size=4))
def test_any_notebook_is_printed_and_no_word_of_code_or_streams_is_lost(
    cells: list[NotebookNode],
) -> None:
    printed = Printed(*cells)
    squeezed = re.sub(r"[\s\u200b↪]", "", printed.text)
    for cell in cells:
        if cell.cell_type == "code":
            assert_there(cell.source, squeezed)
            # Streams that follow each other are one text, and "\r" in one overwrites the other.
            streams = [output.text for output in cell.outputs if output.output_type == "stream"]
            if not re.search("[\r\b\x1b]", "".join(streams)):
                for stream in streams:
                    assert_there(stream, squeezed)
        elif cell.cell_type == "raw":
            assert_there(cell.source, squeezed)


@pytest.mark.faults
@examples(40)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=8), min_size=1, max_size=6), st.data())
def test_no_word_of_markdown_and_html_is_lost(lines: list[list[str]], data: st.DataObject) -> None:
    frames = ["{}", "**{}**", "_{}_ x", "> {}", "- {}", "1. {}", "## {}", "`{}`", "[{}](#a)",
              "<div>{}</div>", "<ul><li>{}</ul>", "<table><tr><td>{}</table>", "| {} |\n|-|",
              "```\n{}\n```", "    {}", "~~{}~~", "<b>{}", "{}[^1]\n\n[^1]: note", "# {}",
              "<details>{}</details>", "<h2>{}</h2>", "<p align=center>{}</p>",
              "<sup>{}</sup>"]  # fmt: skip
    blocks = [data.draw(st.sampled_from(frames)).format(" ".join(line)) for line in lines]
    printed = Printed("\n\n".join(blocks), *blocks)
    squeezed = re.sub(r"[\s\u200b↪]", "", printed.text)
    for word in (word for line in lines for word in line):
        assert squeezed.count(word) >= 2


def assert_there(source: str, squeezed: str) -> None:
    for word in re.findall(r"\b[a-z]{3}\d\d\b", source):
        assert word in squeezed
