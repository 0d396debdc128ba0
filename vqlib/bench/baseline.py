"""The plain training loop that most people copy, with which `vqlib bench` compares vqlib.

The model, the optimizer and the images are those of vqlib. The computation differs: pictures go one
by one through `ToTensor` and `Normalize`, a `DataLoader` makes the batches, everything is float32,
and the quantizer multiplies one-hot vectors.
"""

from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from vqlib.config import TrainConfig
from vqlib.images import Images
from vqlib.models import VQVAE, build_model
from vqlib.networks import TransposedConvolution
from vqlib.quantizer import Quantized, VectorQuantizer


class PlainLoop:
    """A VQ-VAE that is trained by the plain loop.

    Args:
        config: the config of a VQ-VAE with an EMA codebook; precision and seed are not used.
        images: the images; only the training images are used.
        device: `cpu` or `cuda`.
    """

    def __init__(self, config: TrainConfig, images: Images, device: str = "cpu"):
        self.device = device
        self.model = plain_model(config, images.variance).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.pictures = Pictures(images.train)
        self.loader = DataLoader(self.pictures, config.batch_size, shuffle=True)

    def train_epoch(self) -> dict[str, float]:
        """Train one epoch in a new order; return the mean loss and perplexity of its steps."""
        self.model.train()
        quantizer = cast(OneHotQuantizer, self.model.quantizer)
        losses, perplexities = [], []
        for batch in self.loader:
            loss = plain_loss(self.model, batch.to(self.device))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            perplexities.append(quantizer.perplexity.item())
        return {"loss": float(np.mean(losses)), "perplexity": float(np.mean(perplexities))}


class Pictures(Dataset[Tensor]):
    """A data set like torchvision's: one picture at a time, as a tensor in [-½, ½].

    Args:
        images: uint8 (N, 3, 32, 32).
    """

    def __init__(self, images: Tensor):
        self.pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))]
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.pixels[index]))


class OneHotQuantizer(VectorQuantizer):
    """A quantizer whose lookup and EMA update are products with one-hot vectors.

    As in the code that most people copy, the counts start at zero and the sums at random, and the
    smoothed counts are kept.

    Attributes:
        perplexity: the perplexity of the last batch's codes, a scalar.
    """

    ema_counts: Tensor
    ema_sums: Tensor
    perplexity: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, decay: float):
        super().__init__(num_embeddings, embedding_dim, decay, codebook_init="normal")

    def forward(self, z_e: Tensor) -> Quantized:
        """Quantize z_e (B, D, H, W); in training, also move the codebook."""
        positions = z_e.permute(0, 2, 3, 1).contiguous()  # (B, H, W, D)
        vectors = positions.view(-1, self.embedding_dim)
        squared_norms = (vectors**2).sum(1, keepdim=True)
        products = torch.matmul(vectors, self.codebook.t())
        distances = squared_norms + (self.codebook**2).sum(1) - 2 * products  # (B·H·W, K)
        codes = distances.argmin(1)
        one_hot = torch.zeros_like(distances).scatter_(1, codes.unsqueeze(1), 1)
        nearest = torch.matmul(one_hot, self.codebook).view(positions.shape)
        if self.training:
            self._follow(vectors.detach(), one_hot)
        commitment = ((nearest.detach() - positions) ** 2).mean()
        use = one_hot.mean(0)
        self.perplexity = (-(use * (use + 1e-10).log()).sum()).exp()
        straight_through = positions + (nearest - positions).detach()
        z_q = straight_through.permute(0, 3, 1, 2).contiguous()
        codes = codes.view(positions.shape[:3])
        return Quantized(z_q, codes, commitment, codebook_loss=commitment.detach())

    def _follow(self, vectors: Tensor, one_hot: Tensor) -> None:
        """Update the codebook from vectors (N, D) and their one-hot codes (N, K)."""
        counts = self.decay * self.ema_counts + (1 - self.decay) * one_hot.sum(0)
        total = counts.sum()
        share = (counts + self.epsilon) / (total + self.num_embeddings * self.epsilon)
        self.ema_counts = share * total
        sums = torch.matmul(one_hot.t(), vectors)
        self.ema_sums = self.decay * self.ema_sums + (1 - self.decay) * sums
        self.codebook.copy_(self.ema_sums / self.ema_counts.unsqueeze(1))


def plain_model(config: TrainConfig, data_variance: float) -> VQVAE:
    """Return a new VQ-VAE of this config with PyTorch's layers and the one-hot quantizer."""
    model = cast(VQVAE, build_model(config, data_variance))
    for place, layer in enumerate(model.decoder):
        if isinstance(layer, TransposedConvolution):
            channels = layer.in_channels, layer.out_channels
            model.decoder[place] = nn.ConvTranspose2d(*channels, 4, stride=2, padding=1)
    model.quantizer = OneHotQuantizer(config.num_embeddings, config.embedding_dim, config.decay)
    return model


def plain_loss(model: VQVAE, x: Tensor) -> Tensor:
    """Return the loss of x (B, 3, 32, 32) in [-½, ½]; vqlib's own training has the same loss."""
    quantized = model.quantizer(model.encoder(x))
    reconstruction = F.mse_loss(model.decoder(quantized.z_q), x) / model.data_variance
    return reconstruction + model.commitment_cost * quantized.commitment
