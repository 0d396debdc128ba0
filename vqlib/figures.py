"""The study's figures, each a function from data to a matplotlib `Figure`.

Colours are told apart by colour-blind readers and in grey print; markers and labels say the same.
"""

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
from torch import Tensor

from vqlib.system.files import make_folder, write_atomically

MODEL_NAMES = {"vae": "VAE", "vqvae": "VQ-VAE"}
MODEL_STYLES = {  # Okabe & Ito's palette
    "vae": {"color": "#D55E00", "marker": "s"},
    "vqvae": {"color": "#0072B2", "marker": "o"},
}
TERM_NAMES = {"loss": "total", "kl": "KL"}
SUFFIXES = {"png": "", "pdf": "CreationDate", "svg": "Date"}  # and where a date would stand
STYLE = {
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


def image_grid(rows: Mapping[str, Tensor], width: float = 6.5) -> Figure:
    """Rows of images with a label each.

    Args:
        rows: label to images, each uint8 or in [0, 1], (N, 3, H, W), the same N for all.
        width: of the figure, in inches.
    """
    count = max(len(images) for images in rows.values())
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, 0.12 + width * 0.88 / count * len(rows)))
        axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axis, (label, images) in zip(axes, rows.items(), strict=True):
            axis.imshow(_strip(images), interpolation="nearest")
            axis.set_ylabel(label, rotation=0, ha="right", va="center")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
        figure.subplots_adjust(left=0.11, right=0.995, top=0.99, bottom=0.01, hspace=0.04)
    return figure


def metric_by_batch_size(
    summary: pd.DataFrame,
    metric: str = "test_ssim",
    label: str = "SSIM on test images",
    claims: Mapping[str, float] | None = None,
) -> Figure:
    """A metric against the batch size: mean over seeds; from close up also each run as a point.

    Args:
        summary: a row a run, as `load_summary` gives it.
        metric: a column of it.
        label: of the vertical axis.
        claims: model to a value claimed for it, drawn as a dotted line.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 3.2), layout="constrained")
        models = sorted(summary["model"].unique(), reverse=True)
        grid = figure.add_gridspec(len(models), 2, width_ratios=(3, 2))
        axis = figure.add_subplot(grid[:, 0])
        for i, model in enumerate(models):
            style, name = MODEL_STYLES[model], MODEL_NAMES[model]
            rows = summary[summary["model"] == model]
            means = rows.groupby("batch_size")[metric].mean()
            axis.plot(means.index, means, label=name, **style)
            close = figure.add_subplot(grid[i, 1])
            close.plot(means.index, means, color=style["color"])
            close.plot(rows["batch_size"], rows[metric], ls="", mfc="white", **style)
            close.set_title(f"{name}, each run", fontsize=9)
            close.yaxis.set_major_locator(ticker.MaxNLocator(4))
            _batch_size_axis(close, summary["batch_size"])
            if claims:
                axis.axhline(claims[model], ls=":", color=style["color"])
                axis.annotate(
                    f"{name} in the original report", (0.02, claims[model]), xytext=(0, 3),
                    xycoords=("axes fraction", "data"), textcoords="offset points",
                    color=style["color"], fontsize=8,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                )  # fmt: skip
        _batch_size_axis(axis, summary["batch_size"])
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.legend(loc="best")
    return figure


def loss_curves(
    histories: Mapping[int, pd.DataFrame],
    terms: tuple[str, ...] = ("loss", "reconstruction"),
    x: str = "epoch",
    seeds: Mapping[int, Sequence[pd.DataFrame]] | None = None,
) -> Figure:
    """Loss terms over training, a panel a term and a line a batch size.

    Args:
        histories: batch size to history, as `Run.history` gives it.
        terms: columns of the histories.
        x: `epoch` or `steps`.
        seeds: batch size to the histories of all its seeds; a band spans their values.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.25 * len(terms), 2.9), layout="constrained")
        for axis, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
            for batch_size, history, style in _by_batch_size(histories):
                axis.plot(history[x], history[term], label=str(batch_size), **style)
                if seeds:
                    values = np.stack([each[term] for each in seeds[batch_size]])
                    band = {"color": style["color"], "alpha": 0.3, "lw": 0}
                    axis.fill_between(history[x], values.min(0), values.max(0), **band)
            axis.set_title(TERM_NAMES.get(term, term).replace("_", " "), fontsize=9)
            _loss_axis(axis)
            if x == "steps":
                axis.set(xlabel="optimizer steps", xscale="log")
                axis.xaxis.set_minor_formatter(ticker.NullFormatter())
            else:
                _epoch_axis(axis)
        figure.axes[0].set_ylabel("training loss")
        _batch_size_legend(figure)
    return figure


