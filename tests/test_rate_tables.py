"""Tables of rates state means, spreads and settings; pictures are those nearest to a rate."""

import pandas as pd
import pytest
import torch

from vqlib import Run
from vqlib.rates.measures import MEASURES
from vqlib.report import equal_rate_table, pictures_near, rate_table, run_pictures


def points(*rows: tuple[str, str, str, float, float]) -> pd.DataFrame:
    """Return points from system, setting, rate, bits and one value for all measures."""
    table = pd.DataFrame(rows, columns=["system", "setting", "rate", "bits", "nmse"])
    return table.assign(**dict.fromkeys(MEASURES, table["nmse"]))


@pytest.fixture
def several() -> pd.DataFrame:
    return points(
        ("PCA", "step 1", "coded", 140.0, 19.0),
        ("PCA", "step 0.5", "coded", 620.0, 24.0),
        ("VQ-VAE", "K = 16", "coded", 250.0, 21.0),
        ("VQ-VAE", "K = 512", "coded", 550.0, 24.5),
        ("VQ-VAE", "K = 512", "coded", 560.0, 24.7),
        ("VQ-VAE", "K = 512", "raw", 576.0, 24.6),
        ("JPEG", "quality 1", "whole file", 6000.0, 18.0),
    )


def test_each_setting_has_a_row_with_the_spread_over_its_seeds(several: pd.DataFrame) -> None:
    table = rate_table(several)
    assert list(table["Setting"])[:3] == ["step 1", "K = 16", "K = 512"]
    seeds = table[(table["Setting"] == "K = 512") & (table["Rate"] == "coded")].iloc[0]
    assert seeds["Bits an image"] == "555 ± 7"
    assert seeds["PSNR (dB)"] == "24.60 ± 0.14"
    assert table.iloc[0]["PSNR (dB)"] == "19.00"


def test_at_one_rate_the_best_system_comes_first_and_others_are_left_out(
    several: pd.DataFrame,
) -> None:
    table = equal_rate_table(several, 500)
    assert list(zip(table["System"], table["Rate"], strict=True)) == [
        ("VQ-VAE", "coded"),
        ("PCA", "coded"),
    ]
    assert "±" in table["PSNR (dB)"][0]
    assert "±" not in table["PSNR (dB)"][1]


def test_the_pictures_are_those_of_the_point_nearest_to_the_rate(several: pd.DataFrame) -> None:
    keys = set(zip(several["system"], several["setting"], strict=True))
    pictures = {key: torch.full((12, 3, 32, 32), i) for i, key in enumerate(sorted(keys))}
    rows = pictures_near(several, pictures, 600)
    assert list(rows) == ["PCA\n620 bits", "VQ-VAE\n560 bits"]
    assert torch.equal(rows["PCA\n620 bits"], pictures["PCA", "step 0.5"][:10])
    assert list(pictures_near(several, pictures, 150)) == ["PCA\n140 bits"]


def test_runs_bring_the_reconstructions_of_their_sheets(small_runs: dict[str, Run]) -> None:
    pictures = run_pictures(small_runs[model] for model in ("vae", "svae", "vqvae"))
    assert set(pictures) == {
        ("VAE", "β = 1"),
        ("Spatial VAE", "β = 1"),
        ("VQ-VAE", "8×8, K = 32"),
    }
    expected = small_runs["vqvae"].reconstructions[1]
    assert torch.equal(pictures["VQ-VAE", "8×8, K = 32"], expected)
