"""Training a prior: `fit_prior` finds a finished one, resumes one, or trains it."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch

from vqlib.errors import UserError
from vqlib.generation.codes import Codes, codes_of
from vqlib.generation.config import PriorConfig, build_prior, check_own
from vqlib.generation.ladder import ladder
from vqlib.generation.prior import CodePrior
from vqlib.generation.runs import Prior, load_prior
from vqlib.images import Images
from vqlib.loop import Trainer, seeded
from vqlib.paths import HOME, ROOT, expanded, shown
from vqlib.rates.pictures import model_with_codes
from vqlib.runs import WEIGHTS, Run, load_run, store, stored_weights
from vqlib.system import processes
from vqlib.system.machine import choose_device
from vqlib.system.processes import on_first
from vqlib.training import is_done, train_in

PRIORS_FOLDER = HOME / "results" / "priors"
SHIPPED_PRIORS = ROOT / "results" / "generation"
WARM_UP = 0.02  # share of the training in which the learning rate rises


def prior_config(run: Run | str | Path, **settings: Any) -> PriorConfig:
    """Return the config of a prior over the codes of a run, which must be a VQ-VAE's.

    Args:
        run: the VQ-VAE's, or its folder.
        settings: those that differ from the defaults of `PriorConfig`.
    """
    run = run if isinstance(run, Run) else load_run(run)
    model_with_codes(run)
    of_run = {"vqvae": run.folder.name, "weights": run.environment["sha256"][WEIGHTS]}
    config = PriorConfig.from_dict({**of_run, **settings})
    check_own(config)
    return config


def fit_prior(
    run: Run | str | Path,
    images: Images | None = None,
    results: str | Path = PRIORS_FOLDER,
    device: str = "auto",
    retrain: bool = False,
    **settings: Any,
) -> Prior:
    """Return the finished prior over the codes of a VQ-VAE: load it, resume it, or train it.

    Print which of the three it was. If the images have classes, the prior is class-conditional.

    Args:
        run: the VQ-VAE's, or its folder.
        images: those of the run, if loaded already.
        results: folder of run folders; the prior's own is `results / config.run_name`.
        device: `cpu`, `cuda`, or `auto`: CUDA if there is a GPU.
        retrain: train even if a finished prior is shipped with the project.
        settings: see `prior_config`.

    Raises:
        UserError: if the run has no codes, its images have changed, a folder cannot be used, or
            another process holds it.
    """
    run = run if isinstance(run, Run) else load_run(run)
    config = prior_config(run, **settings)
    folder = expanded(results) / config.run_name
    torch_device = choose_device(device)
    if config.batch_size < processes.count():
        raise UserError(f"batch_size {config.batch_size} is too small: start fewer processes")
    for finished in [folder] if retrain else [folder, SHIPPED_PRIORS / config.run_name]:
        if _is_done(finished, config):
            print(f"{config.run_name}: finished, read from {shown(finished)}")
            return load_prior(finished, run.folder)
    codes = _codes(run, images, config.limit)
    start = partial(_trainer, config, codes, run, folder, torch_device)
    train_in(folder, config, start, partial(_store, codes=codes))
    return load_prior(folder, run.folder)


@on_first
def _is_done(folder: Path, config: PriorConfig) -> bool:
    return is_done(folder, config)


@on_first
def _codes(run: Run, images: Images | None, limit: int | None) -> Codes:
    return codes_of(run, images, limit)


def _trainer(
    config: PriorConfig, codes: Codes, run: Run, folder: Path, device: torch.device
) -> Trainer:
    with seeded(config.seed, device):
        model = _build(config, codes)
    facts = {**codes.facts, "vqvae_folder": shown(run.folder)}
    return Trainer(
        config, model, codes.train, codes.test, folder, device, facts, torch.optim.AdamW, rate
    )


def rate(done: float) -> float:
    """Return the factor of the learning rate: it rises for a while, then falls as a cosine to 0.

    Args:
        done: the share of the training that is over, in [0, 1).
    """
    return min(1.0, done / WARM_UP + 0.01) * (1 + math.cos(math.pi * done)) / 2


def _build(config: PriorConfig, codes: Codes) -> CodePrior:
    sizes = codes.facts["num_codes"], codes.facts["grid"]
    return build_prior(config, *sizes, max(1, len(codes.classes)))


def _store(trainer: Trainer, codes: Codes) -> None:
    """Write the weights, and evaluate them as they are stored, in float32.

    The bits of training codes are those of images that are not mirrored, as many as there are test
    images.
    """
    weights = stored_weights(trainer.model)
    model = _build(trainer.config, codes)
    model.load_state_dict(weights)
    model = model.to(trainer.device).eval()
    n_train, n_test, num_codes, grid = (
        codes.facts[name] for name in ("n_train", "n_test", "num_codes", "grid")
    )
    test_bits = model.test_figures(codes.test)["test_bits"]
    train_bits = model.test_figures(codes.train[: min(n_train, n_test)])["test_bits"]
    figures = {
        "n_test": n_test,
        "test_bits": test_bits,
        "train_bits": train_bits,
        "gap": test_bits - train_bits,
        "bits_per_image": test_bits * grid**2,
        **ladder(codes.train, codes.test, num_codes, grid),
    }
    store(trainer.folder, weights, trainer.history, figures, None, trainer.environment)
