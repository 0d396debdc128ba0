"""VAE and VQ-VAE on small images: models, training, metrics and figures."""

from importlib import import_module
from typing import Any

_HOMES = {  # imported when first used: torch alone takes seconds
    "VAE": "models",
    "VQVAE": "models",
    "Images": "images",
    "Run": "runs",
    "TrainConfig": "config",
    "UserError": "errors",
    "VectorQuantizer": "quantizer",
    "evaluate": "evaluation",
    "find_runs": "runs",
    "fit": "training",
    "load_images": "images",
    "load_run": "runs",
    "ssim": "similarity",
}
__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqlib' has no attribute {name!r}")
    return getattr(import_module(f"vqlib.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
