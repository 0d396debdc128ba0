"""How fast images are sampled, against pythae's sampler on the same grid of codes."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from vqlib.bench import peers
from vqlib.bench.loops import interleave, timed
from vqlib.bench.table import RATE, Row, compare
from vqlib.config import TrainConfig
from vqlib.generation.prior import CodePrior
from vqlib.generation.sampling import sample_codes
from vqlib.generation.transformer import Transformer
from vqlib.models import VQVAE, build_model


def sampling(config: TrainConfig, count: int, repeats: int, folder: Path) -> list[Row]:
    """Compare samples of a transformer with those of pythae's PixelCNN.

    Networks have fresh weights, which take as long as trained ones.

    Args:
        config: of the VQ-VAE.
        count: images in each repeat.
        repeats: how often, after once to warm up.
        folder: the folder pythae writes to.
    """
    what = f"Samples of a prior over 8×8 codes, {count:,} images"
    version = peers.installed_version(peers.TRAINER)
    if version is None:
        return [Row(what, f"not measured: {peers.TRAINER} is not installed ({peers.INSTALL})")]
    own, peer = own_sampler(config), peers.sampler(config)
    rates = interleave(
        repeats,
        {
            "own": lambda: count / timed(own, count),
            "peer": lambda: count / timed(peer, count),
        },
    )
    beside = f"{peers.TRAINER} {version}, its PixelCNN"
    how = f"transformer of 4 layers with a cache; decoded; median of {repeats}"
    return [compare(what, RATE, rates["own"], rates["peer"], beside, how)]


def own_sampler(config: TrainConfig) -> Callable[[int], Tensor]:
    """Return a function that samples so many images with a transformer and decodes them."""
    vqvae = build_model(config, 1.0).eval()
    assert isinstance(vqvae, VQVAE)
    prior: CodePrior = Transformer(vqvae.num_codes, vqvae.grid, 1).eval()

    def sample(count: int) -> Tensor:
        codes = sample_codes(prior, torch.zeros(count, dtype=torch.int64))
        return vqvae.decode_codes(codes.unflatten(1, (vqvae.grid, vqvae.grid)))

    return sample
