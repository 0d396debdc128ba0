"""Generation for people: tables of bits per dimension, and of how much samples resemble images."""

import pandas as pd

from vqlib.generation.assessment import Assessment
from vqlib.generation.published import LIKELIHOODS
from vqlib.images import SIZE
from vqlib.report.words import number

FIGURES = {  # column of quality.csv to heading and decimals
    "frechet": ("Fréchet distance", 2),
    "density": ("Density", 2),
    "coverage": ("Coverage", 2),
    "neighbour": ("Nearest training image (grey levels)", 1),
}
SHOWN = ("Gaussian, as trained", "Gaussian, one scale", "logistic, by contrast")


def likelihood_table(assessed: Assessment) -> pd.DataFrame:
    """Return a table of text: bits per dimension as rate plus distortion, most bits first.

    Published figures follow if the data are CIFAR-10 in its own size.

    Args:
        assessed: what `assess` wrote.
    """
    side, rows = assessed.facts["image_size"], []
    size = 3 * side * side  # dimensions of an image
    chosen = assessed.likelihood[assessed.likelihood["pixels"].isin(SHOWN)]
    for row in chosen.sort_values("total", ascending=False).itertuples():
        cells = {"System": row.system, "Setting": row.setting, "Pixels": row.pixels}
        cells |= {"Rate": row.rate, "Bits an image": number(row.latent * size, 0, 0)}
        cells |= {
            "Latent": number(row.latent, 0, 2),
            "Pixels given it": number(row.distortion, 0, 2),
        }
        rows.append(cells | {"Bits per dimension": f"{row.total:.2f}"})
    if assessed.facts["dataset"] == "cifar10" and side == SIZE:
        for name, (total, bits) in LIKELIHOODS.items():
            rate = bits / size if bits else float("nan")
            cells = {"System": name, "Setting": "van den Oord et al.", "Pixels": "256-way softmax"}
            cells |= {"Rate": "published", "Bits an image": f"{bits:,}" if bits else "–"}
            cells |= _parts(rate, total - rate)
            rows.append(cells | {"Bits per dimension": f"{total:.2f}"})
    return pd.DataFrame(rows)


def _parts(latent: float, pixels: float) -> dict[str, str]:
    return {"Latent": number(latent, 0, 2), "Pixels given it": number(pixels, 0, 2)}


def quality_table(assessed: Assessment, features: str | None = None) -> pd.DataFrame:
    """Return a table of text: each set against training images, nearest first.

    Args:
        assessed: what `assess` wrote.
        features: of which network; None takes the first.
    """
    quality = assessed.quality
    own = quality[quality["features"] == (features or quality["features"].iloc[0])]
    rows = []
    for name, each in own.groupby("images"):
        row = {"Images": name, "Number": f"{each['count'].iloc[0]:,}"}
        for column, (heading, decimals) in FIGURES.items():
            row[heading] = number(each[column].mean(), each[column].std(), decimals)
        rows.append((each["frechet"].mean(), row))
    return pd.DataFrame([row for _, row in sorted(rows, key=lambda pair: pair[0])])


def in_order(assessed: Assessment, *names: str) -> bool:
    """Return whether sets of images are farther and farther from training images.

    Whatever the seed, and whatever the network: the farthest of each set must be nearer than the
    nearest of the next.

    Args:
        assessed: what `assess` wrote.
        names: of sets, nearest first.
    """
    for _, own in assessed.quality.groupby("features"):
        spans = own.groupby("images")["frechet"].agg(["min", "max"]).loc[list(names)]
        if not (spans["max"].to_numpy()[:-1] < spans["min"].to_numpy()[1:]).all():
            return False
    return True


def accuracy_table(assessed: Assessment) -> pd.DataFrame:
    """Return a table of text: accuracy on test images of classifiers trained on each set."""
    accuracy = assessed.facts["accuracy"]
    return pd.DataFrame(
        {"Trained on": list(accuracy), "Accuracy": [f"{100 * a:.1f}%" for a in accuracy.values()]}
    )
