"""Tables and figures of generation, from files that hold known numbers."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from vqlib.generation import (
    LIKELIHOODS,
    Assessment,
    best_pixels,
    distance_figure,
    ladder_figure,
    pca_likelihood,
    posterior_axes,
    rate_and_likelihood,
    rungs,
)
from vqlib.report import accuracy_table, in_order, likelihood_table, quality_table

CODED = {"run": "q", "system": "VQ-VAE", "setting": "8×8, K = 512", "n_test": 9}
KL = {"run": "v", "system": "VAE", "setting": "β = 1", "n_test": 9}
LIKELIHOOD = [
    {**CODED, "pixels": "Gaussian, one scale", "rate": "raw", "distortion": 5.9, "latent": 0.1875,
     "total": 6.0875},
    {**CODED, "pixels": "logistic, by contrast", "rate": "raw", "distortion": 5.7, "latent": 0.1875,
     "total": 5.8875},
    {**KL, "pixels": "Gaussian, as trained", "rate": "KL", "distortion": 8.7, "latent": 0.01,
     "total": 8.71},
    {**KL, "pixels": "Gaussian, as trained", "rate": "100 samples", "distortion": None,
     "latent": None, "total": 8.6},
]  # fmt: skip
SETS = {"test images": [1.0], "samples": [5.0, 6.0], "blurred": [9.0]}


@pytest.fixture
def assessed(tmp_path: Path) -> Assessment:
    """Return an assessment of two systems with known figures."""
    rows = [
        {"features": network, "images": name, "seed": seed if len(values) > 1 else None,
         "count": 100, "frechet": factor * value, "density": 0.5, "coverage": 0.25,
         "neighbour": 30.0}
        for network, factor in (("lite", 1.0), ("classifier", 0.1))
        for name, values in SETS.items()
        for seed, value in enumerate(values)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "quality.csv", index=False)
    pd.DataFrame(LIKELIHOOD).to_csv(tmp_path / "likelihood.csv", index=False)
    facts = {
        "dataset": "cifar10",
        "image_size": 32,
        "accuracy": {"training images": 0.8, "samples": 0.456},
    }
    (tmp_path / "generation.json").write_text(json.dumps(facts))
    return Assessment(tmp_path)


def prior(title: str, bits: float) -> Any:
    simple = {"uniform_bits": 9.0, "frequency_bits": 8.6, "neighbour_bits": 7.7}
    return SimpleNamespace(
        model=SimpleNamespace(title=title), evaluation={"test_bits": bits, **simple}
    )


def test_bits_per_dimension_are_the_sum_of_rate_and_distortion_and_published_ones_follow(
    assessed: Assessment,
) -> None:
    table = likelihood_table(assessed)
    assert table["Bits per dimension"].tolist() == ["8.71", "8.60", "6.09", "5.89", "4.51", "4.67"]
    raw = table[table["Pixels"] == "Gaussian, one scale"].iloc[0]
    assert (raw["Bits an image"], raw["Latent"], raw["Pixels given it"]) == ("576", "0.19", "5.90")
    bound = table[table["Rate"] == "100 samples"].iloc[0]
    assert (bound["Latent"], bound["Pixels given it"]) == ("–", "–")
    published = table.iloc[-1]
    assert (published["Bits an image"], published["Latent"]) == ("5,760", "1.88")


def test_images_of_another_size_have_their_own_bits_an_image_and_no_published_figures(
    assessed: Assessment,
) -> None:
    for name, value, bits in (("dataset", "photos", "576"), ("image_size", 64, "2,304")):
        assessed.facts[name] = value
        table = likelihood_table(assessed)
        assert "published" not in table["Rate"].tolist()
        raw = table[table["Pixels"] == "Gaussian, one scale"].iloc[0]
        assert raw["Bits an image"] == bits


def test_sets_are_sorted_by_their_distance_with_the_spread_of_their_seeds(
    assessed: Assessment,
) -> None:
    table = quality_table(assessed)
    assert table["Images"].tolist() == list(SETS)
    assert table["Fréchet distance"].tolist() == ["1.00", "5.50 ± 0.71", "9.00"]
    assert quality_table(assessed, "classifier")["Fréchet distance"][2] == "0.90"


def test_sets_are_in_order_if_no_seed_of_one_is_beyond_the_next(assessed: Assessment) -> None:
    assert in_order(assessed, "test images", "samples", "blurred")
    assert not in_order(assessed, "test images", "blurred", "samples")
    assessed.quality.loc[assessed.quality.images == "blurred", "frechet"] = 0.55
    assert not in_order(assessed, "samples", "blurred")


def test_accuracies_are_shown_in_percent(assessed: Assessment) -> None:
    assert accuracy_table(assessed)["Accuracy"].tolist() == ["80.0%", "45.6%"]


def test_the_ladder_goes_down(assessed: Assessment) -> None:
    priors = [prior("transformer", 6.6), prior("PixelCNN", 6.8)]
    names = ["uniform", "frequencies", "left neighbour", "PixelCNN", "transformer"]
    assert list(rungs(priors)) == names
    figure = ladder_figure(priors)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == names
    assert "transformer 6.60" in figure.alt


def test_each_run_has_the_pixels_that_cost_least(assessed: Assessment) -> None:
    best = best_pixels(assessed.likelihood)
    assert best["pixels"].tolist() == ["logistic, by contrast", "Gaussian, as trained"]


def test_the_figures_say_what_they_show(assessed: Assessment) -> None:
    linear = pca_likelihood(
        pd.DataFrame([{"system": "PCA", "rate": "coded", "bits": 307.2, "nmse": 0.1}]), 0.06
    )
    assert linear["rate"].iloc[0] == pytest.approx(0.1)
    alts = [
        rate_and_likelihood(assessed.likelihood, linear, LIKELIHOODS).alt,
        posterior_axes({"VAE": {"variances": [2.0, 0.5]}, "other": {"variances": [1, -1e-9]}}).alt,
        distance_figure(assessed.quality).alt,
    ]
    for alt, fact in zip(alts, ("5.89", "other: 1.00 to 0.00", "test images, samples, blurred"),
                         strict=True):  # fmt: skip
        assert fact in alt
    assert "PCA" in alts[0]
    assert "PCA" not in rate_and_likelihood(assessed.likelihood).alt
