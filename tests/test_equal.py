"""Systems are compared at one rate, between their points and never beyond them."""

import math

import pandas as pd
import pytest

from vqlib.rates.equal import at_rate, equal_rate, nearest, seed_spread
from vqlib.rates.measures import MEASURES


def points(system: str, *rows: tuple[str, float, float]) -> pd.DataFrame:
    """Return points of a system from settings, bits and one value for all measures."""
    table = pd.DataFrame(rows, columns=["setting", "bits", "nmse"])
    return table.assign(system=system, rate="coded", **dict.fromkeys(MEASURES, table["nmse"]))


def test_between_two_points_a_measure_follows_the_logarithm_of_the_rate() -> None:
    curve = points("A", ("a", 100, 20.0), ("b", 400, 24.0), ("c", 1600, 30.0))
    assert at_rate(curve, 200, "psnr") == pytest.approx(22)
    assert at_rate(curve, 400, "psnr") == pytest.approx(24)
    assert at_rate(curve, 800, "psnr") == pytest.approx(27)


@pytest.mark.parametrize("bits", [99.9, 1600.1])
def test_nothing_is_extrapolated(bits: float) -> None:
    assert math.isnan(at_rate(points("A", ("a", 100, 20.0), ("b", 1600, 30.0)), bits, "psnr"))


def test_seeds_of_a_setting_count_as_one_point() -> None:
    curve = points("A", ("a", 90, 19.0), ("a", 110, 21.0), ("b", 400, 24.0))
    assert at_rate(curve, 200, "psnr") == pytest.approx(22)
    assert seed_spread(curve, "psnr") == pytest.approx(math.sqrt(2))
    assert math.isnan(seed_spread(points("A", ("a", 90, 19.0)), "psnr"))


def test_systems_are_listed_from_the_best_down_if_they_reach_the_rate() -> None:
    all_of_them = pd.concat(
        [
            points("worse", ("a", 100, 20.0), ("b", 400, 24.0)),
            points("better", ("a", 100, 22.0), ("b", 400, 26.0)),
            points("too costly", ("a", 5000, 40.0), ("b", 6000, 41.0)),
        ]
    )
    table = equal_rate(all_of_them, 200)
    assert list(table.index) == [("better", "coded"), ("worse", "coded")]
    assert list(table["psnr"]) == pytest.approx([24, 22])


def test_the_nearest_points_are_those_of_one_setting_of_each_system_and_rate() -> None:
    of_a = points("A", ("a", 100, 20.0), ("b", 280, 24.0), ("b", 300, 24.2), ("c", 900, 30.0))
    of_b = points("B", ("far", 5000, 20.0))
    kl = points("A", ("a", 90, 21.0), ("c", 500, 31.0)).assign(rate="KL")
    found = nearest(pd.concat([of_a, of_b, kl], ignore_index=True), 500)
    assert found["bits"].tolist() == [280, 300, 5000, 500]  # 290 is nearer to 500 than 900 is


def test_a_latent_that_says_nothing_is_near_to_no_rate() -> None:
    curve = points("A", ("collapsed", 0, 15.0), ("a", 100, 20.0), ("b", 400, 24.0))
    assert nearest(curve, 1)["bits"].tolist() == [100]
    assert at_rate(curve, 200, "psnr") == pytest.approx(22)
    assert math.isnan(at_rate(curve, 50, "psnr"))
