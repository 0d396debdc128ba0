"""Finished priors: what `fit_prior` left in a run folder, and samples of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from vqlib.errors import UserError
from vqlib.generation.codes import encoded
from vqlib.generation.config import PriorConfig, build_prior
from vqlib.generation.prior import CodePrior
from vqlib.generation.sampling import sample_codes
from vqlib.images import check_images
from vqlib.models import BATCH, MODELS
from vqlib.paths import HOME, RUNS, SHIPPED, expanded, is_finished
from vqlib.runs import WEIGHTS, Run, StoredRun, is_prior, load_run, open_run

Labels = str | int | Sequence[str | int] | Tensor | None  # of one image, or of each


@dataclass(frozen=True)
class Prior(StoredRun):
    """A finished prior over the codes of a VQ-VAE: `sample` gives images.

    Attributes:
        vqvae_folder: the run of its VQ-VAE, if it is not where the training found it.
    """

    config: PriorConfig
    vqvae_folder: Path | None = None
    columns = ("epoch", "steps", "seconds", "loss", "test_bits")
    command = "vqlib prior"

    @cached_property
    def model(self) -> CodePrior:
        """The trained prior in evaluation mode, float32 on the CPU."""
        sizes = self.environment["num_codes"], self.environment["grid"]
        return self.with_weights(build_prior(self.config, *sizes, max(1, len(self.classes))))

    @property
    def classes(self) -> list[str]:
        """Names of the labels, as in training; empty if the images had none."""
        return self.environment["classes"]

    @property
    def bits_per_image(self) -> float:
        """Bits of the codes of a test image, and of its class, all classes being as probable."""
        return self.evaluation["bits_per_image"] + math.log2(max(1, len(self.classes)))

    @cached_property
    def vqvae(self) -> Run:
        """The run whose codes these are; another one, or other weights, is a `UserError`."""
        name = self.config.vqvae
        places = [self.folder.parent / name, RUNS / name, SHIPPED / name]
        places.insert(0, self.vqvae_folder or HOME / self.environment["vqvae_folder"])
        for place in places[:1] if self.vqvae_folder else places:
            if is_finished(place):
                run = load_run(place)
                check_same_vqvae(self.folder, self.config, run)
                return run
        raise UserError(
            f"{self.folder} is a prior over the codes of {name}, which is not in {places[0]}: give "
            "the folder of its VQ-VAE"
        )

    def sample(
        self, count: int = 64, label: Labels = None, temperature: float = 1.0, seed: int = 0
    ) -> Tensor:
        """Return sampled images (count, 3, 32, 32), float32 in [0, 1]; the seed fixes them.

        Args:
            count: how many; at least 1.
            label: name or number of a class, or one for each image; None takes all classes in
                turn. Without classes there is nothing to choose.
            temperature, seed: see `sample_codes`.
        """
        if count < 1:
            raise UserError(f"count must be at least 1, got {count}")
        labels = self.labels(label, count)
        return self.decode(sample_codes(self.model, labels, None, temperature, seed))

    def complete(
        self, images: Tensor, label: Labels = None, temperature: float = 1.0, seed: int = 0
    ) -> Tensor:
        """Return images (N, 3, 32, 32) in [0, 1] whose lower half is sampled.

        The codes of the upper half of the grid are kept. They come from the whole image, but a
        code hardly sees more than its own neighbourhood.

        Args:
            images: uint8 (N, 3, 32, 32).
            label, temperature, seed: see `sample`.
        """
        check_images(images, "completed")
        grid = self.model.grid
        known = encoded(self.vqvae.model, images)[:, : grid // 2 * grid]
        labels = self.labels(label, len(images))
        return self.decode(sample_codes(self.model, labels, known, temperature, seed))

    def likeliest(self, images: Tensor) -> Tensor:
        """Return the class under which the codes of each image take the fewest bits, int64 (N,).

        Args:
            images: uint8 (N, 3, 32, 32).
        """
        return self.model.likeliest(encoded(self.vqvae.model, images))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Return the images (N, 3, 32, 32) in [0, 1] of codes (N, places)."""
        grid = self.model.grid
        model = self.vqvae.model
        maps = codes.unflatten(1, (grid, grid))
        return torch.cat([model.decode_codes(some) for some in maps.split(BATCH)])

    def labels(self, label: Labels, count: int) -> Tensor:
        """Return a class number for each image, int64 (count,); see `sample`."""
        if label is None:
            return torch.arange(count) % max(1, len(self.classes))
        given = label.tolist() if isinstance(label, Tensor) else label
        each = [given] * count if isinstance(given, str | int) else list(given)
        if len(each) != count:
            raise UserError(f"{len(each)} labels for {count} images: give one label, or one each")
        return torch.tensor([self._number(one) for one in each])

    def names(self, label: Labels, count: int) -> list[str]:
        """Return the name of each image's class; an empty text without classes."""
        return [(self.classes or [""])[number] for number in self.labels(label, count).tolist()]

    def _number(self, label: str | int) -> int:
        if not self.classes:
            raise UserError(f"{self.folder} has no classes: leave out the label {label!r}")
        if label in self.classes:
            return self.classes.index(str(label))
        if isinstance(label, int) and 0 <= label < len(self.classes):
            return label
        raise UserError(f"unknown label {label!r}: choose one of {', '.join(self.classes)}")


def load_prior(path: str | Path, vqvae: str | Path | None = None) -> Prior:
    """Return the finished prior in a run folder.

    Args:
        path: the folder.
        vqvae: the run folder of its VQ-VAE, if that has moved since the training.

    Raises:
        UserError: if the folder does not hold a finished prior.
    """
    folder = expanded(path)
    if is_finished(folder) and not is_prior(folder):
        title = MODELS[load_run(folder).config.model].title
        raise UserError(
            f"{folder} is the run of a {title}, not a prior over codes: train one for a VQ-VAE "
            "with `vqlib prior`"
        )
    prior = open_run(folder, Prior, PriorConfig)
    return Prior(prior.folder, prior.config, expanded(vqvae)) if vqvae else prior


def find_priors(folder: str | Path) -> list[Prior]:
    """Return the finished priors in a folder of run folders, fewest bits a code first.

    Raises:
        UserError: if there is none, or if they are over the codes of several VQ-VAEs.
    """
    paths = [
        path for path in sorted(Path(folder).glob("*")) if is_finished(path) and is_prior(path)
    ]
    if not paths:
        raise UserError(f"{folder} has no finished prior: train one with `vqlib prior`")
    priors = sorted(map(load_prior, paths), key=lambda prior: prior.evaluation["test_bits"])
    for prior in priors[1:]:
        check_same_vqvae(prior.folder, prior.config, priors[0].vqvae)
    return priors


def check_same_vqvae(folder: Path, config: PriorConfig, run: Run) -> None:
    """Refuse a VQ-VAE whose weights are not those that a prior was trained for."""
    weights = run.environment["sha256"][WEIGHTS]
    if weights != config.weights:
        raise UserError(
            f"{folder} is a prior over the codes of {config.vqvae} with weights "
            f"{config.weights[:8]}…, but {run.folder} has weights {weights[:8]}…: give the VQ-VAE "
            "that it was trained for"
        )
