"""The original report's numbers next to ours."""

import math

import pandas as pd
import pytest
from conftest import invented_run

from vqlib import Run
from vqlib.report.claims import (
    CLAIMED_LOSS,
    CLAIMED_SSIM,
    ORIGINAL_STUDY,
    claims,
    fits_claims,
    is_original_study,
    losses_that_fail,
    protocol_scores,
    vqvae_at,
)

TOTAL_16 = "VQ-VAE, batch 16: total loss in training"
TOTAL_256 = "VQ-VAE, batch 256: total loss in training"


def by_claim(summary: pd.DataFrame) -> pd.DataFrame:
    return claims(summary).set_index("claim")


# --- claims --------------------------------------------------------------------------------


def test_the_runs_of_the_original_study_have_its_data_and_length(summary: pd.DataFrame) -> None:
    assert is_original_study(summary)
    for name in ORIGINAL_STUDY:
        other = "photos" if name == "dataset" else 1
        assert not is_original_study(pd.concat([summary, summary.assign(**{name: other})]))


def test_a_sweep_of_another_setting_is_not_the_original_study(summary: pd.DataFrame) -> None:
    assert not is_original_study(summary.assign(batch_size=16, beta=[1.0, 0.1, None, None]))


def test_every_stated_number_has_a_row_with_ours(summary: pd.DataFrame) -> None:
    table = claims(summary)
    assert len(table) == len(CLAIMED_SSIM) + sum(map(len, CLAIMED_LOSS.values()))
    assert table["stated"].tolist() == [0.78, 0.96, 0.076, 0.051, 0.107, 0.055]
    assert table["ours"].tolist() == pytest.approx([0.40, 0.85, 0.075, 0.049, 0.108, 0.054])
    expected = ["lower here", "does not hold", "holds", "holds", "holds", "holds"]
    assert table["verdict"].tolist() == expected


def test_a_batch_size_of_more_seeds_counts_once(summary: pd.DataFrame) -> None:
    more = summary[(summary.model == "vae") & (summary.batch_size == 16)]
    more = more.assign(seed=1, test_ssim=0.51)
    ours = claims(pd.concat([summary, more])).loc[0, "ours"]
    assert ours == pytest.approx(((0.41 + 0.51) / 2 + 0.39) / 2)


def test_a_loss_of_several_seeds_is_their_mean_with_its_deviation(summary: pd.DataFrame) -> None:
    seeds = pd.concat([summary, summary.assign(train_loss=summary.train_loss + 0.004, seed=1)])
    row = by_claim(seeds).loc[TOTAL_16]
    assert row.ours == pytest.approx(0.077)
    assert row.sd == pytest.approx(0.004 / math.sqrt(2))
    assert row.verdict == "holds"


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (0.78, "holds"),
        (0.7411, "holds"),
        (0.7409, "lower here"),
        (0.8189, "holds"),
        (0.8191, "higher here"),
    ],
)
def test_about_is_within_five_percent(summary: pd.DataFrame, value: float, verdict: str) -> None:
    summary.loc[summary.model == "vae", "test_ssim"] = value
    assert claims(summary).loc[0, "verdict"] == verdict


@pytest.mark.parametrize(
    ("lowest", "verdict"), [(0.961, "holds"), (0.96, "does not hold"), (0.9, "does not hold")]
)
def test_above_is_above_at_every_batch_size(
    summary: pd.DataFrame, lowest: float, verdict: str
) -> None:
    summary.loc[summary.model == "vqvae", "test_ssim"] = [lowest, 0.97]
    assert claims(summary).loc[1, "verdict"] == verdict


def test_what_was_not_run_stays_open(summary: pd.DataFrame) -> None:
    row = by_claim(summary[summary.batch_size == 16]).loc[TOTAL_256]
    assert math.isnan(row.ours)
    assert row.verdict == "not run"
    vae = claims(summary[summary.model == "vae"])
    assert vae["verdict"].tolist() == ["lower here", *["not run"] * 5]


def test_the_vqvae_s_runs_at_a_batch_size_are_these_alone(summary: pd.DataFrame) -> None:
    at = vqvae_at(summary, 256)
    assert at[["model", "batch_size", "train_loss"]].values.tolist() == [["vqvae", 256, 0.108]]


def test_losses_that_fail_are_named_by_batch_size_and_column(summary: pd.DataFrame) -> None:
    assert losses_that_fail(summary) == []
    summary.loc[summary.batch_size == 16, "train_loss"] = 0.085
    summary.loc[summary.batch_size == 256, "train_reconstruction_loss"] = 0.05
    assert losses_that_fail(summary) == [(16, "train_loss"), (256, "train_reconstruction_loss")]


# --- protocols -----------------------------------------------------------------------------


def test_protocols_are_means_over_batch_sizes_and_the_lowest_of_them(audited: list[Run]) -> None:
    scores = protocol_scores(audited)
    assert list(scores) == ["vae", "vqvae", "vae_lowest", "vqvae_lowest"]
    assert scores.loc["flat"].tolist() == pytest.approx([0.79, 0.9655, 0.78, 0.961])
    assert scores.loc["Wang et al."].tolist() == pytest.approx([0.41, 0.85, 0.40, 0.84])


def test_a_protocol_counts_a_batch_size_of_more_seeds_once(audited: list[Run]) -> None:
    more = [
        invented_run("vae", 16, evaluation={"ssim_by_protocol": {"flat": 0.90}}),
        invented_run("vqvae", 256, evaluation={"ssim_by_protocol": {"flat": 0.951}}),
    ]
    scores = protocol_scores(audited + more)
    assert scores.loc["flat"].tolist() == pytest.approx([0.815, 0.963, 0.78, 0.956])


def test_a_protocol_fits_if_both_models_are_what_the_original_report_states(
    audited: list[Run],
) -> None:
    assert fits_claims(protocol_scores(audited)) == ["flat"]
    audited[3].evaluation["ssim_by_protocol"]["flat"] = 0.9
    assert fits_claims(protocol_scores(audited)) == []


def test_a_protocol_without_a_score_fits_nothing(audited: list[Run]) -> None:
    for run in audited:
        run.evaluation["ssim_by_protocol"]["flat"] = None
    scores = protocol_scores(audited)
    assert scores.loc["flat"].isna().all()
    assert fits_claims(scores) == []
