"""A study trains its longest run first, so that no core waits at the end."""

import itertools
import shutil
from pathlib import Path

import pytest
from conftest import MakeConfig, examples
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from vqlib.paths import SHIPPED
from vqlib.runs import find_runs
from vqlib.study.schedule import expected_seconds, makespan


def test_runs_that_took_longer_are_expected_to_take_longer() -> None:
    runs = [run for run in find_runs(SHIPPED) if run.config.seed == 0]
    took = [run.history["seconds"].min() * run.config.epochs for run in runs]
    expected = expected_seconds([run.config for run in runs])
    assert spearmanr(took, expected).statistic > 0.95


def test_a_larger_model_more_images_and_more_epochs_take_longer(
    small_config: MakeConfig, tmp_path: Path
) -> None:
    few, many, long, large = expected_seconds(
        [
            small_config("vqvae", limit=100),
            small_config("vqvae", limit=200),
            small_config("vqvae", limit=100, epochs=6),
            small_config("vqvae", limit=100, num_hiddens=32),
        ],
        known=tmp_path,
    )
    assert (many, long) == pytest.approx((2 * few, 2 * few))
    assert large > few


def test_a_damaged_example_is_left_out(small_config: MakeConfig, tmp_path: Path) -> None:
    run = next(each for each in find_runs(SHIPPED) if each.config.seed == 0)
    shutil.copytree(run.folder, tmp_path / "examples" / run.folder.name)
    (tmp_path / "examples" / run.folder.name / "history.csv").write_text("epoch,seco")
    seconds = [
        expected_seconds([small_config("vqvae")], known=tmp_path / name)
        for name in ("none", "examples")
    ]
    assert seconds[0] == seconds[1]


@examples(50)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 3))
def test_the_longest_first_is_at_most_a_third_worse_than_the_best_order(
    seconds: list[int], cores: int
) -> None:
    best = min(
        max(sum(s for s, c in zip(seconds, chosen, strict=True) if c == core) for core in range(3))
        for chosen in itertools.product(range(cores), repeat=len(seconds))
    )
    assert (
        best <= makespan(seconds, cores) <= best * (4 / 3 - 1 / (3 * cores)) + 1e-9
    )  # Graham 1969
