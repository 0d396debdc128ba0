"""The model of cost agrees with the times of the shipped runs."""

import pandas as pd
import pytest

from vqlib.bench import costs


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Return the times of the shipped runs."""
    return costs.load_times()


def test_the_model_is_exact_where_it_was_fitted_and_close_elsewhere(runs: pd.DataFrame) -> None:
    fitted = runs["batch_size"].isin(costs.FITTED)
    ratio = costs.epoch_seconds(runs) / runs["fastest"]
    assert fitted.any()
    assert (~fitted).any()
    assert (ratio[fitted] - 1).abs().max() < 1e-6
    assert (ratio[~fitted] - 1).abs().max() < 0.1


def test_an_epoch_takes_a_time_for_its_images_and_a_time_for_each_step() -> None:
    runs = pd.DataFrame(
        {
            "model": "vae",
            "batch_size": [16, 64, 256],
            "per_epoch": [1600, 400, 100],
            "fastest": [10 + 0.01 * 1600, 99.0, 10 + 0.01 * 100],
        }
    )
    images, step = costs.fit_costs(runs)["vae"]
    assert (images, step) == pytest.approx((10, 0.01))
    assert costs.epoch_seconds(runs).tolist() == pytest.approx([26, 14, 11])


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