def codebook_curves(histories: Mapping[int, pd.DataFrame], num_embeddings: int) -> Figure:
    """Perplexity, and codes that never occur, over the test images after each epoch."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 2.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        for batch_size, history, style in _by_batch_size(histories):
            dead = num_embeddings - history["codes_used"]
            left.plot(history["epoch"], history["perplexity"], label=str(batch_size), **style)
            right.plot(history["epoch"], dead, label=str(batch_size), **style)
        left.set_ylabel("perplexity on test images")
        right.set_ylabel(f"dead codes of {num_embeddings}")
        right.set_ylim(bottom=0)
        for axis in (left, right):
            _epoch_axis(axis)
        _batch_size_legend(figure)
    return figure


def train_against_test(histories: Mapping[int, pd.DataFrame]) -> Figure:
    """Squared error / variance of the VQ-VAE while training and on test images, by epoch."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 2.3), layout="constrained")
        axes = figure.subplots(1, len(histories), sharey=True, squeeze=False)[0]
        for axis, (batch_size, history) in zip(axes, sorted(histories.items()), strict=True):
            marker = _marker(history)
            axis.plot(history["epoch"], history["reconstruction"], marker=marker, label="train")
            axis.plot(history["epoch"], history["test_nmse"], "--", marker=marker, label="test")
            axis.set_title(f"batch size {batch_size}", fontsize=9)
            _loss_axis(axis)
            _epoch_axis(axis)
        axes[0].set_ylabel("squared error / variance")
        axes[-1].legend()
    return figure


def codebook_use_over_training(history: pd.DataFrame, num_embeddings: int) -> Figure:
    """Codes that occur at all, and perplexity, over the test images after each epoch."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 2.6), layout="constrained")
        axis = figure.subplots()
        marker = _marker(history)
        axis.plot(history["epoch"], history["codes_used"], "-", marker=marker, label="codes used")
        axis.plot(history["epoch"], history["perplexity"], "--", marker=marker, label="perplexity")
        axis.axhline(num_embeddings, color="black", ls=":", lw=1)
        axis.set_ylabel(f"of {num_embeddings} codes")
        axis.set_ylim(bottom=0)
        _epoch_axis(axis)
        axis.legend()
    return figure


def latent_information(mean: Tensor, log_variance: Tensor) -> Figure:
    """KL to the prior of each latent dimension, in nats, averaged over images; largest first.

    Args:
        mean, log_variance: of q(z|x), each (N, latent_dim).
    """
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean(0) / 2
    kl = kl.sort(descending=True).values.numpy()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 2.4), layout="constrained")
        axis = figure.subplots()
        axis.bar(range(len(kl)), kl, width=1, color=MODEL_STYLES["vae"]["color"])
        axis.set(xlabel="latent dimension, most informative first", ylabel="KL (nats)")
        axis.margins(x=0)
    return figure


def code_maps(images: Tensor, codes: Tensor, num_embeddings: int) -> Figure:
    """Images (N, 3, 32, 32) over their codes (N, 8, 8), each code in a colour of its own."""
    generator = np.random.default_rng(0)
    palette = torch.from_numpy(generator.random((num_embeddings, 3), np.float32))
    maps = palette[codes].permute(0, 3, 1, 2)  # (N, 3, 8, 8)
    maps = torch.nn.functional.interpolate(maps, scale_factor=4, mode="nearest")
    return image_grid({"image": images, "codes": maps})


def save_figure(figure: Figure, folder: str | Path, name: str) -> None:
    """Saves a figure as PNG, PDF and SVG in the folder; does nothing where the folder is empty."""
    if not folder:
        return
    make_folder(Path(folder))
    with mpl.rc_context({"svg.hashsalt": name}):  # the same figure makes the same file
        for suffix, dated in SUFFIXES.items():
            metadata = {dated: None} if dated else None
            content = BytesIO()
            figure.savefig(content, format=suffix, metadata=metadata)
            write_atomically(Path(folder) / f"{name}.{suffix}", content.getvalue())


def _by_batch_size(
    histories: Mapping[int, pd.DataFrame],
) -> Iterator[tuple[int, pd.DataFrame, dict[str, Any]]]:
    """Batch size, history and line style; colour goes from dark to light, dashes differ."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(histories)))
    dashes = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
    for i, (batch_size, history) in enumerate(sorted(histories.items())):
        style = {"color": colours[i], "ls": dashes[i % len(dashes)], "marker": _marker(history)}
        yield batch_size, history, style


def _marker(history: pd.DataFrame) -> str:
    """A single epoch makes no line, so it gets a dot."""
    return "o" if len(history) == 1 else ""


def _strip(images: Tensor) -> np.ndarray:
    """Images side by side, two pixels apart, (H, N·(W + 2) - 2, 3)."""
    if images.dtype == torch.uint8:
        images = images.float() / 255
    padded = torch.nn.functional.pad(images.float(), (0, 2), value=1.0)
    return torch.cat(list(padded), dim=2)[:, :, :-2].permute(1, 2, 0).clamp(0, 1).numpy()


def _batch_size_legend(figure: Figure) -> None:
    """Beside the panels, where it covers no line."""
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, title="batch size", loc="outside right center")


def _loss_axis(axis: Axes) -> None:
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    few = ticker.MaxNLocator(4)  # a narrow range holds too few of the others
    locator = few if high < 2 * low else ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
    axis.yaxis.set_major_locator(locator)
    axis.yaxis.set_major_formatter(ticker.FormatStrFormatter("%.3g"))
    axis.yaxis.set_minor_locator(ticker.NullLocator())


def _epoch_axis(axis: Axes) -> None:
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(ticker.MaxNLocator("auto", integer=True, min_n_ticks=1))


def _batch_size_axis(axis: Axes, batch_sizes: pd.Series) -> None:
    sizes = sorted(set(batch_sizes))
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.set_xlabel("batch size")
