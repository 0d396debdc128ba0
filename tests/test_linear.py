"""PCA is scikit-learn's, its rates are those of a real coder, and the bound is Gaussian."""

from pathlib import Path

import constriction
import numpy as np
import pytest
import sklearn.decomposition
from scipy.optimize import minimize
from sklearn.metrics import log_loss
from torch import Tensor

from vqlib import Images, load_images
from vqlib.rates.linear import (
    PCA,
    Table,
    encode,
    fit_pca,
    fit_table,
    fit_tables,
    gaussian_points,
    pca_points,
    quantize,
    total_bits,
    water_filling,
)

SPREAD = np.array([3.0, 1.5, 0.7, 0.2, 0.05])  # standard deviations


@pytest.fixture(scope="module")
def crops(photos: Images) -> Tensor:
    """Return uint8 images (3000, 3, 8, 8)."""
    return photos.train[:3000, :, 12:20, 12:20]


@pytest.fixture(scope="module")
def pca(crops: Tensor) -> PCA:
    return fit_pca(crops)


@pytest.fixture(scope="module")
def vectors(crops: Tensor) -> np.ndarray:
    return crops.flatten(1).double().numpy() / 255


def categorical(table: Table) -> object:
    """Return constriction's model of a table; None if there is nothing to code."""
    if len(table.probabilities) == 1:
        return None
    return constriction.stream.model.Categorical(table.probabilities, perfect=False)


def gaussian(count: int, seed: int) -> np.ndarray:
    """Return components (5, count) of a Gaussian source."""
    return SPREAD[:, None] * np.random.default_rng(seed).standard_normal((len(SPREAD), count))


def test_axes_and_variances_are_those_of_scikit_learn(pca: PCA, vectors: np.ndarray) -> None:
    theirs = sklearn.decomposition.PCA(svd_solver="full").fit(vectors)
    count = len(vectors)
    assert pca.mean == pytest.approx(theirs.mean_)
    assert pca.variances * count / (count - 1) == pytest.approx(theirs.explained_variance_)
    alike = np.abs(np.sum(pca.axes.T * theirs.components_, axis=1))
    assert alike[:20] == pytest.approx(np.ones(20), abs=1e-6)


def test_few_images_have_the_axes_and_variances_of_scikit_learn(crops: Tensor) -> None:
    few = crops[:50]
    pca, vectors = fit_pca(few), few.flatten(1).numpy() / 255
    theirs = sklearn.decomposition.PCA(svd_solver="full").fit(vectors)
    assert pca.axes.shape == (192, 50)
    assert pca.variances * 50 / 49 == pytest.approx(theirs.explained_variance_)
    np.testing.assert_allclose(pca.axes.T @ pca.axes, np.eye(50), atol=1e-12)
    alike = np.abs(np.sum(pca.axes.T * theirs.components_, axis=1))
    assert alike[:20] == pytest.approx(np.ones(20), abs=1e-6)
    np.testing.assert_allclose(pca.reconstruct(pca.transform(few)), vectors, atol=1e-5)


def test_the_bound_of_few_images_counts_all_their_pixels(photos: Images) -> None:
    few = Images("photos", photos.train[:50], photos.test[:10])
    pca = fit_pca(few.train)
    (point,) = gaussian_points(few, pca, steps=[100.0])  # nothing is coded
    spread = few.train.flatten(1).numpy().var(axis=0).mean() / 255**2  # around the mean image
    assert (point["bits"], point["nmse"]) == pytest.approx((0, spread / few.variance))


def test_one_image_has_no_variance_and_costs_nothing(photos: Images) -> None:
    images = Images("photos", photos.train[:1], photos.test[:2])
    pca = fit_pca(images.train)
    assert pca.variances == pytest.approx([0])
    for point in pca_points(images, pca):
        assert point["bits"] == 0
    for point in gaussian_points(images, pca):
        assert (point["bits"], point["nmse"]) == pytest.approx((0, 0))


def test_a_few_components_reconstruct_as_in_scikit_learn(
    pca: PCA, crops: Tensor, vectors: np.ndarray
) -> None:
    theirs = sklearn.decomposition.PCA(30, svd_solver="full").fit(vectors)
    wanted = theirs.inverse_transform(theirs.transform(vectors)).clip(0, 1)
    components = pca.transform(crops)
    components[30:] = 0
    np.testing.assert_allclose(pca.reconstruct(components), wanted, atol=1e-5)


def test_the_error_of_a_few_components_is_the_variance_of_the_others(
    pca: PCA, crops: Tensor, vectors: np.ndarray
) -> None:
    components = pca.transform(crops).astype(float)
    kept = pca.mean + components[:30].T @ pca.axes.T[:30]
    error = np.square(kept - vectors).sum(axis=1).mean()
    assert error == pytest.approx(pca.variances[30:].sum())


def test_all_components_give_the_images_back(pca: PCA, crops: Tensor, vectors: np.ndarray) -> None:
    np.testing.assert_allclose(pca.reconstruct(pca.transform(crops)), vectors, atol=1e-5)


