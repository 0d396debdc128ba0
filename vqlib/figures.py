"""The study's figures: functions from data to a matplotlib figure that carries an alt text.

Colours can be told apart by colour-blind readers and in grey print; markers and dashes differ too.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from vqlib.config import described, has_text, title_of, varied, written
from vqlib.errors import UserError
from vqlib.evaluation import METRICS
from vqlib.images import SIZE
from vqlib.models import MODELS, kl_to_prior
from vqlib.paths import expanded
from vqlib.system.files import make_folder, write_atomically

STYLES = (  # one for each model, in the order of MODELS; Okabe & Ito's palette
    *({"color": "#D55E00", "marker": "s"}, {"color": "#0072B2", "marker": "o"}),
    *({"color": "#009E73", "marker": "^"}, {"color": "#CC79A7", "marker": "D"}),
    *({"color": "#E69F00", "marker": "v"}, {"color": "#56B4E9", "marker": "P"}),
)
TERM_NAMES = {"loss": "total", "kl": "KL"}
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))  # of several lines
FILLS = ("full", "none", "left", "right", "top", "bottom")  # of their markers
FORMATS = {  # where the alt text stands, and what would hold a date
    "png": ("Description", ""),
    "pdf": ("Subject", "CreationDate"),
    "svg": ("Description", "Date"),
}
DEFAULTS: dict[Any, Any] = {  # whatever the user's matplotlibrc says
    name: value
    for name, value in mpl.rcParamsDefault.items()
    if "." in name  # the others are about windows
}
STYLE = DEFAULTS | {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
}


class Picture(Figure):
    """A matplotlib figure with an alt text, which a notebook stores with the picture.

    Attributes:
        alt: what the figure shows, in a sentence or more, for readers who cannot see it.
    """

    alt: str = ""

    def _ipython_display_(self) -> None:
        """Show the figure in the formats that the notebook asks for, with the alt text."""
        from IPython.display import display

        data, metadata = self.formats()
        display(data, metadata=metadata, raw=True)

    def formats(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the figure in the formats that the notebook asks for, and metadata of each."""
        from IPython import get_ipython

        data: dict[str, Any] = {"text/plain": repr(self)}
        metadata: dict[str, Any] = {}
        for mimetype, formatter in get_ipython().display_formatter.formatters.items():
            made = formatter(self) if "image/" in mimetype or "pdf" in mimetype else None
            if made is not None:
                data[mimetype], more = made if isinstance(made, tuple) else (made, {})
                metadata[mimetype] = {**more, "alt": self.alt}
        return data, metadata


def model_style(model: str) -> dict[str, Any]:
    """Return a model's colour and marker."""
    return STYLES[list(MODELS).index(model) % len(STYLES)]


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
    names = _names(by)
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
        alt += f" {name}: {_span(pd.concat(shown), decimals)}."
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


def loss_curves(
    histories: Mapping[Any, pd.DataFrame],
    terms: Sequence[str] = ("loss", "reconstruction"),
    x: str = "epoch",
    seeds: Mapping[Any, Sequence[pd.DataFrame]] | None = None,
    by: str | Sequence[str] = "batch_size",
) -> Picture:
    """Draw loss terms over training: a panel for each term, a line for each history.

    Args:
        histories: value of the setting `by` to history, as `Run.history` gives it.
        terms: columns of the histories.
        x: `epoch` or `steps`.
        seeds: value to the histories of all its seeds; a band spans their values.
        by: the setting in which the histories differ; if several, the keys are tuples.
    """
    names = _names(by)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(3.25 * len(terms), 2.9), layout="constrained")
        for axis, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
            ends = []
            for key, history, look in _curves(histories, names):
                axis.plot(history[x], history[term], **look)
                if seeds:
                    values = np.stack([each[term] for each in seeds[key]])
                    band = {"color": look["color"], "alpha": 0.3, "lw": 0}
                    axis.fill_between(history[x], values.min(0), values.max(0), **band)
                first, last = history[term].iloc[0], history[term].iloc[-1]
                ends.append(f"{described(names, key)}, {first:.3g} to {last:.3g}")
            name = TERM_NAMES.get(term, term).replace("_", " ")
            axis.set_title(name, fontsize=9)
            figure.alt += f" {_capital(name)} from the first epoch to the last: {'; '.join(ends)}."
            _loss_axis(axis)
            if x == "steps":
                axis.set(xlabel="optimizer steps", xscale="log")
                axis.xaxis.set_minor_formatter(ticker.NullFormatter())
            else:
                _epoch_axis(axis)
        figure.axes[0].set_ylabel("training loss")
        _legend(figure, names)
    over = {"epoch": "epochs"}.get(x, "optimizer steps")
    figure.alt = f"Curves of the training loss over {over}.{figure.alt}"
    return figure


