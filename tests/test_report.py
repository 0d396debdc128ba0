"""The report says what the results say."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from vqlib import TrainConfig
from vqlib.report import tables as report


def test_changing_a_number_of_the_summary_changes_table_and_text(summary):
    changed = summary.copy()
    changed.loc[(changed.model == "vqvae") & (changed.batch_size == 256), "test_ssim"] = 0.123
    assert "0.123" in report.comparison_table(changed).to_string()
    assert "0.123" in report.comparison_sentence(changed)
    assert "0.123" not in report.comparison_sentence(summary)


def test_comparison_counts_the_batch_sizes_where_the_vqvae_wins(summary):
    assert "at every batch size" in report.comparison_sentence(summary)
    summary.loc[summary.model == "vae", "test_ssim"] = [0.9, 0.3]
    assert "at 1 of 2 batch sizes" in report.comparison_sentence(summary)


def test_the_loss_sentence_names_smallest_and_largest_batch_size(summary):
    sentence = report.loss_sentence(summary)
    assert "0.075, of it 0.049 reconstruction, at batch size 16 (125,000 steps)" in sentence
    assert "0.108, of it 0.054 reconstruction, at batch size 256 (7,840 steps)" in sentence


def test_tables_have_mean_and_deviation_of_seeds(summary):
    second = summary.assign(seed=1, test_ssim=summary.test_ssim + 0.02)
    both = pd.concat([summary, second])
    vqvae = report.comparison_table(both).loc["VQ-VAE"]
    assert list(vqvae["SSIM"]) == ["0.8800 ± 0.0141", "0.8600 ± 0.0141"]
    assert list(vqvae["Bits"]) == ["576.0", "576.0"]
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


def test_one_is_not_many(summary):
    one = summary[(summary.batch_size == 16) & (summary.model == "vae")].assign(epochs=1)
    sentence = report.training_sentence(one)
    assert "for 1 epoch at batch size 16, with 1 seed for each, 1 run in all" in sentence


def test_the_rates_are_those_of_the_summary(summary):
    sentence = report.rate_sentence(summary)
    assert "576 bits an image" in sentence
    assert "latent 29 to 31 by its KL" in sentence


def test_the_sizes_are_those_of_the_configs():
    vae, vqvae = TrainConfig(model="vae"), TrainConfig(model="vqvae")
    said = report.sizes_sentence(vae, vqvae)
    for words in ("128 numbers", "K = 512", "D = 64", "gamma = 0.99", "the original report's"):
        assert words in said
    other = TrainConfig(model="vqvae", num_embeddings=100, decay=0, commitment_cost=2)
    said = report.sizes_sentence(TrainConfig(model="vae", beta=0.2), other)
    for words in ("$\\beta = 0.2$", "K = 100", "$\\beta = 2$", "learnt by gradient"):
        assert words in said
    assert "original report" not in said
    assert "gamma" not in said


@pytest.mark.parametrize(("float32", "said"), [(0.052, "within"), (0.080, "beyond")])
def test_precisions_are_compared_by_the_spread_of_their_seeds(float32, said):
    seeds = pd.DataFrame({"train_loss": 0.09, "train_reconstruction_loss": [0.06, 0.061, 0.062]})
    runs = pd.concat(
        seeds.assign(precision=name, batch_size=16, epochs=5, test_nmse=[nmse, nmse, nmse + 0.003])
        for name, nmse in (("bfloat16", 0.053), ("float32", float32))
    )
    sentence = report.precision_sentence(runs)
    assert "With 3 seeds each at batch size 16, 5 epochs in bfloat16" in sentence
    assert f"{said} the seeds' standard deviation of {0.001 * 3**0.5:.4f}" in sentence
    assert "from 0.0600 to 0.0620" in sentence
    table = report.precision_table(runs)
    assert list(table.index) == ["bfloat16", "float32"]
    assert table.loc["bfloat16", "NMSE"] == "0.0540 ± 0.0017"


def test_the_spread_of_seeds_is_set_beside_that_of_batch_sizes(summary):
    other = summary.assign(test_ssim=summary.test_ssim + 0.002, seed=1)
    said = report.seeds_sentence(pd.concat([summary, other]))
    for model in ("VAE", "VQ-VAE"):
        assert (
            f"0.0014 for the {model}, whose means by batch size differ by up to 0.0200, 14 times"
            in said
        )


def test_with_one_seed_each_differences_may_be_chance(summary):
    assert "may be chance" in report.seeds_sentence(summary)


@pytest.fixture
def longer(summary):
    """Batch size 256 for as many steps as batch size 16 takes, with an error in between."""
    run = summary[(summary.model == "vqvae") & (summary.batch_size == 256)]
    return run.assign(epochs=640, steps=125_440, test_nmse=0.0515, train_loss=0.101)


def test_a_longer_run_tells_how_much_of_the_difference_is_gone(summary, longer):
    sentence = report.longer_sentence(summary, longer)
    assert "for 640 epochs instead of 40, batch size 256 takes 125,440 steps" in sentence
    assert "as many as batch size 16 in 40 (125,000)" in sentence
    assert "from 0.0560 to 0.0515, where batch size 16 has 0.0500: 75% of the diff" in sentence
    assert "from 0.1080 to 0.1010, where batch size 16 has 0.0750: there 21% is gone" in sentence
    assert "each image 16 times as often" in sentence
    more_seeds = pd.concat([summary, summary.assign(seed=1, test_nmse=9.0, train_loss=9.0)])
    assert report.longer_sentence(more_seeds, longer) == sentence
    beyond = report.longer_sentence(summary, longer.assign(test_nmse=0.0495))
    assert "all of the difference is gone" in beyond


def test_a_longer_run_has_a_row_of_its_own(summary, longer):
    table = report.longer_table(summary, longer)
    assert list(table.index) == ["16", "256", "256"]
    assert list(table["Epochs"]) == ["40", "40", "640"]
    assert list(table["Test NMSE"]) == ["0.0500", "0.0560", "0.0515"]


@pytest.fixture
def histories():
    """Test NMSE 1 / steps, with 100 steps an epoch at batch size 16 and 25 at 64."""
    epochs = np.arange(1, 13)
    return {
        size: pd.DataFrame(
            {
                "epoch": epochs,
                "steps": epochs * per_epoch,
                "loss": 1 / epochs,
                "test_nmse": 1 / (epochs * per_epoch),
            }
        )
        for size, per_epoch in ((16, 100), (64, 25))
    }


def test_equal_steps_compare_where_the_shortest_run_ends(histories):
    table = report.equal_steps_table(histories)
    assert list(table["steps"]) == [300, 300]
    assert list(table["epochs"]) == [3, 12]
    assert list(table["test_nmse"]) == [1 / 300, 1 / 300]
    assert list(table["final_nmse"]) == [1 / 1200, 1 / 300]


def test_batch_sizes_are_compared_by_epochs_and_by_steps(histories):
    histories[16]["test_nmse"] *= 2
    sentence = report.equal_steps_sentence(histories)
    assert "batch size 16 is ahead of 64 in test NMSE (0.0017 and 0.0033)" in sentence
    assert "after 300 steps each it is behind it (0.0067 and 0.0033)" in sentence


def test_nothing_is_said_of_steps_within_the_first_epoch(histories):
    histories[16]["steps"] *= 10
    assert report.equal_steps_table(histories).loc[16, ["test_nmse"]].isna().all()
    assert report.equal_steps_sentence(histories).startswith("No two batch sizes")


def test_the_early_fall_is_measured(histories):
    said = report.early_fall_sentence(histories)
    assert f"{(1 - 1 / 5) / (1 - 1 / 12):.0%} is over after 5 epochs: steep first" in said


def test_a_total_that_rises_again_is_told(histories):
    assert "It falls to the end" in report.early_fall_sentence(histories)
    histories[64].loc[11, "loss"] = 1.2 / 11
    said = report.early_fall_sentence(histories)
    assert "at batch size 64 it is lowest in epoch 11, and 20.0% above that in the last" in said


def test_an_even_fall_is_not_called_steep(histories):
    for history in histories.values():
        history["loss"] = 20.0 - history["epoch"]
    assert "36% is over after 5 epochs." in report.early_fall_sentence(histories)


def test_runs_of_few_epochs_have_no_early_fall(histories):
    short = {size: history[:9] for size, history in histories.items()}
    assert "too short" in report.early_fall_sentence(short)


def test_the_gap_between_training_and_test_is_told(summary):
    assert "by +2.0% to +3.7%, by batch size" in report.overfitting_sentence(summary)
    below = summary.assign(train_reconstruction_loss=2 * summary.test_nmse)
    assert "by -50.0% to -50.0%" in report.overfitting_sentence(below)


def test_dead_codes_at_the_end_are_told(histories):
    for size, history in histories.items():
        history["codes_used"], history["perplexity"] = 100, size
    said = report.codebook_sentence(histories, 100)
    assert said == "At the end of training, of 100 codes none is dead, and perplexity is 16 to 64."
    histories[64]["codes_used"] = 97
    assert "of 100 codes 0 to 3 are dead" in report.codebook_sentence(histories, 100)


def test_histories_of_several_seeds_are_averaged_by_epoch(histories):
    def run(model, history):
        return SimpleNamespace(config=TrainConfig(model=model, batch_size=16), history=history)

    first, second = histories[16], histories[16].assign(loss=3 / histories[16]["epoch"])
    runs = [run("vae", first), run("vqvae", first), run("vqvae", second)]
    assert [len(each) for each in report.seed_histories(runs).values()] == [2]
    mean = report.mean_histories(runs)[16]
    assert mean["loss"].tolist() == pytest.approx((2 / first["epoch"]).tolist())
    assert mean["epoch"].tolist() == first["epoch"].tolist()
