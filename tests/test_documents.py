"""The report and the notebooks as documents: PDF to print, HTML to send."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from pypdf import PdfReader
from pypdf.generic import DictionaryObject

from vqlib.documents.exporter import TypstPDFExporter
from vqlib.paths import ROOT
from vqlib.report.words import NOT_BORNE_OUT, say

REPORT = ROOT / "report" / "report.ipynb"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FONT_FILES = {"/FontFile", "/FontFile2", "/FontFile3"}


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def headings(notebook: NotebookNode) -> list[str]:
    """The headings that hold no emphasis, formulas or code."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return re.findall(r"^#+ +([^$`*\n]+)$", "\n".join(cells), re.MULTILINE)


def text(pdf: PdfReader) -> str:
    """The text of all pages in one line."""
    whole = "\n".join(page.extract_text() for page in pdf.pages)
    return " ".join(whole.replace("\N{NO-BREAK SPACE}", " ").split())


def abstract(notebook: NotebookNode) -> str:
    """The abstract: the Markdown of the cell tagged `abstract`, or that of the metadata."""
    for cell in notebook.cells:
        if "abstract" in cell.metadata.get("tags", []):
            outputs = [one.data["text/markdown"] for one in cell.get("outputs", [])]
            return outputs[0] if outputs else cell.source
    return notebook.metadata.abstract


def bookmarks(entries: list[Any]) -> list[str]:
    """The titles of a PDF's outline, those of all levels in one list."""
    return [
        title
        for entry in entries
        for title in (bookmarks(entry) if isinstance(entry, list) else [entry.title])
    ]


def fonts(pdf: PdfReader) -> list[DictionaryObject]:
    """Every font of the pages and of the pictures on them."""
    found: list[DictionaryObject] = []

    def look(resources: DictionaryObject) -> None:
        for font in resources.get("/Font", {}).values():
            found.extend(one.get_object() for one in font.get_object()["/DescendantFonts"])
        for thing in resources.get("/XObject", {}).values():
            look(thing.get_object().get("/Resources", {}))

    for page in pdf.pages:
        look(page["/Resources"])
    return found


@pytest.fixture(
    scope="module", params=[REPORT, *NOTEBOOKS], ids=["report", *(path.stem for path in NOTEBOOKS)]
)
def document(request: pytest.FixtureRequest) -> tuple[NotebookNode, PdfReader]:
    """A notebook and its PDF; the report's is the one that is shipped."""
    path = request.param
    if path == REPORT:
        return read(path), PdfReader(path.with_suffix(".pdf"))
    pdf, _ = TypstPDFExporter().from_filename(str(path))
    return read(path), PdfReader(io.BytesIO(pdf))


Document = tuple[NotebookNode, PdfReader]


def test_every_heading_is_in_the_text_and_all_below_the_title_are_bookmarks(
    document: Document,
) -> None:
    notebook, pdf = document
    wanted, whole, marks = headings(notebook), text(pdf), " | ".join(bookmarks(pdf.outline))
    assert wanted
    assert [heading for heading in wanted if heading not in whole] == []
    below = [heading for heading in wanted if heading != pdf.metadata.title]
    assert [heading for heading in below if heading not in marks] == []


def test_nothing_is_left_unresolved_or_as_tex(document: Document) -> None:
    prose = text(document[1])
    for raw in ("??", r"\frac", r"\begin", r"\left", r"\mathcal", "$$", "[@", "@fig-", "@tbl-"):
        assert raw not in prose


def test_the_pages_are_few_and_numbered(document: Document) -> None:
    _, pdf = document
    assert 3 <= len(pdf.pages) <= 12
    for number, page in enumerate(pdf.pages, start=1):
        assert page.extract_text().split()[-1] == str(number)


def test_title_and_language_are_in_the_metadata(document: Document) -> None:
    notebook, pdf = document
    assert pdf.metadata.title == notebook.metadata.get("title", headings(notebook)[0])
    assert pdf.root_object["/Lang"].startswith("en")


def test_all_fonts_are_in_the_file(document: Document) -> None:
    descriptors = [font["/FontDescriptor"].get_object() for font in fonts(document[1])]
    assert descriptors
    assert [one["/FontName"] for one in descriptors if not FONT_FILES & set(one)] == []