def growing_losses(history: pd.DataFrame, terms: Sequence[str], epochs: int) -> Picture:
    """Draw the loss terms of a training under way; the axis has room for all its epochs.

    Args:
        history: a row for each epoch so far, with `epoch` and the terms.
        terms: loss terms of the history.
        epochs: of the whole training.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(4.8, 2.4), layout="constrained")
        axis = figure.subplots()
        for term, ls in zip(terms, itertools.cycle(DASHES), strict=False):
            name = TERM_NAMES.get(term, term).replace("_", " ")
            axis.plot(history["epoch"], history[term], ls=ls, marker=".", label=name)
            last = history[term].iloc[-1]
            figure.alt += f" {_capital(name)}: {history[term].iloc[0]:.3g} to {last:.3g}."
        _loss_axis(axis)
        _epoch_axis(axis)
        axis.set(xlim=(0.5, epochs + 0.5), ylabel="training loss")
        figure.legend(loc="outside right center")
    done = int(history["epoch"].iloc[-1])
    figure.alt = f"Curves of the loss terms over {done} of {epochs} epochs.{figure.alt}"
    return figure


def codebook_curves(
    histories: Mapping[Any, pd.DataFrame],
    num_embeddings: int | Mapping[Any, int],
    by: str | Sequence[str] = "batch_size",
) -> Picture:
    """Draw perplexity and the number of codes that no test image uses, after each epoch.

    Args:
        histories: see `loss_curves`.
        num_embeddings: how many codes there are, in all histories or by their keys.
        by: see `loss_curves`.
    """
    names = _names(by)
    codes = num_embeddings
    if isinstance(codes, int):
        codes = dict.fromkeys(histories, codes)
    of = f"of {_span(pd.Series(codes), 0)}"
    dead = {key: codes[key] - history["codes_used"] for key, history in histories.items()}
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for key, history, look in _curves(histories, names):
            left.plot(history["epoch"], history["perplexity"], **look)
            right.plot(history["epoch"], dead[key], **look)
        left.set_ylabel("perplexity on test images")
        right.set_ylabel(f"dead codes {of}")
        right.set_ylim(bottom=0)
        for axis in (left, right):
            _epoch_axis(axis)
        _legend(figure, names)
    perplexity = pd.Series([history["perplexity"].iloc[-1] for history in histories.values()])
    figure.alt = (
        "Curves of perplexity and of dead codes over epochs, by "
        f"{', '.join(map(title_of, names))}. After the last epoch, "
        f"perplexity is {_span(perplexity, 0)} and "
        f"{_span(pd.Series([each.iloc[-1] for each in dead.values()]), 0)} {of} codes are dead."
    )
    return figure


def train_against_test(
    histories: Mapping[Any, pd.DataFrame], by: str | Sequence[str] = "batch_size"
) -> Picture:
    """Draw squared error / variance of the VQ-VAE in training and on test images, by epoch.

    Args:
        histories: see `loss_curves`.
        by: see `loss_curves`.
    """
    names, columns = _names(by), min(5, len(histories))
    rows = -(-len(histories) // columns)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, 2.3 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
        for axis in axes[len(histories) :]:
            axis.remove()
        for axis, (key, history, look) in zip(axes, _curves(histories, names), strict=False):
            for column, label, ls in (
                ("reconstruction", "train", "-"),
                ("test_nmse", "test", "--"),
            ):
                axis.plot(history["epoch"], history[column], ls, marker=look["marker"], label=label)
            title = described(names, key)
            axis.set_title(title.replace(", ", "\n"), fontsize=9)
            _loss_axis(axis)
            _epoch_axis(axis)
            last = history.iloc[-1]
            figure.alt += (
                f" {_capital(title)} ends at {last['reconstruction']:.3f} in training and "
                f"{last['test_nmse']:.3f} on test images."
            )
        for axis in axes[::columns]:
            axis.set_ylabel("squared error / variance")
        axes[len(histories) - 1].legend()
    figure.alt = f"Curves of squared error / variance over epochs.{figure.alt}"
    return figure


def codebook_use_over_training(history: pd.DataFrame, num_embeddings: int) -> Picture:
    """Draw the codes that occur in test images at all, and perplexity, after each epoch."""
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(4.8, 2.6), layout="constrained")
        axis = figure.subplots()
        marker = _marker(history)
        axis.plot(history["epoch"], history["codes_used"], "-", marker=marker, label="codes used")
        axis.plot(history["epoch"], history["perplexity"], "--", marker=marker, label="perplexity")
        axis.axhline(num_embeddings, color="black", ls=":", lw=1)
        axis.set_ylabel(f"of {num_embeddings} codes")
        axis.set_ylim(bottom=0)
        _epoch_axis(axis)
        axis.legend()
    first, last = history.iloc[0], history.iloc[-1]
    figure.alt = (
        f"Two curves over epochs. Codes used go from {first['codes_used']:.0f} to "
        f"{last['codes_used']:.0f} of {num_embeddings}, perplexity from "
        f"{first['perplexity']:.0f} to {last['perplexity']:.0f}."
    )
    return figure


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


def save_figure(figure: Picture, folder: str | Path, name: str) -> None:
    """Save a figure as PNG, PDF and SVG, each with its alt text in its metadata.

    Args:
        figure: what to save.
        folder: is made; an empty name saves nothing.
        name: of the files, without suffix.
    """
    if not folder:
        return
    folder = expanded(folder)
    make_folder(folder)
    with mpl.rc_context(DEFAULTS | {"svg.hashsalt": name}):  # the same figure makes the same file
        for suffix, (described, dated) in FORMATS.items():
            metadata = {described: figure.alt} | ({dated: None} if dated else {})
            content = BytesIO()
            figure.savefig(content, format=suffix, metadata=metadata)
            write_atomically(folder / f"{name}.{suffix}", content.getvalue())


def alt_text(path: Path) -> str:
    """Return the alt text of a figure that `save_figure` put at `path` (without suffix)."""
    with Image.open(path.with_suffix(".png")) as picture:
        return str(picture.info["Description"])


def _names(by: str | Sequence[str]) -> list[str]:
    return [by] if isinstance(by, str) else list(by)


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


def _curves(
    histories: Mapping[Any, pd.DataFrame], names: Sequence[str]
) -> Iterator[tuple[Any, pd.DataFrame, dict[str, Any]]]:
    """Yield key, history and look of each curve, from dark to light; dashes differ too."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(histories)))
    for i, key in enumerate(sorted(histories)):
        label = ", ".join(map(written, key if len(names) > 1 else (key,)))
        look = {"label": label, "color": colours[i], "ls": DASHES[i % len(DASHES)]}
        yield key, histories[key], look | {"marker": _marker(histories[key])}


