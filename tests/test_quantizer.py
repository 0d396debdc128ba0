"""The quantizer, against NumPy in float64."""

import numpy as np
import pytest
import torch
from conftest import examples
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy
from torch import Tensor, nn

from vqlib import VectorQuantizer
from vqlib.quantizer import codebook_use, count_codes, is_collapsed


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded_quantizer(*args: float, **kwargs: float) -> VectorQuantizer:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return VectorQuantizer(*args, **kwargs)


def as_rows(z: Tensor) -> np.ndarray:
    """Return (B, D, H, W) as float64 (B·H·W, D)."""
    z = z.detach().double().numpy()
    return np.moveaxis(z, 1, 3).reshape(-1, z.shape[1])


def squared_distances(z: Tensor, codebook: Tensor) -> np.ndarray:
    """Return the squared distance of each vector to each code, in float64: (B·H·W, K)."""
    differences = as_rows(z)[:, None] - codebook.detach().double().numpy()
    return (differences**2).sum(2)


# --- codes ---------------------------------------------------------------------------------


def test_a_code_is_the_nearest_one() -> None:
    quantizer = seeded_quantizer(512, 64).eval()
    z = 0.3 * normal(4, 64, 8, 8)
    nearest_two = np.sort(squared_distances(z, quantizer.codebook), axis=1)[:, :2]
    assert (np.diff(nearest_two) > 1e-4).all()  # no tie that float32 could break either way

    codes = quantizer(z).codes

    expected = squared_distances(z, quantizer.codebook).argmin(1)
    assert codes.shape == (4, 8, 8)
    np.testing.assert_array_equal(codes.numpy().ravel(), expected)


def test_a_code_is_exactly_the_nearest_one_if_float32_is_exact() -> None:
    # with small whole numbers nothing is rounded: not the least distance is excused
    quantizer = seeded_quantizer(200, 16).eval()
    quantizer.codebook.copy_((4 * normal(200, 16)).round())
    z = (4 * normal(5, 16, 6, 7, seed=1)).round()
    distances = squared_distances(z, quantizer.codebook)

    chosen = quantizer.nearest(z).numpy().ravel()

    np.testing.assert_array_equal(distances[np.arange(len(chosen)), chosen], distances.min(1))


def test_z_q_holds_the_chosen_vectors_at_their_positions() -> None:
    quantizer = seeded_quantizer(32, 8).eval()
    z = normal(2, 8, 3, 5)
    out = quantizer(z)
    for image in range(2):
        for row in range(3):
            for column in range(5):
                torch.testing.assert_close(
                    out.z_q[image, :, row, column],
                    quantizer.codebook[out.codes[image, row, column]],
                )


def test_memory_format_does_not_matter() -> None:
    quantizer = seeded_quantizer(64, 16).eval()
    z = normal(3, 16, 4, 4)
    plain, channels_last = quantizer(z), quantizer(z.to(memory_format=torch.channels_last))
    assert torch.equal(plain.codes, channels_last.codes)
    assert torch.equal(plain.z_q, channels_last.z_q)


def test_vectors_looked_up_by_codes_have_these_codes() -> None:
    quantizer = seeded_quantizer(64, 16).eval()
    codes = torch.arange(64).view(1, 8, 8)
    assert torch.equal(quantizer.nearest(quantizer.lookup(codes)), codes)


