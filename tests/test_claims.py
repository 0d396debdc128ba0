"""The original report's numbers beside ours."""

from types import SimpleNamespace

import pandas as pd
import pytest

from vqlib import TrainConfig
from vqlib.report import claims


def test_claims_are_set_beside_our_numbers_with_difference_and_verdict(summary):
    table = claims.claim_table(summary).set_index("Claim")
    assert len(table) == 6
    ssim = table.loc["VQ-VAE: SSIM, lowest of them"]
    assert tuple(ssim) == ("above 0.96", "0.850", "-0.110", "does not hold")
    loss = table.loc["VQ-VAE, batch 16: total loss in training"]
    assert tuple(loss) == ("about 0.076", "0.0750", "-0.0010", "holds")


def test_a_loss_of_several_seeds_is_their_mean_with_its_deviation(summary):
    seeds = pd.concat([summary, summary.assign(train_loss=summary.train_loss + 0.004, seed=1)])
    table = claims.claim_table(seeds).set_index("Claim")
    row = table.loc["VQ-VAE, batch 16: total loss in training"]
    assert tuple(row) == ("about 0.076", "0.0770 ± 0.0028", "+0.0010", "holds")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.78, "holds"), (0.745, "holds"), (0.73, "lower here"), (0.83, "higher here")],
)
def test_about_is_within_five_percent(summary, value, verdict):
    summary.loc[summary.model == "vae", "test_ssim"] = value
    assert claims.claim_table(summary).loc[0, "Verdict"] == verdict


def test_above_is_above(summary):
    summary.loc[summary.model == "vqvae", "test_ssim"] = [0.961, 0.97]
    assert claims.claim_table(summary).loc[1, "Verdict"] == "holds"


def test_a_claim_at_a_batch_size_that_was_not_run_stays_open(summary):
    table = claims.claim_table(summary[summary.batch_size == 16]).set_index("Claim")
    row = table.loc["VQ-VAE, batch 256: total loss in training"]
    assert tuple(row[1:]) == ("–", "–", "not run")


def test_a_changed_number_changes_the_claims(summary):
    summary.loc[(summary.model == "vqvae") & (summary.batch_size == 256), "test_ssim"] = 0.123
    assert "0.123" in claims.claim_table(summary).to_string()
    assert "VQ-VAE: SSIM, lowest of them (0.123)" in claims.claims_sentence(summary)


def test_the_claims_that_hold_are_counted(summary):
    assert claims.claims_sentence(summary).startswith("Of 6 numbers of the original report 4 hold")
    some = summary[summary.batch_size == 16]
    assert claims.claims_sentence(some).startswith("Of 4 numbers of the original report 2 hold")


def test_claims_of_shorter_training_are_set_against_it(summary):
    assert "50,000" not in claims.claims_sentence(summary)
    for other in ({"epochs": 6}, {"n_train": 10_000}):
        assert "trained for 40 epochs on 50,000" in claims.claims_sentence(summary.assign(**other))


@pytest.fixture
def normal(summary):
    """As the study's VQ-VAEs, but started otherwise; all four losses hold."""
    vqvae = summary[summary.model == "vqvae"]
    return vqvae.assign(train_loss=[0.077, 0.105], train_reconstruction_loss=[0.0505, 0.0551])


def test_losses_are_set_side_by_side_by_the_codebooks_start(summary, normal):
    summary.loc[summary.batch_size == 16, "train_loss"] = 0.085
    table = claims.start_table(summary, normal).loc[16].set_index("Codebook's start")
    losses = ["Total loss", "Reconstruction loss", "Weighted commitment"]
    assert list(table.loc["uniform", losses]) == ["0.0850", "0.0490", "0.0360"]
    assert list(table.loc["normal", losses]) == ["0.0770", "0.0505", "0.0265"]
    assert list(table.loc["original report", losses]) == [
        "about 0.076",
        "about 0.051",
        "about 0.025",
    ]
    sentence = claims.start_sentence(summary, normal)
    assert "ends at 0.0770 (0.0505) instead of 0.0850 (0.0490) at batch size 16; and" in sentence
    assert "Within 5% of those stated are then all losses; with the start taken" in sentence
    assert "here, all losses but the total loss at batch size 16." in sentence
    assert "over seeds" not in sentence
    seeds = pd.concat([normal, normal.assign(train_loss=normal.train_loss + 0.004, seed=1)])
    said = claims.start_sentence(summary, seeds)
    assert (
        "0.0790 (0.0505) instead of 0.0850 (0.0490) at batch size 16, ± 0.0028 over seeds" in said
    )


def run(model: str, batch_size: int, dataset: str = "cifar10", **scores: float) -> SimpleNamespace:
    config = TrainConfig(model=model, batch_size=batch_size, dataset=dataset)
    return SimpleNamespace(config=config, evaluation={"ssim_by_protocol": scores})


@pytest.fixture
def audited():
    """By `flat` both claims fit; by `lax` all is high; `Wang et al.` is low."""
    return [
        run("vae", 16, **{"Wang et al.": 0.42, "flat": 0.80, "lax": 0.99, "late": 0.78}),
        run("vae", 256, **{"Wang et al.": 0.40, "flat": 0.78, "lax": 0.99, "late": 0.78}),
        run("vqvae", 16, **{"Wang et al.": 0.86, "flat": 0.97, "lax": 1.0, "late": 0.97}),
        run("vqvae", 256, **{"Wang et al.": 0.84, "flat": 0.961, "lax": 1.0, "late": 0.95}),
    ]


def test_protocols_are_averaged_and_the_vqvaes_lowest_batch_size_decides(audited):
    scores = claims.protocol_scores(audited)
    assert scores.loc["flat"].tolist() == pytest.approx([0.79, 0.9655, 0.961])
    assert claims.protocols_like_the_claims(scores) == ["flat"]


def test_a_batch_size_of_more_seeds_counts_no_more_than_the_others(audited):
    more = [run("vae", 16, flat=0.90), run("vqvae", 256, flat=0.951)]  # a seed more
    scores = claims.protocol_scores(audited + more)
    assert scores.loc["flat"].tolist() == pytest.approx([0.815, 0.963, 0.956])


def test_the_audit_names_the_protocols_that_fit_and_claims_no_more(audited):
    sentence = claims.audit_sentence(audited)
    assert "the VAE reaches 0.410 and the VQ-VAE 0.850" in sentence
    assert "Of the 4 protocols tried" in sentence
    assert "*flat* (0.790; 0.966, lowest 0.9610)" in sentence
    assert "lax" not in sentence
    assert "late" not in sentence
    assert "does not prove" in sentence


def test_the_audit_says_where_none_fits(audited):
    audited[3].evaluation["ssim_by_protocol"]["flat"] = 0.9
    assert "None of the protocols tried" in claims.audit_sentence(audited)


def test_the_original_report_stands_beside_cifar10_only(audited):
    stated = claims.protocol_table(audited).loc["original report"]
    assert stated.tolist() == ["about 0.78", "", "above 0.96"]
    elsewhere = [run("vae", 16, "photos", flat=0.8), run("vqvae", 16, "photos", flat=None)]
    table = claims.protocol_table(elsewhere)
    assert table.loc["flat"].tolist() == ["0.800", "–", "–"]
    assert "original report" not in table.index
    assert "nothing follows" in claims.audit_sentence(elsewhere)


def test_only_cifar10_compares_with_the_original_report(summary):
    assert claims.is_cifar10(summary)
    assert not claims.is_cifar10(pd.concat([summary, summary.assign(dataset="photos")]))
