"""The tables in README and docs/ are those that the code makes now."""

import pytest
from cogapp import Cog

from vqlib.paths import ROOT

PAGES = [
    str(page.relative_to(ROOT))
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    if "[[[cog" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_its_cog_blocks_make(page: str) -> None:
    again = f"run: .venv/bin/cog -r {page}"
    Cog().callable_main(["cog", "--check", f"--check-fail-msg={again}", str(ROOT / page)])
