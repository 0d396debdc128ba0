"""Everything that can be measured of samples, in the files that notebook and report read.

likelihood.csv     bits per dimension of each model, see `vqlib.generation.dimensions`
rates.csv          points of Figure 4: the VQ-VAE's codes raw, by frequency and with each prior
quality.csv        distances from training images: of samples, and of baselines
generation.json    accuracies, posteriors, names of the rows of pictures, what all was made from
samples.png        the first samples of each system, and nearest training images, row by row
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from vqlib.errors import UserError
from vqlib.generation.classifying import ClassifierConfig, fit_classifier
from vqlib.generation.codes import spread
from vqlib.generation.dimensions import bits_per_dimension
from vqlib.generation.features import (
    INSTALL,
    Features,
    efficientnet_features,
    features_of,
    has_efficientnet,
)
from vqlib.generation.latents import posterior_samples
from vqlib.generation.quality import (
    NEIGHBOURS,
    density_and_coverage,
    frechet_distance,
    nearest,
)
from vqlib.generation.runs import Prior, check_same_vqvae
from vqlib.generation.systems import FITTED, Systems, as_bytes, gaussian_of, name_of
from vqlib.images import Images
from vqlib.models import reconstruct_all
from vqlib.rates.points import PRIOR, point_table, rate_points
from vqlib.rates.references import read_sheet, sheet_of
from vqlib.runs import WEIGHTS, Run, images_of
from vqlib.system.files import make_folder, read_json, write_atomically, write_json

FACTS, LIKELIHOOD, RATES, QUALITY, SHEET = (
    "generation.json", "likelihood.csv", "rates.csv", "quality.csv", "samples.png",
)  # fmt: skip
FILES = (FACTS, LIKELIHOOD, RATES, QUALITY, SHEET)
DRAWN = 10  # samples of each system
COMPARED = 1_000  # images of each set whose nearest training image is looked for, at most
EPOCHS = 20  # of a classifier that is trained on samples


@dataclass(frozen=True)
class Assessment:
    """What `assess` left in a folder.

    Attributes:
        folder: the folder.
    """

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The content of generation.json."""
        return read_json(self.folder / FACTS)

    @cached_property
    def likelihood(self) -> pd.DataFrame:
        """Bits per dimension: a row for each model, distribution of pixels and rate."""
        return pd.read_csv(self.folder / LIKELIHOOD)

    @cached_property
    def rates(self) -> pd.DataFrame:
        """The points of the VQ-VAE's codes, as `vqlib.rates.run_points` gives them."""
        return pd.read_csv(self.folder / RATES)

    @cached_property
    def quality(self) -> pd.DataFrame:
        """A row for each kind of features, set of images and seed."""
        return pd.read_csv(self.folder / QUALITY)

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """Rows of pictures by name, each uint8 (10, 3, 32, 32)."""
        rows = read_sheet(self.folder / SHEET, self.facts["image_size"])
        return dict(zip(self.facts["rows"], rows, strict=True))