def _draw_claim(axis: Axes, text: str, value: float, color: str) -> None:
    """Draw a value that someone stated as a dotted line with a text."""
    axis.axhline(value, ls=":", color=color)
    axis.annotate(
        text, (0.02, value), xytext=(0, 3),
        xycoords=("axes fraction", "data"), textcoords="offset points",
        color=color, fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def _marker(history: pd.DataFrame) -> str:
    """Return a dot for a single epoch, which makes no line."""
    return "o" if len(history) == 1 else ""


def _strip(images: Tensor) -> np.ndarray:
    """Return images side by side, two pixels apart: (H, N·(W + 2) - 2, 3)."""
    if images.dtype == torch.uint8:
        images = images.float() / 255
    padded = torch.nn.functional.pad(images.float(), (0, 2), value=1.0)
    return torch.cat(list(padded), dim=2)[:, :, :-2].permute(1, 2, 0).clamp(0, 1).numpy()


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """Put a legend of settings to the right of the panels, so that it covers no line."""
    lines = figure.axes[0].get_legend_handles_labels()
    title = ",\n".join(map(title_of, names))
    figure.legend(*lines, title=title, loc="outside right center")


def _loss_axis(axis: Axes) -> None:
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few = ticker.MaxNLocator(4)  # a narrow range holds too few of the others
    locator = few if high < 2 * low else ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
    axis.yaxis.set_major_locator(locator)
    axis.yaxis.set_major_formatter(
        ticker.FuncFormatter(lambda y, _: f"{y:,.0f}" if y >= 100 else f"{y:.3g}")
    )
    axis.yaxis.set_minor_locator(ticker.NullLocator())


def _epoch_axis(axis: Axes) -> None:
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(ticker.MaxNLocator("auto", integer=True, min_n_ticks=1))


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


def _span(values: pd.Series, decimals: int) -> str:
    low, high = f"{values.min():.{decimals}f}", f"{values.max():.{decimals}f}"
    return low if low == high else f"{low} to {high}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
