"""The packages with which `vqlib bench` compares vqlib; the extra `bench` installs them."""

from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqlib.config import TrainConfig
from vqlib.images import scale

QUANTIZER = "vector-quantize-pytorch"
TRAINER = "pythae"
INSTALL = '.venv/bin/pip install --editable ".[bench]"'


def installed_version(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def quantizer_step(config: TrainConfig) -> Callable[[Tensor], None]:
    """Return a function that runs vector-quantize-pytorch's quantizer on z_e (B, D, H, W).

    The function goes forward and backward. The codebook is an EMA codebook. The rotation trick is
    off, so that gradients pass straight through, as in vqlib.
    """
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(
        dim=config.embedding_dim,
        codebook_size=config.num_embeddings,
        decay=config.decay,
        commitment_weight=config.commitment_cost,
        accept_image_fmap=True,
        rotation_trick=False,
    )

    def step(z_e: Tensor) -> None:
        z_q, _, commitment = quantizer(z_e)
        (z_q.mean() + commitment.sum()).backward()

    return step


def training_epoch(config: TrainConfig, images: Tensor, folder: Path) -> Callable[[], None]:
    """Return a function that trains pythae's VQ-VAE for one epoch on the CPU.

    The networks are pythae's own for CIFAR-10. They have the sizes of vqlib's defaults: 128
    channels, and two residual blocks with 32 channels.

    Args:
        config: gives the batch size, the learning rate and the codebook.
        images: uint8 (N, 3, 32, 32).
        folder: the folder pythae writes to.
    """
    with redirect_stderr(StringIO()):  # hide its log
        trainer = _trainer(config, scale(images).contiguous(), folder)

    def epoch() -> None:
        with redirect_stderr(StringIO()):  # hide its progress bar
            trainer.train_step(epoch=1)

    return epoch


def sampler(config: TrainConfig) -> Callable[[int], Tensor]:
    """Return a function that samples so many images with pythae's PixelCNN over 8×8 codes.

    The PixelCNN has pythae's own sizes and fresh weights.

    Args:
        config: gives the codebook.
    """
    from pythae.samplers import PixelCNNSampler

    own = PixelCNNSampler(_model(config, use_ema=False))  # it fails with an EMA codebook
    own.is_fitted = True

    @torch.no_grad()
    def sample(count: int) -> Tensor:
        return own.sample(count, batch_size=min(count, 250))

    return sample


def _model(config: TrainConfig, use_ema: bool = True) -> Any:
    """Return pythae's VQ-VAE with its networks for CIFAR-10, on the CPU."""
    from pythae.models import VQVAE, VQVAEConfig
    from pythae.models.nn.benchmarks.cifar import (
        Decoder_ResNet_VQVAE_CIFAR,
        Encoder_ResNet_VQVAE_CIFAR,
    )

    model_config = VQVAEConfig(
        input_dim=(3, 32, 32),
        latent_dim=config.embedding_dim,
        num_embeddings=config.num_embeddings,
        commitment_loss_factor=config.commitment_cost,
        use_ema=use_ema,
        decay=config.decay,
    )
    encoder = Encoder_ResNet_VQVAE_CIFAR(model_config)
    decoder = Decoder_ResNet_VQVAE_CIFAR(model_config)
    return VQVAE(model_config, encoder, decoder)


def _trainer(config: TrainConfig, x: Tensor, folder: Path) -> Any:
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    trainer = BaseTrainer(
        _model(config),
        BaseDataset(x, torch.zeros(len(x))),
        training_config=BaseTrainerConfig(
            output_dir=str(folder),
            per_device_train_batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            no_cuda=True,
        ),
    )
    trainer.prepare_training()
    return trainer
