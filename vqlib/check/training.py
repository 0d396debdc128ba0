"""Models of the library in which the reader's functions do the work, and their short training."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqlib.check import codebook, vae, vqvae
from vqlib.check.calling import fitted
from vqlib.check.verdict import Verdict
from vqlib.config import TrainConfig
from vqlib.explore import clearest
from vqlib.figures import Picture, image_grid
from vqlib.images import load_images, scale
from vqlib.loop import Trainer, seeded
from vqlib.models import VAE, VQVAE

SHOWN = 10  # test images
SMALL: dict[str, Any] = {
    "num_hiddens": 64,
    "num_residual_hiddens": 16,
    "num_embeddings": 128,
    "embedding_dim": 16,
}
BATCH = 64


class YourVAE(VAE):
    """The library's VAE with the reader's functions in its loss.

    Args:
        reparametrise, kl, negative_elbo: the reader's functions.
        data_variance: variance of the training pixels.
    """

    def __init__(
        self,
        reparametrise: Callable,
        kl: Callable,
        negative_elbo: Callable,
        data_variance: float = 1.0,
    ):
        super().__init__(data_variance=data_variance)
        self.reparametrise = reparametrise
        self.kl = kl
        self.negative_elbo = negative_elbo

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Return the negative evidence lower bound of x (B, 3, 32, 32), and its KL term."""
        x = scale(x) if x.dtype == torch.uint8 else x
        mean, log_variance = self.encode(x)
        z = self.reparametrise(mean, log_variance).float()
        kl = self.kl(mean, log_variance)
        return {"loss": self.negative_elbo(x, self.decode(z), kl, self.beta), "kl": kl.mean()}


class YourVQVAE(VQVAE):
    """The library's VQ-VAE with the reader's functions in its loss.

    Args:
        nearest_codes, straight_through, codebook_and_commitment, ema_update: the reader's
            functions.
        data_variance: variance of the training pixels.
        settings: of the library's model.
    """

    def __init__(
        self,
        nearest_codes: Callable,
        straight_through: Callable,
        codebook_and_commitment: Callable,
        ema_update: Callable,
        data_variance: float = 1.0,
        **settings: Any,
    ):
        super().__init__(**settings, data_variance=data_variance)
        self.nearest_codes = nearest_codes
        self.straight_through = straight_through
        self.codebook_and_commitment = codebook_and_commitment
        self.ema_update = ema_update

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """Return the loss of x (B, 3, 32, 32) and its terms, and move the codebook."""
        x = scale(x) if x.dtype == torch.uint8 else x
        z_e = self.encode(x)
        codes = torch.as_tensor(self.nearest_codes(z_e.detach(), self.quantizer.codebook)).long()
        z_q = self.quantizer.lookup(codes)
        _, commitment = self.codebook_and_commitment(z_e, z_q)  # averages move the codebook
        x_hat = self.decode(self.straight_through(z_e, z_q).float())
        reconstruction = (x_hat - x).square().mean() / self.data_variance
        self.move_codebook(z_e.detach(), codes)
        loss = reconstruction + self.commitment_cost * commitment
        return {"loss": loss, "reconstruction": reconstruction, "commitment": commitment}

    def move_codebook(self, z_e: Tensor, codes: Tensor) -> None:
        """Replace counts, sums and codebook by what the reader's update returns."""
        q = self.quantizer
        vectors = z_e.permute(0, 2, 3, 1).flatten(0, 2)
        averages = (q.ema_counts, q.ema_sums)
        moved = self.ema_update(*averages, vectors, codes.flatten(), q.decay, q.epsilon)
        for buffer, value in zip((q.ema_counts, q.ema_sums, q.codebook), moved, strict=True):
            buffer.copy_(torch.as_tensor(value))

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Return the codes (B, grid, grid) of x (B, 3, 32, 32) by the reader's function."""
        codes = self.nearest_codes(self.encode(x), self.quantizer.codebook)
        return torch.as_tensor(codes).long()


def train_vae(
    reparametrise: Callable, kl: Callable, negative_elbo: Callable, epochs: int = 4
) -> Picture | Verdict:
    """Train a VAE made of the reader's functions on photos, and show what it reconstructs.

    If a function is not right yet, return what its check says.
    """
    for check, mine in (
        (vae.reparametrise, reparametrise),
        (vae.kl, kl),
        (vae.negative_elbo, negative_elbo),
    ):
        if not (verdict := check(mine)):
            return verdict
    functions = (
        fitted(reparametrise, "mean", "log_variance"),
        fitted(kl, "mean", "log_variance"),
        fitted(negative_elbo, "x", "x_hat", "kl", "beta"),
    )
    return _train(lambda variance: YourVAE(*functions, variance), "vae", epochs)


def train_vqvae(
    nearest_codes: Callable,
    straight_through: Callable,
    codebook_and_commitment: Callable,
    ema_update: Callable,
    perplexity: Callable,
    epochs: int = 4,
) -> Picture | Verdict:
    """Train a VQ-VAE made of the reader's functions on photos, and show what it reconstructs.

    If a function is not right yet, return what its check says.
    """
    for check, mine in (
        (vqvae.nearest_codes, nearest_codes),
        (vqvae.straight_through, straight_through),
        (vqvae.codebook_and_commitment, codebook_and_commitment),
        (codebook.ema_update, ema_update),
        (codebook.perplexity, perplexity),
    ):
        if not (verdict := check(mine)):
            return verdict
    functions = (
        fitted(nearest_codes, "z_e", "codebook"),
        fitted(straight_through, "z_e", "z_q"),
        fitted(codebook_and_commitment, "z_e", "z_q"),
        fitted(ema_update, "counts", "sums", "vectors", "codes", "decay", "epsilon"),
    )
    return _train(
        lambda variance: YourVQVAE(*functions, variance, **SMALL),
        "vqvae",
        epochs,
        fitted(perplexity, "codes", "num_codes"),
    )


def _train(
    build: Callable[[float], Any],
    name: str,
    epochs: int,
    perplexity: Callable | None = None,
) -> Picture:
    """Train on photos in a folder that is deleted afterwards; print the error on test images."""
    images = load_images("photos")
    config = TrainConfig(
        model=name, dataset="photos", batch_size=BATCH, epochs=epochs, precision="float32"
    )
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        with seeded(config.seed, device):
            model = build(images.variance)
        trainer = Trainer(
            config, model, images.train, images.test, Path(folder), device, images.facts
        )
        trainer.train()
    last = trainer.history[-1]
    print(f"The error on test images is {last['test_nmse']:.1%} of the pixels' variance.")
    if perplexity is not None:
        codes = torch.cat([model.codes(some) for some in images.test.split(250)])
        print(f"Perplexity over the test images: {float(perplexity(codes, model.num_codes)):.1f}.")
    few = images.test[: 2 * SHOWN]
    x = scale(few[clearest(few, SHOWN)])
    return image_grid({"original": x, "yours": model.reconstruct(x)})
