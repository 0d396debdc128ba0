"""Samples of codes from a prior, one place after another."""

from typing import Any

import torch
from torch import Tensor

from vqlib.errors import UserError
from vqlib.generation.prior import CodePrior

BATCH = 250  # images at a time


@torch.no_grad()
def sample_codes(
    prior: CodePrior,
    labels: Tensor,
    known: Tensor | None = None,
    temperature: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Return sampled codes (N, places), int64; the seed fixes them.

    Each code is the one at which the cumulative probability passes a random number in [0, 1).

    Args:
        prior: in evaluation mode.
        labels: int64 (N,).
        known: codes (N, n) of the first n places, which are kept; the others are sampled.
        temperature: divides the logits. Below 1 likely codes become more likely; 0 always takes
            the most likely one.
        seed: of the random numbers.
    """
    if not temperature >= 0 or temperature == float("inf"):
        raise UserError(f"temperature must be a number that is at least 0, got {temperature}")
    generator = torch.Generator().manual_seed(seed)
    chances = torch.rand(len(labels), prior.places, generator=generator, dtype=torch.float64)
    given = torch.empty(len(labels), 0, dtype=torch.int64) if known is None else known
    parts = zip(labels.split(BATCH), given.split(BATCH), chances.split(BATCH), strict=True)
    return torch.cat([_sample(prior, *part, temperature) for part in parts])


def _sample(
    prior: CodePrior, labels: Tensor, known: Tensor, chances: Tensor, temperature: float
) -> Tensor:
    codes = torch.empty(len(labels), 0, dtype=torch.int64)
    cache: dict[str, Any] = {}
    for place in range(prior.places):
        logits = prior.next_logits(labels, codes, cache)
        given = known[:, place] if place < known.shape[1] else None
        chosen = choose(logits, chances[:, place], temperature) if given is None else given
        codes = torch.cat([codes, chosen[:, None]], 1)
    return codes


def choose(logits: Tensor, chances: Tensor, temperature: float) -> Tensor:
    """Return a code for each row of logits (B, K), given random numbers (B,) in [0, 1)."""
    if temperature == 0:
        return logits.argmax(1)
    scaled = (logits.double() - logits.double().amax(1, keepdim=True)) / temperature
    cumulative = scaled.softmax(1).cumsum(1)
    total = cumulative[:, -1:]
    drawn = (chances[:, None] * total).minimum(total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, drawn, right=True)[:, 0]
