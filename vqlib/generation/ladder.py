"""Simple models of codes, to compare a prior with: each gives bits a code on test codes.

Rows are int64 (N, 1 + places), a label and then codes, as in `Codes`. All are counted on training
rows, so the figures are what a coder that knows these tables would spend.
"""

import math

import torch
from torch import Tensor


def ladder(train: Tensor, test: Tensor, num_codes: int, grid: int) -> dict[str, float]:
    """Return the bits a code of each rung below the networks, by its name in evaluation.json."""
    return {
        "uniform_bits": math.log2(num_codes),
        "frequency_bits": frequency_bits(train, test, num_codes),
        "neighbour_bits": neighbour_bits(train, test, num_codes, grid),
    }


def frequency_bits(train: Tensor, test: Tensor, num_codes: int) -> float:
    """Return the bits a code if each has its frequency among training codes.

    Half a code is added to each count (Krichevsky & Trofimov 1981), so that none has probability 0.
    """
    return _bits(_frequencies(train[:, 1:], num_codes)[test[:, 1:]])


def neighbour_bits(
    train: Tensor, test: Tensor, num_codes: int, grid: int, strength: float = 256.0
) -> float:
    """Return the bits a code if each depends on the code to its left.

    p(code | left) = (n(left, code) + strength · p(code)) / (n(left) + strength), with counts n and
    frequencies p of training codes (MacKay & Peto 1995). The first column has a left neighbour of
    its own, the edge.

    Args:
        train, test: rows.
        num_codes: how many codes there are.
        grid: places along each side.
        strength: how many codes the frequencies count for; above 0. For 512 codes and 2,500 to
            10,000 images, 256 was the best power of 4.
    """
    pairs, test_pairs = _pairs(train, num_codes, grid), _pairs(test, num_codes, grid)
    counts = torch.bincount(pairs[0] * num_codes + pairs[1], minlength=(num_codes + 1) * num_codes)
    table = counts.unflatten(0, (num_codes + 1, num_codes)).double()
    smoothed = table + strength * _frequencies(train[:, 1:], num_codes)
    return _bits((smoothed / smoothed.sum(1, keepdim=True))[test_pairs[0], test_pairs[1]])


def _pairs(rows: Tensor, num_codes: int, grid: int) -> tuple[Tensor, Tensor]:
    """Return the left neighbour of each code, num_codes at the edge, and the codes, both flat."""
    codes = rows[:, 1:].unflatten(1, (grid, grid))
    left = torch.nn.functional.pad(codes[:, :, :-1], (1, 0), value=num_codes)
    return left.flatten(), codes.flatten()


def _frequencies(codes: Tensor, num_codes: int) -> Tensor:
    counts = torch.bincount(codes.flatten(), minlength=num_codes).double() + 0.5
    return counts / counts.sum()


def _bits(probabilities: Tensor) -> float:
    return -probabilities.log2().mean().item()
