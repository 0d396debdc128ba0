"""The two models: a plain Gaussian VAE and a VQ-VAE, for 32×32 RGB images in [0, 1].

Both answer the same questions, so that training and evaluation need not know which one they have:

- `loss(x)`: a dict of scalar terms; "loss" is the one to minimise.
- `reconstruct(x)`: images in [0, 1] of the shape of x, deterministic.
- `encode(x)`, `decode(z)`: to the latent and back.
- `codes(x)`: the discrete codes, or None where the latent is continuous.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.quantizer import VectorQuantizer
from vqlib.system import processes

IMAGE_SHAPE = (3, 32, 32)


class VAE(nn.Module):
    """Variational autoencoder of Kingma & Welling (2013), https://arxiv.org/abs/1312.6114.

    Four stride-2 convolutions down to 2×2, four stride-2 transposed convolutions back, and a
    diagonal Gaussian latent between them.

    Args:
        latent_dim: length of the latent vector.
        beta: weight of the KL term; 1 is the evidence lower bound, with a Gaussian decoder of
            variance 1/2 (its negative log-likelihood is the sum of squares, up to a constant).
    """

    def __init__(self, latent_dim: int = 128, beta: float = 1.0):
        super().__init__()
        self.beta = beta
        widths = (3, 32, 64, 128, 256)
        down, up = [], []
        for narrow, wide in pairwise(widths):
            down += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.ReLU()]
            up = [nn.ReLU(), nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), *up]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(1024, 2 * latent_dim))
        self.decoder = nn.Sequential(nn.Linear(latent_dim, 1024), nn.Unflatten(1, (256, 2, 2)), *up)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z|x), each (B, latent_dim), for x (B, 3, 32, 32) in [0, 1]."""
        mean, log_variance = self.encoder(_centred(x)).float().chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: Tensor) -> Tensor:
        """Mean of p(x|z), not clipped, (B, 3, 32, 32), for z (B, latent_dim)."""
        return self.decoder(z).float() + 0.5

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Negative evidence lower bound in nats per image, one sample of z for each (equation 7).

        Returns:
            `loss` = `reconstruction` + beta · `kl`; `reconstruction` is the sum of squares over
            the pixels, `kl` = KL(q(z|x) ‖ N(0, 1)); each the mean over the batch.
        """
        mean, log_variance = self.encode(x)
        z = mean + (log_variance / 2).exp() * processes.randn_like(mean)
        reconstruction = F.mse_loss(self.decode(z), x, reduction="sum") / len(x)
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2 / len(x)
        return {
            "loss": reconstruction + self.beta * kl,
            "reconstruction": reconstruction,
            "kl": kl,
        }

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decodes the posterior mean of x (B, 3, 32, 32) in [0, 1] to the same."""
        return self.decode(self.encode(x)[0]).clamp(0, 1)

    def codes(self, x: Tensor) -> None:
        """None: the latent is continuous."""


class ResidualStack(nn.Module):
    """Residual blocks of ReLU, 3×3 convolution, ReLU, 1×1 convolution; a last ReLU.

    The ReLUs are not in place: at the head of a block that would change the skip path.
    """

    def __init__(self, num_hiddens: int, num_residual_hiddens: int, num_residual_layers: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(num_hiddens, num_residual_hiddens, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(num_residual_hiddens, num_hiddens, 1),
            )
            for _ in range(num_residual_layers)
        )

    def forward(self, h: Tensor) -> Tensor:
        """(B, num_hiddens, H, W) to the same shape."""
        for block in self.blocks:
            h = h + block(h)
        return F.relu(h)


class VQVAE(nn.Module):
    """VQ-VAE of van den Oord et al. (2017), https://arxiv.org/abs/1711.00937, section 4.1.

    An image becomes 8×8 codes, each one of `num_embeddings`: 64 · log2(512) = 576 bits.

    Args:
        num_hiddens, num_residual_hiddens, num_residual_layers: width and depth of encoder and
            decoder.
        num_embeddings, embedding_dim, decay, codebook_init: see `VectorQuantizer`.
        commitment_cost: beta of equation 3.
        data_variance: variance of the training pixels, by which the squared error is divided.
    """

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
    ):
        super().__init__()
        self.commitment_cost = commitment_cost
        self.data_variance = data_variance
        residual = (num_hiddens, num_residual_hiddens, num_residual_layers)
        half = num_hiddens // 2
        self.encoder = nn.Sequential(
            nn.Conv2d(3, half, 4, stride=2, padding=1),  # 16×16
            nn.ReLU(),
            nn.Conv2d(half, num_hiddens, 4, stride=2, padding=1),  # 8×8
            nn.ReLU(),
            nn.Conv2d(num_hiddens, num_hiddens, 3, padding=1),
            ResidualStack(*residual),
            nn.Conv2d(num_hiddens, embedding_dim, 1),
        )
        self.quantizer = VectorQuantizer(
            num_embeddings, embedding_dim, decay, codebook_init=codebook_init
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(embedding_dim, num_hiddens, 3, padding=1),
            ResidualStack(*residual),
            nn.ConvTranspose2d(num_hiddens, half, 4, stride=2, padding=1),  # 16×16
            nn.ReLU(),
            nn.ConvTranspose2d(half, 3, 4, stride=2, padding=1),  # 32×32
        )

    def encode(self, x: Tensor) -> Tensor:
        """z_e (B, embedding_dim, 8, 8) for x (B, 3, 32, 32) in [0, 1]."""
        return self.encoder(_centred(x)).float()

    def decode(self, z_q: Tensor) -> Tensor:
        """Image, not clipped, (B, 3, 32, 32), for z_q (B, embedding_dim, 8, 8)."""
        return self.decoder(z_q).float() + 0.5

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Equation 3, with the squared error divided by the variance of the data.

        Returns:
            `loss` = `reconstruction` + commitment_cost · `commitment` (+ `codebook` where
            `decay = 0`); `reconstruction` is MSE / data_variance.
        """
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
        """Codes (B, 8, 8), int64 in [0, num_embeddings), of x (B, 3, 32, 32) in [0, 1]."""
        return self.quantizer.nearest(self.encode(x))

    @torch.no_grad()
    def decode_codes(self, codes: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) in [0, 1] for codes (B, 8, 8)."""
        return self.decode(self.quantizer.lookup(codes)).clamp(0, 1)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Decodes the nearest codes of x (B, 3, 32, 32) in [0, 1] to the same."""
        return self.decode_codes(self.codes(x))


def _centred(x: Tensor) -> Tensor:
    """Checks x (B, 3, 32, 32) and moves [0, 1] to [-0.5, 0.5]."""
    if x.ndim != 4 or tuple(x.shape[1:]) != IMAGE_SHAPE:
        raise ValueError(f"expected images of shape (B, 3, 32, 32), got {tuple(x.shape)}")
    return x - 0.5