@pytest.mark.faults
@examples(40)
@given(
    *(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([0.0, 0.99]),
    st.integers(0, 2**32 - 1),
)
def test_a_codebook_of_any_size_gives_the_nearest_code(
    num_embeddings: int, dim: int, batch: int, side: int, decay: float, seed: int
) -> None:
    # K = 1 and D = 1 among them; training moves the codebook to nothing that is not finite
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        quantizer = VectorQuantizer(num_embeddings, dim, decay)
        z_e = torch.randn(batch, dim, side, side)
    distances = np.sqrt(squared_distances(z_e, quantizer.codebook))
    quantized = quantizer(z_e)
    chosen = distances[np.arange(len(distances)), quantized.codes.numpy().ravel()]
    np.testing.assert_allclose(chosen, distances.min(1), rtol=1e-4, atol=1e-4)
    assert quantized.z_q.shape == z_e.shape
    assert all(value.isfinite().all() for value in quantizer.state_dict().values())


# --- moving averages -----------------------------------------------------------------------


def test_the_codebook_follows_equations_6_to_8() -> None:
    # over several steps; epsilon is large, so that misplaced smoothing shows
    k, d, decay, epsilon = 16, 4, 0.9, 0.5
    quantizer = seeded_quantizer(k, d, decay=decay, epsilon=epsilon).train()
    codebook = quantizer.codebook.double().numpy().copy()
    counts, sums = np.ones(k), codebook.copy()
    for step in range(8):
        z = normal(3, d, 4, 4, seed=step)
        rows = as_rows(z)
        codes = ((rows[:, None] - codebook) ** 2).sum(2).argmin(1)
        one_hot = np.eye(k)[codes]
        counts = decay * counts + (1 - decay) * one_hot.sum(0)
        sums = decay * sums + (1 - decay) * one_hot.T @ rows
        smoothed = (counts + epsilon) / (counts.sum() + k * epsilon) * counts.sum()
        codebook = sums / smoothed[:, None]

        out = quantizer(z)

        np.testing.assert_array_equal(out.codes.numpy().ravel(), codes)
        np.testing.assert_allclose(quantizer.ema_counts, counts, rtol=1e-5)
        np.testing.assert_allclose(quantizer.ema_sums, sums, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(quantizer.codebook, codebook, rtol=1e-5, atol=1e-6)


def test_a_batch_is_quantized_with_the_codebook_before_the_update() -> None:
    quantizer = seeded_quantizer(16, 4, decay=0.5).train()
    before = quantizer.codebook.clone()
    out = quantizer(3 * normal(4, 4, 8, 8))
    assert not torch.equal(quantizer.codebook, before)
    expected = before[out.codes].permute(0, 3, 1, 2)
    torch.testing.assert_close(out.z_q, expected, rtol=0, atol=1e-5)


def test_the_codebook_is_frozen_in_evaluation() -> None:
    quantizer = seeded_quantizer(16, 4).eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(normal(4, 4, 8, 8))
    after = quantizer.state_dict()
    assert set(before) == {"codebook", "ema_counts", "ema_sums"}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_codebook_moves_by_averages_alone_not_by_gradient() -> None:
    assert list(seeded_quantizer(16, 4).parameters()) == []


def test_a_missed_code_keeps_its_place() -> None:
    # all vectors lie at one code; 300 steps later the others are where they were
    quantizer = seeded_quantizer(32, 8).train()
    before = quantizer.codebook.clone()
    z = before[5].view(1, 8, 1, 1).expand(4, 8, 8, 8)
    for _ in range(300):
        assert (quantizer(z).codes == 5).all()
    after = quantizer.codebook
    cosine = nn.functional.cosine_similarity(before, after)
    torch.testing.assert_close(cosine, torch.ones(32), rtol=0, atol=1e-5)
    torch.testing.assert_close(after.norm(dim=1), before.norm(dim=1), rtol=1e-2, atol=0)


def test_a_missed_code_of_the_normal_start_is_thrown_away_and_comes_back_near_zero() -> None:
    # all vectors lie at one code
    quantizer = seeded_quantizer(32, 8, codebook_init="normal").train()
    z = quantizer.codebook[5].clone().view(1, 8, 1, 1).expand(4, 8, 8, 8)
    missed = torch.arange(32) != 5
    assert (quantizer(z).codes == 5).all()
    assert quantizer.codebook[missed].norm(dim=1).min() > 1e3
    for _ in range(2500):
        quantizer(z)
    assert quantizer.codebook[missed].norm(dim=1).max() < 1e-3


# --- gradients -----------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.99, 0.0])
def test_the_gradient_passes_straight_through(decay: float) -> None:
    quantizer = seeded_quantizer(32, 8, decay=decay).train()
    z = normal(2, 8, 4, 4).requires_grad_()
    gradient = normal(2, 8, 4, 4, seed=1)
    quantizer(z).z_q.backward(gradient)
    assert torch.equal(z.grad, gradient)


def test_commitment_is_the_mean_squared_distance() -> None:
    quantizer = seeded_quantizer(32, 8).eval()
    z = normal(4, 8, 4, 4)
    expected = squared_distances(z, quantizer.codebook).min(1).mean() / 8
    assert quantizer(z).commitment.item() == pytest.approx(expected, rel=1e-5)


def test_commitment_does_not_grow_with_the_batch() -> None:
    quantizer = seeded_quantizer(32, 8).eval()
    z = normal(4, 8, 4, 4)
    once, twice = quantizer(z).commitment, quantizer(torch.cat([z, z])).commitment
    torch.testing.assert_close(once, twice, rtol=1e-6, atol=0)


@pytest.mark.parametrize("decay", [0.99, 0.0])
def test_commitment_moves_the_encoder_towards_the_codes(decay: float) -> None:
    quantizer = seeded_quantizer(32, 8, decay=decay).eval()
    z = normal(2, 8, 4, 4).requires_grad_()
    out = quantizer(z)
    out.commitment.backward()
    expected = 2 * (z - quantizer.lookup(out.codes)).detach() / z.numel()
    torch.testing.assert_close(z.grad, expected, rtol=1e-5, atol=1e-8)
    assert all(parameter.grad is None for parameter in quantizer.parameters())


def test_without_averages_the_second_term_of_equation_3_moves_the_codes_in_use() -> None:
    quantizer = seeded_quantizer(32, 8, decay=0.0).train()
    z = normal(2, 8, 4, 4).requires_grad_()
    out = quantizer(z)
    out.codebook_loss.backward()

    rows, codes = as_rows(z), out.codes.numpy().ravel()
    codebook = quantizer.codebook.detach().double().numpy()
    expected = np.zeros_like(codebook)
    np.add.at(expected, codes, 2 * (codebook[codes] - rows) / rows.size)
    np.testing.assert_allclose(quantizer.codebook.grad, expected, rtol=1e-5, atol=1e-8)
    assert z.grad is None or not z.grad.any()
    assert set(quantizer.state_dict()) == {"codebook"}


def test_without_averages_the_forward_pass_moves_nothing() -> None:
    quantizer = seeded_quantizer(32, 8, decay=0.0).train()
    before = quantizer.codebook.detach().clone()
    quantizer(normal(2, 8, 4, 4))
    assert torch.equal(quantizer.codebook, before)


# --- precision and shapes ------------------------------------------------------------------


@pytest.mark.parametrize("call", ["forward", "nearest"])
def test_arithmetic_is_float32_under_autocast(call: str) -> None:
    quantizer = seeded_quantizer(512, 64).eval()
    z = 0.3 * normal(16, 64, 8, 8)

    def codes() -> Tensor:
        return quantizer(z).codes if call == "forward" else quantizer.nearest(z)

    in_float32 = codes()
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = codes()
    scores = as_rows(z).astype(np.float32) @ quantizer.codebook.T.numpy()
    rounded = torch.from_numpy(scores).bfloat16().float() - quantizer.codebook.square().sum(1) / 2
    assert (rounded.argmax(1) != in_float32.flatten()).any()  # bfloat16 would have shown
    assert torch.equal(under_autocast, in_float32)


def test_averages_are_float32_under_autocast() -> None:
    plain, autocast = seeded_quantizer(64, 16).train(), seeded_quantizer(64, 16).train()
    z = normal(8, 16, 8, 8)
    expected = plain(z)
    with torch.autocast("cpu", torch.bfloat16):
        out = autocast(z)
    for name, value in plain.state_dict().items():
        assert torch.equal(autocast.state_dict()[name], value), name
    assert out.z_q.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(out, expected, strict=True))


def test_bfloat16_input_is_quantized_in_float32() -> None:
    quantizer = seeded_quantizer(512, 64).eval()
    z = (0.3 * normal(16, 64, 8, 8)).bfloat16()
    assert torch.equal(quantizer(z).codes, quantizer(z.float()).codes)


@pytest.mark.parametrize("shape", [(2, 7, 4, 4), (2, 4, 4, 8), (2, 8, 4), (8,)])
def test_a_wrong_shape_is_refused_with_the_shape_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, 8, H, W\)") as refused:
        seeded_quantizer(16, 8)(torch.zeros(shape))
    assert str(shape) in str(refused.value)


