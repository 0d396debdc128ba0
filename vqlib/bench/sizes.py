"""How much the benchmark measures."""

from dataclasses import dataclass

from vqlib.config import TrainConfig


@dataclass(frozen=True)
class Sizes:
    """How much the benchmark measures."""

    name: str
    repeats: int  # after one that only warms up
    images: int  # to train on in each repeat
    pairs: int  # pairs of images for SSIM
    loop_pairs: int  # pairs for the loop over scikit-image; its time is then scaled to all pairs
    test_images: int  # to evaluate
    growth_images: int  # the most images in the rows on growth
    quality_epochs: int  # at most, to reach the quality; 0 leaves this measurement out
    config: TrainConfig
    pictures: int = 5_000  # in a folder that is read
    samples: int = 100  # of a prior, in each repeat


QUICK = Sizes("quick", 3, 1_024, 10_000, 200, 2_000, 2_048, 0, TrainConfig(model="vqvae"))
FULL = Sizes(
    "full", 5, 4_096, 10_000, 1_000, 10_000, 50_000, 25, TrainConfig(model="vqvae"), 50_000, 250
)
