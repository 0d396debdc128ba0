"""Points of a rate–distortion curve: what a run's latent costs, and what its images lose.

A run may have several rates: all codes of equal length, symbols coded by their frequencies, or the
KL term of a Gaussian latent. Each is a row of its own.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vqlib.errors import UserError
from vqlib.images import Images, scale
from vqlib.models import BATCH, MODELS, GaussianModel, kl_to_prior, reconstruct_all
from vqlib.paths import shown
from vqlib.rates.coding import code_probabilities, ideal_bits
from vqlib.rates.measures import MEASURES, distortion
from vqlib.rates.rounding import fit_rounding, rounded_images
from vqlib.runs import WEIGHTS, Run, has_weights, images_of
from vqlib.system.files import write_atomically

FILE = "rates.csv"
COLUMNS = ("run", "system", "setting", "rate", "bits", *MEASURES, "weights")
RAW, CODED, PRIOR = "raw", "coded", "prior"  # the last with the prior's name
KL, KL_MEAN = "KL", "KL, decoded mean"


def rate_points(run: Run, images: Images) -> list[dict[str, Any]]:
    """Return the points of a run over the test images, a dictionary for each kind of rate.

    `CODED` is a rate that one can have: of a discrete latent, the cross-entropy of its codes under
    `code_probabilities`, and of a Gaussian one, that of its rounded means (see `rounding`). `RAW`
    gives all codes the same length. `KL` is the KL term of a Gaussian latent over the test images
    with the distortion of one sample of each posterior; it is what it takes to send that sample
    (Havasi et al. 2019, https://arxiv.org/abs/1810.00440), and no bits are written here. `KL_MEAN`
    decodes posterior means. They give better images, but the KL term does not pay for them. Any
    other latent has the bits that its model says.

    Args:
        run: a run with weights.
        images: those that it was trained on.

    Returns:
        For each point its kind as `rate`, its `bits` an image, and what `distortion` gives.
    """
    if isinstance(run.model, GaussianModel):
        return _gaussian_points(run.model, images, run.data_variance)
    batches = [(y, codes) for _, y, codes in reconstruct_all(run.model, images.test)]
    lost = distortion(images.test, torch.cat([y for y, _ in batches]), run.data_variance)
    rates = {RAW: run.bits}
    if run.model.num_codes:
        codes = torch.cat([codes for _, codes in batches if codes is not None]).numpy()
        rates[CODED] = ideal_bits(codes, code_probabilities(run.model)) / len(images.test)
    return [{"rate": rate, "bits": bits, **lost} for rate, bits in rates.items()]


@torch.no_grad()
def _gaussian_points(
    model: GaussianModel, images: Images, data_variance: float
) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    samples, means, nats = [], [], 0.0
    for batch in images.test.split(BATCH):
        mean, log_variance = model.encode(scale(batch))
        noise = torch.randn(mean.shape, generator=generator)
        samples.append(model.decode(mean + (log_variance / 2).exp() * noise).clamp(0, 1))
        means.append(model.decode(mean).clamp(0, 1))
        nats += kl_to_prior(mean.double(), log_variance.double()).sum().item()
    kl = nats / math.log(2) / len(images.test)
    coded, rounded = rounded_images(model, images.test, fit_rounding(model, images.train))
    sent = ((KL, kl, torch.cat(samples)), (KL_MEAN, kl, torch.cat(means)), (CODED, coded, rounded))
    return [
        {"rate": rate, "bits": bits, **distortion(images.test, decoded, data_variance)}
        for rate, bits, decoded in sent
    ]


def run_points(results: str | Path, runs: list[Run]) -> pd.DataFrame:
    """Return the points of runs, with the columns `COLUMNS`.

    Points that `rates.csv` in the folder holds for the same weights are taken from there. The
    others are computed, and the file gets them; it keeps those of other runs. A run that has
    neither points nor weights is left out, and a line says so.

    Args:
        results: the folder of the runs.
        runs: finished runs in it.

    Raises:
        UserError: if no run is left, or if a run's points must be computed and its images are
            missing.
    """
    path = Path(results) / FILE
    stored = _read(path)
    tables = []
    for run in runs:
        known = stored[stored["weights"] == run.environment["sha256"][WEIGHTS]]
        if len(known):
            tables.append(known)
        elif has_weights(run.folder):
            tables.append(_compute(run))
        else:
            print(f"{run.folder.name}: left out of the rates, because its weights are missing")
    if not tables:
        raise UserError(f"{shown(Path(results))} has no run with weights: train one")
    points = pd.concat(tables, ignore_index=True)
    others = stored[~stored["weights"].isin(points["weights"])]  # of runs that were not asked for
    kept = pd.concat([others, points], ignore_index=True) if len(others) else points
    if len(kept) != len(stored):
        write_atomically(path, kept.to_csv(index=False).encode())
    return points


def _compute(run: Run) -> pd.DataFrame:
    print(f"{run.folder.name}: computing its rate and distortion on the test images")
    return point_table(run, rate_points(run, images_of(run)))


def point_table(run: Run, points: list[dict[str, Any]]) -> pd.DataFrame:
    """Return points of a run, as `rate_points` gives them, with the columns `COLUMNS`."""
    facts = {
        "run": run.folder.name,
        "system": MODELS[run.config.model].title,
        "setting": run.rate_label,
        "weights": run.environment["sha256"][WEIGHTS],
    }
    return pd.DataFrame(points).assign(**facts)[list(COLUMNS)]


def _read(path: Path) -> pd.DataFrame:
    """Return the stored points; none if there is no file, or if it is damaged."""
    if path.is_file():
        try:
            return pd.read_csv(path, keep_default_na=False)[list(COLUMNS)].astype({"bits": float})
        except (KeyError, ValueError, OSError) as error:
            problem = " ".join(str(error).split())
            print(f"{shown(path)} cannot be read ({problem}): computing the points again")
    return pd.DataFrame(columns=list(COLUMNS))
