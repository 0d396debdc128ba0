"""Named numbers from a study's results."""

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import invented_run

from vqlib import Run
from vqlib.report.findings import (
    Findings,
    codebook_sizes,
    equal_steps_table,
    load_findings,
    longer_run,
    mean_histories,
    precision_effect,
    seed_histories,
)

Histories = dict[int, pd.DataFrame]


@pytest.fixture
def histories() -> Histories:
    """Return histories with a test NMSE of 1 / steps: 100 steps an epoch at 16, 25 at 64."""
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


def of_histories(histories: Histories, **columns: object) -> Findings:
    """Return the findings of VQ-VAEs with these histories; columns are those of the summary."""
    runs = [invented_run("vqvae", size, history) for size, history in histories.items()]
    summary = pd.DataFrame({"model": "vqvae", "batch_size": list(histories), **columns})
    return Findings(summary, runs)


# --- numbers of the summary ----------------------------------------------------------------


def test_figures_are_means_over_seeds_by_model_and_batch_size(summary: pd.DataFrame) -> None:
    seeds = pd.concat([summary, summary.assign(seed=1, test_ssim=summary.test_ssim + 0.02)])
    found = Findings(seeds, [])
    assert found.ssim["vqvae"].to_dict() == pytest.approx({16: 0.88, 256: 0.86})
    assert found.ssim["vae"].to_dict() == pytest.approx({16: 0.42, 256: 0.40})
    assert found.nmse["vqvae"].to_dict() == pytest.approx({16: 0.050, 256: 0.056})
    assert found.bits["vae"].to_dict() == pytest.approx({16: 29.0, 256: 31.0})


def test_the_error_ratio_is_that_of_the_batch_sizes_of_both_models(summary: pd.DataFrame) -> None:
    assert Findings(summary, []).error_ratio.to_dict() == pytest.approx(
        {16: 0.050 / 0.26, 256: 0.056 / 0.28}
    )
    some = summary[(summary.model == "vqvae") | (summary.batch_size == 16)]
    assert Findings(some, []).error_ratio.to_dict() == pytest.approx({16: 0.050 / 0.26})


def test_the_spread_of_seeds_is_that_of_settings_with_several(summary: pd.DataFrame) -> None:
    assert Findings(summary, []).seed_sd == {}
    second = summary[summary.batch_size == 16].assign(seed=1, test_ssim=[0.43, 0.88])
    found = Findings(pd.concat([summary, second]), []).seed_sd
    assert found["vae"].to_dict() == pytest.approx({16: 0.02 / math.sqrt(2)})
    assert found["vqvae"].to_dict() == pytest.approx({16: 0.01 / math.sqrt(2)})


def test_the_range_of_batch_sizes_is_that_of_their_means(summary: pd.DataFrame) -> None:
    assert Findings(summary, []).batch_range == pytest.approx({"vae": 0.02, "vqvae": 0.02})


def test_losses_and_the_gap_to_the_test_images_are_those_of_the_vqvae(
    summary: pd.DataFrame,
) -> None:
    found = Findings(summary, [])
    assert found.loss.loc[16].tolist() == pytest.approx([0.075, 0.049, 125_000])
    assert found.loss.loc[256].tolist() == pytest.approx([0.108, 0.054, 7_840])
    expected = {16: 0.050 / 0.049 - 1, 256: 0.056 / 0.054 - 1}
    assert found.test_gap.to_dict() == pytest.approx(expected)


# --- numbers of the histories --------------------------------------------------------------


def test_the_early_fall_is_the_share_of_the_first_five_epochs(histories: Histories) -> None:
    expected = (1 - 1 / 5) / (1 - 1 / 12)
    early = of_histories(histories).early_fall
    assert early.to_dict() == pytest.approx({16: expected, 64: expected})


def test_runs_of_fewer_than_ten_epochs_have_no_early_fall(histories: Histories) -> None:
    short = {16: histories[16][:9], 64: histories[64][:10]}
    assert list(of_histories(short).early_fall.index) == [64]
    assert of_histories({16: histories[16][:9]}).early_fall.empty


