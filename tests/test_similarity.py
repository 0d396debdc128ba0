"""SSIM and each way to compute it, against scikit-image."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import examples, refusal
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from vqlib import Images, similarity, ssim
from vqlib.similarity import PROTOCOLS, ssim_by_protocol

Window = str | int
Pair = tuple[Tensor, Tensor]

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
WINDOWS: dict[Window, dict[str, object]] = {"gaussian": WANG, 7: {}}  # options of scikit-image


def reference(x: Tensor, y: Tensor, window: Window, data_range: float = 1.0) -> np.ndarray:
    """Return scikit-image's SSIM of each pair, in float64."""
    options = {"channel_axis": 0, "data_range": data_range, **WINDOWS[window]}
    pairs = zip(x.double().numpy(), y.double().numpy(), strict=True)
    return np.array([structural_similarity(a, b, **options) for a, b in pairs])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def blurred(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


# --- SSIM of pairs -------------------------------------------------------------------------


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [(32, 32), (40, 28), (11, 57), (96, 64)])
def test_equals_scikit_image_on_random_images(window: Window, size: tuple[int, int]) -> None:
    x, y = random(4, 3, *size), random(4, 3, *size, seed=1)
    expected = reference(x, y, window)
    np.testing.assert_allclose(ssim(x, y, window=window), expected, atol=1e-6, rtol=0)


DEGRADED: dict[str, Callable[[Tensor], Tensor]] = {
    "noise": lambda x: (x + 0.2 * (random(*x.shape, seed=1) - 0.5)).clamp(0, 1),
    "blur": blurred,
    "brighter": lambda x: (x + 0.1).clamp(0, 1),
    "less contrast": lambda x: 0.5 + 0.3 * (x - 0.5),
    "negative": lambda x: 1 - x,
    "black": torch.zeros_like,
    "another": lambda x: x.flip(0),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", DEGRADED)
def test_equals_scikit_image_on_degraded_photos(photos: Images, window: Window, name: str) -> None:
    x = photos.test[:40].float() / 255
    y = DEGRADED[name](x)
    expected = reference(x, y, window)
    np.testing.assert_allclose(ssim(x, y, window=window), expected, atol=1e-6, rtol=0)


def test_a_window_of_7_is_scikit_image_s_default(photos: Images) -> None:
    x, y = photos.test[:1].float() / 255, photos.test[1:2].float() / 255
    expected = structural_similarity(x[0].numpy(), y[0].numpy(), channel_axis=0, data_range=1)
    assert ssim(x, y, window=7).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("window", WINDOWS)
def test_images_may_have_another_range(window: Window) -> None:
    x = (255 * random(3, 3, 32, 32)).round()
    y = (x + 20 * random(3, 3, 32, 32, seed=1)).clamp(0, 255)
    expected = reference(x, y, window, data_range=255)
    np.testing.assert_allclose(ssim(x, y, 255, window), expected, atol=1e-6, rtol=0)


def test_images_may_have_one_colour() -> None:
    x, y = random(2, 1, 32, 32), random(2, 1, 32, 32, seed=1)
    np.testing.assert_allclose(ssim(x, y), reference(x, y, "gaussian"), atol=1e-6, rtol=0)


def test_the_settings_of_wang_et_al_are_the_default() -> None:
    x, y = random(2, 3, 32, 32), random(2, 3, 32, 32, seed=1)
    assert torch.equal(ssim(x, y), ssim(x, y, data_range=1.0, window="gaussian"))


@pytest.mark.parametrize("window", WINDOWS)
def test_identical_images_have_exactly_one(photos: Images, window: Window) -> None:
    x = torch.cat([photos.test[:50].float() / 255, torch.zeros(1, 3, 32, 32)])
    assert torch.equal(ssim(x, x, window=window), torch.ones(51, dtype=torch.float64))


def test_each_image_counts_alone() -> None:
    # the window never slides from one image into the next
    x, y = random(5, 3, 32, 32), random(5, 3, 32, 32, seed=1)
    together = ssim(x, y)
    assert together.shape == (5,)
    assert together.dtype == torch.float64
    alone = torch.cat([ssim(x[i : i + 1], y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_the_order_of_the_two_does_not_matter() -> None:
    x, y = random(3, 3, 32, 32), random(3, 3, 32, 32, seed=1)
    torch.testing.assert_close(ssim(x, y), ssim(y, x), rtol=0, atol=1e-12)


@pytest.mark.faults
@examples(40)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(11, 20), st.integers(11, 20)),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["gaussian", 2, 7, 11]),
)
def test_ssim_is_between_minus_one_and_one_whatever_the_images_and_their_unit(
    shape: tuple[int, ...], seed: int, window: Window
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, *shape, generator=generator).double().round(decimals=seed % 3)
    scores = ssim(x, y, window=window)
    assert scores.shape == shape[:1]
    assert (scores.abs() <= 1 + 1e-9).all()
    torch.testing.assert_close(ssim(x, x, window=window), torch.ones_like(scores))
    torch.testing.assert_close(ssim(255 * x, 255 * y, 255, window), scores, rtol=1e-6, atol=1e-6)


# --- what has no SSIM ----------------------------------------------------------------------

GOOD = torch.full((2, 3, 32, 32), 0.5)


def changed(value: float) -> Tensor:
    images = GOOD.clone()
    images[1, 2, 3, 4] = value
    return images


@pytest.mark.faults
@pytest.mark.parametrize(
    ("x", "y", "facts"),
    [
        (GOOD, GOOD[:1], ["(2, 3, 32, 32) and (1, 3, 32, 32)"]),
        (GOOD, GOOD[..., :31], ["(2, 3, 32, 32) and (2, 3, 32, 31)"]),
        (GOOD, GOOD.flatten(1), ["(2, 3, 32, 32) and (2, 3072)"]),
        (GOOD[0], GOOD[0], ["(B, C, H, W)", "(3, 32, 32)"]),
        (GOOD[:0], GOOD[:0], ["(0, 3, 32, 32)"]),
        (GOOD.numpy(), GOOD, ["x must be", "ndarray"]),
        (changed(torch.nan), GOOD, ["x has values", "nan"]),
        (GOOD, changed(torch.nan), ["y has values", "nan"]),
        (GOOD, changed(torch.inf), ["y has values", "inf"]),
        (GOOD, changed(1.01), ["y has values", "0.5 to 1.01", "[0, 1]"]),
        (changed(-0.01), GOOD, ["x has values", "-0.01 to 0.5", "[0, 1]"]),
        (255 * GOOD, 255 * GOOD, ["x has values", "127.5 to 127.5", "[0, 1]"]),
    ],
)
def test_what_has_no_ssim_is_refused_by_every_protocol(
    x: Tensor, y: Tensor, facts: list[str]
) -> None:
    for metric in (ssim, ssim_by_protocol):
        refusal(lambda metric=metric: metric(x, y), *facts)


@pytest.mark.faults
@examples(60)
@given(
    st.sampled_from([math.nan, math.inf, -math.inf, -1e-6, 1 + 1e-6, 255.0]),
    st.integers(0, GOOD.numel() - 1),
    st.booleans(),
)
def test_one_wrong_pixel_is_refused_wherever_it_is(value: float, place: int, in_x: bool) -> None:
    bad = GOOD.clone()
    bad.view(-1)[place] = value
    pair, name = ((bad, GOOD), "x") if in_x else ((GOOD, bad), "y")
    for metric in (ssim, ssim_by_protocol):
        refusal(lambda metric=metric: metric(*pair), f"{name} has values", "[0, 1]")


@pytest.mark.faults
@pytest.mark.parametrize("data_range", [0.0, -1.0, math.nan, math.inf])
def test_a_range_that_is_none_is_refused(data_range: float) -> None:
    refusal(lambda: ssim(0 * GOOD, 0 * GOOD, data_range), "data_range", f"got {data_range:g}")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("height", "width", "window", "facts"),
    [
        (32, 10, "gaussian", ["32×10", "window of 11"]),
        (6, 32, 7, ["6×32", "window of 7"]),
        (32, 32, "square", ["unknown window 'square'", "gaussian"]),
        (32, 32, 1, ["unknown window 1", "gaussian"]),
    ],
)
def test_a_window_that_is_none_or_too_large_is_refused(
    height: int, width: int, window: Window, facts: list[str]
) -> None:
    images = GOOD[..., :height, :width]
    refusal(lambda: ssim(images, images, window=window), *facts)


