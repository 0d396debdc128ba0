"""Gaussian latents as numbers that one can send: posterior means, rounded and coded.

The KL term of a Gaussian latent is a rate that nobody writes to a file here. This is a rate that
one can have. Each channel of the latent is rounded to multiples of a step and coded with a table
of probabilities, as the components of `linear` are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqlib.images import scale
from vqlib.models import BATCH, GaussianModel
from vqlib.rates.linear import Table, encode, fit_table, quantize, total_bits

TRAINED = 10_000  # training images that the tables count


@dataclass(frozen=True)
class Rounding:
    """A step and a table for each channel of a latent.

    Attributes:
        steps: float32 (C,).
        tables: of the symbols, the whole multiples of the step, C of them.
    """

    steps: np.ndarray
    tables: Sequence[Table]


def fit_rounding(model: GaussianModel, images: Tensor) -> Rounding:
    """Return steps and tables for a model's latent.

    A step is √12 times the root mean square of the posterior's standard deviation, so that
    rounding (an error of step² / 12) adds as much noise to a channel as the decoder was trained
    with.

    Args:
        model: a trained one.
        images: training images, uint8 (N, 3, H, W); the first `TRAINED` of them count.
    """
    posteriors = list(_posteriors(model, images[:TRAINED]))
    variances = torch.cat([_channels(log_variance.exp()) for _, log_variance in posteriors], 1)
    steps = (12 * variances.double().mean(1)).sqrt().float().numpy()
    means = torch.cat([_channels(mean) for mean, _ in posteriors], 1).numpy()  # (C, N·places)
    tables = [fit_table(quantize(mean, step)) for mean, step in zip(means, steps, strict=True)]
    return Rounding(steps, tables)


@torch.no_grad()
def rounded_images(
    model: GaussianModel, images: Tensor, rounding: Rounding
) -> tuple[float, Tensor]:
    """Return what the rounded means of images cost in bits an image, and the decoded images.

    Args:
        model: that of the rounding.
        images: uint8 (N, 3, H, W).
        rounding: see `fit_rounding`.

    Returns:
        The cross-entropy of the symbols under the tables, which an arithmetic coder comes within
        0.1% of, and float32 (N, 3, H, W) in [0, 1].
    """
    bits, decoded = 0.0, []
    for mean, _ in _posteriors(model, images):
        means = _channels(mean).numpy()
        symbols = encode(means / rounding.steps[:, None], 1, rounding.tables)
        bits += float(total_bits(symbols, rounding.tables))
        rounded = torch.from_numpy(symbols.astype(np.float32) * rounding.steps[:, None])
        z = rounded.unflatten(1, (len(mean), -1)).transpose(0, 1).reshape(mean.shape)
        decoded.append(model.decode(z).clamp(0, 1))
    return bits / len(images), torch.cat(decoded)


@torch.no_grad()
def _posteriors(model: GaussianModel, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in images.split(BATCH):
        yield model.encode(scale(batch))


def _channels(latent: Tensor) -> Tensor:
    """Return a latent (N, C, …) as (C, N·places)."""
    return latent.transpose(0, 1).flatten(1)
