"""Figure 4 has a curve for each system, from the points that it is given."""

import math

import pandas as pd
import pytest

from vqlib.rates import rate_distortion
from vqlib.rates.measures import MEASURES


@pytest.fixture
def points() -> pd.DataFrame:
    rows = [
        ("a", "VQ-VAE", "K = 16", "raw", 256.0, 21.0),
        ("a", "VQ-VAE", "K = 16", "coded", 250.0, 21.0),
        ("b", "VQ-VAE", "K = 512", "raw", 576.0, 24.0),
        ("b", "VQ-VAE", "K = 512", "coded", 555.0, 24.0),
        ("c", "VAE", "β = 1", "KL", 30.0, 17.0),
        ("c", "VAE", "β = 1", "KL, decoded mean", 30.0, 18.0),
        ("", "JPEG", "quality 1", "whole file", 6000.0, 18.0),
        ("", "JPEG", "quality 1", "without header", 900.0, 18.0),
        ("", "Gaussian bound", "level 1", "bound", 900.0, math.nan),
        ("", "VQ-VAE", "0.5 bits a pixel", "published", 576.0, 23.1),
    ]
    table = pd.DataFrame(rows, columns=["run", "system", "setting", "rate", "bits", "nmse"])
    return table.assign(**dict.fromkeys(MEASURES, table["nmse"]))


def test_each_system_has_a_label_and_each_rate_a_line(points: pd.DataFrame) -> None:
    figure = rate_distortion(points)
    labels = {label for axis in figure.axes for label in axis.get_legend_handles_labels()[1]}
    assert labels == {"VQ-VAE", "VAE", "JPEG", "published"}
    for axis in figure.axes:
        drawn = {(x, y) for line in axis.lines for x, y in zip(*line.get_data(), strict=True)}
        expected = points.dropna(subset=["nmse"])
        assert drawn == set(zip(expected["bits"], expected["nmse"], strict=True))


def test_without_published_points_nothing_is_called_published(points: pd.DataFrame) -> None:
    own = rate_distortion(points[points["rate"] != "published"])
    assert "published" not in own.axes[0].get_legend_handles_labels()[1]


def test_raw_and_coded_points_of_a_run_are_joined(points: pd.DataFrame) -> None:
    lines = [
        [*map(tuple, zip(*line.get_data(), strict=True))]
        for line in rate_distortion(points).axes[0].lines
    ]
    assert [(256.0, 21.0), (250.0, 21.0)] in lines
    assert [(576.0, 24.0), (555.0, 24.0)] in lines


def test_the_alt_text_has_each_system_s_ends(points: pd.DataFrame) -> None:
    assert "VAE: 30 bits" in rate_distortion(points).alt
