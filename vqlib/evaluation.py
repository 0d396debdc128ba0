"""How well a model reconstructs: error, PSNR, SSIM, and the use of the codebook."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqlib.errors import UserError
from vqlib.images import Images, check_images, load_images, scale
from vqlib.runs import Run, load_run
from vqlib.similarity import check_pair, ssim_by_protocol

BATCH = 250


def evaluate(model: nn.Module, images: Tensor, data_variance: float) -> dict[str, Any]:
    """Figures over test images, in float32.

    Args:
        model: has `codes`, `decode_codes` and `reconstruct`; see `vqlib.models`.
        images: uint8 (N, 3, 32, 32).
        data_variance: of the training pixels in [0, 1]; above 0.

    Returns:
        `n_test`; `test_mse`, the mean over all pixels of images in [0, 1]; `test_nmse` =
        test_mse / data_variance; `test_psnr` = -10 log10(test_mse), in dB; `test_ssim`, the mean
        of Wang et al.'s SSIM per image; `ssim_by_protocol`, see there. With a codebook also
        `perplexity` of the codes over all images, and `codes_used`; else both None.

    Raises:
        UserError: for images of another kind or shape, a variance that is none, and a model whose
            reconstructions have another shape, are not finite, or lie outside [0, 1].
    """
    check_images(images, "test")
    if not 0 < data_variance < math.inf:
        raise UserError(f"data_variance must be a finite number above 0, got {data_variance}")
    squared_error, usage = 0.0, None
    reconstructions = torch.empty(images.shape)
    parts = reconstructions.split(BATCH)
    for part, (x, y, codes) in zip(parts, reconstruct_all(model, images), strict=True):
        check_pair(x, y, 1.0)
        squared_error += (x.double() - y.double()).square().sum().item()
        usage = count_codes(model, codes, usage)
        part.copy_(y)
    mse = squared_error / images.numel()
    protocols = ssim_by_protocol(scale(images), reconstructions)
    return {
        "n_test": len(images),
        "test_mse": mse,
        "test_nmse": mse / data_variance,
        "test_psnr": -10 * torch.tensor(mse, dtype=torch.float64).log10().item(),
        "test_ssim": protocols["Wang et al."],
        **codebook_use(usage),
        "ssim_by_protocol": protocols,
    }


def evaluate_run(path: str | Path) -> dict[str, Any]:
    """Evaluates the stored weights of a run anew, on the test images of its data set."""
    run = load_run(path)
    model = run.model  # a damaged run is told before its images are loaded
    return evaluate(model, load_run_images(run), run.data_variance)


def load_run_images(run: Run) -> Tensor:
    """The test images of a run, uint8 (N, 3, 32, 32); a `UserError` where they have changed."""
    images = load_images(run.config.dataset, run.config.limit)
    check_same_images(run, images)
    return images.test


def check_same_images(run: Run, images: Images) -> None:
    """Refuses images other than those that a run was made of."""
    if images.digest != run.environment["data_md5"]:
        raise UserError(
            f"{run.folder.name} was made of other images than {images.name} holds now: bring those "
            "back, or delete the run's folder to have it trained again"
        )


@torch.no_grad()
def reconstruct_all(
    model: nn.Module, images: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Batches of originals and reconstructions, float32 in [0, 1], and codes or None."""
    device = next(model.parameters()).device
    model.eval()
    for batch in images.split(BATCH):
        x = scale(batch.to(device))
        codes = model.codes(x)
        y = model.reconstruct(x) if codes is None else model.decode_codes(codes)
        yield x, y, codes


def count_codes(model: nn.Module, codes: Tensor | None, usage: Tensor | None) -> Tensor | None:
    """Adds the counts of `codes` to `usage` (num_embeddings,); None where there are no codes."""
    if codes is None:
        return None
    counts = torch.bincount(codes.flatten(), minlength=model.quantizer.num_embeddings)
    return counts if usage is None else usage + counts


def codebook_use(usage: Tensor | None) -> dict[str, Any]:
    """`perplexity`, e to the entropy in nats of the codes' frequencies, and `codes_used`."""
    if usage is None:
        return {"perplexity": None, "codes_used": None}
    share = usage.double() / usage.sum()
    entropy = -torch.xlogy(share, share).sum()
    return {"perplexity": entropy.exp().item(), "codes_used": int((usage > 0).sum())}
