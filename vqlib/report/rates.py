"""Rates and distortions for people: tables of text, and rows of pictures at equal rate."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor

from vqlib.models import MODELS
from vqlib.paths import SHIPPED_RATES
from vqlib.rates.equal import equal_rate, nearest, seed_spread
from vqlib.rates.measures import MEASURES
from vqlib.rates.points import CODED, KL, RAW
from vqlib.rates.references import all_points
from vqlib.report.words import number
from vqlib.runs import Run
from vqlib.study import load_runs, load_summary

HEADINGS = {  # measure to heading and decimals
    "nmse": ("NMSE", 4),
    "psnr": ("PSNR (dB)", 2),
    "mean_psnr": ("PSNR, mean of images (dB)", 2),
    "ssim": ("SSIM", 3),
}
SENT = (CODED, "without header")  # the rate at which a system's pictures are compared


def rate_table(points: pd.DataFrame) -> pd.DataFrame:
    """Return a table of text with a row for each setting and kind of rate, by rising rate.

    Args:
        points: with `system`, `setting`, `rate`, `bits` and the measures. Several points of one
            setting and kind, such as those of seeds, become mean ± standard deviation.
    """
    rows = []
    for (system, setting, rate), each in points.groupby(["system", "setting", "rate"], sort=False):
        row = {"System": system, "Setting": setting, "Rate": rate}
        row["Bits an image"] = number(each["bits"].mean(), each["bits"].std(), 0)
        for measure, (heading, decimals) in HEADINGS.items():
            row[heading] = number(each[measure].mean(), each[measure].std(), decimals)
        rows.append((each["bits"].mean(), row))
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda pair: pair[0])])


def equal_rate_table(points: pd.DataFrame, bits: float) -> pd.DataFrame:
    """Return a table of text that compares systems at one rate, best PSNR first.

    Args:
        points: as for `rate_table`.
        bits: the rate, bits an image. Values between two points are interpolated; ± is the largest
            standard deviation over the seeds of a setting.
    """
    rows = []
    for (system, rate), measures in equal_rate(points, bits).iterrows():
        of_system = points[(points["system"] == system) & (points["rate"] == rate)]
        row = {"System": system, "Rate": rate}
        for measure, (heading, decimals) in HEADINGS.items():
            row[heading] = number(measures[measure], seed_spread(of_system, measure), decimals)
        rows.append(row)
    return pd.DataFrame(rows)


def shipped_near(bits: float, folder: Path = SHIPPED_RATES) -> pd.DataFrame:
    """Return the points of each system that stand nearest to a rate; see `nearest`.

    Args:
        bits: the rate, bits an image.
        folder: of the runs and the reference systems; by default, those that the project ships.

    Returns:
        Points whose rates can be sent, and those of the KL term with images from samples.
    """
    points = all_points(folder, load_runs(folder, load_summary(folder)))
    return nearest(points[points["rate"].isin([RAW, KL, *SENT])], bits)


def shipped_at(bits: float, folder: Path = SHIPPED_RATES) -> pd.DataFrame:
    """Return the measures of each system and kind of rate at one rate; see `equal_rate`.

    Args:
        bits: the rate, bits an image.
        folder: of the runs and the reference systems; by default, those that the project ships.
    """
    return equal_rate(all_points(folder, load_runs(folder, load_summary(folder))), bits)


def means(points: pd.DataFrame) -> pd.DataFrame:
    """Return bits and measures of each system and kind of rate, as means over its points."""
    return points.groupby(["system", "rate"])[["bits", *MEASURES]].mean()


def run_pictures(runs: Iterable[Run]) -> dict[tuple[str, str], Tensor]:
    """Return system and setting to the reconstructions of a run's sheet; the first seed counts."""
    pictures: dict[tuple[str, str], Tensor] = {}
    for run in runs:
        key = MODELS[run.config.model].title, run.rate_label
        pictures.setdefault(key, run.reconstructions[1])
    return pictures


def pictures_near(
    points: pd.DataFrame,
    pictures: Mapping[tuple[str, str], Tensor],
    bits: float,
    count: int = 10,
) -> dict[str, Tensor]:
    """Return each system's pictures at the point nearest to a rate, with its bits in the label.

    A system without a point between two thirds of the rate and one and a half times the rate is
    left out.

    Args:
        points: as for `rate_table`.
        pictures: system and setting to pictures of the same images, uint8 (N, 3, 32, 32).
        bits: the rate, bits an image.
        count: how many pictures.
    """
    rows = {}
    sent = points[points["rate"].isin(SENT) & (points["bits"] > 0)]
    for system, each in sent.groupby("system", sort=False):
        distance = (each["bits"] / bits).map(lambda ratio: abs(math.log(ratio)))
        nearest = each.loc[distance.idxmin()]
        if distance.min() <= math.log(1.5):
            label = f"{system}\n{nearest['bits']:,.0f} bits"
            rows[label] = pictures[system, nearest["setting"]][:count]
    return rows
