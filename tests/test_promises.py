"""The tables of promises in the README name the tests that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
MARKER = "pytest.mark.faults"


def declared(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each test function of a file, and whether it has the marker `faults`."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    for_all = {
        ast.unparse(node.value)
        for node in module.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    }
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            own = {ast.unparse(each) for each in node.decorator_list}
            yield f"{path.name}::{node.name}", MARKER in for_all | own


THERE = dict(each for path in sorted(TESTS.glob("test_*.py")) for each in declared(path))
PROMISED = re.findall(r"\| `(\S+)` \|", (TESTS / "README.md").read_text(encoding="utf-8"))


def test_every_test_of_a_fault_is_in_the_table() -> None:
    assert [name for name, is_fault in THERE.items() if is_fault and name not in PROMISED] == []


def test_every_test_in_the_table_exists_once() -> None:
    assert [name for name in PROMISED if name not in THERE] == []
    assert len(set(PROMISED)) == len(PROMISED)