# --- protocols -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(photos: Images) -> Pair:
    """Return photos, and the same with noise: two pictures of 8×8 images, and two left over."""
    x = photos.test[:130] / 255
    noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return x, (x + noise).clamp(0, 1)


@pytest.fixture(scope="module")
def scores(pairs: Pair) -> dict[str, float | None]:
    return ssim_by_protocol(*pairs)


def colours_last(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).double().numpy()


@pytest.mark.parametrize(
    ("protocol", "options"),
    [
        ("Wang et al.", {**WANG, "data_range": 1}),
        ("7×7", {"data_range": 1}),
        ("7×7, range 2", {"data_range": 2}),
        ("range 255", {"data_range": 255}),
    ],
)
def test_four_protocols_are_means_over_images(
    pairs: Pair, scores: dict[str, float], protocol: str, options: dict[str, object]
) -> None:
    each = [
        structural_similarity(a, b, channel_axis=-1, **options)
        for a, b in zip(*map(colours_last, pairs), strict=True)
    ]
    assert scores[protocol] == pytest.approx(np.mean(each), abs=1e-6)


def test_no_window_uses_the_statistics_of_whole_images(
    pairs: Pair, scores: dict[str, float]
) -> None:
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


def test_a_grid_picture_is_64_images_side_by_side(pairs: Pair, scores: dict[str, float]) -> None:
    values = []
    for start in (0, 64):
        grids = []
        for images in map(colours_last, pairs):
            rows = [np.hstack(list(images[start + 8 * r : start + 8 * r + 8])) for r in range(8)]
            grids.append(np.vstack(rows))
        values.append(structural_similarity(*grids, channel_axis=-1, data_range=1))
    assert scores["grid picture"] == pytest.approx(np.mean(values), abs=1e-6)


@pytest.mark.parametrize("chunk", [500, 40])
def test_a_batch_as_a_matrix_or_a_volume_is_one_call_on_all_images(
    pairs: Pair, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(similarity, "IMAGES", chunk)
    scores = ssim_by_protocol(*pairs)
    flat = [images.flatten(1).double().numpy() for images in pairs]
    matrix = structural_similarity(*flat, data_range=1)
    volume = structural_similarity(*map(colours_last, pairs), channel_axis=-1, data_range=1)
    assert scores["batch as a matrix"] == pytest.approx(matrix, abs=1e-6)
    assert scores["batch as a volume"] == pytest.approx(volume, abs=1e-6)


def test_too_few_images_for_a_protocol_give_none_and_not_a_number(pairs: Pair) -> None:
    x, y = pairs
    scores = ssim_by_protocol(x[:5], y[:5])
    assert list(scores) == list(PROTOCOLS)
    missing = {name for name, score in scores.items() if score is None}
    assert missing == {"grid picture", "batch as a matrix", "batch as a volume"}


def test_windows_across_images_and_a_wrong_range_flatter(scores: dict[str, float]) -> None:
    assert scores["batch as a matrix"] > scores["Wang et al."]
    assert scores["range 255"] > 0.99
