"""SSIM, against scikit-image."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from vqlib import Images, UserError, ssim

PROTOCOLS = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    7: {},
}


def reference(x: Tensor, y: Tensor, window: str, data_range: float = 1.0) -> np.ndarray:
    """scikit-image's SSIM of each pair, in float64."""
    options = {"channel_axis": 0, "data_range": data_range, **PROTOCOLS[window]}
    return np.array(
        [
            structural_similarity(a, b, **options)
            for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True)
        ]
    )


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def blurred(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


DEGRADED = {
    "noise": lambda x: (x + 0.2 * (random(*x.shape, seed=1) - 0.5)).clamp(0, 1),
    "blur": blurred,
    "brighter": lambda x: (x + 0.1).clamp(0, 1),
    "less contrast": lambda x: 0.5 + 0.3 * (x - 0.5),
    "negative": lambda x: 1 - x,
    "black": torch.zeros_like,
    "another": lambda x: x.flip(0),
}


@pytest.mark.parametrize("window", PROTOCOLS)
@pytest.mark.parametrize("size", [(32, 32), (40, 28), (11, 57), (96, 64)])
def test_equals_scikit_image_on_random_images(window: str, size: tuple[int, int]) -> None:
    x, y = random(4, 3, *size), random(4, 3, *size, seed=1)
    np.testing.assert_allclose(
        ssim(x, y, window=window), reference(x, y, window), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("window", PROTOCOLS)
@pytest.mark.parametrize("degrade", DEGRADED.values(), ids=DEGRADED.keys())
def test_equals_scikit_image_on_degraded_photos(photos: Images, window: str, degrade) -> None:
    x = photos.test[:40].float() / 255
    y = degrade(x)
    expected = reference(x, y, window)
    np.testing.assert_allclose(ssim(x, y, window=window), expected, atol=1e-6, rtol=0)


def test_uniform_is_scikit_image_s_default(photos: Images) -> None:
    """The 7×7 window is what `structural_similarity` does when nothing but the range is given."""
    x, y = photos.test[:1].float() / 255, photos.test[1:2].float() / 255
    expected = structural_similarity(x[0].numpy(), y[0].numpy(), channel_axis=0, data_range=1)
    assert ssim(x, y, window=7).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("window", PROTOCOLS)
def test_other_data_ranges(window: str) -> None:
    x = (255 * random(3, 3, 32, 32)).round()
    y = (x + 20 * random(3, 3, 32, 32, seed=1)).clamp(0, 255)
    expected = reference(x, y, window, data_range=255)
    np.testing.assert_allclose(ssim(x, y, 255, window), expected, atol=1e-6, rtol=0)


def test_number_of_channels_is_free() -> None:
    x, y = random(2, 1, 32, 32), random(2, 1, 32, 32, seed=1)
    np.testing.assert_allclose(ssim(x, y), reference(x, y, "gaussian"), atol=1e-6, rtol=0)


def test_headline_protocol_is_the_default() -> None:
    x, y = random(2, 3, 32, 32), random(2, 3, 32, 32, seed=1)
    assert torch.equal(ssim(x, y), ssim(x, y, data_range=1.0, window="gaussian"))


@pytest.mark.parametrize("window", PROTOCOLS)
def test_identical_images_give_one(photos: Images, window: str) -> None:
    x = torch.cat([photos.test[:50].float() / 255, torch.zeros(1, 3, 32, 32)])
    assert torch.equal(ssim(x, x, window=window), torch.ones(51, dtype=torch.float64))


def test_each_image_counts_alone() -> None:
    """One value an image; the window never slides from one image into the next."""
    x, y = random(5, 3, 32, 32), random(5, 3, 32, 32, seed=1)
    together = ssim(x, y)
    assert together.shape == (5,)
    assert together.dtype == torch.float64
    alone = torch.cat([ssim(x[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_symmetric() -> None:
    x, y = random(3, 3, 32, 32), random(3, 3, 32, 32, seed=1)
    torch.testing.assert_close(ssim(x, y), ssim(y, x), rtol=0, atol=1e-12)


GOOD = random(2, 3, 32, 32)


def changed(value: float) -> Tensor:
    images = GOOD.clone()
    images[1, 2, 3, 4] = value
    return images


@pytest.mark.faults
@pytest.mark.parametrize(
    ("x", "y", "options", "said"),
    [
        (GOOD, GOOD[:1], {}, r"\(2, 3, 32, 32\) and \(1, 3, 32, 32\)"),
        (GOOD, GOOD[..., :31], {}, r"\(2, 3, 32, 31\)"),
        (GOOD[0], GOOD[0], {}, r"\(B, C, H, W\)"),
        (changed(torch.nan), GOOD, {}, "x has values.*nan"),
        (GOOD, changed(torch.nan), {}, "y has values.*nan"),
        (GOOD, changed(torch.inf), {}, "y has values.*inf"),
        (GOOD, changed(1.01), {}, r"y has values.*1\.01.*outside \[0, 1\]"),
        (changed(-0.01), GOOD, {}, r"x has values.*-0\.01.*outside \[0, 1\]"),
        (255 * GOOD, 255 * GOOD, {}, r"x has values.*outside \[0, 1\]"),
        (GOOD[..., :10], GOOD[..., :10], {}, "32×10 are smaller than the window of 11"),
        (GOOD[:, :, :6], GOOD[:, :, :6], {"window": 7}, "6×32 .* window of 7"),
        (
            GOOD,
            GOOD,
            {"window": "square"},
            "unknown window 'square': choose gaussian or a whole number above 1",
        ),
        (GOOD[:0], GOOD[:0], {}, r"\(0, 3, 32, 32\)"),
        (GOOD * 0, GOOD * 0, {"data_range": 0.0}, "data_range"),
        (GOOD * 0, GOOD * 0, {"data_range": -1.0}, "data_range"),
    ],
)
def test_bad_input_is_refused(x: Tensor, y: Tensor, options: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ssim(x, y, **options)
