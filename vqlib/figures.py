"""The study's figures: functions from data to a matplotlib figure that carries an alt text.

Colours can be told apart by colour-blind readers and in grey print; markers and dashes differ too.
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
from PIL import Image
from torch import Tensor

from vqlib.evaluation import METRICS
from vqlib.images import SIZE
from vqlib.models import MODELS, kl_to_prior
from vqlib.system.files import make_folder, write_atomically

STYLES = (  # one for each model, in the order of MODELS; Okabe & Ito's palette
    *({"color": "#D55E00", "marker": "s"}, {"color": "#0072B2", "marker": "o"}),
    *({"color": "#009E73", "marker": "^"}, {"color": "#CC79A7", "marker": "D"}),
    *({"color": "#E69F00", "marker": "v"}, {"color": "#56B4E9", "marker": "P"}),
)
TERM_NAMES = {"loss": "total", "kl": "KL"}
FORMATS = {  # where the alt text stands, and what would hold a date
    "png": ("Description", ""),
    "pdf": ("Subject", "CreationDate"),
    "svg": ("Description", "Date"),
}
STYLE: dict[Any, Any] = {  # matplotlib names its keys in a type of its own
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
        from IPython import get_ipython
        from IPython.display import display

        data, metadata = {"text/plain": repr(self)}, {}
        for mimetype, formatter in get_ipython().display_formatter.formatters.items():
            made = formatter(self) if "image/" in mimetype or "pdf" in mimetype else None
            if made is not None:
                data[mimetype], more = made if isinstance(made, tuple) else (made, {})
                metadata[mimetype] = {**more, "alt": self.alt}
        display(data, metadata=metadata, raw=True)


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
        figure = Picture(figsize=(width, 0.12 + width * 0.88 / count * len(rows)))
        axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for axis, (label, images) in zip(axes, rows.items(), strict=True):
            axis.imshow(_strip(images), interpolation="nearest")
            axis.set_ylabel(label, rotation=0, ha="right", va="center")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            axis.spines[:].set_visible(False)
        figure.subplots_adjust(left=0.11, right=0.995, top=0.99, bottom=0.01, hspace=0.04)
    labels = ", ".join(rows)
    figure.alt = f"{count} small images side by side: {labels}."
    if len(rows) > 1:
        figure.alt = f"{len(rows)} rows of {count} small images. From the top: {labels}."
    return figure


def metric_by_batch_size(
    summary: pd.DataFrame,
    metric: str = "test_ssim",
    claims: Mapping[str, float] | None = None,
) -> Picture:
    """Draw a metric against the batch size.

    On the left is each model's mean over seeds; on the right, each run from close up.

    Args:
        summary: one row per run, as `load_summary` gives it.
        metric: a column of it, one of `METRICS`.
        claims: model to a value claimed for it, drawn as a dotted line.
    """
    heading = METRICS[metric].heading
    models = [model for model in reversed(MODELS) if model in set(summary["model"])]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, max(3.2, 1.6 * len(models))), layout="constrained")
        grid = figure.add_gridspec(len(models), 2, width_ratios=(3, 2))
        axis = figure.add_subplot(grid[:, 0])
        for i, model in enumerate(models):
            style, name = model_style(model), MODELS[model].title
            rows = summary[summary["model"] == model]
            means = rows.groupby("batch_size")[metric].mean()
            axis.plot(means.index, means, label=name, **style)
            close = figure.add_subplot(grid[i, 1])
            close.plot(means.index, means, color=style["color"])
            close.plot(rows["batch_size"], rows[metric], ls="", mfc="white", **style)
            close.set_title(f"{name}, each run", fontsize=9)
            close.yaxis.set_major_locator(ticker.MaxNLocator(4))
            _batch_size_axis(close, summary["batch_size"])
            if claims and model in claims:
                axis.axhline(claims[model], ls=":", color=style["color"])
                axis.annotate(
                    f"{name} in the original report", (0.02, claims[model]), xytext=(0, 3),
                    xycoords=("axes fraction", "data"), textcoords="offset points",
                    color=style["color"], fontsize=8,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                )  # fmt: skip
            figure.alt += f" {name}: {_span(means, METRICS[metric].decimals)}."
        _batch_size_axis(axis, summary["batch_size"])
        axis.set_ylabel(f"{heading} on test images")
        axis.set_ylim(bottom=0)
        axis.legend(loc="best")
    sizes = _span(summary["batch_size"], 0)
    figure.alt = f"{heading} on test images at batch sizes {sizes}, means over seeds.{figure.alt}"
    return figure


def loss_curves(
    histories: Mapping[int, pd.DataFrame],
    terms: Sequence[str] = ("loss", "reconstruction"),
    x: str = "epoch",
    seeds: Mapping[int, Sequence[pd.DataFrame]] | None = None,
) -> Picture:
    """Draw loss terms over training: a panel for each term, a line for each batch size.

    Args:
        histories: batch size to history, as `Run.history` gives it.
        terms: columns of the histories.
        x: `epoch` or `steps`.
        seeds: batch size to the histories of all its seeds; a band spans their values.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(3.25 * len(terms), 2.9), layout="constrained")
        for axis, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
            for batch_size, history, style in _by_batch_size(histories):
                axis.plot(history[x], history[term], label=str(batch_size), **style)
                if seeds:
                    values = np.stack([each[term] for each in seeds[batch_size]])
                    band = {"color": style["color"], "alpha": 0.3, "lw": 0}
                    axis.fill_between(history[x], values.min(0), values.max(0), **band)
            name = TERM_NAMES.get(term, term).replace("_", " ")
            axis.set_title(name, fontsize=9)
            ends = "; ".join(
                f"batch size {batch_size}, {history[term].iloc[0]:.3g} to "
                f"{history[term].iloc[-1]:.3g}"
                for batch_size, history in sorted(histories.items())
            )
            figure.alt += f" {name[0].upper() + name[1:]} from the first epoch to the last: {ends}."
            _loss_axis(axis)
            if x == "steps":
                axis.set(xlabel="optimizer steps", xscale="log")
                axis.xaxis.set_minor_formatter(ticker.NullFormatter())
            else:
                _epoch_axis(axis)
        figure.axes[0].set_ylabel("training loss")
        _batch_size_legend(figure)
    over = {"epoch": "epochs"}.get(x, "optimizer steps")
    figure.alt = f"Curves of the training loss over {over}.{figure.alt}"
    return figure


