"""Pictures to a file of codes and back: what `vqlib encode` and `vqlib decode` do."""

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vqlib.errors import UserError
from vqlib.images import check_images, scale
from vqlib.models import BATCH, ImageModel
from vqlib.rates.coding import Coder, FrequencyCoder, entropy_bits
from vqlib.rates.container import CodedImages, dump, parse
from vqlib.rates.files import check_empty, read_pictures, write_pictures
from vqlib.runs import WEIGHTS, Run, load_run, load_run_images
from vqlib.system.files import make_folder, read_bytes, write_atomically


@torch.no_grad()
def encode(
    run: Run, images: Tensor, names: Sequence[str] = (), coder: Coder | None = None
) -> bytes:
    """Return images as the content of a file: their codes, entropy-coded.

    Args:
        run: one whose model has codes.
        images: uint8 (N, 3, 32, 32).
        names: one for each image, without suffix, to be kept in the file; or none at all.
        coder: of the codes; None takes their frequencies in training.
    """
    model = model_with_codes(run)
    coder = coder or FrequencyCoder(model)
    check_images(images, "encoded")
    if names and len(names) != len(images):
        raise UserError(f"{len(names):,} names for {len(images):,} images: give one for each")
    codes = image_codes(model, images)
    coded = CodedImages(
        run.folder.name,
        run.environment["sha256"][WEIGHTS],
        codes.shape,
        _crc32(codes),
        tuple(names),
        coder.pack(codes),
        coder.digest,
    )
    return dump(coded)


@torch.no_grad()
def decode(run: Run, content: bytes, name: str = "the file", coder: Coder | None = None) -> Tensor:
    """Return the images of a file: the model's `decode_codes` of their codes, rounded.

    The codes are exactly those that the encoder wrote. On another processor, the network may round
    a pixel to the next of its 256 levels.

    Args:
        run: the run that `encode` was given.
        content: all of the file.
        name: what messages call it.
        coder: the one that `encode` was given.

    Returns:
        uint8 (N, 3, 32, 32).

    Raises:
        UserError: if the file is foreign, truncated, damaged, or another model's.
    """
    return _images(run, read_codes(run, parse(content, name), name, coder))


def _images(run: Run, decoded: np.ndarray) -> Tensor:
    """Return the images (N, 3, 32, 32) of codes (N, …), uint8."""
    codes = torch.from_numpy(decoded)
    side = run.config.image_size
    images = torch.empty((len(codes), 3, side, side), dtype=torch.uint8)
    for part, batch in zip(images.split(BATCH), codes.split(BATCH), strict=True):
        part.copy_((run.model.decode_codes(batch) * 255).round())
    return images


def read_codes(
    run: Run, coded: CodedImages, name: str = "the file", coder: Coder | None = None
) -> np.ndarray:
    """Return the codes of a file, int64 of its `shape`; see `decode`."""
    coder = coder or FrequencyCoder(model_with_codes(run))
    weights = run.environment["sha256"][WEIGHTS]
    if coded.weights != weights:
        raise UserError(
            f"{name} was encoded by the run {coded.run} with weights {coded.weights[:8]}…, but "
            f"{run.folder} has weights {weights[:8]}…: give the run that encoded it"
        )
    if coded.prior != coder.digest:
        wanted = f"the prior with weights {coded.prior[:8]}…" if coded.prior else "no prior"
        given = f"one with weights {coder.digest[:8]}…" if coder.digest else "none"
        raise UserError(f"{name} was encoded with {wanted}, and you gave {given}: give the same")
    codes = coder.unpack(coded.codes, coded.shape)
    if _crc32(codes) != coded.crc32:
        versions = "vqlib, torch" if coded.prior else "vqlib"
        raise UserError(
            f"{name} is whole, but its codes come out wrong: use the versions of {versions} and "
            f"constriction that wrote it{', on such a processor' if coded.prior else ''}"
        )
    return codes


