"""Curves over training: loss terms, test error and the use of the codebook, by epoch or step."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vqlib.config import described, title_of, written
from vqlib.picture import DASHES, STYLE, Picture, as_list, span

TERM_NAMES = {"loss": "total", "kl": "KL"}


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
        terms: columns of the histories; a history without one has no line in its panel, and a
            term that none has has no panel.
        x: `epoch` or `steps`.
        seeds: value to the histories of all its seeds; a band spans their values.
        by: the setting in which the histories differ; if several, the keys are tuples.
    """
    names = as_list(by)
    terms = [term for term in terms if any(term in history for history in histories.values())]
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(3.25 * len(terms), 2.9), layout="constrained")
        for axis, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
            ends = []
            for key, history, look in _curves(histories, names):
                if term not in history:
                    continue
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
    names = as_list(by)
    codes = num_embeddings
    if isinstance(codes, int):
        codes = dict.fromkeys(histories, codes)
    of = f"of {span(pd.Series(codes), 0)}"
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
        f"perplexity is {span(perplexity, 0)} and "
        f"{span(pd.Series([each.iloc[-1] for each in dead.values()]), 0)} {of} codes are dead."
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
    names, columns = as_list(by), min(5, len(histories))
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


def _curves(
    histories: Mapping[Any, pd.DataFrame], names: Sequence[str]
) -> Iterator[tuple[Any, pd.DataFrame, dict[str, Any]]]:
    """Yield key, history and look of each curve, from dark to light; dashes differ too."""
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(histories)))
    for i, key in enumerate(sorted(histories)):
        label = ", ".join(map(written, key if len(names) > 1 else (key,)))
        look = {"label": label, "color": colours[i], "ls": DASHES[i % len(DASHES)]}
        yield key, histories[key], look | {"marker": _marker(histories[key])}


def _marker(history: pd.DataFrame) -> str:
    """Return a dot for a single epoch, which makes no line."""
    return "o" if len(history) == 1 else ""


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


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
