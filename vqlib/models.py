"""The models: VAE, VQ-VAE and spatial VAE, for RGB images in [0, 1].

Shapes are those of images of 32×32; `image_size` gives another size.

Each is a class with everything that the rest of the library asks of a model (see `ImageModel`);
its constructor's parameters are its settings, by the names that they have in `TrainConfig`.
`MODELS` gives each class its name.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.images import SIZE, scale
from vqlib.networks import TransposedConvolution, grid_decoder, grid_encoder
from vqlib.quantizer import VectorQuantizer, codebook_use, count_codes, is_collapsed
from vqlib.system import processes

BATCH = 250  # test images at a time


class ImageModel(nn.Module):
    """What training, evaluation, tables and figures ask of a model of images.

    A model has a `title`, `loss`, `reconstruct`, `bits` and `rate_label`. One with a discrete
    latent also has `num_codes`, `codes` and `decode_codes`. Images may be uint8, or float32 in
    [0, 1].

    Attributes:
        title: the model's name in tables and figures.
        data_variance: variance of the training pixels in [0, 1].
        image_size: side of the images in pixels.
    """

    title: str
    data_variance: float
    image_size: int = SIZE

    @property
    def num_codes(self) -> int:
        """How many codes a discrete latent chooses from; 0 if the latent is continuous."""
        return 0

    @property
    def rate_label(self) -> str:
        """The settings that its rate depends on, such as `β = 0.1`, for labels in figures."""
        return ""

    def bits(self, last: Mapping[Any, Any]) -> float:
        """Return the bits that the latent of an image takes.

        Args:
            last: the last row of the history, which has the loss terms.
        """
        raise NotImplementedError

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Return the scalar loss terms of x (B, 3, 32, 32); "loss" is the one to minimise."""
        raise NotImplementedError

    def reconstruct(self, x: Tensor) -> Tensor:
        """Return x (B, 3, 32, 32) encoded and decoded: float32 in [0, 1], deterministic."""
        raise NotImplementedError

    def codes(self, x: Tensor) -> Tensor | None:
        """Return the codes of x, int64 in [0, num_codes), or None if the latent is continuous."""
        return None

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return the images (B, 3, 32, 32) in [0, 1] that codes stand for."""
        raise NotImplementedError

    def test_figures(self, images: Tensor) -> dict[str, Any]:
        """Return the error and the use of the codebook over test images (N, 3, 32, 32).

        If several processes train together, each passes the same images and takes its share.

        Returns:
            `test_nmse`, the mean squared error / data_variance; `perplexity` and `codes_used` (see
            `codebook_use`); `collapsed`, whether hardly more than one code is used. The last three
            are None without a codebook.
        """
        squared_error = torch.zeros(1, dtype=torch.float64)
        usage = torch.zeros(self.num_codes, dtype=torch.int64)
        for x, y, codes in reconstruct_all(self, processes.share(images)):
            squared_error += (x - y).square().sum().item()
            if codes is not None:
                usage += count_codes(codes, self.num_codes).cpu()
        processes.add_up(squared_error, usage)
        nmse = squared_error.item() / images.numel() / self.data_variance
        return {"test_nmse": nmse, **codebook_use(usage), "collapsed": is_collapsed(usage)}

    def _unit(self, x: Tensor) -> Tensor:
        """Check x (B, 3, 32, 32); scale it to [0, 1] if it is uint8."""
        side = self.image_size
        if x.ndim != 4 or tuple(x.shape[1:]) != (3, side, side):
            got = tuple(x.shape)
            raise ValueError(f"expected images of shape (B, 3, {side}, {side}), got {got}")
        x = x.contiguous(memory_format=torch.channels_last)  # as the convolutions return it
        return scale(x) if x.dtype == torch.uint8 else x

    def _centred(self, x: Tensor) -> Tensor:
        return self._unit(x) - 0.5


class GaussianModel(ImageModel):
    """A variational autoencoder: a diagonal Gaussian posterior, and the evidence lower bound.

    A subclass sets `encoder`, whose output is mean and log-variance side by side along axis 1, and
    `decoder`.

    Args:
        beta: weight of the KL term; 1 is the evidence lower bound, with a Gaussian decoder of
            variance 1/2 (its negative log-likelihood is the sum of squares, up to a constant).
        observation: `fixed` weights the KL term by beta. `calibrated` ignores beta and takes the
            mean squared error of each batch as the decoder's variance, which is the one of
            highest likelihood (sigma-VAE, Rybkin et al. 2021, https://arxiv.org/abs/2006.13202).
        data_variance: variance of the training pixels; the loss does not depend on it.
        image_size: side of the images in pixels.
    """

    encoder: nn.Module
    decoder: nn.Module

    def __init__(self, beta: float, observation: str, data_variance: float, image_size: int):
        super().__init__()
        self.beta = beta
        self.observation = observation
        self.data_variance = data_variance
        self.image_size = image_size

    @property
    def rate_label(self) -> str:
        """The weight of the KL term, or that it is calibrated."""
        return "calibrated" if self.observation == "calibrated" else f"β = {self.beta:g}"

    def bits(self, last: Mapping[Any, Any]) -> float:
        """Return the KL term of the last epoch in bits an image."""
        return last["kl"] / math.log(2)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of q(z|x), each of the latent's shape, for x."""
        mean, log_variance = self.encoder(self._centred(x)).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of p(x|z), not clipped, (B, 3, 32, 32), for latents z."""
        return self.decoder(z).float() + 0.5

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Return the negative evidence lower bound in nats per image (equation 7).

        Each image has one sample of z.

        Returns:
            `loss` = `reconstruction` + beta · `kl`; `reconstruction` is the sum of squares over
            the pixels, `kl` = KL(q(z|x) ‖ N(0, 1)); each the mean over the batch. If the
            observation is calibrated, beta is twice the mean squared error of the batch: the same
            gradient, up to scale, as that of the bound with a variance of that size.
        """
        x = self._unit(x)
        mean, log_variance = self.encode(x)
        z = mean + (log_variance / 2).exp() * processes.randn_like(mean)
        reconstruction = F.mse_loss(self.decode(z), x, reduction="sum") / len(x)
        kl = kl_to_prior(mean, log_variance).sum() / len(x)
        beta: float | Tensor = self.beta
        if self.observation == "calibrated":
            beta = 2 * processes.mean(reconstruction.detach(), len(x)) / x.shape[1:].numel()
        return {"loss": reconstruction + beta * kl, "reconstruction": reconstruction, "kl": kl}

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the decoded posterior mean of x (B, 3, 32, 32): the same shape, in [0, 1]."""
        return self.decode(self.encode(x)[0]).clamp(0, 1)


class VAE(GaussianModel):
    """Variational autoencoder of Kingma & Welling (2013), https://arxiv.org/abs/1312.6114.

    Four stride-2 convolutions down to 2×2, four stride-2 transposed convolutions back, and a
    diagonal Gaussian latent between them. Images larger than 32×32 have a larger last map.

    Args:
        latent_dim: length of the latent vector.
        beta, observation, data_variance, image_size: see `GaussianModel`.
    """

    title = "VAE"

    def __init__(
        self,
        latent_dim: int = 128,
        beta: float = 1.0,
        data_variance: float = 1.0,
        observation: str = "fixed",
        image_size: int = SIZE,
    ):
        super().__init__(beta, observation, data_variance, image_size)
        widths = (3, 32, 64, 128, 256)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            down += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.ReLU()]
            up = [nn.ReLU(), TransposedConvolution(wide, narrow), *up]
        last = (widths[-1], image_size // 16, image_size // 16)  # 256×2×2
        self.encoder = nn.Sequential(
            *down, nn.Flatten(), nn.Linear(math.prod(last), 2 * latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, math.prod(last)), nn.Unflatten(1, last), *up
        )


class SpatialVAE(GaussianModel):
    """VAE with the encoder and decoder of the VQ-VAE, and a Gaussian for each place of the grid.

    It differs from `VQVAE` in the latent only, so that the two can be compared at equal rate.

    Args:
        num_hiddens, num_residual_hiddens, num_residual_layers, grid: see `VQVAE`.
        latent_channels: Gaussian numbers at each place.
        beta, observation, data_variance, image_size: see `GaussianModel`.
    """

    title = "Spatial VAE"

    def __init__(
        self,
        num_hiddens: int = 128,
        num_residual_hiddens: int = 32,
        num_residual_layers: int = 2,
        latent_channels: int = 16,
        beta: float = 1.0,
        data_variance: float = 1.0,
        observation: str = "fixed",
        grid: int = 8,
        image_size: int = SIZE,
    ):
        super().__init__(beta, observation, data_variance, image_size)
        residual = (num_hiddens, num_residual_hiddens, num_residual_layers)
        self.encoder = grid_encoder(2 * latent_channels, grid, residual)
        self.decoder = grid_decoder(latent_channels, grid, residual)


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, exp(log_variance)) ‖ N(0, 1)) of each element, in nats.

    This is appendix B of Kingma & Welling (2013). Shapes are those of the arguments.
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2


class VQVAE(ImageModel):
    """VQ-VAE of van den Oord et al. (2017), https://arxiv.org/abs/1711.00937, section 4.1.

    An image becomes a grid of codes, 8×8 as in the paper, each one of `num_embeddings`:
    64 · log2(512) = 576 bits.

    Args:
        num_hiddens, num_residual_hiddens, num_residual_layers: width and depth of encoder and
            decoder.
        num_embeddings, embedding_dim, decay, codebook_init: see `VectorQuantizer`.
        commitment_cost: beta of equation 3.
        data_variance: variance of the training pixels, by which the squared error is divided.
        grid: codes along each 32 pixels of an image's side: 4, 8 or 16.
        image_size: side of the images in pixels; an image of 64×64 has four times as many codes.
    """

    title = "VQ-VAE"

    def __init__(
        self,
        num_hiddens: int = 128,
        num_residual_hiddens: int = 32,
        num_residual_layers: int = 2,
        num_embeddings: int = 512,
        embedding_dim: int = 64,
        commitment_cost: float = 0.25,
        decay: float = 0.99,
        data_variance: float = 1.0,
        codebook_init: str = "uniform",
        grid: int = 8,
        image_size: int = SIZE,
    ):
        super().__init__()
        self.commitment_cost = commitment_cost
        self.data_variance = data_variance
        self.image_size = image_size
        self.grid = grid * image_size // SIZE  # codes along each side
        residual = (num_hiddens, num_residual_hiddens, num_residual_layers)
        self.encoder = grid_encoder(embedding_dim, grid, residual)
        self.quantizer = VectorQuantizer(
            num_embeddings, embedding_dim, decay, codebook_init=codebook_init
        )
        self.decoder = grid_decoder(embedding_dim, grid, residual)

    @property
    def num_codes(self) -> int:
        """How many codes the codebook has."""
        return self.quantizer.num_embeddings

    @property
    def rate_label(self) -> str:
        """The size of the grid and of the codebook."""
        return f"{self.grid}×{self.grid}, K = {self.num_codes}"

    def bits(self, last: Mapping[Any, Any]) -> float:
        """Return the bits of an image's codes, all of equal length."""
        return self.grid**2 * math.log2(self.num_codes)

    def encode(self, x: Tensor) -> Tensor:
        """Return z_e (B, embedding_dim, grid, grid) for x (B, 3, 32, 32)."""
        return self.encoder(self._centred(x)).float()

    def decode(self, z_q: Tensor) -> Tensor:
        """Return the image (B, 3, 32, 32), not clipped, of z_q (B, embedding_dim, grid, grid)."""
        return self.decoder(z_q).float() + 0.5

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Return equation 3, with the squared error divided by the variance of the data.

        Returns:
            `loss` = `reconstruction` + commitment_cost · `commitment`; `reconstruction` is
            MSE / data_variance. If `decay = 0`, `loss` also has the term `codebook`.
        """
        x = self._unit(x)
        quantized = self.quantizer(self.encode(x))
        reconstruction = F.mse_loss(self.decode(quantized.z_q), x) / self.data_variance
        terms = {"reconstruction": reconstruction, "commitment": quantized.commitment}
        loss = reconstruction + self.commitment_cost * quantized.commitment
        if self.quantizer.decay == 0:
            terms["codebook"] = quantized.codebook_loss
            loss = loss + quantized.codebook_loss
        return {"loss": loss, **terms}

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Return the codes (B, grid, grid) of x (B, 3, 32, 32), int64 in [0, num_embeddings)."""
        return self.quantizer.nearest(self.encode(x))

    @torch.no_grad()
    def decode_codes(self, codes: Tensor) -> Tensor:
        """Return the images (B, 3, 32, 32) in [0, 1] of codes (B, grid, grid)."""
        return self.decode(self.quantizer.lookup(codes)).clamp(0, 1)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the decoded nearest codes of x (B, 3, 32, 32): the same shape, in [0, 1]."""
        return self.decode_codes(self.codes(x))


MODELS: dict[str, type[ImageModel]] = {"vae": VAE, "vqvae": VQVAE, "svae": SpatialVAE}


class Settings(Protocol):
    """What a model is built from: its name, and its settings as attributes. A `TrainConfig`."""

    @property
    def model(self) -> str:
        """The model's name in `MODELS`."""


def settings(model: str) -> tuple[str, ...]:
    """Return the names of the config's settings that a model takes; the others are for all."""
    names = inspect.signature(MODELS[model]).parameters
    return tuple(name for name in names if name != "data_variance")


def build_model(config: Settings, data_variance: float) -> ImageModel:
    """Build a fresh model with the config's settings; torch's random state is left as it was.

    Args:
        config: names the model and its settings.
        data_variance: variance of the training pixels in [0, 1].
    """
    values = {name: getattr(config, name) for name in settings(config.model)}
    with torch.random.fork_rng([]):
        return MODELS[config.model](**values, data_variance=data_variance)


def without_weights(config: Settings, data_variance: float = 1.0) -> ImageModel:
    """Return a model that takes no memory, for what its settings alone say of it."""
    with torch.device("meta"):
        return build_model(config, data_variance)


@torch.no_grad()
def reconstruct_all(
    model: ImageModel, images: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield batches of originals and reconstructions, float32 in [0, 1], and codes or None.

    Args:
        model: is put into evaluation mode.
        images: uint8 (N, 3, 32, 32).
    """
    device = next(model.parameters()).device
    model.eval()
    for batch in images.split(BATCH):
        x = scale(batch.to(device))
        codes = model.codes(x)
        y = model.reconstruct(x) if codes is None else model.decode_codes(codes)
        yield x, y, codes
