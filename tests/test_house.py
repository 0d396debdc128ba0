"""The plan of the house: the experiment imports no wing, and documents need no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from vqlib.paths import ROOT

LIBRARY = ROOT / "vqlib"
ENTRANCE = {"__init__", "__main__", "cli"}  # which open every room when asked to
EXPERIMENT = sorted({path.stem for path in LIBRARY.glob("*.py")} - ENTRANCE)
CELLAR = "system"
WINGS = {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()} - {CELLAR}


def imported(path: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("module", EXPERIMENT)
def test_the_experiment_imports_no_wing(module: str) -> None:
    names = imported(LIBRARY / f"{module}.py")
    assert not {name for name in names if name.startswith("vqlib.") and name.split(".")[1] in WINGS}


def test_the_cellar_imports_no_wing() -> None:
    for path in (LIBRARY / CELLAR).glob("*.py"):
        assert not {
            n for n in imported(path) if n.startswith("vqlib.") and n.split(".")[1] in WINGS
        }


@pytest.mark.parametrize(
    "modules",
    [
        "vqlib.documents.exporter, vqlib.documents.notebook",
        "vqlib.cli, vqlib.study.commands, vqlib.study.status, vqlib.study.notebook",
    ],
    ids=["documents", "commands that take no time"],
)
def test_what_needs_no_torch_does_not_import_it(modules: str) -> None:
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_training_loop_knows_no_images_and_no_models() -> None:
    forbidden = {"vqlib.images", "vqlib.models", "vqlib.quantizer", "vqlib.evaluation"}
    assert not imported(LIBRARY / "loop.py") & forbidden


def test_documents_could_be_installed_alone() -> None:
    own = ("vqlib.documents", "vqlib.errors", "vqlib.system.files")
    for path in (LIBRARY / "documents").glob("*.py"):
        assert not {n for n in imported(path) if n.startswith("vqlib.") and not n.startswith(own)}


def test_documents_need_nbconvert_only_to_be_its_exporter() -> None:
    code = (
        "import sys, vqlib.documents.notebook; print({'nbconvert', 'nbformat'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
