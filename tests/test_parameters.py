"""The parameters of a notebook are read as Python reads its cell, whatever stands in it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from conftest import refusal
from nbformat.v4 import new_code_cell, new_notebook

from vqlib.study.parameters import parameters_of, typed_parameters

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a notebook with this cell of parameters."""

    def write(cell: str) -> Path:
        cells = [new_code_cell("x = 1"), new_code_cell(cell, metadata={"tags": ["parameters"]})]
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.ipynb"
        nbformat.write(new_notebook(cells=cells), path)
        return path

    return write


@pytest.mark.parametrize(
    ("cell", "text", "value"),
    [
        ("k: int | None = None", "3", 3),
        ("k: int | None = 128", "None", None),
        ("k: 'int | None' = 128", "None", None),
        ("k: Optional[int] = 128", "None", None),
        ("k: typing.Union[int, float] = 1", "1e-3", 1e-3),
        ("k: int | float = 1", "7", 7),
        ("k: str = 'a=b'", "c=d: # e", "c=d: # e"),
        ("k: str = 'x'  # K=512", "007", "007"),
        ("k: int = 512  # K=512", "64", 64),
        ("k = 256  # images a step (default=3)", "8", 8),
        ("k: Literal['a', 'b'] = 'a'", "b", "b"),
        ("k: Literal[16, 32] = 16", "32", 32),
        ("k: Literal['auto'] | int = 'auto'", "5", 5),
        ("k: Annotated[float, 'of Adam'] = 1e-3", "1e-4", 1e-4),
        ("k: list[int] = [1]", "[2, 3]", [2, 3]),
        ("k: list = [1]", "8,5,5", [8, 5, 5]),
        ("k: tuple = (1,)", "8", (8,)),
        ("k = {'a': 1}", "{'b': 2}", {"b": 2}),
        ("k = -1", "-2", -2),
        ("k = True", "false", False),
        ("k: int", "5", 5),
        ("a, k = 'x', 2", "3", 3),
        ("a = k = 2", "3", 3),
        ("a = 1; k = 2", "3", 3),
        ("k = (\n    1\n)", "3", 3),
        ("%matplotlib inline\nk = 1", "3", 3),
        ("'''\nk = 'no'\n'''\n# k = 'no'\nk = 1", "3", 3),
        ("k = 'x'\nk = 1", "3", 3),  # the last one counts
        ("k: Path = ROOT / 'x'", "y", "y"),
        ("k = 1 + 1", "y", "y"),
        ("limit: int = 128\nk = 1", "3", 3),
    ],
)
def test_text_becomes_what_the_cell_declares(
    write: Write, cell: str, text: str, value: Any
) -> None:
    converted = typed_parameters(write(cell), {"k": text})["k"]
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("cell", "value", "facts"),
    [
        ("k: int | None = None", "few", ["whole number", "'few'"]),
        ("k: Literal['a', 'b'] = 'a'", "c", ["'c'", "a, b"]),
        ("k: list = []", "[3", ["list", "[3"]),
        ("k: dict = {}", "3", ["dict", "3"]),
        ("k: int | float = 1", "x", ["number", "'x'"]),
        ("kk = 1", "3", ["'k'", "kk"]),
        ("if True:\n    k = 1\nkk = 1", "3", ["'k'", "kk"]),
        ("k = = 1", "3", ["cell 2", "line 1"]),
        ("# k = 1", "3", ["'parameters'"]),
    ],
)
def test_what_the_cell_does_not_allow_is_refused(
    write: Write, cell: str, value: str, facts: list[str]
) -> None:
    refusal(lambda: typed_parameters(write(cell), {"k": value}), *facts)


def test_a_limit_may_be_none_whatever_number_was_saved(write: Write) -> None:
    for cell in ("limit: int = 128", "limit = 128", "limit: int | None = 128", "limit: int = None"):
        assert typed_parameters(write(cell), {"limit": "None"}) == {"limit": None}
        assert typed_parameters(write(cell), {"limit": "64"}) == {"limit": 64}


def test_all_names_of_the_cell_are_parameters(write: Write) -> None:
    assert list(parameters_of(write("a: int = 1  # b = 2\nc, d = 1, 2\nimport os"))) == [*"acd"]
