"""The codes of a data set: what a prior is trained on."""

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqlib.images import Images
from vqlib.models import ImageModel
from vqlib.rates.pictures import image_codes, model_with_codes
from vqlib.runs import Run, check_same_images, images_of


@dataclass(frozen=True)
class Codes:
    """The labels and codes of a data set's images.

    Attributes:
        train: int64 (2N, 1 + places), a label and the codes of each training image; then those of
            the images mirrored left to right. Their codes are not the mirrored codes: the encoder
            has to be asked.
        test: int64 (M, 1 + places), the same for test images as they are.
        classes: names of the labels; empty if the images have none, and then all labels are 0.
        facts: what a run records of them.
    """

    train: Tensor
    test: Tensor
    classes: tuple[str, ...]
    facts: dict[str, Any]


def codes_of(run: Run, images: Images | None = None, limit: int | None = None) -> Codes:
    """Encode the images that a VQ-VAE was trained on, and label them.

    Args:
        run: the VQ-VAE's.
        images: of the run, if loaded already.
        limit: use at most so many of each split, at equal distances.

    Raises:
        UserError: if the model has no codes, or the images have changed.
    """
    model = model_with_codes(run)
    if images is None:
        images = images_of(run)
    check_same_images(run, images)
    kept, kept_test = spread(len(images.train), limit), spread(len(images.test), limit)
    train, test = images.train[kept], images.test[kept_test]
    labels, test_labels = _labels(images.labels, kept), _labels(images.test_labels, kept_test)
    rows = [
        torch.cat([some_labels[:, None], encoded(model, some)], 1)
        for some, some_labels in ((train, labels), (train.flip(3), labels), (test, test_labels))
    ]
    facts = {
        "dataset": images.name,
        "data_md5": _digest(images, labels, test_labels),
        "n_train": len(train),
        "n_test": len(test),
        "classes": list(images.classes),
        "num_codes": model.num_codes,
        "grid": round(rows[2][0, 1:].numel() ** 0.5),
    }
    return Codes(torch.cat(rows[:2]), rows[2], images.classes, facts)


def encoded(model: ImageModel, images: Tensor) -> Tensor:
    """Return the codes (N, places) of uint8 images (N, 3, 32, 32), in raster order."""
    with torch.no_grad():
        return torch.from_numpy(image_codes(model, images)).flatten(1)


def spread(count: int, limit: int | None) -> Tensor:
    """Return indices of at most `limit` of so many images, at equal distances; None keeps all."""
    kept = min(limit or count, count)
    return torch.arange(kept) * count // kept


def _labels(labels: Tensor | None, kept: Tensor) -> Tensor:
    return torch.zeros(len(kept), dtype=torch.int64) if labels is None else labels[kept]


def _digest(images: Images, labels: Tensor, test_labels: Tensor) -> str:
    """Return a checksum of images, labels and the names of the classes."""
    total = hashlib.md5(usedforsecurity=False)
    total.update("\n".join([images.digest, *images.classes]).encode())
    for some in (labels, test_labels):
        total.update(some.numpy().tobytes())
    return total.hexdigest()
