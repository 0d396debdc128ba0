"""Codes as bytes and back, with the probabilities of a prior.

The range coder is that of `vqlib.rates`. The decoder has to compute each code's probabilities from
the codes before it, so both sides go place by place through the same batches of images, in float32
and on one thread: then the same processor and the same version of torch give the same probabilities
bit for bit. Elsewhere the codes may come out wrong, which their checksum shows.

The label of each image comes first, all labels being equally probable.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from constriction import stream
from torch import Tensor

from vqlib.errors import UserError
from vqlib.generation.prior import CodePrior
from vqlib.generation.runs import Prior
from vqlib.rates.coding import WORD
from vqlib.runs import WEIGHTS

BATCH = 250  # images at a time; a file can only be read with the number that wrote it

# Of the code at each place of a batch: given its probabilities (B, K), codes it or reads it.
Coder = Callable[[np.ndarray, int, int], np.ndarray]


def pack_rows(prior: CodePrior, rows: Tensor) -> bytes:
    """Return labels and codes as bytes, in about `ideal_bits`.

    Args:
        prior: in evaluation mode, float32 on the CPU.
        rows: int64 (N, 1 + places), labels and codes.
    """
    encoder = stream.queue.RangeEncoder()
    symbols = rows.numpy().astype(np.int32)

    def code(probabilities: np.ndarray, first: int, column: int) -> np.ndarray:
        wanted = np.ascontiguousarray(symbols[first : first + len(probabilities), column])
        encoder.encode(wanted, stream.model.Categorical(perfect=False), probabilities)
        return wanted

    _go_through(prior, len(rows), code)
    return encoder.get_compressed().astype(WORD).tobytes()


def unpack_rows(prior: CodePrior, packed: bytes, count: int) -> Tensor:
    """Return the rows that `pack_rows` wrote, int64 (count, 1 + places).

    Raises:
        UserError: if the bytes cannot be rows of this prior. Not every wrong byte is noticed.
    """

    def code(probabilities: np.ndarray, first: int, column: int) -> np.ndarray:
        return decoder.decode(stream.model.Categorical(perfect=False), probabilities)

    try:
        decoder = stream.queue.RangeDecoder(np.frombuffer(packed, WORD).astype(np.uint32))
        return _go_through(prior, count, code)
    except (AssertionError, ValueError):
        raise UserError("these bytes are not codes of this prior") from None


def ideal_bits(prior: CodePrior, rows: Tensor) -> float:
    """Return the bits that rows cost, all together: labels, and codes given their labels."""
    codes = sum(prior.bits(some).double().sum().item() for some in rows.split(BATCH))
    return codes + len(rows) * math.log2(prior.num_classes)


@dataclass(frozen=True)
class PriorCoder:
    """Codes the codes of images with a prior, each image under the label that makes it cheapest.

    It is a `Coder` of `vqlib.rates`.

    Raises:
        UserError: if the prior is not that of its VQ-VAE.
    """

    prior: Prior

    def __post_init__(self) -> None:
        _ = self.prior.vqvae  # refuses another one

    @property
    def digest(self) -> str:
        """SHA-256 of the prior's weights."""
        return self.prior.environment["sha256"][WEIGHTS]

    def pack(self, codes: np.ndarray) -> bytes:
        """Return codes (N, grid, grid) and their labels as bytes; see `pack_rows`."""
        return pack_rows(self.prior.model, self._rows(codes))

    def unpack(self, packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
        """Return codes of a shape (N, grid, grid); see `unpack_rows`."""
        return unpack_rows(self.prior.model, packed, shape[0])[:, 1:].numpy().reshape(shape)

    def ideal_bits(self, codes: np.ndarray) -> float:
        """Return the bits of all codes and labels; see `ideal_bits`."""
        with torch.no_grad():
            return ideal_bits(self.prior.model, self._rows(codes))

    def _rows(self, codes: np.ndarray) -> Tensor:
        """Return labels and codes (N, 1 + places) of codes (N, grid, grid)."""
        flat = torch.from_numpy(codes).flatten(1)
        return torch.cat([self.prior.model.likeliest(flat)[:, None], flat], 1)


@torch.no_grad()
def _go_through(prior: CodePrior, count: int, code: Coder) -> Tensor:
    """Code labels and codes of so many images, place by place; return them as rows."""
    parts = []
    with _one_thread():
        for first in range(0, count, BATCH):
            size = min(BATCH, count - first)
            equal = np.full((size, prior.num_classes), 1 / prior.num_classes, np.float32)
            labels = torch.zeros(size, dtype=torch.int64)
            if prior.num_classes > 1:
                labels = torch.from_numpy(code(equal, first, 0)).long()
            codes, cache = torch.empty(size, 0, dtype=torch.int64), dict[str, Any]()
            for place in range(prior.places):
                probabilities = prior.next_logits(labels, codes, cache).softmax(1).numpy()
                chosen = torch.from_numpy(code(probabilities, first, 1 + place)).long()
                codes = torch.cat([codes, chosen[:, None]], 1)
            parts.append(torch.cat([labels[:, None], codes], 1))
    return torch.cat(parts)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: several would share sums in ways that depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
