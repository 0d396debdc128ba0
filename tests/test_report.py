"""The report says what the results say."""

import pandas as pd
import pytest

from vqlib import report


@pytest.fixture
def summary():
    rows = [
        *(("vae", 16, 0.41, 0.26, 30.0, 20.0), ("vae", 256, 0.39, 0.28, 31.0, 21.0)),
        *(("vqvae", 16, 0.87, 0.050, 0.075, 0.049), ("vqvae", 256, 0.85, 0.056, 0.108, 0.054)),
    ]
    columns = ["model", "batch_size", "test_ssim", "test_nmse", "train_loss"]
    table = pd.DataFrame(rows, columns=[*columns, "train_reconstruction_loss"])
    return table.assign(
        seed=0, epochs=40, steps=[125_000, 7_840] * 2, precision="bfloat16", device="cpu",
        test_mse=0.0632 * table.test_nmse, test_psnr=24.5, perplexity=[None, None, 400.0, 300.0],
        dataset="cifar10", n_train=50_000, n_test=10_000, learning_rate=5e-4,
    )  # fmt: skip


def test_claims_are_set_beside_our_numbers_with_the_difference(summary):
    table = report.claim_table(summary).set_index("Claim")
    ssim = table.loc["VQ-VAE: SSIM, lowest over batch sizes"]
    assert tuple(ssim) == ("above 0.96", "0.850", "-0.110")
    loss = table.loc["VQ-VAE, batch 16: total loss"]
    assert tuple(loss) == ("about 0.076", "0.075", "-0.001")
    assert len(table) == 6


def test_a_claim_at_a_batch_size_that_was_not_run_stays_open(summary):
    table = report.claim_table(summary[summary.batch_size == 16]).set_index("Claim")
    assert table.loc["VQ-VAE, batch 256: total loss", "Here"] == "–"
    assert table.loc["VQ-VAE, batch 256: total loss", "Difference"] == "–"


def test_changing_a_number_of_the_summary_changes_table_and_text(summary):
    changed = summary.copy()
    changed.loc[(changed.model == "vqvae") & (changed.batch_size == 256), "test_ssim"] = 0.123
    assert "0.123" in report.comparison_table(changed).to_string()
    assert "0.123" in report.comparison_sentence(changed)
    assert "0.123" in report.claim_table(changed).to_string()
    assert "0.123" not in report.comparison_sentence(summary)


def test_comparison_counts_the_batch_sizes_where_the_vqvae_wins(summary):
    assert "at every batch size" in report.comparison_sentence(summary)
    summary.loc[summary.model == "vae", "test_ssim"] = [0.9, 0.3]
    assert "at 1 of 2 sizes" in report.comparison_sentence(summary)


def test_the_loss_sentence_names_smallest_and_largest_batch_size(summary):
    sentence = report.loss_sentence(summary)
    assert "0.075, of it 0.049 reconstruction, at batch size 16 (125,000 steps)" in sentence
    assert "0.108, of it 0.054 reconstruction, at batch size 256 (7,840 steps)" in sentence


def test_seeds_are_averaged_in_tables(summary):
    second = summary.assign(seed=1, test_ssim=summary.test_ssim + 0.02)
    both = pd.concat([summary, second])
    vqvae = report.comparison_table(both).loc["VQ-VAE"]
    assert list(vqvae["SSIM"]) == ["0.880", "0.860"]
    assert "2 seeds for each, 8 runs in all" in report.training_sentence(both)


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("cifar10", "All of CIFAR-10 is used: 50,000 training and 10,000 test images"),
        ("photos", "CIFAR-10 was not used here"),
        ("/my/pictures", "CIFAR-10 was not used here: the data are 50,000"),
    ],
)
def test_the_text_names_the_data_that_were_used(summary, dataset, words):
    assert words in report.data_sentence(summary.assign(dataset=dataset))


def test_a_part_of_cifar10_is_called_a_part(summary):
    assert report.data_sentence(summary.assign(n_train=10_000)).startswith("A part of CIFAR-10")


def test_the_conclusion_does_not_claim_what_the_runs_do_not_show(summary):
    assert "keeps edges and textures" in report.conclusion(summary)
    summary.loc[summary.model == "vae", "test_ssim"] = 0.95
    assert "keeps edges and textures" not in report.conclusion(summary)
    assert "may be too short to tell" in report.conclusion(summary)
