"""Training a model on images: `fit` finds a finished run, resumes one, or trains it.

If torchrun started several processes, `fit` runs in each of them; see `vqlib.loop`.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from vqlib.config import Config, TrainConfig, normal_dataset
from vqlib.errors import UserError
from vqlib.evaluation import evaluate
from vqlib.images import Images, scale
from vqlib.loop import Trainer, seeded
from vqlib.models import build_model
from vqlib.paths import RUNS, SHIPPED, SHIPPED_RATES, expanded, is_finished, shown
from vqlib.runs import (
    Run,
    check_same_images,
    collapse_warning,
    has_weights,
    load_images_of,
    load_run,
    read_config,
    store,
    stored_weights,
)
from vqlib.system import processes
from vqlib.system.checkpoint import difference, remove_state
from vqlib.system.files import sole_writer, write_json
from vqlib.system.machine import choose_device
from vqlib.system.processes import on_first

SHEET_IMAGES = 16


def fit(
    config: TrainConfig,
    images: Images | None = None,
    results: str | Path = RUNS,
    device: str = "auto",
    retrain: bool = False,
    skip_unreadable: bool | None = None,
) -> Run:
    """Return the finished run for this config: load it, resume it, or train it.

    Print which of the three it was, and warn if a codebook collapsed.

    Args:
        config: what to train.
        images: the data, if loaded already; else `config.dataset` is loaded.
        results: folder of run folders; the run's own is `results / config.run_name`.
        device: `cpu`, `cuda`, or `auto`: CUDA if there is a GPU.
        retrain: train even if a finished run is shipped with the project.
        skip_unreadable: leave out pictures that cannot be read; see `load_images`.

    Raises:
        UserError: if the data or the folder cannot be used, another process holds the run, or the
            loss is no longer finite.
    """
    torch_device = choose_device(device)
    folder = expanded(results) / config.run_name
    _check_request(config, images)
    _check_asked(config)
    run = _find_finished(config, folder, images, retrain, skip_unreadable)
    if run is not None:
        return run
    images = images or _load_images(config, skip_unreadable)
    if not images.variance > 0:
        raise UserError(
            f"{images.name}: all training pixels are the same; there is nothing to learn"
        )
    train_in(
        folder,
        config,
        lambda: make_trainer(config, images, folder, torch_device),
        lambda trainer: _store(trainer, images),
    )
    return _load(folder)


def train_in(
    folder: Path,
    config: Config,
    start: Callable[[], Trainer],
    store_run: Callable[[Trainer], None],
) -> None:
    """Train in a run folder, or resume there, and make the run a finished one.

    Args:
        folder: the run's; no other process may write to it meanwhile.
        config: is written before the training starts.
        start: returns the trainer, once the folder is held.
        store_run: evaluates what was trained and writes it.
    """
    with _held(folder):
        if _begin(config, folder):
            trainer = start()
            trainer.train()
            _finish(trainer, store_run)


def make_trainer(
    config: TrainConfig, images: Images, folder: Path, device: torch.device
) -> Trainer:
    """Return the trainer of a fresh model on images, at the start or where a resume state ends."""
    with seeded(config.seed, device):
        model = build_model(config, images.variance)
    return Trainer(config, model, images.train, images.test, folder, device, images.facts)


def _check_request(config: TrainConfig, images: Images | None) -> None:
    """Refuse a batch too small to be shared, and images that the config does not name."""
    if config.batch_size < processes.count():
        raise UserError(
            f"batch_size {config.batch_size} is too small to be shared by {processes.count()} "
            "processes: start fewer"
        )
    if images is None:
        return
    for what, given, wanted in (
        ("", normal_dataset(images.name), config.dataset),
        ("limit ", images.limit, config.limit),
        ("image_size ", images.size, config.image_size),
    ):
        if given != wanted:
            raise UserError(
                f"the images are {what}{given!r}, but the config asks for {what}{wanted!r}: "
                "use the same for both"
            )


def _check_asked(config: TrainConfig) -> None:
    """Refuse another run than the one that a study wants of this process, if a study runs it.

    A notebook may have been saved with other values, or set them in a later cell.
    """
    asked = os.environ.get("VQLIB_ASKED")
    if asked:
        wanted = TrainConfig.from_dict(json.loads(asked)).to_dict()
        if differing := difference(wanted, config.to_dict()):
            raise UserError(f"not trained: this is not the run that the study wants: {differing}")


@on_first
def _find_finished(
    config: TrainConfig,
    folder: Path,
    images: Images | None,
    retrain: bool,
    skip_unreadable: bool | None,
) -> Run | None:
    shipped = [] if retrain else [place / config.run_name for place in (SHIPPED, SHIPPED_RATES)]
    for finished in (folder, *shipped):
        if is_done(finished, config):
            print(f"{config.run_name}: finished, read from {shown(finished)}")
            run = load_run(finished)
            if images is not None or Path(config.dataset).exists():
                skip = skip_unreadable or bool(run.environment.get("n_unreadable")) or None
                check_same_images(run, images or load_images_of(config, skip))
            if warning := collapse_warning(run.config, run.history):
                print(warning)
            return run
    return None


@on_first
def _load_images(config: TrainConfig, skip_unreadable: bool | None) -> Images:
    return load_images_of(config, skip_unreadable)


@on_first
def _load(folder: Path) -> Run:
    return load_run(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run folder: the first process does so for all."""
    with ExitStack() as held:
        _hold(held, folder)
        yield


@on_first
def _hold(held: ExitStack, folder: Path) -> None:
    held.enter_context(sole_writer(folder))


@on_first
def _begin(config: Config, folder: Path) -> bool:
    """Write the config; return False if another process has finished the run meanwhile."""
    if is_done(folder, config):
        return False
    path = folder / "config.json"
    there = read_config(folder, type(config)).to_dict() if path.exists() else {}
    if there and (differing := difference(there, config.to_dict())):
        raise UserError(f"{folder} belongs to another config: {differing}. Give another folder")
    write_json(path, config.to_dict())
    return True


def is_done(folder: Path, config: Config) -> bool:
    """Return whether a folder holds the finished run with this config, and its weights."""
    return (
        is_finished(folder) and has_weights(folder) and read_config(folder, type(config)) == config
    )


@on_first
def _finish(trainer: Trainer, store_run: Callable[[Trainer], None]) -> None:
    """Store what was trained; with that the run is finished, and its resume state goes."""
    store_run(trainer)
    remove_state(trainer.folder / "resume.pt")
    (trainer.folder / "progress.json").unlink(missing_ok=True)


def _store(trainer: Trainer, images: Images) -> None:
    """Write the weights, and evaluate them as they are stored."""
    weights = stored_weights(trainer.model)
    model = build_model(trainer.config, images.variance)
    model.load_state_dict(weights)
    model = model.to(trainer.device).eval()
    figures = evaluate(model, images.test, images.variance)
    sample = scale(images.test[:SHEET_IMAGES].to(trainer.device))
    sheet = (sample, model.reconstruct(sample))
    store(trainer.folder, weights, trainer.history, figures, sheet, trainer.environment)
