"""The study's figures: functions from data to a matplotlib figure that carries an alt text.

Those over training are in `vqlib.curves`; style, alt text and files are in `vqlib.picture`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import ticker
from matplotlib.axes import Axes
from torch import Tensor

from vqlib.config import described, has_text, title_of, varied, written
from vqlib.curves import codebook_curves as codebook_curves
from vqlib.curves import codebook_use_over_training as codebook_use_over_training
from vqlib.curves import growing_losses as growing_losses
from vqlib.curves import loss_curves as loss_curves
from vqlib.curves import train_against_test as train_against_test
from vqlib.errors import UserError
from vqlib.evaluation import METRICS
from vqlib.images import SIZE
from vqlib.models import MODELS, kl_to_prior
from vqlib.picture import DASHES, FILLS, STYLE, Picture, as_list, model_style, span
from vqlib.picture import FORMATS as FORMATS
from vqlib.picture import STYLES as STYLES
from vqlib.picture import alt_text as alt_text
from vqlib.picture import save_figure as save_figure


def image_grid(rows: Mapping[str, Tensor], width: float = 6.5) -> Picture:
    """Draw rows of images, each with a label.

    Args:
        rows: label to images, each uint8 or in [0, 1], (N, 3, H, W), the same N for all.
        width: of the figure, in inches.
    """
    count = max(len(images) for images in rows.values())
    with mpl.rc_context(STYLE):
        side = width * 0.88 / max(count, 5)  # fewer images do not grow any further
        figure = Picture(figsize=(width, 0.12 + side * len(rows)))
        axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axis, (label, images) in zip(axes, rows.items(), strict=True):
            axis.imshow(_strip(images), interpolation="nearest")
            axis.set_anchor("C" if count >= 5 else "W")
            axis.set_ylabel(label, rotation=0, ha="right", va="center")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
        figure.subplots_adjust(left=0.11, right=0.995, top=0.99, bottom=0.01, hspace=0.04)
    labels = ", ".join(label.replace("\n", " ") for label in rows)
    small = f"{count} small image{'s' if count > 1 else ''}"
    figure.alt = f"{small} side by side: {labels}."
    if len(rows) > 1:
        figure.alt = f"{len(rows)} rows of {small}. From the top: {labels}."
    return figure


def metric_by(
    summary: pd.DataFrame,
    by: str | Sequence[str] = "batch_size",
    metric: str = "test_ssim",
    claims: Mapping[str, float] | None = None,
) -> Picture:
    """Draw a metric against a setting, or against several one below the other.

    On the left is each model's mean over seeds; on the right, each run from close up. Runs of a
    model that also differ in other settings are lines of their own. A model without the setting
    is a horizontal line, and it is left out if its runs differ among themselves.

    Args:
        summary: one row per run, as `load_summary` gives it.
        by: settings in which the runs differ; see `varied` and `swept` of `vqlib.config`.
        metric: a column of the summary, one of `METRICS`.
        claims: model to a value claimed for it, drawn as a dotted line.

    Raises:
        UserError: if the runs do not differ in a setting.
    """
    names = as_list(by)
    for name in names:
        if name not in summary:
            raise UserError(f"runs differ in {', '.join(varied(summary))}, not in {name!r}")
    heights = [max(3.2, 1.6 * _having(summary, name)["model"].nunique()) for name in names]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, sum(heights)), layout="constrained")
        parts: Any = [figure]
        if len(names) > 1:
            parts = figure.subfigures(len(names), 1, height_ratios=heights)
        figure.alt = " ".join(
            _draw_metric(part, summary, name, metric, claims or {})
            for part, name in zip(parts, names, strict=True)
        )
    return figure


def _draw_metric(
    part: Any, summary: pd.DataFrame, by: str, metric: str, claims: Mapping[str, float]
) -> str:
    """Draw a metric against a setting into a figure or a part of one; return the alt text."""
    heading, decimals = METRICS[metric].heading, METRICS[metric].decimals
    having = _having(summary, by)
    models = [model for model in reversed(MODELS) if model in set(having["model"])]
    grid = part.add_gridspec(len(models), 2, width_ratios=(3, 2))
    axis, alt = part.add_subplot(grid[:, 0]), ""
    for i, model in enumerate(models):
        style, name = model_style(model), MODELS[model].title
        rows = having[having["model"] == model]
        close, shown = part.add_subplot(grid[i, 1]), []
        for label, look, line in _lines(rows, by):
            means = line.groupby(by)[metric].mean()
            shown.append(means)
            look |= {"ls": ""} if has_text(rows[by]) else {}
            axis.plot(means.index, means, label=f"{name}{label}", **(style | look))
            close.plot(means.index, means, color=style["color"], ls=look["ls"])
            close.plot(line[by], line[metric], **(style | look | {"ls": "", "mfc": "white"}))
        close.set_title(f"{name}, each run", fontsize=9)
        close.yaxis.set_major_locator(ticker.MaxNLocator(4))
        _setting_axis(close, by, having[by])
        if model in claims:
            _draw_claim(axis, f"{name} in the original report", claims[model], style["color"])
        alt += f" {name}: {span(pd.concat(shown), decimals)}."
    for model, rows in summary[~summary["model"].isin(models)].groupby("model"):
        if len(rows.groupby(varied(rows))) == 1:
            name, mean = MODELS[model].title, rows[metric].mean()
            axis.axhline(mean, ls="--", color=model_style(model)["color"], label=name)
            alt += f" {name}: {mean:.{decimals}f}."
    _setting_axis(axis, by, having[by])
    axis.set_ylabel(f"{heading} on test images")
    axis.set_ylim(bottom=0)
    axis.legend(loc="best")
    title, values = title_of(by), sorted(having[by].unique())
    ends = written(values[0])
    if len(values) > 1:
        title, ends = f"{title.removesuffix('s')}s", f"{ends} to {written(values[-1])}"
    return f"{heading} on test images at {title} {ends}, means over seeds.{alt}"


def latent_information(mean: Tensor, log_variance: Tensor) -> Picture:
    """Draw the KL to the prior of each latent dimension, in nats, averaged over images.

    The largest comes first.

    Args:
        mean, log_variance: of q(z|x), each (N, latent_dim).
    """
    kl = kl_to_prior(mean, log_variance).mean(0).sort(descending=True).values.numpy()
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(4.8, 2.4), layout="constrained")
        axis = figure.subplots()
        axis.bar(range(1, len(kl) + 1), kl, width=0.9, color=model_style("vae")["color"])
        axis.set(xlabel="latent dimension, most informative first", ylabel="KL (nats)")
        rank_axis(axis, len(kl))
    figure.alt = (
        f"Bars for {len(kl)} latent dimensions, in falling order: the first has {kl[0]:.2f} nats, "
        f"and {(kl > 0.05).sum()} have more than 0.05."
    )
    return figure


def code_maps(images: Tensor, codes: Tensor, palette: Tensor) -> Picture:
    """Draw images (N, 3, 32, 32) above their codes (N, H, W), each code in its own colour.

    Args:
        images, codes: what belongs together.
        palette: the colour of each code, (num_embeddings, 3) in [0, 1].
    """
    return image_grid({"image": images, "codes": code_colours(codes, palette, images.shape[-1])})


def code_colours(codes: Tensor, palette: Tensor, image_size: int = SIZE) -> Tensor:
    """Return maps of codes (N, H, W) as images (N, 3, 32, 32); see `code_maps`."""
    maps = palette[codes].permute(0, 3, 1, 2)  # (N, 3, H, W)
    return torch.nn.functional.interpolate(maps, size=(image_size, image_size), mode="nearest")


def _having(summary: pd.DataFrame, setting: str) -> pd.DataFrame:
    """Return the runs whose model has a setting."""
    return summary[summary[setting].notna()]


def _lines(rows: pd.DataFrame, by: str) -> Iterator[tuple[str, dict[str, Any], pd.DataFrame]]:
    """Yield label, look and runs of each line of a model: runs that differ in `by` only.

    The longest line comes first. A model's only line needs no label.
    """
    others = [name for name in varied(rows) if name != by]
    groups: list[tuple[Any, pd.DataFrame]] = list(rows.groupby(others)) if others else [((), rows)]
    groups.sort(key=lambda group: -group[1][by].nunique())
    for i, (values, line) in enumerate(groups):
        label = ""
        if len(groups) > 1:
            label = f", {described(others, values if len(others) > 1 else values[0])}"
        look = {"ls": DASHES[i % len(DASHES)], "fillstyle": FILLS[i % len(FILLS)]}
        yield label, look, line


def _draw_claim(axis: Axes, text: str, value: float, color: str) -> None:
    """Draw a value that someone stated as a dotted line with a text."""
    axis.axhline(value, ls=":", color=color)
    axis.annotate(
        text, (0.02, value), xytext=(0, 3),
        xycoords=("axes fraction", "data"), textcoords="offset points",
        color=color, fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def _strip(images: Tensor) -> np.ndarray:
    """Return images side by side, two pixels apart: (H, N·(W + 2) - 2, 3)."""
    if images.dtype == torch.uint8:
        images = images.float() / 255
    padded = torch.nn.functional.pad(images.float(), (0, 2), value=1.0)
    return torch.cat(list(padded), dim=2)[:, :, :-2].permute(1, 2, 0).clamp(0, 1).numpy()


def rank_axis(axis: Axes, count: int) -> None:
    """Give the horizontal axis a place for each of `count` bars, numbered from 1."""
    axis.set_xlim(0.5, max(count, 4) + 0.5)  # a single bar does not fill the figure
    axis.xaxis.set_major_locator(ticker.MaxNLocator("auto", integer=True, min_n_ticks=1))
    if count <= 8:
        axis.set_xticks(range(1, count + 1))


def _setting_axis(axis: Axes, name: str, values: pd.Series) -> None:
    """Scale and label the axis of a setting: by powers if its values span more than a factor 8."""
    axis.set_xlabel(title_of(name))
    if has_text(values):
        axis.margins(x=0.3)
        return
    ticks = sorted(set(values))
    few = len(ticks) <= 8
    if 0 < 8 * ticks[0] < ticks[-1]:
        axis.set_xscale("log", base=2 if few else 10)
    if few:
        axis.set_xticks(ticks, [written(tick) for tick in ticks])
        axis.xaxis.set_minor_locator(ticker.NullLocator())
