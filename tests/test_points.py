"""A run's rates are those of its codes or of its KL term, its distortion that of its images."""

import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import MakeConfig, refusal
from scipy.stats import entropy
from torch.distributions import Normal, kl_divergence

from vqlib import Images, Run, fit, load_run, rates
from vqlib.images import scale
from vqlib.rates import distortion
from vqlib.rates.coding import code_probabilities
from vqlib.rates.points import CODED, COLUMNS, KL, KL_MEAN, RAW, rate_points, run_points


@pytest.fixture
def folder(
    small_runs: dict[str, Run],
    few_photos: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a folder with the small runs, which find the photos that they were trained on."""
    monkeypatch.setattr(rates.points, "images_of", lambda run: few_photos)
    for run in small_runs.values():
        shutil.copytree(run.folder, tmp_path / run.folder.name)
    return tmp_path


def test_codes_cost_their_logarithm_or_their_cross_entropy(
    small_runs: dict[str, Run], few_photos: Images
) -> None:
    run = small_runs["vqvae"]
    points = {point["rate"]: point for point in rate_points(run, few_photos)}
    assert points[RAW]["bits"] == 64 * 5
    codes = run.model.codes(few_photos.test)
    frequencies = torch.bincount(codes.flatten(), minlength=32).double().numpy()
    frequencies /= frequencies.sum()
    expected = entropy(frequencies, base=2) + entropy(
        frequencies, code_probabilities(run.model), base=2
    )
    assert points[CODED]["bits"] == pytest.approx(64 * expected)
    lost = distortion(few_photos.test, run.model.decode_codes(codes), run.data_variance)
    for point in points.values():
        assert {name: point[name] for name in lost} == pytest.approx(lost, rel=1e-5)


@pytest.mark.parametrize("model", ["vae", "svae"])
def test_a_gaussian_latent_costs_the_kl_term_of_the_test_images(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = small_runs[model]
    points = {point["rate"]: point for point in rate_points(run, few_photos)}
    mean, log_variance = run.model.encode(few_photos.test)
    posterior = Normal(mean.double(), (log_variance / 2).double().exp())
    nats = kl_divergence(posterior, Normal(0.0, 1.0)).flatten(1).sum(1).mean().item()
    assert points[KL]["bits"] == points[KL_MEAN]["bits"] == pytest.approx(nats / math.log(2))


@pytest.mark.parametrize("model", ["vae", "svae"])
def test_the_kl_term_pays_for_a_sample_and_not_for_the_mean(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = small_runs[model]
    points = {point["rate"]: point for point in rate_points(run, few_photos)}
    with torch.no_grad():
        mean, log_variance = run.model.encode(few_photos.test)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(7))
        sampled = run.model.decode(mean + (log_variance / 2).exp() * noise).clamp(0, 1)
    x = scale(few_photos.test)
    again = distortion(x, sampled, run.data_variance)
    assert points[KL]["nmse"] == pytest.approx(again["nmse"], rel=0.02)  # other noise
    from_means = distortion(x, run.model.reconstruct(few_photos.test), run.data_variance)
    assert points[KL_MEAN]["nmse"] == pytest.approx(from_means["nmse"])
    assert points[KL_MEAN]["nmse"] != points[KL]["nmse"]


@pytest.mark.parametrize("model", ["vae", "svae"])
def test_rounded_means_lose_about_what_samples_lose(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    points = {point["rate"]: point for point in rate_points(small_runs[model], few_photos)}
    assert points[CODED]["nmse"] == pytest.approx(points[KL]["nmse"], rel=0.1)


def test_any_other_latent_costs_what_its_model_says(
    autoencoder: str, few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    run = fit(small_config(autoencoder, epochs=1, latent_dim=3), few_photos, tmp_path)
    (point,) = rate_points(run, few_photos)
    assert (point["rate"], point["bits"]) == (RAW, 96)


def test_points_are_computed_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [load_run(path.parent) for path in sorted(folder.glob("*/config.json"))]
    first = run_points(folder, runs)
    assert list(first) == list(COLUMNS)
    assert capsys.readouterr().out.count("computing") == len(runs)
    again = run_points(folder, runs)
    assert capsys.readouterr().out == ""
    pd.testing.assert_frame_equal(first, again)
    for run in runs:  # as shipped without weights
        (run.folder / "weights.safetensors").unlink()
    pd.testing.assert_frame_equal(first, run_points(folder, runs))


def test_points_of_runs_that_are_not_asked_for_are_kept(folder: Path) -> None:
    runs = [load_run(path.parent) for path in sorted(folder.glob("*/config.json"))]
    all_of_them = run_points(folder, runs)
    content = (folder / "rates.csv").read_bytes()
    assert set(run_points(folder, runs[:1])["run"]) == {runs[0].folder.name}
    assert (folder / "rates.csv").read_bytes() == content
    pd.testing.assert_frame_equal(all_of_them, run_points(folder, runs))


@pytest.mark.faults
@pytest.mark.parametrize("content", ["", "run,rate\n", "\x00\x00", "run,rate,bits\n1,2,3,4\n"])
def test_a_damaged_table_of_points_is_told_and_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    runs = [load_run(next(folder.glob("vqvae*")))]
    first = run_points(folder, runs)
    (folder / "rates.csv").write_text(content)
    capsys.readouterr()
    pd.testing.assert_frame_equal(run_points(folder, runs), first)
    assert "rates.csv cannot be read" in capsys.readouterr().out


@pytest.mark.faults
def test_a_run_without_weights_and_without_points_is_left_out_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, whole = (load_run(next(folder.glob(f"{model}-*"))) for model in ("vqvae", "vae"))
    (bare.folder / "weights.safetensors").unlink()
    assert set(run_points(folder, [bare, whole])["run"]) == {whole.folder.name}
    assert f"{bare.folder.name}: left out of the rates" in capsys.readouterr().out
    refusal(lambda: run_points(folder, [bare]), "no run with weights")