def coding_figures(
    run: Run, content: bytes, images: Tensor, coder: Coder | None = None
) -> dict[str, Any]:
    """Return what a file costs and what its images lose; the bits are bits an image.

    Args:
        run: the run that encoded it.
        content: all of the file.
        images: the originals, uint8 (N, 3, 32, 32).
        coder: the one that `encode` was given.

    Returns:
        `images`; `file_bytes`, with header, names and checksum; `coded_bits` of the codes as they
        stand in the file; `ideal_bits` and `entropy_bits` (see there); `raw_bits` of codes of
        equal length; `psnr` of the mean squared error of the decoded images, in dB.
    """
    model, coded = model_with_codes(run), parse(content, "the file")
    coder = coder or FrequencyCoder(model)
    codes = read_codes(run, coded, coder=coder)
    pairs = zip(images.split(BATCH), _images(run, codes).split(BATCH), strict=True)
    squared_error = sum((scale(x) - scale(y)).double().square().sum().item() for x, y in pairs)
    mse = squared_error / images.numel()
    count = len(codes)
    return {
        "images": count,
        "file_bytes": len(content),
        "coded_bits": 8 * len(coded.codes) / count,
        "ideal_bits": coder.ideal_bits(codes) / count,
        "entropy_bits": entropy_bits(codes) / count,
        "raw_bits": codes[0].size * math.log2(model.num_codes),
        "psnr": -10 * math.log10(mse) if mse else math.inf,
    }


def encode_pictures(
    run_folder: str | Path,
    pictures: Sequence[Path],
    file: Path,
    prior: str | Path | None = None,
) -> dict[str, Any]:
    """Write pictures to a file of codes, and return its `coding_figures`.

    Args:
        run_folder: a run whose model has codes.
        pictures: files, and folders whose pictures are all taken; none stands for the test images
            of the run's data set. Pictures of another size are centre-cropped and resized.
        file: the file to write; an older one is replaced.
        prior: run folder of a prior to code with; it is much slower than the frequencies.
    """
    run = load_run(run_folder)
    coder = _coder(run, prior)  # refuse a run that cannot encode before pictures are read
    make_folder(file.parent)
    if pictures:
        images, names = read_pictures(pictures, run.config.image_size, file)
    else:
        images, names = load_run_images(run), []
    content = encode(run, images, names, coder)
    figures = coding_figures(run, content, images, coder)  # decodes what is about to be written
    write_atomically(file, content)
    return figures


def decode_pictures(
    run_folder: str | Path, file: Path, folder: Path, prior: str | Path | None = None
) -> int:
    """Write the images of a file as PNG files, and return their number.

    Each has the name of its original, in the same sub-folder; images without names are numbered
    from 00000.png on.

    Args:
        run_folder: the run that encoded them.
        file: as `encode_pictures` wrote it.
        folder: where the PNG files go; it must be new or empty.
        prior: run folder of the prior that they were encoded with, if any.
    """
    run, content = load_run(run_folder), read_bytes(file)
    coder = _coder(run, prior)
    check_empty(folder)
    images = decode(run, content, str(file), coder)
    write_pictures(folder, images, parse(content, str(file)).names, str(file))
    return len(images)


def _coder(run: Run, prior: str | Path | None) -> Coder:
    if prior is None:
        return FrequencyCoder(model_with_codes(run))
    from vqlib.generation import PriorCoder, load_prior

    return PriorCoder(load_prior(prior, run.folder))


def model_with_codes(run: Run) -> ImageModel:
    """Return the run's model; refuse one without codes."""
    if not run.model.num_codes:
        raise UserError(
            f"{run.folder} cannot encode: a {run.model.title} has no codes. Give the run of a "
            "VQ-VAE"
        )
    return run.model


def image_codes(model: ImageModel, images: Tensor) -> np.ndarray:
    """Return the codes of images (N, 3, 32, 32), int64 of the shape (N, …) that the model gives."""
    shape = cast(Tensor, model.codes(images[:1])).shape[1:]
    codes = torch.empty((len(images), *shape), dtype=torch.int64)
    # Into one tensor: small results that are kept, each made after a large one that is freed,
    # leave holes in memory; 10,000 images would take another gigabyte.
    for part, batch in zip(codes.split(BATCH), images.split(BATCH), strict=True):
        part.copy_(cast(Tensor, model.codes(batch)))
    return codes.numpy()


def _crc32(codes: np.ndarray) -> int:
    return zlib.crc32(codes.astype("<i4").tobytes())
