"""VAE and VQ-VAE on small images: models, training, metrics and figures."""

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.evaluation import evaluate
from vqlib.images import Images, load_images
from vqlib.models import VAE, VQVAE
from vqlib.quantizer import VectorQuantizer
from vqlib.runs import Run, find_runs, load_run
from vqlib.ssim import ssim
from vqlib.training import fit

__all__ = [
    "VAE",
    "VQVAE",
    "Images",
    "Run",
    "TrainConfig",
    "UserError",
    "VectorQuantizer",
    "evaluate",
    "find_runs",
    "fit",
    "load_images",
    "load_run",
    "ssim",
]
__version__ = "0.1.0"
