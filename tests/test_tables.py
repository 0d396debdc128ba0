"""Tables of results: every number of the runs, with its heading and its digits."""

import math

import pandas as pd
import pytest
from conftest import STUDIED, invented_run

from vqlib import Run
from vqlib.evaluation import METRICS, Metric
from vqlib.models import MODELS
from vqlib.report import tables


def two_seeds(summary: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([summary, summary.assign(seed=1, test_ssim=summary.test_ssim + 0.02)])


@pytest.fixture
def third(summary: pd.DataFrame, autoencoder: str) -> pd.DataFrame:
    """Return the summary with runs of a third model."""
    runs = summary[summary.model == "vae"].assign(
        model=autoencoder, test_ssim=[0.61, 0.62], bits=4096.0
    )
    return pd.concat([summary, runs])


# --- models --------------------------------------------------------------------------------


def test_figures_stand_by_model_and_batch_size(summary: pd.DataFrame) -> None:
    table = tables.comparison_table(summary)
    headings = ["Batch size", "Bits", "NMSE", "PSNR (dB)", "SSIM", "Perplexity"]
    assert list(table) == headings
    assert table.loc["VQ-VAE"].values.tolist() == [
        ["16", "576.0", "0.0500", "24.50", "0.8700", "400"],
        ["256", "576.0", "0.0560", "24.50", "0.8500", "300"],
    ]
    assert table.loc["VAE", "Perplexity"].tolist() == ["–", "–"]


def test_seeds_are_mean_and_deviation(summary: pd.DataFrame) -> None:
    vqvae = tables.comparison_table(two_seeds(summary)).loc["VQ-VAE"]
    assert vqvae["SSIM"].tolist() == ["0.8800 ± 0.0141", "0.8600 ± 0.0141"]
    assert vqvae["Bits"].tolist() == ["576.0", "576.0"]


def test_seeds_that_lack_a_metric_are_told(summary: pd.DataFrame) -> None:
    seeds = two_seeds(summary).reset_index(drop=True)
    seeds.loc[2, "test_ssim"] = math.nan
    vqvae = tables.comparison_table(seeds).loc["VQ-VAE"]
    assert vqvae["SSIM"].tolist() == ["0.8900 (1 of 2)", "0.8600 ± 0.0141"]


def test_tables_have_a_column_for_each_setting_that_varies(summary: pd.DataFrame) -> None:
    sweep = summary.assign(
        batch_size=128, epochs=[40, 40, 40, 20], beta=[1.0, 0.1, None, None],
        num_embeddings=[None, None, 16, 512],
    )  # fmt: skip
    table = tables.comparison_table(sweep)
    assert list(table)[:4] == ["Epochs", "Beta", "Codebook size", "Bits"]
    assert table.loc["VAE", "Beta"].tolist() == ["0.1", "1"]
    assert table.loc["VQ-VAE", "Codebook size"].tolist() == ["512", "16"]
    assert table.loc["VQ-VAE", "Beta"].tolist() == ["–", "–"]
    losses = tables.final_losses(sweep)
    assert losses.index.name == "Epochs"
    assert losses["Codebook size"].tolist() == ["512", "16"]
    assert list(tables.final_losses(sweep, "vae").index) == ["0.1", "1"]


def test_a_run_without_a_metric_has_a_dash(summary: pd.DataFrame) -> None:
    summary.loc[1, "test_psnr"] = math.nan
    table = tables.comparison_table(summary)
    assert table["PSNR (dB)"].tolist() == ["24.50", "–", "24.50", "24.50"]


def test_a_metric_that_no_run_has_is_no_column(summary: pd.DataFrame) -> None:
    vae = summary[summary.model == "vae"]
    assert "Perplexity" not in tables.comparison_table(vae)


def test_a_further_metric_is_a_column_with_its_heading_and_its_digits(
    summary: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "test_mae", Metric("MAE", 3, lambda made: 0.0))
    summary["test_mae"] = [0.12345, 0.2, 0.05, math.nan]
    table = tables.comparison_table(summary)
    assert table["MAE"].tolist() == ["0.123", "0.200", "0.050", "–"]


def test_a_third_model_has_rows_of_its_own(third: pd.DataFrame, autoencoder: str) -> None:
    table = tables.comparison_table(third)
    rows = table.loc[MODELS[autoencoder].title]
    assert rows["SSIM"].tolist() == ["0.6100", "0.6200"]
    assert rows["Bits"].tolist() == ["4,096.0", "4,096.0"]
    assert set(table.index) == {"VAE", "VQ-VAE", MODELS[autoencoder].title}


def test_settings_stand_by_model_and_those_of_another_model_have_a_dash(
    small_runs: dict[str, Run],
) -> None:
    runs = [*(small_runs[model] for model in STUDIED), invented_run("vae", 16)]
    table = tables.settings_table(runs)
    assert list(table) == ["VAE", "VQ-VAE"]
    assert table.loc["batch_size"].tolist() == ["16, 32", "32"]
    assert table.loc["latent_dim"].tolist() == ["16, 128", "–"]
    assert table.loc["num_embeddings"].tolist() == ["–", "32"]
    assert table.loc["limit"].tolist() == ["all", "all"]


def test_settings_of_no_model_shown_are_no_row(small_runs: dict[str, Run]) -> None:
    table = tables.settings_table([small_runs["vae"]])
    assert "latent_dim" in table.index
    assert "num_embeddings" not in table.index
    assert not {"model", "dataset"} & set(table.index)


# --- losses --------------------------------------------------------------------------------


def test_final_losses_stand_by_batch_size(summary: pd.DataFrame) -> None:
    table = tables.final_losses(summary)
    assert list(table) == ["Steps", "Total loss", "Reconstruction loss", "Test NMSE"]
    assert table.loc["16"].tolist() == ["125,000", "0.0750", "0.0490", "0.0500"]
    assert table.loc["256"].tolist() == ["7,840", "0.1080", "0.0540", "0.0560"]
    assert tables.final_losses(summary, "vae").loc["16", "Total loss"] == "30.0000"


def test_precisions_stand_with_mean_and_deviation_of_their_seeds() -> None:
    nmse = {"bfloat16": [0.053, 0.053, 0.056], "float32": [0.052, 0.053, 0.054]}
    losses = {"train_loss": 0.09, "train_reconstruction_loss": [0.06, 0.061, 0.062]}
    runs = pd.concat(
        pd.DataFrame({"precision": name, "test_nmse": values, **losses})
        for name, values in nmse.items()
    )
    table = tables.precision_table(runs)
    assert list(table.index) == ["bfloat16", "float32"]
    assert table["NMSE"].tolist() == ["0.0540 ± 0.0017", "0.0530 ± 0.0010"]
    assert table["Total loss"].tolist() == ["0.0900", "0.0900"]


def test_a_longer_run_has_a_row_of_its_own(summary: pd.DataFrame) -> None:
    run = summary[(summary.model == "vqvae") & (summary.batch_size == 256)]
    table = tables.longer_table(summary, run.assign(epochs=640, steps=125_440, test_nmse=0.0515))
    assert table.index.tolist() == ["16", "256", "256"]
    assert table["Epochs"].tolist() == ["40", "40", "640"]
    assert table["Steps"].tolist() == ["125,000", "7,840", "125,440"]
    assert table["Test NMSE"].tolist() == ["0.0500", "0.0560", "0.0515"]


# --- the original report -------------------------------------------------------------------


def test_claims_stand_next_to_our_numbers_with_difference_and_verdict(
    summary: pd.DataFrame,
) -> None:
    rows = tables.claim_table(summary).values.tolist()
    ssim, loss = rows[1], rows[2]
    assert ssim[1:] == ["above 0.96", "0.850", "-0.110", "does not hold"]
    assert loss[1:] == ["about 0.076", "0.0750", "-0.0010", "holds"]


def test_a_loss_of_several_seeds_has_its_deviation(summary: pd.DataFrame) -> None:
    seeds = pd.concat([summary, summary.assign(train_loss=summary.train_loss + 0.004, seed=1)])
    assert tables.claim_table(seeds).loc[2, "Here"] == "0.0770 ± 0.0028"


def test_a_claim_that_was_not_run_has_dashes(summary: pd.DataFrame) -> None:
    last = tables.claim_table(summary[summary.batch_size == 16]).iloc[-1]
    assert last.tolist()[2:] == ["–", "–", "not run"]


def test_protocols_stand_by_model(audited: list[Run]) -> None:
    table = tables.protocol_table(audited)
    assert list(table) == ["VAE", "VQ-VAE", "VQ-VAE, lowest"]
    assert table.loc["flat"].tolist() == ["0.790", "0.966", "0.961"]


def test_the_original_report_s_values_fit_under_the_protocols(audited: list[Run]) -> None:
    table = pd.concat([tables.protocol_table(audited), tables.stated_protocol_row()])
    assert table.loc["original report"].tolist() == ["about 0.78", "", "above 0.96"]


def test_a_protocol_without_a_score_has_a_dash() -> None:
    runs = [
        invented_run("vae", 16, evaluation={"ssim_by_protocol": {"flat": 0.8}}),
        invented_run("vqvae", 16, evaluation={"ssim_by_protocol": {"flat": None}}),
    ]
    assert tables.protocol_table(runs).loc["flat"].tolist() == ["0.800", "–", "–"]


def test_a_protocol_that_no_model_has_a_score_for_is_left_out() -> None:
    scores = {"ssim_by_protocol": {"flat": 0.8, "grid": None}}
    runs = [invented_run("vae", 16, evaluation=scores)]
    assert list(tables.protocol_table(runs).index) == ["flat"]


def test_a_third_model_has_a_column_among_the_protocols(
    audited: list[Run], autoencoder: str
) -> None:
    third = invented_run(
        autoencoder, 16, evaluation={"ssim_by_protocol": {"flat": 0.5, "lax": 0.9}}
    )
    table = tables.protocol_table([*audited, third])
    assert set(table) == {"VAE", "VQ-VAE", "VQ-VAE, lowest", MODELS[autoencoder].title}
    assert table.loc[["flat", "late"], MODELS[autoencoder].title].tolist() == ["0.500", "–"]


def test_one_model_alone_has_its_protocols(audited: list[Run]) -> None:
    assert list(tables.protocol_table(audited[:2])) == ["VAE"]


def test_losses_stand_by_the_start_of_the_codebook(summary: pd.DataFrame) -> None:
    vqvae = summary[summary.model == "vqvae"]
    normal = vqvae.assign(train_loss=[0.077, 0.105], train_reconstruction_loss=[0.0505, 0.0551])
    table = tables.start_table(summary, normal).loc[16].set_index("Initial codebook")
    losses = ["Total loss", "Reconstruction loss", "Weighted commitment"]
    assert table.loc["uniform", losses].tolist() == ["0.0750", "0.0490", "0.0260"]
    assert table.loc["normal", losses].tolist() == ["0.0770", "0.0505", "0.0265"]
    stated = ["about 0.076", "about 0.051", "about 0.025"]
    assert table.loc["original report", losses].tolist() == stated
    assert table["Test NMSE"].tolist() == ["0.0500", "0.0500", "–"]