def test_the_codebook_is_that_of_the_stored_weights_as_mean_over_seeds() -> None:
    runs = [
        invented_run("vqvae", 16, evaluation={"codes_used": 512, "perplexity": 300.0}),
        invented_run("vqvae", 16, evaluation={"codes_used": 508, "perplexity": 340.0}),
        invented_run("vqvae", 64, evaluation={"codes_used": 512, "perplexity": 250.0}),
        invented_run("vae", 64, evaluation={"codes_used": None, "perplexity": None}),
    ]
    codebook = Findings(pd.DataFrame(), runs).codebook
    assert codebook.loc[16].to_dict() == {"codes_used": 510, "perplexity": 320}
    assert codebook.loc[64].to_dict() == {"codes_used": 512, "perplexity": 250}


def test_at_the_end_of_a_run_its_error_is_that_of_the_stored_weights(histories: Histories) -> None:
    table = of_histories(histories, test_nmse=[0.0009, 0.0034]).equal_steps
    assert table["final_nmse"].tolist() == [0.0009, 0.0034]
    assert table["test_nmse"].tolist() == pytest.approx([1 / 300, 0.0034])


def test_protocols_and_claims_are_those_of_the_runs(
    summary: pd.DataFrame, audited: list[Run]
) -> None:
    found = Findings(summary, audited)
    assert found.protocols.loc["flat", "vqvae"] == pytest.approx(0.9655)
    assert found.fitting == ["flat"]
    assert found.claims["ours"][0] == pytest.approx(0.40)


def test_findings_are_loaded_from_a_folder_of_runs(
    small_runs: dict[str, Run], tmp_path: Path
) -> None:
    for run in small_runs.values():
        shutil.copytree(run.folder, tmp_path / run.folder.name)
    found = load_findings(tmp_path)
    for model, run in small_runs.items():
        assert found.ssim[model].to_dict() == {32: run.evaluation["test_ssim"]}
        assert found.bits[model].to_dict() == {32: run.bits}
    pd.testing.assert_frame_equal(
        found.histories[32][["loss", "test_nmse"]],
        small_runs["vqvae"].history[["loss", "test_nmse"]],
    )


# --- sweeps --------------------------------------------------------------------------------


@pytest.fixture
def sweep(histories: Histories) -> list[Run]:
    """Return VQ-VAEs that differ in codes and grid, one of them with two seeds, and a VAE."""
    long, short = histories[16], histories[64]
    return [
        invented_run("vqvae", 16, long, num_embeddings=64),
        invented_run("vqvae", 16, long, num_embeddings=64, seed=1),
        invented_run("vqvae", 16, short, grid=4),
        invented_run("vae", 16, short),
    ]


def test_findings_of_a_sweep_are_by_the_settings_that_vary(sweep: list[Run]) -> None:
    settings = pd.DataFrame([run.settings | {"model": run.config.model} for run in sweep])
    found = Findings(settings.assign(test_ssim=[0.7, 0.8, 0.6, 0.4], test_nmse=0.1), sweep)
    assert found.varied("vqvae") == ["grid", "num_embeddings"]
    assert found.ssim["vqvae"].to_dict() == pytest.approx({(4, 512): 0.6, (8, 64): 0.75})
    assert found.ssim["vae"].to_dict() == {16: 0.4}
    assert found.largest == {"vae": 16, "vqvae": (8, 64)}
    assert found.shown == {"vae": sweep[3], "vqvae": sweep[0]}
    assert list(found.histories) == [(4, 512), (8, 64)]
    assert found.equal_steps.index.names == ["grid", "num_embeddings"]
    assert found.equal_steps.loc[(8, 64), "final_steps"] == 1200


