"""Figures of generation: bits a code and per dimension, posteriors, distances of samples."""

import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd

from vqlib.figures import STYLE, STYLES, Picture, model_style
from vqlib.generation.runs import Prior
from vqlib.models import MODELS

BLUE = STYLES[1]["color"]
SIMPLE = {  # rungs of the ladder below the networks, by their names in evaluation.json
    "uniform": "uniform_bits",
    "frequencies": "frequency_bits",
    "left neighbour": "neighbour_bits",
}


def rungs(priors: Sequence[Prior]) -> dict[str, float]:
    """Return the bits a code of test images by each model of the codes, most first.

    Args:
        priors: over the codes of one VQ-VAE.
    """
    simple = {name: priors[0].evaluation[key] for name, key in SIMPLE.items()}
    networks = {prior.model.title: prior.evaluation["test_bits"] for prior in priors}
    return dict(sorted((simple | networks).items(), key=lambda pair: -pair[1]))


def ladder_figure(priors: Sequence[Prior]) -> Picture:
    """Draw the bits a code of each model of the codes; see `rungs`."""
    bits = rungs(priors)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(5, 0.4 + 0.3 * len(bits)), layout="constrained")
        axis = figure.subplots()
        drawn = axis.barh(list(bits), list(bits.values()), color=BLUE, height=0.6)
        axis.bar_label(drawn, fmt="%.2f", padding=3)
        axis.invert_yaxis()
        axis.set(xlabel="bits a code, test images", xlim=(0, 1.12 * max(bits.values())))
        axis.grid(axis="y", visible=False)
    each = ", ".join(f"{name} {value:.2f}" for name, value in bits.items())
    figure.alt = f"Bars of bits a code on test images: {each}."
    return figure


def best_pixels(likelihood: pd.DataFrame) -> pd.DataFrame:
    """Return each run's rows with the distribution of pixels that takes the fewest bits.

    Args:
        likelihood: of an `Assessment`; bounds with importance samples are left out.
    """
    split = likelihood.dropna(subset=["distortion"])
    best = split.groupby("run")["distortion"].transform("min")
    return split[split["distortion"] == best]


def rate_and_likelihood(
    likelihood: pd.DataFrame,
    linear: pd.DataFrame | None = None,
    published: Mapping[str, tuple[float, int | None]] | None = None,
) -> Picture:
    """Draw bits per dimension against the rate that is part of them.

    Args:
        likelihood: of an `Assessment`; see `best_pixels`.
        linear: columns `rate` and `total` of a code whose rate can be chosen, a curve.
        published: name to bits per dimension and bits of the latent, if those are known.
    """
    rows = best_pixels(likelihood)
    names = {model.title: name for name, model in MODELS.items()}
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(6.5, 3.6), layout="constrained")
        axis = figure.subplots()
        if linear is not None:
            axis.plot(linear["rate"], linear["total"], color="#888888", label="PCA")
        for name, each in rows.groupby("system"):
            style = model_style(names[str(name)])
            axis.plot(each["latent"], each["total"], ls="", **style, label=f"{name}, here")
        for name, (total, bits) in (published or {}).items():
            if bits:
                rate = bits / 3072
                axis.plot([rate], [total], "*", color="black", ms=9, label=f"{name}, published")
                axis.annotate(f"{rate:.2f} of {total:g} are codes", (rate, total), (-6, 8),
                              textcoords="offset points", ha="right")  # fmt: skip
            else:
                axis.axhline(total, color="black", ls=":", lw=1, label=f"{name}, published")
        axis.set(xlabel="bits per dimension that the latent takes",
                 ylabel="bits per dimension,\nlatent and pixels together")  # fmt: skip
        axis.set_xlim(left=0)
        axis.legend(fontsize=8)
    each = "; ".join(
        f"{row.system} {row.setting}, {row.rate}: {row.total:.2f}, of which {row.latent:.2f}"
        for row in rows.itertuples()
    )
    curve = "PCA is a falling curve: the more its latent takes, the fewer are needed in all. "
    figure.alt = (
        "Bits per dimension against those that the latent takes. "
        f"{'' if linear is None else curve}{each}."
    )
    return figure


def posterior_axes(posteriors: Mapping[str, Mapping[str, list[float]]]) -> Picture:
    """Draw the variances of all posteriors together, along their principal axes.

    Args:
        posteriors: of an `Assessment`'s facts: name to `variances`, in falling order.
    """
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(5, 2.6), layout="constrained")
        axis = figure.subplots()
        for style, (name, each) in zip(STYLES, posteriors.items(), strict=False):
            axis.plot(range(1, 1 + len(each["variances"])), each["variances"],
                      color=style["color"], label=name)  # fmt: skip
        axis.axhline(1, color="black", ls=":", lw=1, label="N(0, I)")
        axis.set(xlabel="principal axis of posterior samples", ylabel="variance", yscale="log")
        axis.legend()
    ends = "; ".join(
        f"{name}: {each['variances'][0]:.2f} to {each['variances'][-1]:z.2f}"
        for name, each in posteriors.items()
    )
    figure.alt = f"Variances of posterior samples along their principal axes. {ends}."
    return figure


def distance_figure(quality: pd.DataFrame) -> Picture:
    """Draw the Fréchet distance of each set of images from training images, by features.

    Args:
        quality: of an `Assessment`. Seeds are drawn as points of one row.
    """
    with mpl.rc_context(STYLE):
        networks = list(dict.fromkeys(quality["features"]))
        names = quality.groupby("images")["frechet"].mean()
        first = quality[quality["features"] == networks[0]].groupby("images")["frechet"].mean()
        order = list(first.sort_values().index)
        size = (6.5, 0.5 + 0.22 * len(names))
        figure = Picture(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(networks), sharey=True, squeeze=False)[0]
        for axis, network in zip(axes, networks, strict=True):
            own = quality[quality["features"] == network]
            for is_sample, colour in ((True, BLUE), (False, "#888888")):
                rows = own[own["seed"].notna() == is_sample]
                places = [order.index(name) for name in rows["images"]]
                axis.plot(rows["frechet"], places, "o", ms=4, color=colour)
            axis.set_title(network, fontsize=9)
            axis.set_xlim(left=0)
        figure.supxlabel("Fréchet distance from training images", fontsize=9)
        axes[0].set_yticks(range(len(order)), order)
        axes[0].invert_yaxis()
    figure.alt = (
        f"Fréchet distances from training images in features of {' and of '.join(networks)}. "
        f"In the first, from near to far: {', '.join(order)}."
    )
    return figure


def pca_likelihood(references: pd.DataFrame, variance: float) -> pd.DataFrame:
    """Return bits per dimension of images that PCA codes, with a Gaussian of fitted variance.

    ½ log2(2πe · 255² · MSE) is what the pixels take if the grey levels are fine against the error.

    Args:
        references: points of `vqlib.rates.load_references`.
        variance: of the training pixels in [0, 1].
    """
    points = references[(references["system"] == "PCA") & (references["rate"] == "coded")]
    rate = points["bits"] / 3072
    squared = points["nmse"] * variance * 255**2
    pixels = squared.map(lambda value: math.log2(2 * math.pi * math.e * value) / 2)
    return pd.DataFrame({"rate": rate, "total": rate + pixels}).sort_values("rate")
