"""The figures of a run, against NumPy, SciPy and scikit-image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from vqlib import VAE, VQVAE, Images, Run, TrainConfig, evaluate, fit, load_run
from vqlib.models import BATCH
from vqlib.runs import evaluate_run, load_run_images

MODELS = ("vae", "vqvae")


@pytest.fixture(scope="module")
def test_images(photos: Images) -> Tensor:
    """More than one batch, the last one smaller, and darker: sorted by brightness."""
    images = photos.test[: BATCH + 120]
    order = images.float().mean((1, 2, 3)).argsort(descending=True)
    return images[order]


@pytest.fixture(scope="module")
def vqvae(test_images: Tensor) -> VQVAE:
    """Its codes lie among its encoder's outputs for some of the images, so that many are in use."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = VQVAE(num_hiddens=16, num_residual_hiddens=8, num_embeddings=128, embedding_dim=8)
    with torch.no_grad():
        z_e = model.encode(test_images[::19].float() / 255)
        model.quantizer.codebook.copy_(z_e.permute(0, 2, 3, 1).reshape(-1, 8)[::10])
    return model.eval()


@pytest.fixture(scope="module")
def models(vqvae: VQVAE) -> dict[str, torch.nn.Module]:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return {"vae": VAE(latent_dim=16).eval(), "vqvae": vqvae}


@pytest.mark.parametrize("model", MODELS)
def test_figures(models: dict[str, torch.nn.Module], test_images: Tensor, model: str) -> None:
    x = test_images.float() / 255
    y = models[model].reconstruct(x).double().numpy()
    x = x.double().numpy()
    mse = np.mean((x - y) ** 2)
    headline = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssims = [
        structural_similarity(a, b, channel_axis=0, data_range=1, **headline)
        for a, b in zip(x, y, strict=True)
    ]

    figures = evaluate(models[model], test_images, data_variance=0.07)

    assert figures["n_test"] == BATCH + 120
    assert figures["test_mse"] == pytest.approx(mse, rel=1e-6)
    assert figures["test_nmse"] == pytest.approx(mse / 0.07, rel=1e-6)
    psnr = peak_signal_noise_ratio(x, y, data_range=1)
    assert figures["test_psnr"] == pytest.approx(psnr, abs=1e-5)
    assert figures["test_ssim"] == pytest.approx(np.mean(ssims), abs=1e-6)


def test_perplexity_is_that_of_all_codes_together(vqvae: VQVAE, test_images: Tensor) -> None:
    """Not a mean over batches, which is lower."""
    codes = vqvae.codes(test_images.float() / 255).numpy()
    counts = np.bincount(codes.ravel(), minlength=128)
    expected = np.exp(entropy(counts / counts.sum()))
    parts = [codes[:BATCH], codes[BATCH:]]
    of_batches = np.mean([np.exp(entropy(np.bincount(part.ravel()))) for part in parts])
    assert abs(expected - of_batches) > 1e-3 * expected

    figures = evaluate(vqvae, test_images, data_variance=0.07)

    assert figures["perplexity"] == pytest.approx(expected, rel=1e-9)
    assert figures["codes_used"] == np.count_nonzero(counts)
    assert 20 < figures["codes_used"] <= 128


def test_a_vae_has_no_perplexity(models: dict[str, torch.nn.Module], test_images: Tensor) -> None:
    figures = evaluate(models["vae"], test_images[:10], data_variance=0.07)
    assert figures["perplexity"] is None
    assert figures["codes_used"] is None


@pytest.mark.parametrize("model", MODELS)
def test_figures_are_those_of_the_stored_weights(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = load_run(small_runs[model].folder)
    assert evaluate(run.model, few_photos.test, few_photos.variance) == run.evaluation


@pytest.mark.parametrize("model", MODELS)
def test_a_run_evaluated_anew_gives_its_figures(
    picture_folder: Path, small_config: Callable[..., TrainConfig], tmp_path: Path, model: str
) -> None:
    run = fit(small_config(model, dataset=str(picture_folder), epochs=1), results=tmp_path)
    assert run.evaluation["n_test"] == 10
    assert evaluate_run(run.folder) == run.evaluation


def test_a_run_s_test_images_obey_its_limit(
    picture_folder: Path, small_config: Callable[..., TrainConfig], tmp_path: Path
) -> None:
    config = small_config("vqvae", dataset=str(picture_folder), limit=4, epochs=1)
    run = fit(config, results=tmp_path)
    assert run.evaluation["n_test"] == 4
    assert load_run_images(run).shape == (4, 3, 32, 32)
    assert evaluate_run(run.folder) == run.evaluation
