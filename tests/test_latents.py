"""Samples of a VAE: from N(0, I) and from densities of its posteriors."""

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.covariance import EmpiricalCovariance

from vqlib import Images, Run
from vqlib.generation.latents import fit_density, posterior_samples, sample_vae
from vqlib.images import scale

GAUSSIAN = ("vae", "svae")


@pytest.fixture(params=GAUSSIAN)
def vae(request: pytest.FixtureRequest, small_runs: dict[str, Run]) -> Run:
    """Return a trained model with a Gaussian latent."""
    return small_runs[request.param]


def test_posterior_samples_have_mean_and_variance_of_the_posterior(
    vae: Run, few_photos: Images
) -> None:
    one = few_photos.test[:1]
    samples = posterior_samples(vae.model, one.expand(2000, -1, -1, -1), seed=1).double().numpy()
    with torch.no_grad():
        mean, log_variance = vae.model.encode(scale(one))
    mean, spread = mean.flatten().numpy(), (log_variance / 2).exp().flatten().numpy()
    assert samples.shape == (2000, len(mean))
    whitened = ((samples - mean) / spread).ravel()
    assert scipy.stats.kstest(whitened[:5000], "norm").pvalue > 0.01


def test_one_gaussian_has_mean_and_covariance_of_the_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(500, 4, generator=generator) @ torch.rand(4, 4, generator=generator)
    density = fit_density(samples)
    wanted = EmpiricalCovariance().fit(samples.double().numpy())
    np.testing.assert_allclose(density.means_[0], wanted.location_, atol=1e-9)
    np.testing.assert_allclose(density.covariances_[0], wanted.covariance_, atol=1e-5)


def test_a_mixture_finds_what_one_gaussian_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    sides = torch.randint(2, (600, 1), generator=generator) * 20 - 10
    samples = torch.randn(600, 2, generator=generator) * 0.5 + sides
    one, two = (fit_density(samples, components) for components in (1, 2))
    assert two.score(samples.numpy()) > one.score(samples.numpy()) + 1


@pytest.mark.parametrize("components", [0, 1, 10])
def test_samples_are_images_that_the_seed_fixes(
    vae: Run, few_photos: Images, components: int
) -> None:
    density = None
    if components:
        density = fit_density(posterior_samples(vae.model, few_photos.train), components)
    images = sample_vae(vae.model, 5, density, seed=2)
    assert images.shape == (5, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(images, sample_vae(vae.model, 5, density, seed=2))
    assert not torch.equal(images, sample_vae(vae.model, 5, density, seed=3))


def test_without_a_density_latents_are_standard_normal(vae: Run) -> None:
    decoded = []
    vae.model.decode, decode = lambda z: decoded.append(z) or decode(z), vae.model.decode
    try:
        sample_vae(vae.model, 400)
    finally:
        del vae.model.decode
    z = torch.cat(decoded).flatten().numpy()
    assert scipy.stats.kstest(z[:5000], "norm").pvalue > 0.01
