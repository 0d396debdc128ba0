"""Bits per dimension: probabilities that add up, scales that are found, bounds in their order."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from vqlib import Images, Run
from vqlib.generation.dimensions import bits_per_dimension, decoded_pairs, importance_bits
from vqlib.generation.likelihood import (
    EDGES,
    FAMILIES,
    GROUPS,
    PixelDistribution,
    contrast,
    fit_pixels,
    residuals,
)
from vqlib.images import scale

each_family = pytest.mark.parametrize("family", FAMILIES)


def noisy(family: str, scales: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images (8, 3, 32, 32) with noise of these scales in their channels, and the means."""
    generator = np.random.default_rng(seed)
    means = generator.uniform(0.35, 0.65, (8, 3, 32, 32))
    spread = np.array(scales)[:, None, None]
    noise = FAMILIES[family].rvs(scale=spread, size=means.shape, random_state=generator)
    pixels = np.clip(np.round(255 * means + noise), 0, 255).astype(np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(means).float()


@each_family
@pytest.mark.parametrize("spread", [0.06, 1.0, 15.0, 180.0])
def test_the_probabilities_of_all_levels_add_up_to_one(family: str, spread: float) -> None:
    levels = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16)
    decoded = torch.linspace(0, 1, 256).view(1, 1, 16, 16).expand(256, 3, -1, -1)
    kind = PixelDistribution(family, "channel", (spread, 2 * spread, 4.0))
    bits = kind.table[residuals(levels, decoded, "channel")].double()
    assert (2**-bits).sum(0).flatten().numpy() == pytest.approx(1, abs=1e-5)


@each_family
def test_an_image_takes_the_bits_that_scipy_gives_its_pixels(family: str) -> None:
    images, decoded = noisy(family, [3.0, 9.0, 20.0])
    bits = PixelDistribution(family, "all", (12.0,)).bits(images, decoded)
    means, x = np.round(decoded.double().numpy() * 255 * 16) / 16, images.double().numpy()
    upper = np.where(x == 255, np.inf, x + 0.5)
    lower = np.where(x == 0, -np.inf, x - 0.5)
    cdf = FAMILIES[family](loc=means, scale=12.0).cdf
    wanted = -np.log2(cdf(upper) - cdf(lower)).sum((1, 2, 3))
    np.testing.assert_allclose(bits.numpy(), wanted, rtol=1e-5)


@each_family
def test_the_scale_of_each_channel_is_found(family: str) -> None:
    pairs = [noisy(family, [2.0, 8.0, 20.0])]
    fitted = fit_pixels(pairs, family, "channel").scales
    np.testing.assert_allclose(fitted, [2.0, 8.0, 20.0], rtol=0.05)
    together = fit_pixels(pairs, family).scales[0]
    assert fitted[0] < together < fitted[2]


def test_with_a_fitted_gaussian_bits_follow_from_the_squared_error() -> None:
    images, decoded = noisy("Gaussian", [15.0] * 3)
    bits = fit_pixels([(images, decoded)]).bits(images, decoded).mean().item() / 3072
    mse = (images.double() - 255 * decoded).square().mean().item()
    assert bits == pytest.approx(math.log2(2 * math.pi * math.e * mse) / 2, abs=2e-3)


def test_a_finer_choice_of_scales_never_costs_more_where_it_was_fitted() -> None:
    images, decoded = noisy("logistic", [2.0, 4.0, 8.0])
    bits = [
        fit_pixels([(images, decoded)], "logistic", groups).bits(images, decoded).mean().item()
        for groups in GROUPS
    ]
    assert bits[1] < bits[0]
    assert bits[2] <= bits[0] + 1e-3


def test_contrast_is_the_standard_deviation_around_a_pixel() -> None:
    _, decoded = noisy("Gaussian", [1.0] * 3)
    grey = 255 * decoded.mean(1).double().numpy()
    mean, square = (
        scipy.ndimage.uniform_filter(some, (0, 5, 5), mode="nearest") for some in (grey, grey**2)
    )
    wanted = np.sqrt(np.maximum(0, square - mean**2))
    np.testing.assert_allclose(contrast(decoded)[:, 0].numpy(), wanted, atol=0.01)
    assert EDGES.tolist() == sorted(EDGES.tolist())


@pytest.mark.parametrize("name", ["vae", "svae"])
def test_importance_weights_are_those_of_torch_distributions(
    name: str, small_runs: dict[str, Run], few_photos: Images
) -> None:
    model, images, count = small_runs[name].model, few_photos.test[:2], 7
    kind = PixelDistribution("Gaussian", "all", (30.0,))
    single, found = importance_bits(model, images, {"it": kind}, samples=count)["it"]
    generator = torch.Generator().manual_seed(0)
    for image, mean_bits, bits in zip(images.split(1), single, found, strict=True):
        with torch.no_grad():
            mean, log_variance = (each.double() for each in model.encode(scale(image)))
            posterior = Independent(Normal(mean, (log_variance / 2).exp()), mean.ndim - 1)
            prior = Independent(Normal(torch.zeros_like(mean), 1), mean.ndim - 1)
            noise = torch.randn(count, *mean.shape[1:], generator=generator)
            z = mean + (log_variance / 2).exp() * noise
            pixels = -math.log(2) * kind.bits(image, model.decode(z.float()).clamp(0, 1))
        weights = pixels + prior.log_prob(z) - posterior.log_prob(z)
        wanted = (math.log(count) - weights.logsumexp(0)) / math.log(2)
        assert bits.item() == pytest.approx(wanted.item(), rel=1e-5)
        wanted = -weights.mean() / math.log(2)
        assert mean_bits.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_rate_and_distortion_of_a_vae_add_up_and_importance_samples_lower_the_bound(
    small_runs: dict[str, Run], few_photos: Images
) -> None:
    run = small_runs["vae"]
    rows = bits_per_dimension(run, few_photos)
    kl = {row["pixels"]: row for row in rows if row["rate"] == "KL"}
    with torch.no_grad():
        mean, log_variance = run.model.encode(scale(few_photos.test))
    nats = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).sum(1).mean()
    for row in kl.values():
        assert row["latent"] == pytest.approx(nats.item() / math.log(2) / 3072, rel=1e-4)
        assert row["total"] == row["distortion"] + row["latent"]
    assert kl["Gaussian, as trained"]["total"] > kl["Gaussian, one scale"]["total"]
    for row in rows:
        if row["rate"] == "100 samples":
            assert row["total"] <= kl[row["pixels"]]["total"]


def test_a_vqvae_has_a_total_for_each_rate_of_its_codes(
    small_runs: dict[str, Run], few_photos: Images
) -> None:
    run = small_runs["vqvae"]
    rows = [
        row for row in bits_per_dimension(run, few_photos) if row["pixels"].endswith("contrast")
    ]
    assert [(row["pixels"][:5], row["rate"]) for row in rows] == [
        ("Gauss", "raw"),
        ("Gauss", "coded"),
        ("logis", "raw"),
        ("logis", "coded"),
    ]
    assert rows[0]["latent"] == 64 * 5 / 3072
    assert rows[0]["distortion"] == rows[1]["distortion"]
    (images, decoded), *_ = decoded_pairs(run.model, few_photos.test)
    assert torch.equal(decoded, run.model.reconstruct(scale(images)))
