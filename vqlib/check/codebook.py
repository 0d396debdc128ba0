"""Checks of how a codebook moves, and of how much of it is used."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqlib.check.exercise import Arguments, Case, Exercise, Mistake, judge
from vqlib.check.verdict import Verdict
from vqlib.quantizer import VectorQuantizer, codebook_use, count_codes

Parts = tuple[Tensor, Tensor, Tensor]  # counts, sums, codebook


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the moving averages -------------------------------------------------------------------


def _update(
    counts: Tensor, sums: Tensor, vectors: Tensor, codes: Tensor, decay: float, epsilon: float
) -> Parts:
    quantizer = VectorQuantizer(len(sums), sums.shape[1], decay=decay, epsilon=epsilon)
    quantizer.ema_counts.copy_(counts)
    quantizer.ema_sums.copy_(sums)
    quantizer._update_codebook(vectors, codes)
    return quantizer.ema_counts, quantizer.ema_sums, quantizer.codebook


def _step(make: Callable[[SimpleNamespace], Parts]) -> Callable[..., Parts]:
    """Return a function of the arguments by name.

    `make` gets them in one object, and with them the batch's counts `n` and sums `s`, the right
    results `right`, and `move`, which moves an average towards its value in the batch.
    """

    def step(**arguments: Any) -> Parts:
        a = SimpleNamespace(**arguments)
        chosen = F.one_hot(a.codes, len(a.counts)).to(a.vectors.dtype)  # (N, K)
        a.n, a.s = chosen.sum(0), chosen.T @ a.vectors
        a.right = _update(**arguments)
        a.move = lambda average, batch: a.decay * average + (1 - a.decay) * batch
        return make(a)

    return step


def _smoothed(counts: Tensor, epsilon: float) -> Tensor:
    total = counts.sum()
    return (counts + epsilon) / (total + len(counts) * epsilon) * total


def _with_codebook(counts: Tensor, sums: Tensor, epsilon: float) -> Parts:
    return counts, sums, sums / _smoothed(counts, epsilon).unsqueeze(1)


def _last_only(a: SimpleNamespace) -> Parts:
    """Index with the codes, so that of several vectors of a code only the last counts."""
    n, s = torch.zeros_like(a.counts), torch.zeros_like(a.sums)
    for code, vector in zip(a.codes.tolist(), a.vectors, strict=True):
        n[code], s[code] = 1, vector
    return _with_codebook(a.right[0], a.move(a.sums, s), a.epsilon)


def _once_each(a: SimpleNamespace) -> Parts:
    return _with_codebook(a.move(a.counts, a.n.clamp(max=1)), _last_only(a)[1], a.epsilon)


def _used_only(a: SimpleNamespace) -> Parts:
    """Let the averages of codes that the batch does not use stay as they are."""
    counts = torch.where(a.n > 0, a.right[0], a.counts)
    sums = torch.where(a.n[:, None] > 0, a.right[1], a.sums)
    return _with_codebook(counts, sums, a.epsilon)


_CODES = torch.tensor([0, 2, 2, 3, 0, 2, 3, 0])  # codes 1 and 4 are not used
_ARGUMENTS: Arguments = {
    "counts": torch.tensor([3.0, 0.5, 2.0, 0.1, 1.0]),
    "sums": _normal(5, 3),
    "vectors": _normal(8, 3, seed=1),
    "codes": _CODES,
    "decay": 0.8,
    "epsilon": 0.05,
}
EMA_UPDATE = Exercise(
    name="ema_update",
    right=_update,
    returns=("counts", "sums", "the codebook"),
    cases=[
        Case("8 vectors and 5 codes", _ARGUMENTS),
        Case(
            "a code that was never used",
            _ARGUMENTS
            | {"counts": torch.tensor([3.0, 0.0, 2.0, 0.1, 1.0]), "epsilon": 1e-5}
            | {"sums": _normal(5, 3) * torch.tensor([[1.0], [0], [1], [1], [1]])},
        ),
        Case(
            "a batch of one vector",
            _ARGUMENTS | {"vectors": _normal(1, 3, seed=2), "codes": torch.tensor([4])},
        ),
    ],
    mistakes=[
        Mistake(
            "the counts are written back smoothed: smooth only the copy that you divide by.",
            _step(lambda a: (_smoothed(a.right[0], a.epsilon), *a.right[1:])),
        ),
        Mistake(
            "old and new are swapped: decay weights what was there, and is close to 1.",
            _step(
                lambda a: _with_codebook(
                    torch.lerp(a.n, a.counts, 1 - a.decay),
                    torch.lerp(a.s, a.sums, 1 - a.decay),
                    a.epsilon,
                )
            ),
        ),
        Mistake(
            "the batch has weight 1: both weights of a moving average add up to 1.",
            _step(
                lambda a: _with_codebook(
                    a.decay * a.counts + a.n, a.decay * a.sums + a.s, a.epsilon
                )
            ),
        ),
        Mistake(
            "the old averages are lost: they have the weight decay.",
            _step(lambda a: _with_codebook(a.n, a.s, a.epsilon)),
        ),
        Mistake(
            "you average the means of a code's vectors: it is their sums that are averaged.",
            _step(
                lambda a: _with_codebook(
                    a.right[0], a.move(a.sums, a.s / a.n.clamp(min=1)[:, None]), a.epsilon
                )
            ),
        ),
        Mistake(
            "of several vectors of one code only one is in the sum: an index that occurs twice is "
            "written once.",
            _step(_last_only),
        ),
        Mistake(
            "a code that occurs several times counts once: an index that occurs twice is written "
            "once.",
            _step(_once_each),
        ),
        Mistake(
            "codes that the batch does not use stay as they were: their averages decay, too.",
            _step(_used_only),
        ),
        Mistake(
            "you divide by the counts as they are: smooth them, or an unused code divides by 0.",
            _step(lambda a: (*a.right[:2], a.right[1] / a.right[0][:, None])),
        ),
        Mistake(
            "epsilon is added, but the counts no longer have the same total.",
            _step(lambda a: (*a.right[:2], a.right[1] / (a.right[0] + a.epsilon)[:, None])),
        ),
        Mistake(
            "the smoothed counts are shares, which add up to 1: their total is missing.",
            _step(lambda a: (*a.right[:2], a.right[2] * a.right[0].sum())),
        ),
        Mistake(
            "the codebook is made of the averages before the update.",
            _step(lambda a: (*a.right[:2], _with_codebook(a.counts, a.sums, a.epsilon)[2])),
        ),
        Mistake(
            "the codebook has the batch's means: it is the quotient of the averages.",
            _step(lambda a: (*a.right[:2], a.s / a.n[:, None])),
        ),
        Mistake(
            "the codebook has the sums: divide by the counts.",
            _step(lambda a: (*a.right[:2], a.right[1])),
        ),
    ],
)


def ema_update(mine: Callable) -> Verdict:
    """Check `mine(counts, sums, vectors, codes, decay, epsilon)`, a step of the moving averages.

    It returns new counts (K,), sums (K, D) and codebook (K, D). `vectors` has shape (N, D),
    `codes`, the code of each, (N,).
    """
    return judge(EMA_UPDATE, mine)


# --- perplexity ----------------------------------------------------------------------------


def _perplexity(codes: Tensor, num_codes: int) -> float:
    return codebook_use(count_codes(codes, num_codes))["perplexity"]


def _entropy(codes: Tensor, num_codes: int) -> float:
    return math.log(_perplexity(codes, num_codes))


def _not_a_number(codes: Tensor, num_codes: int) -> float:
    share = count_codes(codes, num_codes) / codes.numel()
    return -(share * share.log()).sum().exp().item()


_SOME = torch.tensor([[[0, 1, 1], [5, 0, 1]], [[3, 3, 3], [3, 1, 0]]])  # 2 and 4 do not occur
PERPLEXITY = Exercise(
    name="perplexity",
    right=_perplexity,
    returns=("the perplexity",),
    cases=[
        Case("codes of which some do not occur", {"codes": _SOME, "num_codes": 6}),
        Case("one code everywhere", {"codes": torch.full((2, 3, 3), 4), "num_codes": 5}),
        Case("all codes equally often", {"codes": torch.arange(16).view(4, 2, 2), "num_codes": 16}),
        Case("the first code only", {"codes": torch.zeros(1, 2, 2).long(), "num_codes": 3}),
    ],
    mistakes=[
        Mistake(
            "it is NaN as soon as a code does not occur: 0 · log 0 counts as 0.",
            _not_a_number,
        ),
        Mistake("it is the entropy: the exponential is missing.", _entropy),
        Mistake(
            "it is the entropy in bits: use nats, and the exponential is missing.",
            lambda codes, num_codes: _entropy(codes, num_codes) / math.log(2),
        ),
        Mistake(
            "the entropy is in bits, but the exponential has base e: both need the same base.",
            lambda codes, num_codes: math.exp(_entropy(codes, num_codes) / math.log(2)),
        ),
        Mistake(
            "the entropy is in nats, but the exponential has base 2: both need the same base.",
            lambda codes, num_codes: 2 ** _entropy(codes, num_codes),
        ),
        Mistake(
            "it is below 1: the entropy's sign is wrong.",
            lambda codes, num_codes: 1 / _perplexity(codes, num_codes),
        ),
        Mistake(
            "it is the number of codes that occur: how often each occurs matters, too.",
            lambda codes, num_codes: len(codes.unique()),
        ),
        Mistake(
            "it is the mean of each image's perplexity: count over all images first.",
            lambda codes, num_codes: (
                sum(_perplexity(image, num_codes) for image in codes) / len(codes)
            ),
        ),
        Mistake(
            "you average before the exponential: it is the sum over codes.",
            lambda codes, num_codes: math.exp(_entropy(codes, num_codes) / num_codes),
        ),
        Mistake(
            "you take the entropy of the codes' numbers: count how often each code occurs.",
            lambda codes, num_codes: _perplexity_of_shares(codes.flatten()),
        ),
    ],
)


def _perplexity_of_shares(weights: Tensor) -> float:
    share = weights.double() / weights.sum()
    return (-torch.xlogy(share, share)).sum().exp().item()


def perplexity(mine: Callable) -> Verdict:
    """Check `mine(codes, num_codes)`, e to the entropy of how often each code occurs.

    `codes` has shape (B, H, W) and values from 0 to num_codes − 1.
    """
    return judge(PERPLEXITY, mine)