def test_codebook_sizes_are_those_of_the_runs(small_runs: dict[str, Run]) -> None:
    runs = list(small_runs.values())
    assert codebook_sizes(runs, "vqvae") == {32: 32}
    assert codebook_sizes(runs, "vae") == {32: 0}


# --- histories of seeds --------------------------------------------------------------------


def test_histories_of_several_seeds_are_averaged_by_epoch(histories: Histories) -> None:
    first, second = histories[16], histories[16].assign(loss=3 / histories[16]["epoch"])
    runs = [
        invented_run("vae", 16, histories[64]),
        invented_run("vqvae", 16, first),
        invented_run("vqvae", 16, second),
    ]
    assert [len(each) for each in seed_histories(runs).values()] == [2]
    mean = mean_histories(runs)[16]
    assert mean["loss"].tolist() == pytest.approx((2 / first["epoch"]).tolist())
    assert mean["epoch"].tolist() == first["epoch"].tolist()
    pd.testing.assert_frame_equal(mean_histories(runs, "vae")[16], histories[64], check_dtype=False)


# --- equal steps ---------------------------------------------------------------------------


def test_batch_sizes_are_compared_after_as_many_steps_as_the_shortest_run_takes(
    histories: Histories,
) -> None:
    table = equal_steps_table(histories)
    assert table["steps"].tolist() == [300, 300]
    assert table["epochs"].tolist() == [3, 12]
    assert table["test_nmse"].tolist() == [1 / 300, 1 / 300]
    assert table["final_steps"].tolist() == [1200, 300]
    assert table["final_nmse"].tolist() == [1 / 1200, 1 / 300]


def test_between_two_epochs_the_error_is_interpolated(histories: Histories) -> None:
    histories[64]["steps"] = 350 * histories[64]["epoch"] / 12
    table = equal_steps_table(histories)
    assert table.loc[16, "test_nmse"] == pytest.approx((1 / 300 + 1 / 400) / 2)


def test_within_the_first_epoch_there_is_no_error(histories: Histories) -> None:
    histories[16]["steps"] *= 10
    assert math.isnan(equal_steps_table(histories).loc[16, "test_nmse"])


# --- a longer run, and precision -----------------------------------------------------------


def test_a_longer_run_stands_between_its_own_batch_size_and_the_one_with_as_many_steps(
    summary: pd.DataFrame,
) -> None:
    run = summary[(summary.model == "vqvae") & (summary.batch_size == 256)]
    longer = run.assign(epochs=640, steps=125_440, test_nmse=0.0515, train_loss=0.101)
    other_seed = summary.assign(seed=1, test_nmse=9.0, train_loss=9.0, steps=125_440)
    found = longer_run(pd.concat([summary, other_seed]), longer)
    assert (found.before["batch_size"], found.before["test_nmse"]) == (256, 0.056)
    assert (found.after["epochs"], found.after["test_nmse"]) == (640, 0.0515)
    assert (found.level["batch_size"], found.level["steps"]) == (16, 125_000)
    assert found.closed("test_nmse") == pytest.approx((0.056 - 0.0515) / (0.056 - 0.050))
    assert found.closed("train_loss") == pytest.approx((0.108 - 0.101) / (0.108 - 0.075))


def test_the_effect_of_precision_comes_with_the_spread_of_seeds() -> None:
    nmse = {"bfloat16": [0.053, 0.053, 0.056], "float32": [0.052, 0.053, 0.054]}
    runs = pd.concat(
        pd.DataFrame({"precision": name, "test_nmse": values}) for name, values in nmse.items()
    )
    runs["train_loss"] = 2 * runs["test_nmse"]
    effect = precision_effect(runs)
    assert effect.means.to_dict() == pytest.approx({"bfloat16": 0.054, "float32": 0.053})
    assert effect.difference == pytest.approx(0.001)
    assert effect.sd == pytest.approx(0.001 * math.sqrt(3))
    assert effect.seeds == 3
    assert precision_effect(runs, "train_loss").sd == pytest.approx(2 * effect.sd)
