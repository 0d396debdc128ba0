"""Plugin of pytest for `make test`: in the solutions of exercises, models train for one epoch."""

import re

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lower the number of epochs in a solution. As shipped, both take almost two minutes."""
    if item.path.parent.name == "solutions" and item.path.suffix == ".ipynb":
        item.cell.source = re.sub(r"^epochs = \d+", "epochs = 1", item.cell.source)
