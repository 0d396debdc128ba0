"""The page on scaling has the numbers of the runs, and its model of cost holds."""

import sys

import pytest

from vqlib.paths import ROOT

sys.path.insert(0, str(ROOT / "docs"))
import scaling


def test_the_tables_are_those_of_the_runs():
    assert scaling.tables(scaling.measured()) in scaling.PAGE.read_text()


def test_the_model_of_cost_holds_for_batch_sizes_that_it_was_not_fitted_to():
    runs = scaling.measured()
    others = ~runs["batch_size"].isin(scaling.FITTED)
    assert others.sum() == 6
    predicted = scaling.epoch_seconds(runs)
    assert predicted[~others].to_list() == pytest.approx(runs["fastest"][~others].to_list())
    assert predicted[others].to_list() == pytest.approx(runs["fastest"][others].to_list(), rel=0.1)
    assert (runs["mean"] / runs["fastest"]).max() == pytest.approx(scaling.BUSY, rel=0.02)
