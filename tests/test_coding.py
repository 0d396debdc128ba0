"""Codes as bytes: read back exactly, and as short as their probabilities allow."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import examples, refusal
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from vqlib import VQVAE, Images, Run
from vqlib.models import ImageModel
from vqlib.quantizer import codebook_use, count_codes
from vqlib.rates import code_probabilities, entropy_bits, ideal_bits, pack, unpack

WORDS = 64  # bits: the coder writes words of 32, and ends with up to two


def drawn(size: int, probabilities: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(probabilities), size, p=probabilities)


def skewed(num_codes: int, seed: int = 0) -> np.ndarray:
    """Return probabilities of which the largest is thousands of times the smallest."""
    probabilities = np.random.default_rng(seed).dirichlet(np.full(num_codes, 0.3)) + 1e-6
    return probabilities / probabilities.sum()


# --- there and back --------------------------------------------------------------------------


@given(
    num_codes=st.integers(1, 4096),
    count=st.integers(0, 300),
    seed=st.integers(0, 2**32 - 1),
    are_likely=st.booleans(),
)
@examples(100)
def test_any_codes_come_back_as_they_were(
    num_codes: int, count: int, seed: int, are_likely: bool
) -> None:
    probabilities = skewed(num_codes, seed)
    equal = np.full(num_codes, 1 / num_codes)
    codes = drawn(count, probabilities if are_likely else equal, seed)
    packed = pack(codes, probabilities)
    np.testing.assert_array_equal(unpack(packed, count, probabilities), codes)


@pytest.mark.parametrize("num_codes", [2, 16, 512, 4096])
def test_each_code_of_a_codebook_can_be_coded_even_if_training_never_used_it(
    num_codes: int,
) -> None:
    model = VQVAE(num_hiddens=2, num_embeddings=num_codes)
    model.quantizer.ema_counts.zero_()
    model.quantizer.ema_counts[0] = 8192.0
    probabilities = code_probabilities(model)
    codes = np.arange(num_codes)
    np.testing.assert_array_equal(
        unpack(pack(codes, probabilities), num_codes, probabilities), codes
    )


def test_no_codes_and_a_codebook_of_one_take_no_bytes() -> None:
    assert pack(np.empty((0, 8, 8), np.int64), skewed(5)) == b""
    assert pack(np.zeros((10, 8, 8), np.int64), np.ones(1)) == b""


def test_the_same_codes_are_the_same_bytes_in_every_version() -> None:
    # files that are written today can be read tomorrow
    codes, probabilities = np.arange(40) % 4, np.array([0.5, 0.25, 0.125, 0.125])
    assert pack(codes, probabilities).hex() == "90d5ad5b0fa1f5d434780e9d"


@pytest.mark.faults
@pytest.mark.parametrize("packed", [b"\xff" * 8, b"abc"])
def test_bytes_that_are_no_codes_are_refused(packed: bytes) -> None:
    refusal(lambda: unpack(packed, 5, np.array([0.2, 0.8])), "not codes")


# --- how long ----------------------------------------------------------------------------------


@pytest.mark.parametrize("num_codes", [2, 16, 512, 4096])
@pytest.mark.parametrize("are_expected", [True, False])
def test_the_bytes_are_within_a_thousandth_of_what_the_codes_cost(
    num_codes: int, are_expected: bool
) -> None:
    probabilities = skewed(num_codes, seed=1)
    source = probabilities if are_expected else skewed(num_codes, seed=2)
    codes = drawn(100_000, source)
    bits = 8 * len(pack(codes, probabilities))
    assert bits == pytest.approx(ideal_bits(codes, probabilities), rel=1e-3, abs=WORDS)


def test_one_image_costs_at_most_two_words_more() -> None:
    probabilities = skewed(512)
    codes = drawn(64, probabilities)
    extra = 8 * len(pack(codes, probabilities)) - ideal_bits(codes, probabilities)
    assert 0 <= extra <= WORDS


def test_the_ideal_is_the_cross_entropy_of_scipy() -> None:
    probabilities, codes = skewed(64), drawn(5_000, skewed(64, seed=3)).reshape(-1, 10, 10)
    shares = np.bincount(codes.ravel(), minlength=64) / codes.size
    cross_entropy = entropy(shares, base=2) + entropy(shares, probabilities, base=2)
    assert ideal_bits(codes, probabilities) == pytest.approx(codes.size * cross_entropy)


def test_the_entropy_is_that_of_scipy_and_of_the_perplexity() -> None:
    codes = drawn(5_000, skewed(64)).reshape(-1, 10, 10)
    usage = np.bincount(codes.ravel(), minlength=64)
    perplexity = codebook_use(torch.from_numpy(usage))["perplexity"]
    assert entropy_bits(codes) == pytest.approx(codes.size * entropy(usage, base=2))
    assert entropy_bits(codes) == pytest.approx(codes.size * np.log2(perplexity))
    assert entropy_bits(codes) <= ideal_bits(codes, skewed(64))


# --- the probabilities -------------------------------------------------------------------------


def test_probabilities_are_the_frequencies_of_training(small_runs: dict[str, Run]) -> None:
    model = small_runs["vqvae"].model
    probabilities = code_probabilities(model)
    counts = model.quantizer.ema_counts.double().numpy() + 0.005  # half a code in 100 steps
    np.testing.assert_allclose(probabilities, counts / counts.sum(), rtol=1e-12)
    assert probabilities.dtype == np.float64
    assert (probabilities > 0).all()


def test_they_make_the_codes_of_training_images_shorter(
    small_runs: dict[str, Run], few_photos: Images
) -> None:
    model = small_runs["vqvae"].model
    codes = model.codes(few_photos.train)
    probabilities = code_probabilities(model)
    usage = count_codes(codes, model.num_codes)
    assert codebook_use(usage)["perplexity"] < model.num_codes
    assert ideal_bits(codes.numpy(), probabilities) < codes.numel() * np.log2(model.num_codes)


@pytest.mark.parametrize(
    "model",
    [VQVAE(num_hiddens=2, num_embeddings=32, decay=0), SimpleNamespace(num_codes=32)],
    ids=["learned by gradient", "another model"],
)
def test_without_counts_all_codes_are_equally_probable(model: ImageModel) -> None:
    assert code_probabilities(model).tolist() == [1 / 32] * 32
