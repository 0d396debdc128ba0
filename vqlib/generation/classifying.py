"""Training a classifier: `fit_classifier` finds a finished one, resumes one, or trains it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from vqlib.config import MAX_SEED, Config, dataset_slug, normal_dataset, setting
from vqlib.errors import UserError
from vqlib.generation.classifier import Classifier, labelled
from vqlib.generation.training import SHIPPED_PRIORS, rate
from vqlib.images import Images, load_images
from vqlib.loop import Trainer, seeded
from vqlib.paths import ROOT, shown
from vqlib.runs import StoredRun, open_run, store, stored_weights
from vqlib.system.machine import choose_device
from vqlib.training import is_done, train_in

CLASSIFIERS = ROOT / "results" / "classifiers"
SHIPPED_CLASSIFIERS = SHIPPED_PRIORS / "classifiers"


@dataclass(frozen=True)
class ClassifierConfig(Config):
    """One training of a classifier.

    Raises:
        UserError: if a value makes no sense.
    """

    always_named = ("dataset", "batch_size", "epochs", "seed")

    dataset: str = setting("cifar10", "a data set that has classes")
    batch_size: int = setting(128, "images per step", above=0)
    epochs: int = setting(15, "passes over the training images", above=0)
    learning_rate: float = setting(3e-3, "learning rate of AdamW at its highest", above=0)
    seed: int = setting(
        0, "seed of initial weights and order of images", at_least=0, at_most=MAX_SEED
    )
    limit: int | None = setting(None, "use at most this many images of each split", above=0)
    precision: str = setting(
        "auto",
        "float32, bfloat16, or auto: bfloat16 if the processor is fast at it",
        choices=("auto", "float32", "bfloat16"),
    )
    image_size: int = setting(32, "side of the images in pixels", at_least=16, multiple_of=16)
    width: int = setting(32, "channels of the first block", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "dataset", normal_dataset(self.dataset))

    @property
    def run_name(self) -> str:
        """The run folder's name, such as `cifar10-b128-e15-s0`."""
        name = f"{dataset_slug(self.dataset)}-b{self.batch_size}-e{self.epochs}-s{self.seed}"
        return name + self._changed()


@dataclass(frozen=True)
class ClassifierRun(StoredRun):
    """A finished classifier."""

    config: ClassifierConfig
    columns = ("epoch", "steps", "seconds", "loss", "test_accuracy")
    command = "vqlib quality"

    @cached_property
    def model(self) -> Classifier:
        """The trained classifier in evaluation mode, float32 on the CPU."""
        return self.with_weights(_build(self.config, len(self.environment["classes"])))


def fit_classifier(
    config: ClassifierConfig,
    images: Images | None = None,
    results: str | Path = CLASSIFIERS,
    device: str = "auto",
) -> ClassifierRun:
    """Return the finished classifier with this config: load it, resume it, or train it.

    Print which of the three it was.

    Args:
        config: what to train.
        images: of the config's data set, if loaded already.
        results: folder of run folders; the classifier's own is `results / config.run_name`.
        device: `cpu`, `cuda`, or `auto`: CUDA if there is a GPU.

    Raises:
        UserError: if the images have no classes, or a folder cannot be used.
    """
    folder = Path(results) / config.run_name
    torch_device = choose_device(device)
    for finished in (folder, SHIPPED_CLASSIFIERS / config.run_name):
        if is_done(finished, config):
            print(f"classifier {config.run_name}: finished, read from {shown(finished)}")
            return load_classifier(finished)
    if images is None:
        images = load_images(config.dataset, config.limit, config.image_size)
    train, test = rows_of(images)
    facts = {**images.facts, "classes": list(images.classes)}

    def start() -> Trainer:
        with seeded(config.seed, torch_device):
            model = _build(config, len(images.classes))
        optimizer = torch.optim.AdamW
        return Trainer(config, model, train, test, folder, torch_device, facts, optimizer, rate)

    def finish(trainer: Trainer) -> None:
        weights = stored_weights(trainer.model)
        model = _build(config, len(images.classes))
        model.load_state_dict(weights)
        figures = {"n_test": len(test), **model.to(torch_device).test_figures(test)}
        store(folder, weights, trainer.history, figures, None, trainer.environment)

    train_in(folder, config, start, finish)
    return load_classifier(folder)


def load_classifier(path: str | Path) -> ClassifierRun:
    """Return the finished classifier in a run folder."""
    return open_run(path, ClassifierRun, ClassifierConfig)


def rows_of(images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the labelled training and test images; see `labelled`."""
    if images.labels is None or images.test_labels is None:
        raise UserError(f"{images.name} has no classes, so no classifier can be trained on it")
    return labelled(images.train, images.labels), labelled(images.test, images.test_labels)


def _build(config: ClassifierConfig, num_classes: int) -> Classifier:
    with torch.random.fork_rng([]):
        return Classifier(num_classes, config.width, config.image_size)
