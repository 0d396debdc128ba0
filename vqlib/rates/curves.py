"""Figure 4: rate–distortion curves of models, reference systems and published codecs."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes

from vqlib.figures import STYLE, Picture, model_style
from vqlib.models import MODELS
from vqlib.rates.points import CODED, KL, KL_MEAN, PRIOR, RAW

LOOKS: dict[str, dict[str, Any]] = {  # what needs no training, in greys
    "PCA": {"color": "black", "ls": "-", "marker": "x"},
    "JPEG": {"color": "#666666", "ls": "--"},
    "WebP": {"color": "#666666", "ls": "-."},
    "AVIF": {"color": "#999999", "ls": "--"},
    "JPEG XL": {"color": "#999999", "ls": "-."},
}
MEASURED = {"mean_psnr": "PSNR (dB), mean over test images", "ssim": "SSIM, mean over test images"}
PUBLISHED: dict[str, Any] = {"color": "#666666", "ls": "", "marker": "*", "mfc": "white", "ms": 7}
LINES = {CODED: "-", KL: ":", KL_MEAN: "--"}


def rate_distortion(
    points: pd.DataFrame, limits: tuple[float, float] = (30, 8000), width: float = 6.5
) -> Picture:
    """Draw the mean of the images' PSNR, and SSIM, against bits an image.

    A model's solid line has the rates that one can have. A thin line joins the points of a run: raw
    codes, and codes coded by frequency or with a prior. The KL term is a rate that nobody writes:
    its line is dotted if the images are decoded from samples of the posterior, and dashed if they
    are decoded from its means.

    Args:
        points: rows with `system`, `setting`, `rate`, `bits` and the measures, for models and for
            reference systems; see `all_points`.
        limits: of the axis of bits.
        width: of the figure, in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(width, 4.1), layout="constrained")
        for axis, (measure, heading) in zip(figure.subplots(1, 2), MEASURED.items(), strict=True):
            _draw(axis, points.dropna(subset=[measure]), measure)
            axis.set(xlabel="bits an image", ylabel=heading, xscale="log")
            axis.set_xlim(*limits)
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
            axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda bits, _: f"{bits:,.0f}"))
            axis.xaxis.set_minor_locator(ticker.NullLocator())
        lines = figure.axes[0].get_legend_handles_labels()
        figure.legend(*lines, loc="outside lower center", ncols=5, fontsize=8)
    figure.alt = f"PSNR and SSIM on test images against bits an image. {_ends(points)}"
    return figure


def _draw(axis: Axes, points: pd.DataFrame, measure: str) -> None:
    titles = {model.title: name for name, model in MODELS.items()}
    is_published = points["rate"] == "published"
    for name, rows in points[~is_published].groupby("system", sort=False):
        system = str(name)
        if system in titles:
            _draw_model(axis, system, model_style(titles[system]), rows, measure)
        else:
            _draw_reference(axis, system, rows, measure)
    published = points[is_published]
    if len(published):  # nothing is published about images of the user
        axis.plot(published["bits"], published[measure], label="published", **PUBLISHED)


def _draw_reference(axis: Axes, system: str, rows: pd.DataFrame, measure: str) -> None:
    """Draw a line for each kind of rate: `without header` before the paler `whole file`."""
    look = {"lw": 1.1, "ms": 4, **LOOKS.get(system, {"color": "#bbbbbb"})}
    for rate, kind in rows.groupby("rate"):
        is_pale = rate == "whole file"
        label = None if is_pale else system
        axis.plot(kind["bits"], kind[measure], label=label, alpha=0.4 if is_pale else 1, **look)


def _draw_model(
    axis: Axes, title: str, style: Mapping[str, Any], rows: pd.DataFrame, measure: str
) -> None:
    labelled = CODED if (rows["rate"] == CODED).any() else rows["rate"].iloc[0]
    for rate, kind in rows.groupby("rate", sort=False):
        means = kind.groupby("setting")[["bits", measure]].mean().sort_values("bits")
        look = {**style, "ls": LINES.get(str(rate), "")}
        if rate in (RAW, KL_MEAN):
            look["mfc"] = "white"
        axis.plot(means["bits"], means[measure], label=title if rate == labelled else None, **look)
    codes = rows[rows["rate"].isin([RAW, CODED]) | rows["rate"].str.startswith(PRIOR)]
    for _, same in codes.groupby("run"):
        axis.plot(same["bits"], same[measure], lw=0.8, color=style["color"])


def _ends(points: pd.DataFrame) -> str:
    """Return each system's range of rate and PSNR in words."""
    sentences = []
    for system, rows in points[points["rate"] != "published"].groupby("system", sort=False):
        first, last = rows.loc[rows["bits"].idxmin()], rows.loc[rows["bits"].idxmax()]
        if np.isfinite([first["mean_psnr"], last["mean_psnr"]]).all():
            sentences.append(
                f"{system}: {first['bits']:,.0f} bits, {first['mean_psnr']:.1f} dB, to "
                f"{last['bits']:,.0f} bits, {last['mean_psnr']:.1f} dB."
            )
    return " ".join(sentences)
