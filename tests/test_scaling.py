"""The model of cost agrees with the times of the shipped runs."""

import pandas as pd
import pytest

from vqlib.bench import costs


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return costs.load_times()


def test_the_model_is_exact_where_it_was_fitted_and_close_elsewhere(runs: pd.DataFrame) -> None:
    fitted = runs["batch_size"].isin(costs.FITTED)
    predicted = costs.epoch_seconds(runs) / runs["fastest"]
    assert (~fitted).sum() == 6
    assert predicted[fitted].to_list() == pytest.approx([1.0] * 4)
    assert predicted[~fitted].to_list() == pytest.approx([1.0] * 6, rel=0.1)


def test_more_seeds_cost_more_hours_and_make_no_run_longer(runs: pd.DataFrame) -> None:
    total, longest = costs.core_hours(runs, 1)
    assert costs.core_hours(runs, 3) == pytest.approx((3 * total, longest))


def test_the_delay_is_that_of_the_run_that_others_slowed_most(runs: pd.DataFrame) -> None:
    times = pd.DataFrame({"mean": [20.0, 33.0], "fastest": [20.0, 22.0]})
    assert costs.delay(times) == 1.5
    assert costs.delay(runs) >= 1


def test_the_plan_has_a_row_for_each_study(runs: pd.DataFrame) -> None:
    rows = costs.plan_table(runs).splitlines()[2:]
    counts = [seeds * batches * models for seeds, batches, models in costs.PLANS]
    assert [row.split("|")[2].strip() for row in rows] == [f"{count:,}" for count in counts]
