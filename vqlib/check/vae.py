"""Checks of what makes a VAE: sampling, the KL term, the bound."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.stats import kstest
from torch import Tensor

from vqlib.check.calling import call
from vqlib.check.exercise import Case, Exercise, Mistake, all_close, as_tensor, gradients_of, judge
from vqlib.check.verdict import Found, Verdict, wrong
from vqlib.models import kl_to_prior

UNLIKELY = 1e-6  # p-value below which noise is not standard normal
SAMPLING = {  # what is found about the noise, and its hint
    "none": "every sample is the mean: where is the noise?",
    "variance": "the spread is the variance's: the noise is scaled by σ, not by σ².",
    "inverse": "where the variance is large, your spread is small: look at a sign.",
    "log": "the noise is scaled by the log-variance itself; that is the logarithm of σ².",
    "half": "the noise is scaled by half the log-variance: you are still one function short of σ.",
    "unscaled": "the noise has standard deviation 1 everywhere: it ignores the log-variance.",
    "uniform": "the noise is uniform, between 0 and 1: rand instead of randn?",
    "uncentred": "the samples lie around 0: the mean is not used.",
    "images": "all images get the same noise: draw a number for each element.",
    "dimensions": "all dimensions of an image get the same noise: draw a number for each element.",
    "seeded": "two calls give the same noise: is a seed set inside the function?",
    "mean": "no gradient reaches the mean: the sample must be computed from it, with noise apart.",
    "spread": "the gradient for the log-variance is wrong: is σ computed without gradient?",
    "other": "the noise is not standard normal once it is divided by σ.",
}


def reparametrise(mine: Callable) -> Verdict:
    """Check `mine(mean, log_variance)`, a sample of the posterior that passes gradients.

    Both arguments and the sample have shape (B, D).
    """
    try:
        with torch.enable_grad(), torch.random.fork_rng([]):
            torch.manual_seed(0)
            _check_sample(mine, torch.randn(400, 30), torch.empty(400, 30).uniform_(-4, 3))
            _check_sample(mine, torch.zeros(2000, 3), torch.full((2000, 3), -6.0))
    except Found as found:
        return Verdict(found.kind, "reparametrise", found.text)
    return Verdict("right", "reparametrise", "right, in mean, spread and gradients.")


def _check_sample(mine: Callable, mean: Tensor, log_variance: Tensor) -> None:
    leaves = {"mean": mean.requires_grad_(), "log_variance": log_variance.requires_grad_()}
    passed = {name: leaf.clone() for name, leaf in leaves.items()}
    sample = as_tensor(call(mine, passed))
    again = as_tensor(call(mine, {name: leaf.clone() for name, leaf in leaves.items()}))
    if sample.shape != mean.shape:
        shapes = f"{tuple(mean.shape)}, but has {tuple(sample.shape)}"
        raise wrong(f"the sample should have the shape of the mean, {shapes}.")
    if fault := _noise_fault(*(t.detach().double() for t in (sample, again, mean, log_variance))):
        raise wrong(SAMPLING[fault])
    ours = gradients_of([leaves["mean"] + (sample - leaves["mean"]).detach()], leaves)["mean"]
    theirs = gradients_of([sample], leaves)
    spread = ours * (sample - mean).detach() / 2  # dz / d log σ² = σ ε / 2
    if not all_close([theirs["mean"]], [ours]):
        raise wrong(SAMPLING["mean"])
    if not all_close([theirs["log_variance"]], [spread]):
        raise wrong(SAMPLING["spread"])


def _noise_fault(sample: Tensor, again: Tensor, mean: Tensor, log_variance: Tensor) -> str:
    """Return the name in `SAMPLING` of what is wrong with the noise; empty if nothing is."""
    shift, sigma = sample - mean, (log_variance / 2).exp()
    if shift.abs().max() < 1e-6:
        return "none"
    noise = shift / sigma
    if all_close([sample], [again]):
        return "seeded"
    if noise.std(0).max() < 1e-2:
        return "images"
    if noise.std(1).max() < 1e-2:
        return "dimensions"
    if _is(noise, "norm"):
        return ""
    scales = {
        "variance": sigma.square(),
        "inverse": 1 / sigma,
        "log": log_variance,
        "half": log_variance / 2,
        "unscaled": torch.ones_like(sigma),
    }
    for fault, scale in scales.items():
        if _is(shift / scale, "norm"):
            return fault
    if _is(noise, "uniform"):
        return "uniform"
    return "uncentred" if _is(sample / sigma, "norm") else "other"


def _is(noise: Tensor, distribution: str) -> bool:
    return kstest(noise.flatten().numpy(), distribution).pvalue > UNLIKELY


# --- the KL term ---------------------------------------------------------------------------


def _elements(mean: Tensor, log_variance: Tensor) -> Tensor:
    return kl_to_prior(mean, log_variance)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


KL = Exercise(
    name="kl",
    right=lambda mean, log_variance: _elements(mean, log_variance).sum(1),
    cases=[
        Case(
            "5 images with 4 latent numbers each",
            {"mean": _normal(5, 4), "log_variance": _normal(5, 4, seed=1)},
        ),
        Case("the prior itself", {"mean": torch.zeros(3, 4), "log_variance": torch.zeros(3, 4)}),
        Case(
            "very small and very large variances",
            {"mean": torch.zeros(2, 2), "log_variance": torch.tensor([[-20.0, 9], [9, -20]])},
        ),
        Case("one image", {"mean": _normal(1, 3), "log_variance": _normal(1, 3, seed=1)}),
    ],
    gradients=("mean", "log_variance"),
    mistakes=[
        Mistake(
            "it is twice too large: what stands before the bracket?",
            lambda mean, log_variance: 2 * _elements(mean, log_variance).sum(1),
        ),
        Mistake(
            "it is the mean over the latent numbers: their divergences add up.",
            lambda mean, log_variance: _elements(mean, log_variance).mean(1),
        ),
        Mistake(
            "it is twice the mean over the latent numbers: they add up, and a factor is missing.",
            lambda mean, log_variance: 2 * _elements(mean, log_variance).mean(1),
        ),
        Mistake(
            "you sum over the images as well: return one number for each image.",
            lambda mean, log_variance: _elements(mean, log_variance).sum(),
        ),
        Mistake(
            "you take the mean over images and latent numbers: return one number for each image.",
            lambda mean, log_variance: _elements(mean, log_variance).mean(),
        ),
        Mistake(
            "you average over the images: return one number for each image.",
            lambda mean, log_variance: _elements(mean, log_variance).sum(1).mean(),
        ),
        Mistake(
            "you sum over the images, one number for each latent: sum over the other axis.",
            lambda mean, log_variance: _elements(mean, log_variance).sum(0),
        ),
        Mistake(
            "you return a number for each element: those of an image add up.",
            lambda mean, log_variance: _elements(mean, log_variance),
        ),
        Mistake(
            "the sign is wrong: a divergence is never negative.",
            lambda mean, log_variance: -_elements(mean, log_variance).sum(1),
        ),
        Mistake(
            "the prior itself does not get 0: the constant in the bracket is missing.",
            lambda mean, log_variance: (_elements(mean, log_variance) + 0.5).sum(1),
        ),
        Mistake(
            "you take log_variance for log σ: it is log σ² already, so nothing is doubled.",
            lambda mean, log_variance: _elements(mean, 2 * log_variance).sum(1),
        ),
        Mistake(
            "the bracket has σ instead of σ².",
            lambda mean, log_variance: (
                (mean.square() + (log_variance / 2).exp() - 1 - log_variance).sum(1) / 2
            ),
        ),
        Mistake(
            "the bracket has log σ instead of log σ².",
            lambda mean, log_variance: (
                (mean.square() + log_variance.exp() - 1 - log_variance / 2).sum(1) / 2
            ),
        ),
        Mistake(
            "the mean is not squared.",
            lambda mean, log_variance: (mean + log_variance.exp() - 1 - log_variance).sum(1) / 2,
        ),
        Mistake(
            "it is in bits: use the natural logarithm, so that it is in nats.",
            lambda mean, log_variance: _elements(mean, log_variance).sum(1) / math.log(2),
        ),
        Mistake(
            "it is the divergence of the prior from the posterior: the two are swapped.",
            lambda mean, log_variance: (
                ((mean.square() + 1) / log_variance.exp() - 1 + log_variance).sum(1) / 2
            ),
        ),
    ],
)


def kl(mine: Callable) -> Verdict:
    """Check `mine(mean, log_variance)`, the KL divergence of each posterior from N(0, I) in nats.

    Both arguments have shape (B, D), the result has shape (B,).
    """
    return judge(KL, mine)


# --- the bound -----------------------------------------------------------------------------


def _squares(x: Tensor, x_hat: Tensor) -> Tensor:
    """Return the sum of squares of each image, (B,)."""
    return (x - x_hat).square().flatten(1).sum(1)


def _images(count: int, seed: int = 0) -> dict[str, Tensor]:
    x, x_hat = _normal(2, count, 3, 4, 4, seed=seed).sigmoid()
    return {"x": x, "x_hat": x_hat, "kl": 10 * _normal(count, seed=seed + 1).abs()}


NEGATIVE_ELBO = Exercise(
    name="negative_elbo",
    right=lambda x, x_hat, kl, beta: (_squares(x, x_hat) + beta * kl).mean(),
    cases=[
        Case("4 images and β = 0.3", _images(4) | {"beta": 0.3}),
        Case("3 images and β = 1", _images(3, seed=2) | {"beta": 1.0}),
        Case("one image", _images(1, seed=4) | {"beta": 2.0}),
        Case(
            "a perfect reconstruction",
            _images(2, seed=6) | {"x_hat": _images(2, seed=6)["x"], "beta": 1.0},
        ),
    ],
    gradients=("x_hat", "kl"),
    mistakes=[
        Mistake(
            "the error is averaged over the pixels: the bound has the sum of squares of an image.",
            lambda x, x_hat, kl, beta: F.mse_loss(x_hat, x) + beta * kl.mean(),
        ),
        Mistake(
            "it is summed over the images: the loss is a mean over them.",
            lambda x, x_hat, kl, beta: (_squares(x, x_hat) + beta * kl).sum(),
        ),
        Mistake(
            "the error is a mean over the images, but the KL term a sum.",
            lambda x, x_hat, kl, beta: _squares(x, x_hat).mean() + beta * kl.sum(),
        ),
        Mistake(
            "the error is a sum over the images, but the KL term a mean.",
            lambda x, x_hat, kl, beta: _squares(x, x_hat).sum() + beta * kl.mean(),
        ),
        Mistake(
            "you return a number for each image: the loss is their mean.",
            lambda x, x_hat, kl, beta: _squares(x, x_hat) + beta * kl,
        ),
        Mistake(
            "β is not used.",
            lambda x, x_hat, kl, beta: (_squares(x, x_hat) + kl).mean(),
        ),
        Mistake(
            "β weights the error instead of the KL term.",
            lambda x, x_hat, kl, beta: (beta * _squares(x, x_hat) + kl).mean(),
        ),
        Mistake(
            "β weights both terms.",
            lambda x, x_hat, kl, beta: beta * (_squares(x, x_hat) + kl).mean(),
        ),
        Mistake(
            "the KL term is subtracted: it is a cost, too.",
            lambda x, x_hat, kl, beta: (_squares(x, x_hat) - beta * kl).mean(),
        ),
        Mistake(
            "it is the bound itself: an optimizer minimises, so its negative is needed.",
            lambda x, x_hat, kl, beta: -(_squares(x, x_hat) + beta * kl).mean(),
        ),
        Mistake(
            "the squares are halved: with a decoder of variance ½ they are not.",
            lambda x, x_hat, kl, beta: (_squares(x, x_hat) / 2 + beta * kl).mean(),
        ),
        Mistake(
            "it has absolute differences: the norm in the equation is squared.",
            lambda x, x_hat, kl, beta: ((x - x_hat).abs().flatten(1).sum(1) + beta * kl).mean(),
        ),
        Mistake(
            "it has the norm of the difference: in the equation it is squared.",
            lambda x, x_hat, kl, beta: ((_squares(x, x_hat) + 1e-12).sqrt() + beta * kl).mean(),
        ),
        Mistake(
            "the KL term is missing.",
            lambda x, x_hat, kl, beta: _squares(x, x_hat).mean(),
        ),
    ],
)


def negative_elbo(mine: Callable) -> Verdict:
    """Check `mine(x, x_hat, kl, beta)`, the loss: squared error plus beta times KL.

    Images have shape (B, 3, H, W), `kl` has shape (B,); the result is a mean over the images.
    """
    return judge(NEGATIVE_ELBO, mine)
