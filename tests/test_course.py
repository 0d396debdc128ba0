"""The course: questions without answers, exercises and their solutions, slides and handouts."""

import ast
import io
import re
from pathlib import Path

import nbformat
import pytest
from nbconvert.exporters import SlidesExporter
from nbformat import NotebookNode
from pypdf import PdfReader
from traitlets.config import Config

from vqlib import check
from vqlib.documents.exporter import TypstPDFExporter
from vqlib.paths import ROOT

FOLDER = ROOT / "notebooks"
COURSE = sorted(FOLDER.glob("*.ipynb"))
EXERCISES = sorted((FOLDER / "exercises").glob("*.ipynb"))
SOLUTIONS = sorted((FOLDER / "exercises" / "solutions").glob("*.ipynb"))
EVERY = [*COURSE, *EXERCISES, *SOLUTIONS]
ANSWERS = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
PLACE = "*Your answers: double-click here and write.*"


def named(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def tagged(path: Path, tag: str) -> list[NotebookNode]:
    return [cell for cell in read(path).cells if tag in cell.metadata.get("tags", [])]


def questions(path: Path) -> list[str]:
    (cell,) = tagged(path, "question")
    return re.findall(r"^\d\. .+$", cell.source, re.MULTILINE)


def section(path: Path) -> str:
    """Return the part of the page of answers that is about a notebook."""
    parts = [part for part in ANSWERS.split("\n## ")[1:] if f"](../notebooks/{named(path)})" in
             part.splitlines()[0]]  # fmt: skip
    assert len(parts) == 1
    return parts[0]


# --- questions and answers ---------------------------------------------------------------------


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_a_notebook_has_questions_and_no_answer(path: Path) -> None:
    assert len(questions(path)) >= 2
    assert [cell.source for cell in tagged(path, "answer")] == [PLACE]
    text = "\n".join(cell.source for cell in read(path).cells)
    assert "<details" not in text
    assert "Worked answer" not in text


@pytest.mark.parametrize("path", [*COURSE, *EXERCISES], ids=named)
def test_each_question_has_an_answer_on_the_teacher_s_page(path: Path) -> None:
    answered = re.findall(r"^\*\*(.+)\*\*\n\n(.+)\n\n\*A good answer\* .+", section(path), re.M)
    assert [question for question, _ in answered] == questions(path)


# --- exercises and solutions -------------------------------------------------------------------


def test_each_exercise_has_a_solution() -> None:
    assert len(EXERCISES) == 2
    assert [path.name for path in EXERCISES] == [path.name for path in SOLUTIONS]


@pytest.mark.parametrize(("exercise", "solution"), list(zip(EXERCISES, SOLUTIONS, strict=True)))
def test_a_solution_differs_from_its_exercise_in_the_functions_only(
    exercise: Path, solution: Path
) -> None:
    pairs = list(zip(read(exercise).cells, read(solution).cells, strict=True))
    for empty, full in pairs[1:]:  # the first is the title
        given = full.source.replace("](../../", "](../")
        if "exercise" in empty.metadata.get("tags", []):
            assert given.startswith(empty.source.removesuffix("    ..."))
        else:
            assert given == empty.source
        assert full.metadata == empty.metadata


@pytest.mark.parametrize("path", EXERCISES, ids=named)
def test_a_function_to_write_is_empty_and_the_next_cell_checks_it(path: Path) -> None:
    cells = read(path).cells
    tasks = [n for n, cell in enumerate(cells) if "exercise" in cell.metadata.get("tags", [])]
    for n in tasks:
        (function,) = ast.parse(cells[n].source).body
        assert isinstance(function, ast.FunctionDef)
        assert [ast.unparse(line) for line in function.body[1:]] == ["..."]
        assert cells[n + 1].source == f"check.{function.name}({function.name})"
        assert "check" in cells[n + 1].metadata.tags
    assert len(tasks) == len(tagged(path, "check"))


def test_the_exercises_have_all_checks() -> None:
    called = {cell.source.split("(")[0] for path in EXERCISES for cell in tagged(path, "check")}
    models = ("train_", "Your")
    assert called == {f"check.{name}" for name in check.__all__ if not name.startswith(models)}


@pytest.mark.parametrize(("paths", "mark"), [(EXERCISES, "○"), (SOLUTIONS, "✓")])
def test_the_stored_outputs_are_what_the_checks_say(paths: list[Path], mark: str) -> None:
    for path in paths:
        shown = [cell.outputs[0].data["text/plain"] for cell in tagged(path, "check")]
        assert [text[0] for text in shown] == [mark] * len(shown)
        (training,) = tagged(path, "training")
        assert any("image/png" in out.get("data", {}) for out in training.outputs) == (mark == "✓")


@pytest.mark.parametrize("path", [*EXERCISES, *SOLUTIONS], ids=named)
def test_an_exercise_opens_without_a_question_about_its_kernel_and_says_how_long_it_takes(
    path: Path,
) -> None:
    notebook = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert re.search(r"\*\*How long it takes:\*\* .*\d+ minutes", notebook.cells[0].source)


@pytest.mark.parametrize("path", [*EXERCISES, *SOLUTIONS], ids=named)
def test_the_links_of_an_exercise_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells)
    targets = re.findall(r"\]\(([^)#\s]+)\)", text)
    assert targets
    assert [target for target in targets if not (path.parent / target).is_file()] == []


# --- slides and handouts -----------------------------------------------------------------------


@pytest.mark.parametrize("path", COURSE, ids=named)
def test_the_slides_have_a_section_for_each_heading_and_no_code_to_run(path: Path) -> None:
    headings = [cell for cell in read(path).cells if re.match("##? ", cell.source)]
    exporter = SlidesExporter(exclude_input=True)
    page = exporter.from_filename(str(path))[0].split('<div class="slides">')[1]
    assert len(re.findall(r"<section>\s*<section", page)) == len(headings)
    assert "double-click here" not in page
    assert "jp-CodeMirrorEditor" not in page


@pytest.mark.parametrize("path", EXERCISES, ids=named)
def test_a_handout_has_functions_and_questions_but_no_place_for_answers(path: Path) -> None:
    page = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
    (tags,) = re.findall(r'remove_cell_tags="(\[.*\])"', page)
    removed = {"enabled": True, "remove_cell_tags": set(ast.literal_eval(tags))}
    exporter = TypstPDFExporter(config=Config(TagRemovePreprocessor=removed))
    pdf, _ = exporter.from_filename(str(path))
    pages = PdfReader(io.BytesIO(pdf)).pages
    text = " ".join(" ".join(page.extract_text() for page in pages).split())
    assert "double-click here" not in text
    assert "not solved yet:" not in text
    for cell in tagged(path, "exercise"):
        assert cell.source.split("(")[0] in text
    assert "Questions 1." in text
