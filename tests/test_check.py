"""Checks of the reader's functions: any right way passes, and a typical mistake is named."""

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import cdist
from scipy.stats import entropy
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vqlib import VAE, VQVAE, Images, VectorQuantizer, check
from vqlib.check import calling, training
from vqlib.check.codebook import EMA_UPDATE, PERPLEXITY
from vqlib.check.exercise import Exercise, judge
from vqlib.check.vae import KL, NEGATIVE_ELBO
from vqlib.check.verdict import Verdict
from vqlib.check.vqvae import CODEBOOK_AND_COMMITMENT, NEAREST_CODES, STRAIGHT_THROUGH
from vqlib.figures import Picture

EXERCISES = (
    *(KL, NEGATIVE_ELBO, NEAREST_CODES, STRAIGHT_THROUGH, CODEBOOK_AND_COMMITMENT),
    *(EMA_UPDATE, PERPLEXITY),
)
NAMES = ("reparametrise", *(exercise.name for exercise in EXERCISES))

Solutions = dict[str, Callable]


def _rows(z: Any) -> Any:
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


# --- right solutions: several of each, none of them the library's ------------------------------


class PassThrough(torch.autograd.Function):
    """The straight-through gradient as a function of its own."""

    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def draw_in_place(mean, log_variance):
    noise = torch.empty_like(mean).normal_()
    return noise.mul_(log_variance.div_(2).exp_()).add_(mean)


def draw_with_numpy_noise(mean, log_variance):
    noise = torch.from_numpy(np.random.default_rng().normal(size=mean.shape))
    return mean + torch.sqrt(torch.exp(log_variance)) * noise  # float64


def kl_in_a_loop(mean, log_variance):
    total = 0
    for m, v in zip(mean.unbind(1), log_variance.unbind(1), strict=True):
        total = total + 0.5 * (m * m + torch.exp(v) - 1 - v)
    return total


def nearest_by_loops(z_e, codebook):
    found = np.zeros((z_e.shape[0], *z_e.shape[2:]), np.int32)
    for b, h, w in np.ndindex(found.shape):
        found[b, h, w] = min(
            range(len(codebook)), key=lambda k: ((z_e[b, :, h, w] - codebook[k]) ** 2).sum()
        )
    return found


def nearest_by_scipy(z_e, codebook):
    return cdist(_rows(z_e).numpy(), codebook.numpy()).argmin(1).reshape(z_e[:, 0].shape)


def nearest_by_products(z_e, codebook):
    products = torch.einsum("bdhw,kd->bkhw", z_e, codebook)
    return (codebook.pow(2).sum(1)[None, :, None, None] - 2 * products).argmin(1).int()


def terms_as_list(z_e, z_q):
    return [(z_e.detach() - z_q).pow(2).mean(), (z_e - z_q.detach()).pow(2).mean()]


def update_in_place(counts, sums, vectors, codes, decay, epsilon):
    ones = torch.ones(len(codes))
    counts.mul_(decay).index_add_(0, codes, ones, alpha=1 - decay)
    sums.mul_(decay).index_add_(0, codes, vectors, alpha=1 - decay)
    n = counts.sum()
    return counts, sums, sums / ((counts + epsilon) / (n + len(counts) * epsilon) * n)[:, None]


def update_in_numpy(counts, sums, vectors, codes, decay, epsilon):
    counts, sums = counts.numpy() * decay, sums.numpy() * decay
    for code, vector in zip(codes.numpy(), vectors.numpy(), strict=True):
        counts[code] += 1 - decay
        sums[code] += (1 - decay) * vector
    n = counts.sum()
    smoothed = (counts + epsilon) / (n + counts.size * epsilon) * n
    return [counts, sums, sums / smoothed[:, np.newaxis]]


def perplexity_by_scipy(codes, num_codes):
    return np.exp(entropy(np.bincount(codes.numpy().ravel(), minlength=num_codes)))


def perplexity_in_bits(codes, num_codes):
    share = codes.unique(return_counts=True)[1] / codes.numel()
    return 2 ** -(share * share.log2()).sum()


def perplexity_with_a_small_number(codes, num_codes):
    share = F.one_hot(codes, num_codes).float().mean((0, 1, 2))
    return torch.exp(-(share * torch.log(share + 1e-10)).sum()).reshape(1)


