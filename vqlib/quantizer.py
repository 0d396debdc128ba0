"""The vector quantizer of van den Oord et al. (2017), https://arxiv.org/abs/1711.00937."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.system import processes

COLLAPSED = 2  # a perplexity below it: hardly more than one code is in use


class Quantized(NamedTuple):
    """The result of quantizing a batch.

    Attributes:
        z_q: the chosen codebook vectors, shape of `z_e`; the gradient passes straight to `z_e`.
        codes: index of the chosen vector at each position, int64 (B, H, W).
        commitment: mean over elements of (z_e - sg[z_q])², scalar.
        codebook_loss: mean over elements of (sg[z_e] - z_q)², scalar; moves the codebook only
            if `decay = 0`.
    """

    z_q: Tensor
    codes: Tensor
    commitment: Tensor
    codebook_loss: Tensor


class VectorQuantizer(nn.Module):
    """Layer that replaces each vector by the nearest of K codebook vectors (equations 1 and 2).

    For example, (B, D, H, W) = (16, 64, 8, 8) holds 16·8·8 = 1,024 vectors of 64 numbers. Each is
    quantized on its own.

    Arithmetic is float32 even under autocast: bfloat16 would give 1-3% of the vectors another
    code, which can collapse the codebook.

    Args:
        num_embeddings: K, the number of codebook vectors.
        embedding_dim: D, the length of each.
        decay: above 0, the codebook follows exponential moving averages of the vectors assigned
            to it (appendix A.1); at 0, the second term of equation 3 trains it.
        epsilon: added to the counts so that an unused code never divides by zero.
        codebook_init: `uniform` starts with vectors of unit expected length and averages that
            agree with them. `normal` starts as github.com/zalandoresearch/pytorch-vq-vae does,
            with standard normal vectors, counts of 0 and other standard normal sums. A code that
            the first batches miss is then thrown far away and comes back as a near-zero vector.
    """

    codebook: Tensor  # (K, D)
    ema_counts: Tensor  # (K,)
    ema_sums: Tensor  # (K, D)

    def __init__(
        self,
        num_embeddings: int = 512,
        embedding_dim: int = 64,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        codebook_init: str = "uniform",
    ):
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.decay = decay
        self.epsilon = epsilon
        codebook = torch.empty(num_embeddings, embedding_dim)
        if codebook_init == "uniform":
            limit = (3 / embedding_dim) ** 0.5  # vectors of unit expected length
            codebook.uniform_(-limit, limit)
            # Counts of 1 and sums equal to the codebook: a missed code keeps its place for about
            # a thousand steps, until its count has sunk to epsilon, and then fades to the origin.
            counts, sums = torch.ones(num_embeddings), codebook.clone()
        else:
            codebook.normal_()
            counts, sums = torch.zeros(num_embeddings), torch.randn_like(codebook)
        if decay > 0:
            self.register_buffer("codebook", codebook)
            self.register_buffer("ema_counts", counts)
            self.register_buffer("ema_sums", sums)
        else:
            self.codebook = nn.Parameter(codebook)

    def forward(self, z_e: Tensor) -> Quantized:
        """Quantize z_e (B, D, H, W); in training with `decay > 0`, also move the codebook."""
        with torch.autocast(z_e.device.type, enabled=False):
            z_e = z_e.float()
            codes = self.nearest(z_e)
            z_q = self.lookup(codes)
            commitment = F.mse_loss(z_e, z_q.detach())
            codebook_loss = F.mse_loss(z_q, z_e.detach())
            if self.training and self.decay > 0:
                self._update_codebook(_rows(z_e.detach()), codes.flatten())
            z_q = z_e + (z_q - z_e).detach()
        return Quantized(z_q, codes, commitment, codebook_loss)

    @torch.no_grad()
    def nearest(self, z_e: Tensor) -> Tensor:
        """Return the index of the codebook vector nearest to each vector of z_e: (B, H, W)."""
        if z_e.ndim != 4 or z_e.shape[1] != self.embedding_dim:
            raise ValueError(
                f"expected z_e of shape (B, {self.embedding_dim}, H, W), got {tuple(z_e.shape)}"
            )
        # |z - e|² = |z|² - 2 z·e + |e|²; |z|² does not change which code is nearest.
        with torch.autocast(z_e.device.type, enabled=False):
            half_norms = self.codebook.square().sum(1) / 2  # (K,)
            kernels = self.codebook[:, :, None, None]  # a 1×1 convolution computes all products
            scores = F.conv2d(z_e.float(), kernels, -half_norms)  # (B, K, H, W)
        # Not `argmax`, which takes longer.
        return scores.permute(0, 2, 3, 1).max(-1).indices

    def lookup(self, codes: Tensor) -> Tensor:
        """Return the codebook vectors of codes (B, H, W): (B, D, H, W)."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    @torch.no_grad()
    def _update_codebook(self, vectors: Tensor, codes: Tensor) -> None:
        """Apply equations 6-8 to vectors (N, D) and codes (N,), summed over all processes."""
        # Not `bincount`, which would wait for a GPU.
        counts = torch.zeros_like(self.ema_counts).index_add_(
            0, codes, torch.ones_like(vectors[:, 0])
        )
        sums = torch.zeros_like(self.ema_sums).index_add_(0, codes, vectors)
        processes.add_up(counts, sums)
        self.ema_counts.lerp_(counts, 1 - self.decay)
        self.ema_sums.lerp_(sums, 1 - self.decay)
        # Smoothed in a local copy: written back, the smoothing would build up step by step.
        total = self.ema_counts.sum()
        smoothed = (self.ema_counts + self.epsilon) / (total + self.num_embeddings * self.epsilon)
        self.codebook.copy_(self.ema_sums / (smoothed * total).unsqueeze(1))


def _rows(z: Tensor) -> Tensor:
    """Return (B, D, H, W) as (B·H·W, D): a view if z is channels_last."""
    return z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])


def count_codes(codes: Tensor, num_codes: int) -> Tensor:
    """Return how often each code occurs: int64 (num_codes,)."""
    return torch.bincount(codes.flatten(), minlength=num_codes)


def codebook_use(usage: Tensor) -> dict[str, Any]:
    """Return how much of a codebook is used.

    Args:
        usage: how often each code occurs, (num_codes,); empty if there is no codebook.

    Returns:
        `perplexity`, e to the entropy in nats of the codes' frequencies, and `codes_used`, how
        many codes occur at all. Both are None without a codebook.
    """
    if not len(usage):
        return {"perplexity": None, "codes_used": None}
    share = usage.double() / usage.sum()
    entropy = -torch.xlogy(share, share).sum()
    return {"perplexity": entropy.exp().item(), "codes_used": int((usage > 0).sum())}


def is_collapsed(usage: Tensor) -> bool | None:
    """Return whether a codebook of more than two codes is down to one or two; None without one."""
    if not len(usage):
        return None
    return len(usage) > COLLAPSED and codebook_use(usage)["perplexity"] < COLLAPSED
