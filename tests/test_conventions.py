"""The project's files agree with each other, and everything public says what it is."""

import datetime
import inspect
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from public import documented, modules

import vqlib
from vqlib.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
LOCKED = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.startswith("#")
]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "tests/README.md", "results/README.md"),
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
]
EXTRAS = PROJECT["optional-dependencies"]
TESTED = [one for extra in ("browser", "site", "slurm", "test") for one in EXTRAS[extra]]
DEPENDENCIES = [
    *PROJECT["dependencies"],
    *(one for one in TESTED if not one.startswith("vqlib[")),  # which names the other extras
]


def is_pin(requirement: Requirement) -> bool:
    return [one.operator for one in requirement.specifier] == ["=="]


def shown(page: str) -> str:
    """Return a page as its readers see it: without comments, such as the code of cog blocks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def test_the_lock_pins_every_package_it_names() -> None:
    assert [str(one) for one in LOCKED if not is_pin(one)] == []


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_the_lock_has_each_dependency_within_its_bounds(dependency: str) -> None:
    wanted = Requirement(dependency)
    pins = [one for one in LOCKED if canonicalize_name(one.name) == canonicalize_name(wanted.name)]
    assert pins
    for pin in pins:
        (version,) = pin.specifier
        assert wanted.specifier.contains(version.version)


def test_conda_installs_the_lock_and_the_project_on_a_python_that_it_is_for() -> None:
    *packages, pip = ENVIRONMENT["dependencies"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    (python,) = (one.split("=")[1] for one in packages if one.startswith("python="))
    supported = SpecifierSet(PROJECT["requires-python"])
    assert supported.contains(python)
    assert str(supported) == f">={python}"
    lock = (ROOT / "requirements.lock").read_text()
    assert f"--python-version {python} " in lock


def test_the_lock_is_made_of_what_the_tests_need() -> None:
    made = (ROOT / "requirements.lock").read_text().splitlines()[1]
    assert "--extra test" in made
    assert "pyproject.toml" in made


def test_the_citation_has_what_its_format_requires() -> None:
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["message"]
    assert CITATION["title"]
    assert CITATION["type"] in ("software", "dataset")
    assert all("name" in one or {"family-names", "given-names"} & set(one) for one in
               CITATION["authors"])  # fmt: skip
    assert datetime.date.fromisoformat(str(CITATION["date-released"]))
    assert isinstance(CITATION["abstract"], str)


def test_versions_and_licences_agree() -> None:
    assert "version" in PROJECT["dynamic"]  # it is that of the package
    assert str(CITATION["version"]) == vqlib.__version__ == str(Version(vqlib.__version__))
    assert f"## {vqlib.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert CITATION["license"] == PROJECT["license"]
    assert PROJECT["license"] in (ROOT / "LICENSE").read_text()


def test_everything_public_has_a_docstring() -> None:
    assert [name for name, thing in documented() if not thing.__doc__] == []
    assert [module.__name__ for module in modules() if not module.__doc__] == []


def test_everything_public_has_type_hints() -> None:
    def is_annotated(function: object) -> bool:
        signature = inspect.signature(function)
        hints = [one.annotation for name, one in signature.parameters.items()
                 if name not in ("self", "cls")]  # fmt: skip
        return signature.empty not in [*hints, signature.return_annotation]

    functions = [(name, thing) for name, thing in documented() if not inspect.isclass(thing)]
    assert [name for name, function in functions if not is_annotated(function)] == []


def test_the_readme_begins_with_claim_picture_and_the_two_commands() -> None:
    readme = shown("README.md")
    beginning = "\n".join(readme.splitlines()[:40])
    order = [beginning.index(part) for part in ("# vqlib", "![", "make report", "make test")]
    assert order == sorted(order)
    assert re.search(r"SSIM.* 0\.\d{3}", beginning)
    assert not re.search(r"\[!\[|shields\.io", readme)  # no badge, for there is no service


@pytest.mark.parametrize("name", PAGES)
def test_links_between_the_projects_files_lead_somewhere(name: str) -> None:
    text = re.sub(r"```.*?```|`[^`]*`(?!\])", "", shown(name), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), target


def test_contributing_is_one_page() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text().split()) < 700
