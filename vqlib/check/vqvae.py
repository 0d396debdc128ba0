"""Checks of what makes a VQ-VAE: the nearest code, its gradient, two terms of the loss."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from vqlib.check.exercise import Arguments, Case, Exercise, Mistake, judge
from vqlib.check.verdict import Verdict, wrong
from vqlib.quantizer import VectorQuantizer


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the nearest code ----------------------------------------------------------------------


def _rows(z_e: Tensor) -> Tensor:
    return z_e.permute(0, 2, 3, 1).flatten(0, 2)


def _distances(z_e: Tensor, codebook: Tensor) -> Tensor:
    return (_rows(z_e).unsqueeze(1) - codebook).square().sum(2)  # (B·H·W, K)


def _map(codes: Tensor, z_e: Tensor) -> Tensor:
    return codes.reshape(len(z_e), *z_e.shape[2:])


def _distances_of(result: list[Tensor], arguments: Arguments) -> list[Tensor]:
    """Return how far each vector is from its code, so that either of two nearest is right."""
    codes, z_e, codebook = result[0], arguments["z_e"].double(), arguments["codebook"].double()
    if codes.shape != (len(z_e), *z_e.shape[2:]):
        return [codes]
    if (codes != codes.round()).any():
        raise wrong("codes are whole numbers: the index of a code, not its distance.")
    if codes.min() < 0 or codes.max() >= len(codebook):
        spread = f"{codes.min():.0f} to {codes.max():.0f}"
        raise wrong(f"{len(codebook)} codes count from 0 to {len(codebook) - 1}; yours: {spread}.")
    chosen = codebook[codes.long().flatten()]
    return [_map((_rows(z_e) - chosen).square().sum(1), z_e)]


def _nearest(z_e: Tensor, codebook: Tensor) -> Tensor:
    quantizer = VectorQuantizer(*codebook.shape)
    quantizer.codebook.copy_(codebook)
    return quantizer.nearest(z_e)


def _grid(seed: int, *shape: int, codes: int) -> Arguments:
    return {"z_e": _normal(*shape, seed=seed), "codebook": _normal(codes, shape[1], seed=seed + 1)}


_ON_CODES = _normal(4, 3, seed=9)
NEAREST_CODES = Exercise(
    name="nearest_codes",
    right=_nearest,
    returns=("the codes",),
    view=_distances_of,
    cases=[
        Case("2 images of 4×5 vectors and 7 codes", _grid(0, 2, 3, 4, 5, codes=7)),
        Case("a codebook of one code", _grid(2, 2, 3, 2, 2, codes=1)),
        Case("vectors of one number", _grid(4, 3, 1, 2, 3, codes=6)),
        Case("more codes than vectors", _grid(6, 1, 4, 2, 1, codes=50)),
        Case(
            "vectors that are codes",
            {"z_e": _ON_CODES.T.reshape(1, 3, 2, 2), "codebook": _ON_CODES},
        ),
        Case(
            "two codes that are equal",
            {"z_e": _normal(1, 3, 2, 2, seed=8), "codebook": _ON_CODES[[0, 0, 1]]},
        ),
    ],
    mistakes=[
        Mistake(
            "your codes are the farthest: argmax of a distance?",
            lambda z_e, codebook: _map(_distances(z_e, codebook).argmax(1), z_e),
        ),
        Mistake(
            "your codes have the largest inner product: a long code wins although it is far away.",
            lambda z_e, codebook: _map((_rows(z_e) @ codebook.T).argmax(1), z_e),
        ),
        Mistake(
            "your codes have the smallest inner product, which is not a distance.",
            lambda z_e, codebook: _map((_rows(z_e) @ codebook.T).argmin(1), z_e),
        ),
        Mistake(
            "your codes have the largest cosine: the lengths of the vectors count, too.",
            lambda z_e, codebook: _map(
                (F.normalize(_rows(z_e), dim=1) @ F.normalize(codebook, dim=1).T).argmax(1), z_e
            ),
        ),
        Mistake(
            "in the square of the difference, the product of the two counts twice.",
            lambda z_e, codebook: _map(
                (codebook.square().sum(1) - _rows(z_e) @ codebook.T).argmin(1), z_e
            ),
        ),
        Mistake(
            "your vectors mix channels and positions: before the reshape, channels must be last.",
            lambda z_e, codebook: _map(
                torch.cdist(z_e.reshape(-1, z_e.shape[1]), codebook).argmin(1), z_e
            ),
        ),
        Mistake(
            "rows and columns of the map are swapped.",
            lambda z_e, codebook: _map(_distances(z_e.transpose(2, 3), codebook).argmin(1), z_e),
        ),
        Mistake(
            "for each code you look for the nearest vector: take the argmin over the codes.",
            lambda z_e, codebook: _distances(z_e, codebook).argmin(0),
        ),
        Mistake(
            "the distance is the sum of absolute differences: the equation has squares.",
            lambda z_e, codebook: _map(torch.cdist(_rows(z_e), codebook, p=1).argmin(1), z_e),
        ),
        Mistake(
            "the codes are right, but in one row: reshape them to a map for each image.",
            lambda z_e, codebook: _distances(z_e, codebook).argmin(1),
        ),
    ],
)


def nearest_codes(mine: Callable) -> Verdict:
    """Check `mine(z_e, codebook)`, the index of the nearest code at each position.

    `z_e` has shape (B, D, H, W), `codebook` (K, D), the result (B, H, W).
    """
    return judge(NEAREST_CODES, mine)


# --- the straight-through gradient ---------------------------------------------------------


def _pair(seed: int, *shape: int) -> Arguments:
    return {"z_e": _normal(*shape, seed=seed), "z_q": _normal(*shape, seed=seed + 1)}


_PAIRS = [
    Case("2 images of 3×4 vectors", _pair(0, 2, 5, 3, 4)),
    Case("vectors that are codes", _pair(2, 2, 3, 2, 2) | {"z_q": _normal(2, 3, 2, 2, seed=2)}),
    Case("a single vector", _pair(4, 1, 3, 1, 1)),
]
STRAIGHT_THROUGH = Exercise(
    name="straight_through",
    right=lambda z_e, z_q: z_e + (z_q - z_e).detach(),
    cases=_PAIRS,
    gradients=("z_e", "z_q"),
    mistakes=[
        Mistake(
            "the values are right, but the gradient goes to z_q, and z_e gets none.",
            lambda z_e, z_q: z_q,
        ),
        Mistake(
            "these are the values of z_e: the decoder must get z_q.",
            lambda z_e, z_q: z_e,
        ),
        Mistake(
            "z_e and z_q are swapped: values of z_e, gradient to z_q.",
            lambda z_e, z_q: z_q + (z_e - z_q).detach(),
        ),
        Mistake(
            "the values are right, but both gradients are blocked: z_e must get one.",
            lambda z_e, z_q: (z_e + (z_q - z_e)).detach(),
        ),
        Mistake(
            "z_e gets its gradient, but z_q gets one, too: only z_e may.",
            lambda z_e, z_q: z_e + z_q - z_e.detach(),
        ),
        Mistake(
            "z_e gets a gradient twice or half: it must get exactly that of the output.",
            lambda z_e, z_q: 2 * z_e + (z_q - 2 * z_e).detach(),
        ),
        Mistake(
            "z_e gets a gradient twice or half: it must get exactly that of the output.",
            lambda z_e, z_q: z_e / 2 + (z_q - z_e / 2).detach(),
        ),
        Mistake(
            "these are the values of z_q - z_e, not those of z_q.",
            lambda z_e, z_q: (z_q - z_e).detach(),
        ),
        Mistake(
            "the gradient of z_e is reversed: it has the wrong sign.",
            lambda z_e, z_q: (z_q + z_e).detach() - z_e,
        ),
    ],
)


def straight_through(mine: Callable) -> Verdict:
    """Check `mine(z_e, z_q)`: the values of z_q, and the gradient straight to z_e.

    Both arguments and the result have shape (B, D, H, W).
    """
    return judge(STRAIGHT_THROUGH, mine)


# --- the two other terms of the loss -------------------------------------------------------


def _terms(z_e: Tensor, z_q: Tensor) -> tuple[Tensor, Tensor]:
    return F.mse_loss(z_q, z_e.detach()), F.mse_loss(z_e, z_q.detach())


CODEBOOK_AND_COMMITMENT = Exercise(
    name="codebook_and_commitment",
    right=_terms,
    returns=("the codebook term", "the commitment term"),
    cases=_PAIRS,
    gradients=("z_e", "z_q"),
    mistakes=[
        Mistake(
            "there is no stop-gradient: each term moves one side only.",
            lambda z_e, z_q: (F.mse_loss(z_e, z_q),) * 2,
        ),
        Mistake(
            "the terms are swapped: the codebook term moves codes, commitment moves the encoder.",
            lambda z_e, z_q: _terms(z_e, z_q)[::-1],
        ),
        Mistake(
            "both terms move the codes: commitment must move the encoder.",
            lambda z_e, z_q: (F.mse_loss(z_q, z_e.detach()),) * 2,
        ),
        Mistake(
            "both terms move the encoder: the codebook term must move the codes.",
            lambda z_e, z_q: (F.mse_loss(z_e, z_q.detach()),) * 2,
        ),
        Mistake(
            "the codebook term has no stop-gradient: it moves the encoder, too.",
            lambda z_e, z_q: (F.mse_loss(z_q, z_e), _terms(z_e, z_q)[1]),
        ),
        Mistake(
            "the commitment term has no stop-gradient: it moves the codes, too.",
            lambda z_e, z_q: (_terms(z_e, z_q)[0], F.mse_loss(z_q, z_e)),
        ),
        Mistake(
            "all gradients are stopped: each term stops one side only.",
            lambda z_e, z_q: tuple(term.detach() for term in _terms(z_e, z_q)),
        ),
        Mistake(
            "they are sums: each term is a mean over all elements.",
            lambda z_e, z_q: tuple(term * z_e.numel() for term in _terms(z_e, z_q)),
        ),
        Mistake(
            "you sum over the channels before you average: each term is a mean over all elements.",
            lambda z_e, z_q: tuple(term * z_e.shape[1] for term in _terms(z_e, z_q)),
        ),
        Mistake(
            "you sum over all but the images: each term is a mean over all elements.",
            lambda z_e, z_q: tuple(term * z_e[0].numel() for term in _terms(z_e, z_q)),
        ),
        Mistake(
            "the differences are not squared, but absolute.",
            lambda z_e, z_q: (F.l1_loss(z_q, z_e.detach()), F.l1_loss(z_e, z_q.detach())),
        ),
        Mistake(
            "it is the root of the mean square: leave the squares.",
            lambda z_e, z_q: tuple((term + 1e-12).sqrt() for term in _terms(z_e, z_q)),
        ),
        Mistake(
            "the weight of the commitment term, β, is applied later.",
            lambda z_e, z_q: (_terms(z_e, z_q)[0], 0.25 * _terms(z_e, z_q)[1]),
        ),
    ],
)


def codebook_and_commitment(mine: Callable) -> Verdict:
    """Check `mine(z_e, z_q)`: the second and the third term of the loss, without weights.

    The arguments have shape (B, D, H, W); each term is a mean over all elements.
    """
    return judge(CODEBOOK_AND_COMMITMENT, mine)
