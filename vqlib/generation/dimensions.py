"""Bits per dimension of test images, as the rate of the latent plus the distortion of the pixels.

Both are in bits for each colour of each pixel. Their sum is an upper bound on what it takes to send
an image exactly, and minus its logarithm of base 2 a lower bound on the likelihood.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vqlib.generation.codes import spread
from vqlib.generation.likelihood import PixelDistribution, fit_pixels, residuals
from vqlib.generation.runs import Prior
from vqlib.images import Images, scale
from vqlib.models import BATCH, GaussianModel, ImageModel, kl_to_prior, reconstruct_all
from vqlib.rates.coding import code_probabilities, ideal_bits
from vqlib.rates.pictures import image_codes
from vqlib.rates.points import CODED, KL, PRIOR, RAW
from vqlib.runs import Run

FITTED = 10_000  # training images to fit scales to, at most
IMPORTANCE = 100  # samples of a posterior
WEIGHED = 500  # test images for the bound with importance samples, at most
KINDS = [
    (family, by) for family in ("Gaussian", "logistic") for by in ("all", "channel", "contrast")
]
NAMES = {"all": "one scale", "channel": "by channel", "contrast": "by contrast"}


def bits_per_dimension(
    run: Run, images: Images, priors: Sequence[Prior] = ()
) -> list[dict[str, Any]]:
    """Return a model's bits per dimension with each distribution of pixels and each rate.

    A VQ-VAE's rates are `raw` codes, codes `coded` by frequency, and codes coded with a prior,
    which come with a label. A Gaussian latent has the KL term, and pixels are decoded from one
    sample of each posterior. `100 samples` is the importance-weighted bound (Burda et al. 2016,
    https://arxiv.org/abs/1509.00519), which does not tell rate from distortion. How much tighter
    it is than their sum is measured on fewer test images.

    Args:
        run: of a VQ-VAE or of a model with a Gaussian latent.
        images: of the run; scales are fitted to the training images.
        priors: over the codes of the run.

    Returns:
        For each combination `pixels` and `rate`, their names; `distortion`, `latent` and their sum
        `total`, in bits per dimension; `n_test`, the number of test images.
    """
    fitted = images.train[spread(len(images.train), FITTED)]
    pairs = list(decoded_pairs(run.model, fitted))
    kinds = {f"{f}, {NAMES[by]}": fit_pixels(pairs, f, by) for f, by in KINDS}
    if isinstance(run.model, GaussianModel) and run.model.observation == "fixed":
        trained = 255 * math.sqrt(run.model.beta / 2)  # SSE + β KL is a Gaussian of this scale
        if trained:
            kinds = {
                "Gaussian, as trained": PixelDistribution("Gaussian", "all", (trained,)),
                **kinds,
            }
    spent = _rates(run, images.test, priors)
    size, rows = images.test[0].numel(), []
    tested = list(decoded_pairs(run.model, images.test))
    for name, kind in kinds.items():
        bits = sum(kind.bits(x, y).sum().item() for x, y in tested) / len(images.test)
        for rate, latent in spent.items():
            rows.append(_row(name, rate, bits / size, latent / size, len(images.test)))
    if isinstance(run.model, GaussianModel):
        some = images.test[spread(len(images.test), WEIGHED)]
        split = {row["pixels"]: row["total"] for row in rows}
        for name, (single, bound) in importance_bits(run.model, some, kinds).items():
            row = _row(name, f"{IMPORTANCE} samples", math.nan, math.nan, len(some))
            gain = (single - bound).mean().item() / size  # of images that are in the sum above, too
            rows.append(row | {"total": split[name] - gain})
    return rows


@torch.no_grad()
def decoded_pairs(
    model: ImageModel, images: Tensor, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of uint8 images and what the model decodes from their latents, in [0, 1].

    A Gaussian latent is one sample of the posterior, which the seed fixes.
    """
    if not isinstance(model, GaussianModel):
        batches = zip(images.split(BATCH), reconstruct_all(model, images), strict=True)
        yield from ((some, y) for some, (_, y, _) in batches)
        return
    generator = torch.Generator().manual_seed(seed)
    for some in images.split(BATCH):
        mean, log_variance = model.encode(scale(some))
        noise = torch.randn(mean.shape, generator=generator)
        yield some, model.decode(mean + (log_variance / 2).exp() * noise).clamp(0, 1)


@torch.no_grad()
def importance_bits(
    model: GaussianModel,
    images: Tensor,
    kinds: dict[str, PixelDistribution],
    samples: int = IMPORTANCE,
    seed: int = 0,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return two bounds for each distribution of pixels, in bits an image, each (N,).

    Both come from the weights w = p(x|z) p(z) / q(z|x) of samples z of q(z|x). The mean of -log2 w
    estimates rate plus distortion. The importance-weighted bound is -log2 of the mean of w; it is
    never above the other, and falls towards -log2 p(x) with more samples.

    Args:
        model: in evaluation mode.
        images: uint8 (N, 3, H, W).
        kinds: the distributions.
        samples: of each posterior.
        seed: of the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in kinds}
    for image in images.split(1):
        mean, log_variance = model.encode(scale(image))
        noise = torch.randn(samples, *mean.shape[1:], generator=generator)
        z = mean + (log_variance / 2).exp() * noise
        decoded = model.decode(z).clamp(0, 1)
        # log p(z) - log q(z|x), in which the constants cancel
        ratio = (noise.square() + log_variance - z.square()).double().flatten(1).sum(1) / 2
        numbers = {by: residuals(image, decoded, by) for by in {k.groups for k in kinds.values()}}
        for name, kind in kinds.items():
            bits = kind.table[numbers[kind.groups]].double().flatten(1).sum(1)
            weights = ratio / math.log(2) - bits
            bound = math.log2(samples) - torch.logsumexp(weights * math.log(2), 0) / math.log(2)
            found[name].append((-weights.mean(), bound))
    return {name: _columns(each) for name, each in found.items()}


def _columns(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return pairs of single numbers as two vectors."""
    first, second = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    return first, second


def _rates(run: Run, test: Tensor, priors: Sequence[Prior]) -> dict[str, float]:
    """Return the bits of an image's latent by kind of rate."""
    if isinstance(run.model, GaussianModel):
        return {KL: _mean_kl(run.model, test)}
    rates = {RAW: run.bits}
    if run.model.num_codes:
        codes = image_codes(run.model, test)
        rates[CODED] = ideal_bits(codes, code_probabilities(run.model)) / len(test)
    for prior in priors:
        rates[f"{PRIOR}: {prior.model.title}"] = prior.bits_per_image
    return rates


@torch.no_grad()
def _mean_kl(model: GaussianModel, images: Tensor) -> float:
    nats = 0.0
    for some in images.split(BATCH):
        mean, log_variance = model.encode(scale(some))
        nats += kl_to_prior(mean.double(), log_variance.double()).sum().item()
    return nats / math.log(2) / len(images)


def _row(pixels: str, rate: str, distortion: float, latent: float, count: int) -> dict[str, Any]:
    total = distortion + latent
    return {
        "pixels": pixels,
        "rate": rate,
        "distortion": distortion,
        "latent": latent,
        "total": total,
        "n_test": count,
    }
