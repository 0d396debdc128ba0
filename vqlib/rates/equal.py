"""Systems at equal rate: their measures at a number of bits, between their points."""

import math

import numpy as np
import pandas as pd

from vqlib.rates.measures import MEASURES

DECIMALS = {"nmse": 4, "psnr": 2, "mean_psnr": 2, "ssim": 3}


def at_rate(points: pd.DataFrame, bits: float, measure: str) -> float:
    """Return a system's measure at a rate, between its two nearest points.

    Points of the same setting, such as those of several seeds, count as one: their mean. Between
    two points, the measure is linear in the logarithm of the rate.

    Args:
        points: of one system and one kind of rate, with `setting`, `bits` and the measure.
        bits: the rate, bits an image.
        measure: one of `MEASURES`.

    Returns:
        The measure, or NaN if there are no points on both sides of the rate: nothing is
        extrapolated.
    """
    sent = points[points["bits"] > 0]
    curve = sent.groupby("setting")[["bits", measure]].mean().sort_values("bits")
    if curve.empty or not curve["bits"].iloc[0] <= bits <= curve["bits"].iloc[-1]:
        return math.nan
    return float(np.interp(math.log(bits), np.log(curve["bits"]), curve[measure]))


def equal_rate(points: pd.DataFrame, bits: float) -> pd.DataFrame:
    """Return each system's measures at a rate; a system that does not reach the rate is left out.

    Args:
        points: with `system`, `setting`, `rate`, `bits` and the measures.
        bits: the rate, bits an image.

    Returns:
        A row for each system and kind of rate, best `psnr` first; the columns are the measures.
    """
    rows = {
        key: {measure: at_rate(of_system, bits, measure) for measure in MEASURES}
        for key, of_system in points.groupby(["system", "rate"], sort=False)
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["system", "rate"])
    return table.dropna(how="all").sort_values("psnr", ascending=False)


def nearest(points: pd.DataFrame, bits: float) -> pd.DataFrame:
    """Return the points of each system and kind of rate that stand nearest to a rate.

    Args:
        points: with `system`, `setting`, `rate` and `bits`.
        bits: the rate, bits an image; nearness is that of logarithms.

    Returns:
        The points of one setting of each system and kind of rate, with all their seeds.
    """
    sent = points[points["bits"] > 0]  # a latent that says nothing is near to no rate
    settings = sent.groupby(["system", "rate", "setting"], sort=False)["bits"].mean()
    distances = np.log(settings / bits).abs()
    found = distances.loc[distances.groupby(["system", "rate"], sort=False).idxmin()].index
    keys = pd.MultiIndex.from_frame(points[["system", "rate", "setting"]])
    return points[keys.isin(found)]


def seed_spread(points: pd.DataFrame, measure: str) -> float:
    """Return the largest standard deviation of a measure over the seeds of a setting.

    Args:
        points: of one system and one kind of rate.
        measure: one of `MEASURES`.

    Returns:
        The deviation, or NaN if no setting has several seeds.
    """
    return float(points.groupby("setting")[measure].std().max())