def load_assessment(folder: str | Path) -> Assessment:
    """Return what `assess` wrote; a folder without it is a `UserError`."""
    found = Assessment(Path(folder))
    missing = [name for name in FILES if not (found.folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} has no {missing[0]}: run `vqlib quality` with its priors first")
    return found


def assess(
    priors: Sequence[Prior],
    vaes: Sequence[Run],
    folder: str | Path,
    count: int = 5_000,
    seeds: int = 3,
) -> Assessment:
    """Measure samples of priors and VAEs, and write the files above; it takes minutes.

    If the folder has the figures of the same weights and sizes, nothing is done.

    Args:
        priors: over the codes of one VQ-VAE.
        vaes: runs with a Gaussian latent on the same images.
        folder: where the files go.
        count: images of each set, fewer if there are not so many.
        seeds: how many sets each system samples.
    """
    folder, vqvae = Path(folder), priors[0].vqvae
    made_from = {
        "weights": {
            r.folder.name: r.environment["sha256"][WEIGHTS] for r in (*priors, vqvae, *vaes)
        },
        "count": count,
        "seeds": seeds,
    }
    if (folder / FACTS).is_file() and read_json(folder / FACTS).get("made_from") == made_from:
        print(f"{folder}: finished")
        return load_assessment(folder)
    _check(priors, vaes)
    images = images_of(vqvae)
    count = min(count, len(images.train), len(images.test))
    if count <= NEIGHBOURS:
        raise UserError(f"{count} images are too few to compare: take more than {NEIGHBOURS}")
    systems = Systems(priors, vaes, images, count)
    make_folder(folder)
    networks = _networks(vqvae, images)
    quality, rows = _quality(systems, networks, seeds)
    write_atomically(folder / QUALITY, quality.to_csv(index=False).encode())
    likelihood = _likelihood(priors, vaes, images)
    write_atomically(folder / LIKELIHOOD, likelihood.to_csv(index=False).encode())
    write_atomically(folder / RATES, _points(priors, images).to_csv(index=False).encode())
    write_atomically(folder / SHEET, sheet_of(list(rows.values())))
    facts = {
        "made_from": made_from,
        "dataset": images.name,
        "image_size": images.size,
        "count": count,
        "rows": list(rows),
        "accuracy": _accuracies(systems),
        "posteriors": {name_of(run): _posterior(run, images.train) for run in vaes},
    }
    write_json(folder / FACTS, facts)
    return load_assessment(folder)


def _check(priors: Sequence[Prior], vaes: Sequence[Run]) -> None:
    """Refuse runs that cannot be compared."""
    vqvae = priors[0].vqvae
    for prior in priors[1:]:
        check_same_vqvae(prior.folder, prior.config, vqvae)
    for run in vaes:
        gaussian_of(run)
        if run.environment["data_md5"] != vqvae.environment["data_md5"]:
            raise UserError(f"{run.folder} was not trained on the images of {vqvae.folder}")


def _networks(vqvae: Run, images: Images) -> dict[str, Features]:
    """Return the networks that there are for images, by name."""
    networks = {"EfficientNet-Lite0": efficientnet_features()} if has_efficientnet() else {}
    if images.labels is not None:
        data = {name: getattr(vqvae.config, name) for name in ("dataset", "limit", "image_size")}
        classifier = fit_classifier(ClassifierConfig(**data), images)
        networks["classifier"] = features_of(classifier.model)
    if not networks:
        raise UserError(f"{images.name} has no classes, so EfficientNet-Lite0 is needed: {INSTALL}")
    return networks


def _quality(
    systems: Systems, networks: dict[str, Features], seeds: int
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Return the figures of each set, and rows of pictures."""
    real = {name: network(systems.reference) for name, network in networks.items()}
    train = systems.images.train.flatten(1).float()
    table: list[dict[str, Any]] = []
    rows: dict[str, Tensor] = {}

    def measure(name: str, seed: int | None, some: Tensor) -> None:
        print(f"  {name}" + ("" if seed is None else f", seed {seed}"), flush=True)
        distances, indices = nearest(some[:COMPARED].float(), train)
        distances /= train.shape[1] ** 0.5  # grey levels
        for network, features in networks.items():
            table.append(_figures(network, name, seed, real[network], features(some), distances))
        if seed == 0:
            rows[name] = some[:DRAWN]
        if name == "test images" or (seed == 0 and "nearest to samples" not in rows):
            of = "test images" if seed is None else "samples"
            rows.setdefault(f"{of} to compare", some[:DRAWN])
            rows[f"nearest to {of}"] = systems.images.train[indices[:DRAWN]]

    for name, some in systems.baselines():
        measure(name, None, some)
    for seed in range(seeds):
        for name, some in systems.samples(seed):
            measure(name, seed, some)
    return pd.DataFrame(table), rows


def _figures(
    network: str, name: str, seed: int | None, real: Tensor, fake: Tensor, distances: Tensor
) -> dict[str, Any]:
    density, coverage = density_and_coverage(real, fake)
    return {
        "features": network,
        "images": name,
        "seed": seed,
        "count": len(fake),
        "frechet": frechet_distance(real, fake),
        "density": density,
        "coverage": coverage,
        "neighbour": distances.median().item() or math.nan,  # of training images it is none
    }


def _likelihood(priors: Sequence[Prior], vaes: Sequence[Run], images: Images) -> pd.DataFrame:
    tables = []
    for run in (priors[0].vqvae, *vaes):
        print(f"  bits per dimension, {name_of(run)}", flush=True)
        own = priors if run is priors[0].vqvae else ()
        each = pd.DataFrame(bits_per_dimension(run, images, own))
        facts = {"run": run.folder.name, "system": run.model.title, "setting": run.rate_label}
        tables.append(each.assign(**facts)[[*facts, *each.columns]])
    return pd.concat(tables, ignore_index=True)


def _points(priors: Sequence[Prior], images: Images) -> pd.DataFrame:
    """Return the points of the VQ-VAE's codes, those with a prior among them."""
    run = priors[0].vqvae
    points = rate_points(run, images)
    points += [
        {**points[0], "rate": f"{PRIOR}: {prior.model.title}", "bits": prior.bits_per_image}
        for prior in priors
    ]
    return point_table(run, points)


def _accuracies(systems: Systems) -> dict[str, float]:
    """Return the accuracy on real test images of classifiers trained on each labelled set."""
    images, count = systems.images, systems.count
    if images.labels is None:
        return {}
    kept = spread(len(images.labels), count)
    labels = images.labels[kept]
    y = [y for _, y, _ in reconstruct_all(systems.priors[0].vqvae.model, images.train[kept])]
    sets = {"training images": images.train[kept], "reconstructions": as_bytes(torch.cat(y))}
    for prior in systems.priors:
        drawn = prior.sample(count, labels)
        sets[f"VQ-VAE + {prior.model.title}"] = as_bytes(drawn)
    return {name: _accuracy(images, some, labels) for name, some in sets.items()}


def _accuracy(images: Images, train: Tensor, labels: Tensor) -> float:
    print(f"  a classifier of {len(train):,} images", flush=True)
    some = replace(images, name="samples", train=train, labels=labels)
    config = ClassifierConfig(dataset="samples", epochs=EPOCHS, image_size=images.size)
    with TemporaryDirectory() as folder:
        return fit_classifier(config, some, folder).evaluation["test_accuracy"]


def _posterior(run: Run, train: Tensor) -> dict[str, Any]:
    """Return how the posteriors of all images together differ from N(0, I).

    Returns:
        `variances` along the principal axes of posterior samples, in falling order, and `bits`,
        the KL divergence of a Gaussian with their moments from N(0, I).
    """
    z = posterior_samples(gaussian_of(run), train[spread(len(train), FITTED)]).double()
    mean, variances = z.mean(0), torch.linalg.eigvalsh(torch.cov(z.T)).flip(0)
    nats = (mean.square().sum() + (variances - 1 - variances.log()).sum()) / 2
    return {
        "variances": variances.tolist(),
        "bits": nats.item() / math.log(2),
    }