# --- use of the codebook -------------------------------------------------------------------


def test_codes_are_counted() -> None:
    codes = torch.tensor([[[0, 2], [2, 2]], [[4, 0], [2, 0]]])
    assert count_codes(codes, 6).tolist() == [3, 0, 4, 0, 1, 0]


def test_perplexity_is_e_to_the_entropy_of_the_frequencies() -> None:
    counts = [3, 0, 4, 0, 1]
    use = codebook_use(torch.tensor(counts))
    assert use["perplexity"] == pytest.approx(np.exp(entropy(np.array(counts) / 8)), rel=1e-12)
    assert use["codes_used"] == 3


@pytest.mark.faults
@examples(40)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_perplexity_is_between_one_and_the_codes_in_use(counts: list[int]) -> None:
    use = codebook_use(torch.tensor(counts))
    assert 1 - 1e-9 <= use["perplexity"] <= use["codes_used"] + 1e-9
    assert use["codes_used"] == np.count_nonzero(counts)


@pytest.mark.parametrize(
    ("counts", "collapsed"),
    [([9, 0, 0], True), ([90, 1, 1], True), ([1, 1, 1], False), ([9, 0], False), ([9], False)],
)
def test_a_codebook_of_more_than_two_codes_collapses_to_one_or_two(
    counts: list[int], collapsed: bool
) -> None:
    assert is_collapsed(torch.tensor(counts)) == collapsed


def test_without_a_codebook_nothing_is_used_and_nothing_collapses() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert codebook_use(none) == {"perplexity": None, "codes_used": None}
    assert is_collapsed(none) is None
