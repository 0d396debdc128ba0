"""Codes as bytes and back: an entropy coder, and the probabilities that it codes with.

A code of probability p costs -log2(p) bits. The coder is a range coder (Martin 1979) from
`constriction`; it writes whole words of 32 bits, and needs at most two of them and 0.1% more than
the sum of these costs.

The decoder must have the encoder's probabilities bit for bit. The network plays no part in this:
the encoder computes the codes once, and the decoder reads them. `code_probabilities` uses only
sums, products and quotients that IEEE 754 rounds in one way, in a fixed order, and so does
`constriction` when it turns probabilities into integers of 24 bits.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from constriction import stream

from vqlib.errors import UserError
from vqlib.models import VQVAE, ImageModel

WORD = np.dtype("<u4")  # what the coder writes


class Coder(Protocol):
    """What turns the codes of images, int64 (N, …), into bytes and back."""

    @property
    def digest(self) -> str:
        """SHA-256 of what a decoder needs besides the VQ-VAE; empty if it needs nothing."""

    def pack(self, codes: np.ndarray) -> bytes:
        """Return codes as bytes."""

    def unpack(self, packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
        """Return codes of a shape; a `UserError` reports bytes that are not codes."""

    def ideal_bits(self, codes: np.ndarray) -> float:
        """Return the bits that a perfect coder with the same probabilities needs for all codes."""


@dataclass(frozen=True)
class FrequencyCoder:
    """Codes each code by its frequency in training; see `code_probabilities`."""

    model: ImageModel
    digest: str = ""

    def pack(self, codes: np.ndarray) -> bytes:
        """Return codes as bytes; see `pack`."""
        return pack(codes, code_probabilities(self.model))

    def unpack(self, packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
        """Return codes of a shape; see `unpack`."""
        return unpack(packed, math.prod(shape), code_probabilities(self.model)).reshape(shape)

    def ideal_bits(self, codes: np.ndarray) -> float:
        """Return the cross-entropy of all codes; see `ideal_bits`."""
        return ideal_bits(codes, code_probabilities(self.model))


def code_probabilities(model: ImageModel) -> np.ndarray:
    """Return the probability of each code, float64 (num_codes,), as training left it.

    It is in the weights, so a file of codes needs no table. An EMA codebook has counted its codes
    over about 1 / (1 - decay) steps. Half a code is added to each of these counts (Krichevsky &
    Trofimov 1981), so that a code that training never used can still be written. A codebook that
    was trained with `decay = 0` has no counts, and its codes are equally probable.

    Args:
        model: one with codes.
    """
    if not (isinstance(model, VQVAE) and model.quantizer.decay):
        return np.full(model.num_codes, 1 / model.num_codes)
    counts = model.quantizer.ema_counts.double().cpu().numpy()  # (K,), codes a step
    smoothed = counts + (1 - model.quantizer.decay) / 2
    return smoothed / math.fsum(smoothed)  # np.sum adds in another order on other processors


def ideal_bits(codes: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the bits that codes cost at these probabilities, all together: the cross-entropy.

    Args:
        codes: integers in [0, K), of any shape.
        probabilities: of each code, (K,).
    """
    return float(-np.log2(probabilities)[codes].sum())


def entropy_bits(codes: np.ndarray) -> float:
    """Return the bits that codes cost by their own frequencies, all together.

    This is their number times log2 of their perplexity. No probabilities for all of these codes
    can cost less, but a decoder does not know the frequencies, and the table is not counted.

    Args:
        codes: integers of any shape.
    """
    counts = np.unique(codes, return_counts=True)[1]
    return float(-(counts * np.log2(counts / codes.size)).sum())


def pack(codes: np.ndarray, probabilities: np.ndarray) -> bytes:
    """Return codes as bytes, in about `ideal_bits`.

    Args:
        codes: integers in [0, K), of any shape.
        probabilities: of each code, (K,), float64 above 0.
    """
    if len(probabilities) == 1:  # nothing to tell
        return b""
    model = stream.model.Categorical(probabilities, perfect=False)
    encoder = stream.queue.RangeEncoder()
    encoder.encode(codes.astype(np.int32).ravel(), model)
    return encoder.get_compressed().astype(WORD).tobytes()


def unpack(packed: bytes, count: int, probabilities: np.ndarray) -> np.ndarray:
    """Return the codes that `pack` wrote, int64 (count,).

    Args:
        packed: as `pack` returned it.
        count: number of codes.
        probabilities: those that `pack` was given, bit for bit.

    Raises:
        UserError: if the bytes cannot be codes of these probabilities. Not every wrong byte is
            noticed: a file of codes has a checksum.
    """
    if len(probabilities) == 1:
        return np.zeros(count, np.int64)
    model = stream.model.Categorical(probabilities, perfect=False)
    try:
        words = np.frombuffer(packed, WORD).astype(np.uint32)
        return stream.queue.RangeDecoder(words).decode(model, count).astype(np.int64)
    except (AssertionError, ValueError):
        raise UserError("these bytes are not codes of these probabilities") from None
