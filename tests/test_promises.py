"""The table of promises names the tests that there are."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_table_has_every_test_of_a_fault_and_its_number_of_cases() -> None:
    table = (TESTS / "README.md").read_text()
    promised = Counter({t: int(n) for t, n in re.findall(r"\| `(\S+)` \| (\d+) \|", table)})
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "faults", str(TESTS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=TESTS.parent,
        env={name: value for name, value in os.environ.items() if name != "FAULTS"},
    ).stdout
    there = Counter(re.findall(r"(test_\w+\.py::\w+)", listed))
    assert promised == there
    assert f"{there.total()} cases" in table