def codebook_curves(histories: Mapping[int, pd.DataFrame], num_embeddings: int) -> Picture:
    """Draw perplexity and the number of codes that no test image uses, after each epoch."""
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, 2.9), layout="constrained")
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
    ends = pd.DataFrame([history.iloc[-1] for history in histories.values()])
    figure.alt = (
        "Curves of perplexity and of dead codes over epochs, by batch size. After the last epoch, "
        f"perplexity is {_span(ends['perplexity'], 0)} and "
        f"{_span(num_embeddings - ends['codes_used'], 0)} of {num_embeddings} codes are dead."
    )
    return figure


def train_against_test(histories: Mapping[int, pd.DataFrame]) -> Picture:
    """Draw squared error / variance of the VQ-VAE in training and on test images, by epoch."""
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, 2.3), layout="constrained")
        axes = figure.subplots(1, len(histories), sharey=True, squeeze=False)[0]
        for axis, (batch_size, history) in zip(axes, sorted(histories.items()), strict=True):
            marker = _marker(history)
            axis.plot(history["epoch"], history["reconstruction"], marker=marker, label="train")
            axis.plot(history["epoch"], history["test_nmse"], "--", marker=marker, label="test")
            axis.set_title(f"batch size {batch_size}", fontsize=9)
            _loss_axis(axis)
            _epoch_axis(axis)
            last = history.iloc[-1]
            figure.alt += (
                f" Batch size {batch_size} ends at {last['reconstruction']:.3f} in training and "
                f"{last['test_nmse']:.3f} on test images."
            )
        axes[0].set_ylabel("squared error / variance")
        axes[-1].legend()
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
        axis.bar(range(len(kl)), kl, width=1, color=model_style("vae")["color"])
        axis.set(xlabel="latent dimension, most informative first", ylabel="KL (nats)")
        axis.margins(x=0)
    figure.alt = (
        f"Bars for {len(kl)} latent dimensions, in falling order: the first has {kl[0]:.2f} nats, "
        f"and {(kl > 0.05).sum()} have more than 0.05."
    )
    return figure


def code_maps(images: Tensor, codes: Tensor, num_embeddings: int) -> Picture:
    """Draw images (N, 3, 32, 32) above their codes (N, 8, 8), each code in its own colour."""
    colours = code_colours(codes, num_embeddings, images.shape[-1])
    return image_grid({"image": images, "codes": colours})


def code_colours(codes: Tensor, num_embeddings: int, image_size: int = SIZE) -> Tensor:
    """Return maps of codes (N, 8, 8) as images (N, 3, 32, 32), each code in its own colour."""
    generator = np.random.default_rng(0)
    palette = torch.from_numpy(generator.random((num_embeddings, 3), np.float32))
    maps = palette[codes].permute(0, 3, 1, 2)  # (N, 3, 8, 8)
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
    make_folder(Path(folder))
    with mpl.rc_context({"svg.hashsalt": name}):  # the same figure makes the same file
        for suffix, (described, dated) in FORMATS.items():
            metadata = {described: figure.alt} | ({dated: None} if dated else {})
            content = BytesIO()
            figure.savefig(content, format=suffix, metadata=metadata)
            write_atomically(Path(folder) / f"{name}.{suffix}", content.getvalue())


def alt_text(path: Path) -> str:
    """Return the alt text of a figure that `save_figure` put at `path` (without suffix)."""
    with Image.open(path.with_suffix(".png")) as picture:
        return str(picture.info["Description"])


def _by_batch_size(
    histories: Mapping[int, pd.DataFrame],
) -> Iterator[tuple[int, pd.DataFrame, dict[str, Any]]]:
    """Yield batch size, history and line style, from dark to light; dashes differ too."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(histories)))
    dashes = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))]
    for i, (batch_size, history) in enumerate(sorted(histories.items())):
        style = {"color": colours[i], "ls": dashes[i % len(dashes)], "marker": _marker(history)}
        yield batch_size, history, style


def _marker(history: pd.DataFrame) -> str:
    """Return a dot for a single epoch, which makes no line."""
    return "o" if len(history) == 1 else ""


def _strip(images: Tensor) -> np.ndarray:
    """Return images side by side, two pixels apart: (H, N·(W + 2) - 2, 3)."""
    if images.dtype == torch.uint8:
        images = images.float() / 255
    padded = torch.nn.functional.pad(images.float(), (0, 2), value=1.0)
    return torch.cat(list(padded), dim=2)[:, :, :-2].permute(1, 2, 0).clamp(0, 1).numpy()


def _batch_size_legend(figure: Figure) -> None:
    """Put the legend to the right of the panels, so that it covers no line."""
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


def _span(values: pd.Series, decimals: int) -> str:
    low, high = f"{values.min():.{decimals}f}", f"{values.max():.{decimals}f}"
    return low if low == high else f"{low} to {high}"
