"""The simple models of codes: bits a code that can be computed in another way."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from vqlib.generation.ladder import frequency_bits, ladder, neighbour_bits

K, GRID = 6, 4


def rows(count: int, seed: int) -> Tensor:
    """Return rows with label 0 and independent codes, of which low ones are more frequent."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.arange(K, 0, -1).float()
    codes = torch.multinomial(weights, count * GRID**2, replacement=True, generator=generator)
    return torch.cat([torch.zeros(count, 1, dtype=torch.int64), codes.view(count, -1)], 1)


def counting(count: int) -> Tensor:
    """Return rows whose codes count up from left to right, modulo K, from any first code."""
    first = torch.arange(count * GRID).view(count, GRID, 1) % K
    codes = (first + torch.arange(GRID)) % K
    return torch.cat([torch.zeros(count, 1, dtype=torch.int64), codes.flatten(1)], 1)


def test_frequencies_cost_the_cross_entropy() -> None:
    train, test = rows(200, 0), rows(100, 1)
    p = np.bincount(test[:, 1:].flatten(), minlength=K)
    q = np.bincount(train[:, 1:].flatten(), minlength=K) + 0.5
    wanted = scipy.stats.entropy(p, base=2) + scipy.stats.entropy(p, q, base=2)
    assert frequency_bits(train, test, K) == pytest.approx(wanted)


def test_a_code_that_training_never_had_costs_a_finite_number_of_bits() -> None:
    train, test = torch.zeros(3, 1 + GRID**2, dtype=torch.int64), rows(3, 0)
    figures = ladder(train, test, K, GRID)
    assert np.isfinite(list(figures.values())).all()


def test_the_left_neighbour_tells_codes_that_count_up() -> None:
    data = counting(300)
    bits = neighbour_bits(data, data, K, GRID, strength=1e-3)
    # the first column is one of K, and the other three follow
    assert bits == pytest.approx(np.log2(K) / GRID, abs=1e-3)


def test_the_left_neighbour_tells_nothing_of_independent_codes() -> None:
    train, test = rows(4000, 0), rows(1000, 1)
    assert neighbour_bits(train, test, K, GRID) == pytest.approx(
        frequency_bits(train, test, K), abs=2e-3
    )


def test_a_strong_prior_makes_neighbours_frequencies() -> None:
    train, test = counting(20), counting(10)
    strong = neighbour_bits(train, test, K, GRID, strength=1e12)
    assert strong == pytest.approx(frequency_bits(train, test, K))


def test_each_rung_is_named() -> None:
    figures = ladder(counting(50), counting(20), K, GRID)
    assert list(figures) == ["uniform_bits", "frequency_bits", "neighbour_bits"]
    assert figures["uniform_bits"] == np.log2(K)
    assert figures["neighbour_bits"] < figures["frequency_bits"]
