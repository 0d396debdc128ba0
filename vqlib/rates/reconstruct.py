"""Pictures as a model sees them: what `vqlib reconstruct` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vqlib.evaluation import METRICS, evaluate
from vqlib.models import reconstruct_all
from vqlib.rates.files import check_empty, read_pictures, write_pictures
from vqlib.runs import load_run, load_run_images


def reconstruct_pictures(
    run_folder: str | Path, pictures: Sequence[Path], folder: Path
) -> dict[str, Any]:
    """Write a model's reconstructions of pictures as PNG files, and return how good they are.

    Each file has the name of its picture, in the same sub-folder; test images are numbered.

    Args:
        run_folder: a run of any model of images.
        pictures: files, and folders whose pictures are all taken; none stands for the test images
            of the run's data set. Pictures of another size are centre-cropped and resized.
        folder: where the PNG files go; it must be new or empty.

    Returns:
        `images`, their number, and `psnr`, `ssim` … as `evaluate` gives them.
    """
    run = load_run(run_folder)
    model = run.model
    check_empty(folder)
    if pictures:
        images, names = read_pictures(pictures, run.config.image_size)
    else:
        images, names = load_run_images(run), []
    figures = evaluate(model, images, run.data_variance)
    written = torch.cat([(y * 255).round().byte() for _, y, _ in reconstruct_all(model, images)])
    write_pictures(folder, written, names, str(folder))
    return {"images": len(images)} | {
        name.removeprefix("test_"): figures[name] for name in METRICS if figures[name] is not None
    }
