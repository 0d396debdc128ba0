"""Distortion is what scikit-image computes, image by image."""

import numpy as np
import pytest
import torch
from skimage.metrics import (
    mean_squared_error,
    peak_signal_noise_ratio,
    structural_similarity,
)
from torch import Tensor

from vqlib.rates import distortion


def noisy(images: Tensor) -> Tensor:
    noise = 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return (images + noise).clamp(0, 1)


def test_the_measures_are_those_of_scikit_image(random_images: Tensor) -> None:
    x, y = random_images, noisy(random_images)
    found = distortion(x, y, data_variance=0.05)
    pairs = [(a.numpy().astype(float), b.numpy().astype(float)) for a, b in zip(x, y, strict=True)]
    psnrs = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    mse = mean_squared_error(x.numpy().astype(float), y.numpy().astype(float))
    similarities = [
        structural_similarity(
            a, b, data_range=1, channel_axis=0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in pairs
    ]  # fmt: skip
    assert found["nmse"] == pytest.approx(mse / 0.05)
    assert found["psnr"] == pytest.approx(-10 * np.log10(mse))
    assert found["mean_psnr"] == pytest.approx(np.mean(psnrs))
    assert found["ssim"] == pytest.approx(np.mean(similarities), abs=1e-6)
    assert found["mean_psnr"] > found["psnr"]


def test_bytes_and_numbers_in_the_unit_interval_are_the_same_images(random_images: Tensor) -> None:
    x = (random_images * 255).round().byte()
    y = (noisy(random_images) * 255).round().byte()
    assert distortion(x, y, 0.05) == pytest.approx(distortion(x / 255, y / 255, 0.05))