def test_the_report_has_authors_abstract_captions_citations_and_bibliography() -> None:
    notebook, pdf = read(REPORT), PdfReader(REPORT.with_suffix(".pdf"))
    whole = text(pdf)
    assert pdf.metadata.author == notebook.metadata.authors[0]["name"]
    beginning = " ".join(abstract(notebook).split()[:6])
    assert f"Abstract {beginning}" in whole
    for kind, count in (("Figure", 3), ("Table", 4)):
        for number in range(1, count + 1):
            assert f"{kind} {number}: " in whole
            assert re.search(rf"{kind} {number}(?!:)", whole)  # the mention
    assert re.search(r"1 Motivation.*2 Related work.*7 Conclusion.*References", whole)
    cited = set(re.findall(r"@([a-z]+\d{4}\w+)", str(notebook.cells)))
    entries = whole.split(" References ")[-1]
    assert len(re.findall(r"\. (?:19|20)\d\d\. ", entries)) == len(cited)


def test_the_reports_figures_stand_near_their_mention() -> None:
    pages = [" ".join(page.extract_text().split()) for page in
             PdfReader(REPORT.with_suffix(".pdf")).pages]  # fmt: skip
    for name in ("Figure 1", "Figure 2", "Figure 3", "Table 1", "Table 2", "Table 3", "Table 4"):
        mention = next(n for n, page in enumerate(pages) if re.search(rf"{name}(?!:)\b", page))
        shown = next(n for n, page in enumerate(pages) if f"{name}: " in page)
        assert 0 <= shown - mention <= 1


def test_only_photographs_are_raster_images_in_the_report() -> None:
    """Figure 1 has three rows of them, the plots have none."""
    pages = PdfReader(REPORT.with_suffix(".pdf")).pages
    holding = [" ".join(page.extract_text().split()) for page in pages for _ in page.images]
    assert len(holding) == 3
    assert all("Figure 1: Test images" in page for page in holding)


def test_every_claim_of_the_shipped_report_holds() -> None:
    assert NOT_BORNE_OUT in text(PdfReader(io.BytesIO(exported_claim(holds=False))))
    for path in [REPORT, *NOTEBOOKS]:
        assert NOT_BORNE_OUT not in str(read(path).cells)
    assert NOT_BORNE_OUT not in text(PdfReader(REPORT.with_suffix(".pdf")))


def exported_claim(holds: bool) -> bytes:
    """Return the PDF of a notebook with one claim."""
    claim = say("Discrete latents are better.", holds=holds)
    cell = nbformat.v4.new_code_cell(
        "say(...)", outputs=[nbformat.v4.new_output("display_data", {"text/markdown": claim.data})]
    )
    pdf, _ = TypstPDFExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    return pdf


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_picture_of_a_notebook_has_an_alt_text_of_a_sentence(path: Path) -> None:
    outputs = [output for cell in read(path).cells for output in cell.get("outputs", [])]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        assert re.match(r"\w.*\w.*\.$", picture.metadata["image/png"]["alt"])


@pytest.mark.parametrize("path", [REPORT, *NOTEBOOKS], ids=lambda path: path.stem)
def test_the_html_page_needs_no_other_file_of_the_project(path: Path) -> None:
    """As `jupyter nbconvert --to html --embed-images` writes it."""
    page, resources = HTMLExporter(embed_images=True).from_filename(str(path))
    assert not resources["outputs"]  # what would be files beside it
    sources = re.findall(r'<(?:img|script|link)\b[^>]*?\b(?:src|href)="([^"]*)"', page)
    assert [one for one in sources if not one.startswith(("data:", "https://"))] == []
    for heading in headings(read(path)):
        assert heading in page.replace("&#39;", "'").replace("&amp;", "&")


def test_a_picture_beside_the_notebook_goes_into_the_html_page(tmp_path: Path) -> None:
    picture = (ROOT / "figures" / "figure2_ssim.png").read_bytes()
    (tmp_path / "plot.png").write_bytes(picture)
    cells = [nbformat.v4.new_markdown_cell("![A plot](plot.png)")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "n.ipynb")
    page, _ = HTMLExporter(embed_images=True).from_filename(str(tmp_path / "n.ipynb"))
    assert base64.b64encode(picture).decode() in page
    assert "plot.png" not in page
