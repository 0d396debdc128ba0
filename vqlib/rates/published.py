"""Rates and distortions that others have published for the test images of CIFAR-10.

Each row was read in its source. A bit rate a pixel is one of 32×32 pixels, not of their 3 colours.
"""

from typing import NamedTuple

import pandas as pd

from vqlib.images import SIZE

COINPP = "https://github.com/EmilienDupont/coinpp/blob/main/results/cifar10/"
VQWAE = "https://arxiv.org/abs/2302.05917"
AT_MOST = "largest file up to this size for each image; mean of PSNRs"
ENTROPY = "cross-entropy under the frequencies of the training images; mean of PSNRs"
UNSTATED = "how the rates were averaged is not stated"
RAW = "raw codes, 64 of 9 bits; which PSNR is unknown"


class Source(NamedTuple):
    """Points of one system in one source.

    Attributes:
        system: its name.
        bits_a_pixel: rates.
        psnr: of each rate, in dB; the mean of each image's, unless `note` says otherwise.
        ssim: of each rate, or nothing.
        note: what the rate is, and which PSNR.
        url: where the figures stand.
    """

    system: str
    bits_a_pixel: tuple[float, ...]
    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    note: str
    url: str


SOURCES = (
    Source(
        "COIN++", (0.5485, 1.0985, 1.6473, 2.1952), (24.22, 27.03, 28.90, 30.45), (),
        ENTROPY, f"{COINPP}coinpp.json",
    ),
    Source(
        "BPG", (1.0, 1.25, 1.875, 2.5), (27.11, 28.74, 31.97, 34.53), (),
        AT_MOST, f"{COINPP}bpg_444_x265_ycbcr.json",
    ),
    Source("JPEG", (5.4, 5.8, 6.2), (22.90, 25.65, 27.44), (), AT_MOST, f"{COINPP}jpeg.json"),
    Source(
        "JPEG2000", (3.0, 3.8, 4.6), (24.85, 28.51, 31.42), (), AT_MOST, f"{COINPP}jpeg2000.json",
    ),
    Source(
        "Hyperprior", (0.19, 0.37, 0.7465, 1.112, 1.6309), (19.20, 22.58, 26.83, 29.50, 32.13), (),
        UNSTATED, f"{COINPP}compressai-bmshj2018-hyperprior.json",
    ),
    Source("VQ-VAE", (576 / SIZE**2,), (23.1,), (0.70,), RAW, VQWAE),
    Source("SQ-VAE", (576 / SIZE**2,), (26.1,), (0.80,), RAW, VQWAE),
)  # fmt: skip


def published_points() -> pd.DataFrame:
    """Return the published points: columns as in `reference_points`, then `note` and `url`."""
    points = []
    for source in SOURCES:
        ssim = source.ssim or (float("nan"),) * len(source.psnr)
        for rate, psnr, similarity in zip(source.bits_a_pixel, source.psnr, ssim, strict=True):
            row = {"system": source.system, "setting": f"{rate:.3g} bits a pixel"}
            measured = {"nmse": float("nan"), "psnr": float("nan"), "mean_psnr": psnr}
            points.append(
                {**row, "rate": "published", "bits": rate * SIZE**2, **measured}
                | {"ssim": similarity, "note": source.note, "url": source.url}
            )
    return pd.DataFrame(points)
