"""Each SSIM protocol is what one gets from scikit-image when calling it that way."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from vqlib import similarity as protocols
from vqlib.similarity import ssim_by_protocol


@pytest.fixture(scope="module")
def pairs(photos):
    x = photos.test[:130] / 255
    noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x, (x + noise).clamp(0, 1)


@pytest.fixture(scope="module")
def scores(pairs):
    return ssim_by_protocol(*pairs)


def as_numpy(images):
    return images.permute(0, 2, 3, 1).double().numpy()


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        (
            "Wang et al.",
            {
                "gaussian_weights": True,
                "sigma": 1.5,
                "use_sample_covariance": False,
                "data_range": 1,
            },
        ),
        ("7×7", {"data_range": 1}),
        ("7×7, range 2", {"data_range": 2}),
        ("range 255", {"data_range": 255}),
    ],
)
def test_per_image(pairs, scores, protocol, options):
    each = [
        structural_similarity(a, b, channel_axis=-1, **options)
        for a, b in zip(*map(as_numpy, pairs), strict=True)
    ]
    assert scores[protocol] == pytest.approx(np.mean(each), abs=1e-6)


def test_no_window_uses_the_statistics_of_whole_images(pairs, scores):
    x, y = (images.double().flatten(2).numpy() for images in pairs)
    covariance = np.array(
        [[np.cov(a, b) for a, b in zip(*p, strict=True)] for p in zip(x, y, strict=True)]
    )
    mean_x, mean_y = x.mean(2), y.mean(2)
    c1, c2 = 0.01**2, 0.03**2
    value = (
        (2 * mean_x * mean_y + c1)
        * (2 * covariance[..., 0, 1] + c2)
        / (mean_x**2 + mean_y**2 + c1)
        / (covariance[..., 0, 0] + covariance[..., 1, 1] + c2)
    )
    assert scores["no window"] == pytest.approx(value.mean(), abs=1e-6)


def test_grid_picture_is_64_images_side_by_side(pairs, scores):
    values = []
    for start in (0, 64):
        grids = []
        for images in map(as_numpy, pairs):
            rows = [np.hstack(list(images[start + 8 * r : start + 8 * r + 8])) for r in range(8)]
            grids.append(np.vstack(rows))
        values.append(structural_similarity(*grids, channel_axis=-1, data_range=1))
    assert scores["grid picture"] == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize("chunk", [500, 40])
def test_batch_as_a_matrix_or_a_volume_is_one_call_on_all_images(pairs, monkeypatch, chunk):
    monkeypatch.setattr(protocols, "IMAGES", chunk)
    scores = ssim_by_protocol(*pairs)
    flat = [images.flatten(1).double().numpy() for images in pairs]
    matrix = structural_similarity(*flat, data_range=1)
    volume = structural_similarity(*map(as_numpy, pairs), channel_axis=-1, data_range=1)
    assert scores["batch as a matrix"] == pytest.approx(matrix, abs=1e-6)
    assert scores["batch as a volume"] == pytest.approx(volume, abs=1e-6)


def test_too_few_images_for_a_protocol_give_none_and_not_a_number(pairs):
    x, y = pairs
    scores = ssim_by_protocol(x[:5], y[:5])
    missing = {name for name, score in scores.items() if score is None}
    assert missing == {"grid picture", "batch as a matrix", "batch as a volume"}


def test_the_window_across_images_flatters(scores):
    assert scores["batch as a matrix"] > scores["Wang et al."]
    assert scores["range 255"] > 0.99