def test_128_components_of_cifar10_leave_an_nmse_of_0080(
    cifar10_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQLIB_DATA", str(cifar10_root))
    images = load_images("cifar10")
    components = fit_pca(images.train)
    left = components.variances[128:].sum() / len(components.variances)
    assert left / images.variance == pytest.approx(0.080, abs=0.0005)


def test_a_quantizer_rounds_to_the_nearest_multiple_of_its_step() -> None:
    symbols = quantize(np.array([-0.76, -0.74, 0.2, 0.26, 10.0]), 0.5)
    assert symbols.tolist() == [-2, -1, 0, 1, 20]


def test_a_table_has_the_frequencies_of_the_training_symbols_and_no_zero() -> None:
    table = fit_table(np.array([3, 3, 3, 1]))
    assert table.low == 1
    assert table.probabilities.tolist() == pytest.approx([2 / 7, 1 / 7, 4 / 7])


def test_a_symbol_outside_the_table_becomes_the_nearest_one_inside() -> None:
    table = Table(-1, np.array([0.25, 0.5, 0.25]))
    assert table.nearest(np.array([-5, -1, 0, 1, 9])).tolist() == [-1, -1, 0, 1, 1]


def test_a_component_that_is_always_zero_costs_nothing() -> None:
    components = np.full((1, 100), 0.4)
    tables = fit_tables(components, 1.0)
    symbols = encode(np.array([[0.1, -3.0, 3.0]]), 1.0, tables)
    assert symbols.tolist() == [[0, 0, 0]]
    assert total_bits(symbols, tables) == 0


def test_the_rate_is_the_cross_entropy_under_the_tables() -> None:
    train, test = gaussian(5000, 0)[:1], gaussian(500, 1)[:1]
    (table,) = tables = fit_tables(train, 0.5)
    symbols = encode(test, 0.5, tables)
    labels = np.arange(len(table.probabilities)) + table.low
    predicted = np.tile(table.probabilities, (500, 1))
    nats = log_loss(symbols[0], predicted, labels=labels)
    assert total_bits(symbols, tables) == pytest.approx(500 * nats / np.log(2))


def test_coded_bytes_are_within_a_thousandth_of_the_rate_and_decode_exactly(
    pca: PCA, photos: Images, crops: Tensor
) -> None:
    tables = fit_tables(pca.transform(crops), 0.1)
    symbols = encode(pca.transform(photos.test[..., 12:20, 12:20]), 0.1, tables)
    models = [
        constriction.stream.model.Categorical(table.probabilities, perfect=False)
        if len(table.probabilities) > 1
        else None
        for table in tables
    ]
    coder = constriction.stream.stack.AnsCoder()
    for row, table, model in list(zip(symbols, tables, models, strict=True))[::-1]:
        if model:
            coder.encode_reverse(row - np.int32(table.low), model)
    stored = coder.get_compressed()
    assert 8 * stored.nbytes == pytest.approx(total_bits(symbols, tables), rel=1e-3)
    reader = constriction.stream.stack.AnsCoder(stored)
    for row, table, model in zip(symbols, tables, models, strict=True):
        read = reader.decode(model, len(row)) + table.low if model else np.full(len(row), table.low)
        assert (read == row).all()


def test_a_smaller_step_costs_more_bits_and_leaves_a_smaller_error(
    pca: PCA, crops: Tensor, vectors: np.ndarray
) -> None:
    components = pca.transform(crops)
    rates, errors = [], []
    for step in (1.0, 0.5, 0.2, 0.1, 0.05):
        tables = fit_tables(components, step)
        symbols = encode(components, step, tables)
        rates.append(total_bits(symbols, tables))
        errors.append(np.square(pca.reconstruct(symbols * np.float32(step)) - vectors).mean())
    assert rates == sorted(rates)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("step", [2.0, 0.5, 0.1, 0.02])
def test_a_gaussian_source_is_coded_above_its_bound_and_near_it(step: float) -> None:
    # With small steps a quantizer of single numbers loses ½ log₂(2πe / 12) = 0.25 bits on each.
    train, test = gaussian(200_000, 0), gaussian(20_000, 1)
    tables = fit_tables(train, step)
    symbols = encode(test, step, tables)
    rate = total_bits(symbols, tables) / test.shape[1]
    error = np.square(symbols * step - test).sum(axis=0).mean()
    levels = np.geomspace(1e-6, 9, 2000)
    curve = np.array([water_filling(SPREAD**2, level) for level in levels])  # rates, errors
    bound = np.interp(error, curve[:, 1], curve[:, 0])
    assert bound < rate < bound + 0.3 * len(SPREAD)


def test_without_distortion_to_spare_every_component_keeps_the_level() -> None:
    variances = np.array([8.0, 2.0, 0.5])
    assert water_filling(variances, 0.5) == pytest.approx((0.5 * (4 + 2), 1.5))
    assert water_filling(variances, 2.0) == pytest.approx((0.5 * 2, 4.5))
    assert water_filling(variances, 8.0) == pytest.approx((0.0, 10.5))


@pytest.mark.parametrize("level", [0.01, 0.3, 2.0])
def test_no_other_split_of_the_same_rate_has_a_smaller_error(level: float) -> None:
    variances = SPREAD**2
    rate, error = water_filling(variances, level)
    best = minimize(  # over each component's rate
        lambda rates: (variances * 4.0**-rates).sum(),
        np.full(len(variances), rate / len(variances)),
        jac=lambda rates: -np.log(4) * variances * 4.0**-rates,
        bounds=[(0, None)] * len(variances),
        constraints={"type": "eq", "fun": lambda rates: rates.sum() - rate},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    assert best.success
    assert error == pytest.approx(best.fun, rel=1e-5)