RIGHT: dict[str, list[Callable]] = {
    "reparametrise": [
        lambda mean, log_variance: mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape),
        lambda m, v: Normal(m, v.exp().sqrt()).rsample(),
        draw_in_place,
        draw_with_numpy_noise,
    ],
    "kl": [
        lambda m, v: -0.5 * torch.sum(1 + v - m.pow(2) - v.exp(), dim=-1),
        lambda m, v: kl_divergence(Normal(m, (v / 2).exp()), Normal(0.0, 1.0)).sum(1),
        lambda log_variance, mean: (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2,
        lambda m, v: kl_in_a_loop(m.double(), v.double()),
    ],
    "negative_elbo": [
        lambda x, y, kl, beta: F.mse_loss(y, x, reduction="sum") / len(x) + beta * kl.mean(),
        lambda x, y, kl, b: torch.mean((x - y).flatten(1).norm(dim=1) ** 2 + b * kl, 0, True),
        lambda beta, kl, x_hat, x: sum(
            ((a - b) ** 2).sum() + beta * k for a, b, k in zip(x, x_hat, kl, strict=True)
        ) / len(x),
    ],
    "nearest_codes": [nearest_by_loops, nearest_by_scipy, nearest_by_products,
                      lambda codebook, z_e: nearest_by_products(z_e, codebook).double()],
    "straight_through": [
        lambda z_e, z_q: z_e + (z_q - z_e).detach(),
        lambda z_e, z_q: z_q.detach() + z_e - z_e.detach(),
        PassThrough.apply,
        lambda z_e, z_q, /: (z_e.add_((z_q - z_e).detach()),),
    ],
    "codebook_and_commitment": [
        terms_as_list,
        lambda z_e, z_q: (F.mse_loss(z_q.double(), z_e.detach().double()),
                          F.mse_loss(z_e, z_q.detach())),
    ],
    "ema_update": [update_in_place, update_in_numpy],
    "perplexity": [perplexity_by_scipy, perplexity_in_bits, perplexity_with_a_small_number],
}  # fmt: skip
SOLVED = [(name, mine) for name, solutions in RIGHT.items() for mine in solutions]


@pytest.mark.parametrize(("name", "mine"), SOLVED)
def test_any_right_way_passes(name: str, mine: Callable) -> None:
    verdict = getattr(check, name)(mine)
    assert verdict, verdict
    assert repr(verdict).startswith(f"✓ {name}: ")


def test_every_check_has_been_tried_with_several_right_solutions() -> None:
    checks = {name for name in check.__all__ if not name.startswith(("train_", "Your"))}
    assert checks == set(RIGHT) == set(NAMES)
    assert min(map(len, RIGHT.values())) >= 2


# --- mistakes, as students write them ----------------------------------------------------------


