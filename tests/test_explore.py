"""Looks into trained models show what the models do."""

import numpy as np
import pytest
import torch

from vqlib import VQVAE, explore, ssim
from vqlib.models import MODELS


@pytest.fixture
def x(small_runs):
    return small_runs["vae"].reconstructions[0].float() / 255


def picture(axis):
    return np.asarray(axis.images[0].get_array())


def test_a_traversal_moves_one_dimension_of_the_first_image(small_runs, x):
    model = small_runs["vae"].model
    figure = explore.latent_traversals(model, x, dimensions=3, reach=2.0)
    with torch.no_grad():
        mean, log_variance = model.encode(x)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        dimension = kl.mean(0).argmax().item()
        z = mean[0].clone()
        z[dimension] = -2.0
        leftmost = model.decode(z[None]).clamp(0, 1)[0].permute(1, 2, 0)
    assert len(figure.axes) == 3
    assert figure.axes[0].get_ylabel() == f"$z_{{{dimension}}}$"
    assert np.allclose(picture(figure.axes[0])[:, :32], leftmost, atol=1e-5)


def test_a_painted_code_is_a_map_of_nothing_else(small_runs):
    model = small_runs["vqvae"].model
    painted = explore.painted_codes(model)
    assert painted.shape == (32, 3, 32, 32)
    alone = model.decode_codes(torch.full((1, 8, 8), 7))
    assert torch.allclose(painted[7], alone[0], atol=1e-6)


def test_the_projection_is_the_principal_components(small_runs):
    model = small_runs["vqvae"].model
    figure = explore.codebook_projection(model)
    places = np.asarray(figure.axes[0].collections[0].get_offsets())
    codebook = model.quantizer.codebook.double().numpy()
    eigenvalues = np.linalg.eigvalsh(np.cov(codebook.T, bias=True))[::-1]
    assert np.allclose(places.var(0), eigenvalues[:2], rtol=1e-4)
    assert f"{eigenvalues[0] / eigenvalues.sum():.0%}" in figure.axes[0].get_xlabel()


def test_usage_is_drawn_most_frequent_first():
    bars = explore.code_usage(torch.tensor([1.0, 6.0, 3.0])).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([0.6, 0.3, 0.1])


def test_codes_are_counted_in_training_or_without_averages_in_the_images(small_runs, x):
    model = small_runs["vqvae"].model
    assert explore.code_counts(model, x) is model.quantizer.ema_counts
    learnt = type(model)(16, 8, 1, 32, 8, decay=0.0).eval()
    counts = explore.code_counts(learnt, x)
    assert counts.sum() == 64 * len(x)
    assert counts[learnt.codes(x)[0, 0, 0]] > 0


def test_a_comparison_shows_the_sheet_s_pictures_and_their_ssim(small_runs):
    figure = explore.compare(small_runs, image=2)
    by_title = {axis.get_title(): picture(axis) for axis in figure.axes}
    for model, run in small_runs.items():
        original, again = (sheet[2:3].float() / 255 for sheet in run.reconstructions)
        title = f"{MODELS[model].title}\nSSIM {ssim(original, again).item():.2f}"
        assert np.allclose(by_title[title], again[0].permute(1, 2, 0))
        error = (again - original).abs()[0].permute(1, 2, 0)
        assert np.allclose(by_title[f"{MODELS[model].title}\nabsolute error"], error)
    assert by_title["VQ-VAE\ncodes"].shape[:2] == (32, 32)


def test_the_explorer_s_slider_reaches_every_picture_of_the_sheet(small_runs):
    slider, _ = explore.explorer(small_runs).children
    assert (slider.min, slider.max) == (0, len(small_runs["vae"].reconstructions[0]) - 1)


@pytest.mark.parametrize("sizes", [{"num_embeddings": 1}, {"embedding_dim": 1}])
def test_the_smallest_codebooks_are_drawn(sizes):
    figure = explore.codebook_projection(VQVAE(**sizes))
    (drawn,) = figure.axes[0].collections
    assert len(drawn.get_offsets()) == sizes.get("num_embeddings", 512)
    assert drawn.get_offsets().shape[1] == 2