def update(
    counts: Tensor, sums: Tensor, vectors: Tensor, codes: Tensor, decay: float, epsilon: float,
    **changed: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Return a step of the averages in which something is changed."""
    n = changed.get("n", torch.bincount(codes, minlength=len(counts)).float())
    s = changed.get("s", torch.zeros_like(sums).index_add(0, codes, vectors))
    new, old = changed.get("new", 1 - decay), changed.get("old", decay)
    counts, sums = old * counts + new * n, old * sums + new * s
    total = counts.sum()
    smoothed = (counts + epsilon) / (total + len(counts) * epsilon) * total
    if changed.get("write_back"):
        counts = smoothed
    return counts, sums, sums / smoothed[:, None]


def last_vector_wins(counts, sums, vectors, codes, decay, epsilon):
    s = torch.zeros_like(sums)
    s[codes] += vectors
    return update(counts, sums, vectors, codes, decay, epsilon, s=s)


def counted_once(counts, sums, vectors, codes, decay, epsilon):
    n, s = torch.zeros_like(counts), torch.zeros_like(sums)
    n[codes] += 1
    s[codes] += vectors
    return update(counts, sums, vectors, codes, decay, epsilon, n=n, s=s)


def means_for_sums(counts, sums, vectors, codes, decay, epsilon):
    n = torch.bincount(codes, minlength=len(counts))
    s = torch.zeros_like(sums).index_add(0, codes, vectors) / n.clamp(min=1)[:, None]
    return update(counts, sums, vectors, codes, decay, epsilon, s=s)


def plain_division(counts, sums, *rest):
    counts, sums, _ = update(counts, sums, *rest)
    return counts, sums, sums / counts.unsqueeze(1)


def forgot_the_exponential(codes, num_codes):
    return entropy(np.bincount(codes.numpy().ravel()))


def log_of_zero(codes, num_codes):
    share = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()
    return torch.exp(-torch.sum(share * torch.log(share)))


MISTAKES: list[tuple[str, str, Callable]] = [
    ("reparametrise", "σ, not by σ²", lambda m, v: m + v.exp() * torch.randn_like(m)),
    ("reparametrise", "where is the noise", lambda m, v: m),
    ("reparametrise", "log-variance itself", lambda m, v: m + v * torch.randn_like(m)),
    ("reparametrise", "half the log-variance", lambda m, v: m + v / 2 * torch.randn_like(m)),
    ("reparametrise", "ignores the log-variance", lambda m, v: m + torch.randn_like(m)),
    ("reparametrise", "look at a sign", lambda m, v: m + (-v / 2).exp() * torch.randn_like(m)),
    ("reparametrise", "rand instead of randn", lambda m, v: m + (v / 2).exp() * torch.rand_like(m)),
    ("reparametrise", "around 0", lambda m, v: (v / 2).exp() * torch.randn_like(m)),
    ("reparametrise", "all images", lambda m, v: m + (v / 2).exp() * torch.randn(m.shape[1])),
    ("reparametrise", "all dimensions", lambda m, v: m + (v / 2).exp() * torch.randn(len(m), 1)),
    ("reparametrise", "a seed", lambda m, v: m + (v / 2).exp()
     * torch.randn(m.shape, generator=torch.Generator().manual_seed(1))),
    ("reparametrise", "no gradient reaches the mean",
     lambda m, v: Normal(m, (v / 2).exp()).sample()),
    ("reparametrise", "σ computed without gradient",
     lambda m, v: m + (v.detach() / 2).exp() * torch.randn_like(m)),
    ("kl", "twice too large", lambda m, v: (m**2 + v.exp() - 1 - v).sum(1)),
    ("kl", "mean over the latent", lambda m, v: ((m**2 + v.exp() - 1 - v) / 2).mean(1)),
    ("kl", "sum over the images as well", lambda m, v: ((m**2 + v.exp() - 1 - v) / 2).sum()),
    ("kl", "average over the images", lambda m, v: ((m**2 + v.exp() - 1 - v) / 2).sum(1).mean()),
    ("kl", "over images and latent", lambda m, v: ((m**2 + v.exp() - 1 - v) / 2).mean()),
    ("kl", "the other axis", lambda m, v: ((m**2 + v.exp() - 1 - v) / 2).sum(0)),
    ("kl", "for each element", lambda m, v: (m**2 + v.exp() - 1 - v) / 2),
    ("kl", "sign", lambda m, v: 0.5 * torch.sum(1 + v - m**2 - v.exp(), 1)),
    ("kl", "constant", lambda m, v: (m**2 + v.exp() - v).sum(1) / 2),
    ("kl", "log σ² already", lambda m, v: (m**2 + (2 * v).exp() - 1 - 2 * v).sum(1) / 2),
    ("kl", "σ instead of σ²", lambda m, v: (m**2 + (v / 2).exp() - 1 - v).sum(1) / 2),
    ("kl", "log σ instead", lambda m, v: (m**2 + v.exp() - 1 - v / 2).sum(1) / 2),
    ("kl", "not squared", lambda m, v: (m + v.exp() - 1 - v).sum(1) / 2),
    ("kl", "bits", lambda m, v: (m**2 + v.exp() - 1 - v).sum(1) / 2 / math.log(2)),
    ("kl", "swapped",
     lambda m, v: kl_divergence(Normal(0.0, 1.0), Normal(m, (v / 2).exp())).sum(1)),
    ("kl", "no gradient", lambda m, v: kl_in_a_loop(m, v).detach()),
    ("kl", "gradient for mean", lambda m, v: kl_in_a_loop(m.detach(), v)),
    ("negative_elbo", "averaged over the pixels",
     lambda x, y, k, beta: F.mse_loss(y, x) + beta * k.mean()),
    ("negative_elbo", "summed over the images",
     lambda x, y, k, beta: ((x - y) ** 2).sum() + beta * k.sum()),
    ("negative_elbo", "KL term a sum",
     lambda x, y, k, beta: ((x - y) ** 2).sum() / len(x) + beta * k.sum()),
    ("negative_elbo", "β is not used",
     lambda x, y, k, beta: ((x - y) ** 2).sum() / len(x) + k.mean()),
    ("negative_elbo", "subtracted",
     lambda x, y, k, beta: ((x - y) ** 2).sum() / len(x) - beta * k.mean()),
    ("negative_elbo", "bound itself",
     lambda x, y, k, beta: -((x - y) ** 2).sum() / len(x) - beta * k.mean()),
    ("negative_elbo", "number for each image",
     lambda x, y, k, beta: ((x - y) ** 2).sum((1, 2, 3)) + beta * k),
    ("negative_elbo", "halved",
     lambda x, y, k, beta: ((x - y) ** 2).sum() / len(x) / 2 + beta * k.mean()),
    ("negative_elbo", "absolute",
     lambda x, y, k, beta: (x - y).abs().sum() / len(x) + beta * k.mean()),
    ("negative_elbo", "instead of the KL",
     lambda x, y, k, beta: beta * ((x - y) ** 2).sum() / len(x) + k.mean()),
    ("negative_elbo", "no gradient",
     lambda x, y, k, beta: (((x - y) ** 2).sum() / len(x) + beta * k.mean()).item()),
    ("nearest_codes", "argmax of a distance",
     lambda z, e: torch.cdist(_rows(z), e).argmax(1).view(z[:, 0].shape)),
    ("nearest_codes", "largest inner product",
     lambda z, e: (_rows(z) @ e.T).argmax(1).view(z[:, 0].shape)),
    ("nearest_codes", "channels must be last",
     lambda z, e: torch.cdist(z.reshape(-1, z.shape[1]), e).argmin(1).view(z[:, 0].shape)),
    ("nearest_codes", "swapped", lambda z, e: torch.cdist(z.permute(0, 3, 2, 1).flatten(0, 2), e)
     .argmin(1).view(z[:, 0].shape)),
    ("nearest_codes", "one row", lambda z, e: torch.cdist(_rows(z), e).argmin(1)),
    ("nearest_codes", "over the codes", lambda z, e: torch.cdist(_rows(z), e).argmin(0)),
    ("nearest_codes", "absolute differences",
     lambda z, e: torch.cdist(_rows(z), e, p=1).argmin(1).view(z[:, 0].shape)),
    ("nearest_codes", "cosine", lambda z, e: torch.stack(
        [F.cosine_similarity(_rows(z), one[None]) for one in e]).argmax(0).view(z[:, 0].shape)),
    ("nearest_codes", "counts twice",
     lambda z, e: ((e**2).sum(1) - _rows(z) @ e.T).argmin(1).view(z[:, 0].shape)),
    ("nearest_codes", "count from 0 to 6; yours: 1 to 7",
     lambda z, e: 1 + torch.cdist(_rows(z), e).argmin(1).view(z[:, 0].shape)),
    ("nearest_codes", "not its distance",
     lambda z, e: torch.cdist(_rows(z), e).amin(1).view(z[:, 0].shape)),
    ("nearest_codes", "shape should be (2, 4, 5), but is (2, 1, 4, 5)",
     lambda z, e: torch.cdist(_rows(z), e).argmin(1).view(z[:, :1].shape)),
    ("straight_through", "z_e gets none", lambda z_e, z_q: z_q),
    ("straight_through", "z_e gets none", lambda z_e, z_q: z_e + (z_q - z_e)),
    ("straight_through", "decoder must get z_q", lambda z_e, z_q: z_e),
    ("straight_through", "swapped", lambda z_e, z_q: z_q + (z_e - z_q).detach()),
    ("straight_through", "blocked", lambda z_e, z_q: z_e.detach() + (z_q - z_e).detach()),
    ("straight_through", "z_q gets one", lambda z_e, z_q: z_q + z_e - z_e.detach()),
    ("straight_through", "twice or half", lambda z_e, z_q: 2 * z_e + (z_q - 2 * z_e).detach()),
    ("codebook_and_commitment", "no stop-gradient: each",
     lambda z_e, z_q: (F.mse_loss(z_e, z_q), F.mse_loss(z_q, z_e))),
    ("codebook_and_commitment", "swapped", lambda z_e, z_q: terms_as_list(z_e, z_q)[::-1]),
    ("codebook_and_commitment", "sums",
     lambda z_e, z_q: (F.mse_loss(z_q, z_e.detach(), reduction="sum"),
                       F.mse_loss(z_e, z_q.detach(), reduction="sum"))),
    ("codebook_and_commitment", "over the channels",
     lambda z_e, z_q: (((z_q - z_e.detach()) ** 2).sum(1).mean(),
                       ((z_e - z_q.detach()) ** 2).sum(1).mean())),
    ("codebook_and_commitment", "both terms move the codes",
     lambda z_e, z_q: (terms_as_list(z_e, z_q)[0],) * 2),
    ("codebook_and_commitment", "both terms move the encoder",
     lambda z_e, z_q: (terms_as_list(z_e, z_q)[1],) * 2),
    ("codebook_and_commitment", "commitment term has no stop-gradient",
     lambda z_e, z_q: (F.mse_loss(z_q, z_e.detach()), F.mse_loss(z_e, z_q))),
    ("codebook_and_commitment", "all gradients are stopped",
     lambda z_e, z_q: (F.mse_loss(z_q.detach(), z_e.detach()),) * 2),
    ("codebook_and_commitment", "root",
     lambda z_e, z_q: [term.sqrt() for term in terms_as_list(z_e, z_q)]),
    ("codebook_and_commitment", "absolute",
     lambda z_e, z_q: (F.l1_loss(z_q, z_e.detach()), F.l1_loss(z_e, z_q.detach()))),
    ("codebook_and_commitment", "must return 2 things", lambda z_e, z_q: F.mse_loss(z_e, z_q)),
    ("ema_update", "written back smoothed", lambda *a: update(*a, write_back=True)),
    ("ema_update", "old and new are swapped", lambda *a: update(*a, old=1 - a[4], new=a[4])),
    ("ema_update", "the batch has weight 1", lambda *a: update(*a, new=1)),
    ("ema_update", "old averages are lost", lambda *a: update(*a, old=0, new=1)),
    ("ema_update", "their sums that are averaged", means_for_sums),
    ("ema_update", "only one is in the sum", last_vector_wins),
    ("ema_update", "counts once", counted_once),
    ("ema_update", "divide by the counts as they are", plain_division),
    ("ema_update", "before the update",
     lambda c, s, *r: (*update(c, s, *r)[:2], update(c, s, *r, old=1, new=0)[2])),
    ("ema_update", "divide by the counts", lambda *a: (*update(*a)[:2], update(*a)[1])),
    ("ema_update", "counts: the shape should be (5,)", lambda *a: update(*a)[::-1]),
    ("perplexity", "the exponential is missing", forgot_the_exponential),
    ("perplexity", "base e",
     lambda c, k: math.exp(entropy(np.bincount(c.numpy().ravel()), base=2))),
    ("perplexity", "base 2", lambda c, k: 2 ** entropy(np.bincount(c.numpy().ravel()))),
    ("perplexity", "entropy in bits", lambda c, k: entropy(np.bincount(c.numpy().ravel()), base=2)),
    ("perplexity", "0 · log 0", log_of_zero),
    ("perplexity", "number of codes that occur", lambda c, k: len(c.unique())),
    ("perplexity", "each image's", lambda c, k: sum(perplexity_by_scipy(i, k) for i in c) / len(c)),
    ("perplexity", "sign is wrong", lambda c, k: 1 / perplexity_by_scipy(c, k)),
    ("perplexity", "codes' numbers", lambda c, k: np.exp(entropy(c.numpy().ravel()))),
]  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(("name", "hint", "mine"), MISTAKES)
def test_a_typical_mistake_is_refused_by_its_name(name: str, hint: str, mine: Callable) -> None:
    verdict = getattr(check, name)(mine)
    assert verdict.kind == "wrong"
    assert hint in verdict.text


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_mistakes_are_told_apart_and_the_reference_is_right(exercise: Exercise) -> None:
    def positional(function: Callable) -> Callable:
        names = list(exercise.cases[0].arguments)
        return lambda *values: function(**dict(zip(names, values, strict=True)))

    assert judge(exercise, positional(exercise.right))
    given = [judge(exercise, positional(each.function)).text for each in exercise.mistakes]
    assert given == [each.hint for each in exercise.mistakes]
    assert len(exercise.mistakes) >= 3


def test_what_is_wrong_in_no_typical_way_is_told_with_the_input() -> None:
    verdict = check.kl(lambda m, v: (m**2 + v.exp() - 1 - v).sum(1) / 2 + 0.01)
    assert verdict.text == (
        "the result: wrong for 5 images with 4 latent numbers each, by up to 0.01."
    )
    only_here = check.kl(lambda m, v: (m**2 + v.exp().clamp(max=1e3) - 1 - v).sum(1) / 2)
    assert "very small and very large variances" in only_here.text


def test_the_references_are_what_the_library_computes() -> None:
    generator = torch.Generator().manual_seed(3)
    z_e = torch.randn(2, 4, 3, 3, generator=generator).requires_grad_()
    quantizer = VectorQuantizer(8, 4).eval()
    out = quantizer(z_e)
    z_q = quantizer.lookup(NEAREST_CODES.right(z_e, quantizer.codebook))
    torch.testing.assert_close(STRAIGHT_THROUGH.right(z_e, z_q), out.z_q)
    terms = CODEBOOK_AND_COMMITMENT.right(z_e, z_q)
    torch.testing.assert_close(terms, (out.codebook_loss, out.commitment))


# --- what is not solved, fails, or never ends --------------------------------------------------


def unfinished(*_arguments):
    raise NotImplementedError


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mine", [lambda *a: None, lambda *a: ..., unfinished, None, ...])
def test_what_is_not_written_yet_is_not_solved_yet(name: str, mine: Any) -> None:
    verdict = getattr(check, name)(mine)
    assert not verdict
    assert repr(verdict).startswith(f"○ {name}: not solved yet")


def test_a_result_of_which_a_part_is_missing_is_not_solved_yet() -> None:
    verdict = check.codebook_and_commitment(lambda z_e, z_q: (F.mse_loss(z_q, z_e), None))
    assert "not solved yet" in verdict.text


def fails_in_line_four(z_e, codebook):
    """Multiply matrices that do not fit."""
    vectors = z_e.flatten(1)
    return vectors @ codebook


@pytest.mark.faults
@pytest.mark.parametrize(
    ("mine", "facts"),
    [
        (fails_in_line_four, ["line 4 of your function", "`return vectors @ codebook`",
                              "RuntimeError: mat1 and mat2 shapes"]),
        (torch.no_grad()(fails_in_line_four), ["line 4", "RuntimeError"]),
        (lambda z_e: z_e, ["cannot be called", "takes 1 positional argument but 2 were given"]),
        (lambda z_e, codebook: missing, ["line 1", "NameError"]),  # noqa: F821
        (lambda z_e, codebook: fails_in_line_four(z_e, codebook), ["line 1", "RuntimeError"]),
        (lambda z_e, codebook: exit(), ["it ends the program"]),
        (lambda z_e, codebook: "codes", ["returns a str"]),
        (lambda z_e, codebook: object(), ["returns a object"]),
        (torch.zeros(3), ["the function itself, without brackets"]),
    ],
)  # fmt: skip
def test_an_error_in_the_function_is_told_in_a_line_with_its_place(
    mine: Callable, facts: list[str]
) -> None:
    verdict = check.nearest_codes(mine)
    assert verdict.kind == "wrong"
    assert [fact for fact in facts if fact not in verdict.text] == []
    assert "\n" not in verdict.text


@pytest.mark.faults
def test_an_error_in_the_gradient_is_told() -> None:
    class Broken(PassThrough):
        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
            raise ValueError("no way back")

    verdict = check.straight_through(Broken.apply)
    assert "not the gradient. ValueError: no way back" in verdict.text


def never_ends(*_arguments):
    while True:
        with suppress(Exception):
            time.sleep(0.001)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_a_function_that_never_ends_is_stopped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "SECONDS", 0.2)
    before = set(threading.enumerate())
    verdict = getattr(check, name)(never_ends)
    assert "still running after 0.2 seconds" in verdict.text
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


def test_a_check_leaves_torch_s_random_state_as_it_was() -> None:
    state = torch.get_rng_state()
    for name in NAMES:
        getattr(check, name)(RIGHT[name][0])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_check_works_even_if_gradients_are_switched_off() -> None:
    with torch.no_grad():
        assert all(getattr(check, name)(RIGHT[name][0]) for name in NAMES)


# --- how it looks ------------------------------------------------------------------------------


def test_a_verdict_is_a_line_in_a_terminal_and_a_box_in_a_notebook() -> None:
    verdict = Verdict("wrong", "kl", "`a < b` fails")
    assert repr(verdict) == "✗ kl: `a < b` fails"
    page = verdict._repr_html_()
    assert "✗</span> kl</strong>" in page
    assert "<code>a &lt; b</code> fails" in page


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_no_hint_shows_code(exercise: Exercise) -> None:
    for mistake in exercise.mistakes:
        assert mistake.hint.endswith((".", "?"))
        assert not set("()[]{}*=_@") & set(mistake.hint.replace("log_variance", "").replace(
            "z_e", "").replace("z_q", ""))  # fmt: skip


# --- training with the reader's functions ------------------------------------------------------


@pytest.fixture
def few(few_photos: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the training see a hundred photos only."""
    monkeypatch.setattr(training, "load_images", lambda _dataset: few_photos)


@pytest.mark.parametrize("choice", [0, -1])
def test_right_functions_train_a_vae(choice: int, few: None, capsys: pytest.CaptureFixture) -> None:
    mine = [RIGHT[name][choice] for name in ("reparametrise", "kl", "negative_elbo")]
    picture = check.train_vae(*mine, epochs=1)
    assert isinstance(picture, Picture)
    assert "yours" in picture.alt
    assert "of the pixels' variance" in capsys.readouterr().out


@pytest.mark.parametrize("choice", [1, -1])
def test_right_functions_train_a_vqvae(
    choice: int, few: None, capsys: pytest.CaptureFixture
) -> None:
    names = [exercise.name for exercise in EXERCISES[2:]]
    picture = check.train_vqvae(*(RIGHT[name][choice] for name in names), epochs=1)
    assert isinstance(picture, Picture)
    assert "Perplexity" in capsys.readouterr().out


def test_your_models_are_the_library_s_if_your_functions_are(few_photos: Images) -> None:
    pairs = [
        (VAE(data_variance=0.1), check.YourVAE(*(RIGHT[name][1] for name in NAMES[:2]),
                                               RIGHT["negative_elbo"][0], data_variance=0.1)),
        (VQVAE(data_variance=0.1), check.YourVQVAE(
            RIGHT["nearest_codes"][2], *(RIGHT[name][0] for name in NAMES[4:7]), 0.1)),
    ]  # fmt: skip
    x = few_photos.train[:4]
    for ours, yours in pairs:
        yours.load_state_dict(ours.state_dict())
        terms = []
        for model in (ours, yours):
            torch.manual_seed(0)
            terms.append(model.train().loss(x))
        assert {name: terms[0][name].item() for name in terms[1]} == pytest.approx(
            {name: value.item() for name, value in terms[1].items()}, rel=1e-4
        )
        torch.testing.assert_close(ours.state_dict(), yours.state_dict(), rtol=1e-4, atol=1e-5)
        assert torch.allclose(ours.reconstruct(x), yours.reconstruct(x), atol=1e-5)


def test_functions_that_are_not_right_are_not_trained() -> None:
    verdict = check.train_vae(RIGHT["reparametrise"][0], lambda m, v: None, lambda *a: None)
    assert repr(verdict) == "○ kl: not solved yet: it returns nothing."
    verdict = check.train_vqvae(*[lambda z_e, codebook: z_e] * 5)
    assert isinstance(verdict, Verdict)
    assert verdict.name == "nearest_codes"
