"""The sets of images that are compared with training images: samples, and baselines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vqlib.errors import UserError
from vqlib.generation.codes import spread
from vqlib.generation.latents import fit_density, posterior_samples, sample_vae
from vqlib.generation.quality import blurred
from vqlib.generation.runs import Prior
from vqlib.images import Images
from vqlib.models import GaussianModel, reconstruct_all
from vqlib.runs import Run

DENSITIES = {"N(0, I)": 0, "one Gaussian": 1, "mixture of 10": 10}  # name to components
FITTED = 10_000  # posterior samples to fit a density to, at most


@dataclass(frozen=True)
class Systems:
    """The sets of images that are compared with training images; all are uint8 (N, 3, H, W)."""

    priors: Sequence[Prior]
    vaes: Sequence[Run]
    images: Images
    count: int
    _fitted: dict[tuple[Path, int], GaussianMixture] = field(default_factory=dict)

    @property
    def reference(self) -> Tensor:
        """Training images at equal distances."""
        return self.images.train[spread(len(self.images.train), self.count)]

    @property
    def test(self) -> Tensor:
        """Test images at equal distances."""
        return self.images.test[spread(len(self.images.test), self.count)]

    def baselines(self) -> Iterator[tuple[str, Tensor]]:
        """Yield sets that are no samples, by name."""
        yield "test images", self.test
        for run in (self.priors[0].vqvae, *self.vaes):
            parts = [y for _, y, _ in reconstruct_all(run.model, self.test)]
            yield f"reconstructions, {name_of(run)}", as_bytes(torch.cat(parts))
        yield "blurred test images", blurred(self.test)
        labels = self.images.labels
        if labels is not None:
            others = torch.ones(len(labels), dtype=torch.bool)
            others[spread(len(labels), self.count)] = False
            own = self.images.train[(labels == 0) & others][: self.count]
            yield f"one class: {self.images.classes[0]}", own

    def samples(self, seed: int) -> Iterator[tuple[str, Tensor]]:
        """Yield a set of samples of each system, by name."""
        for prior in self.priors:
            yield f"VQ-VAE + {prior.model.title}", as_bytes(prior.sample(self.count, seed=seed))
        for run in self.vaes:
            for name, components in DENSITIES.items():
                density = self._density(run, components) if components else None
                drawn = sample_vae(gaussian_of(run), self.count, density, seed)
                yield f"{name_of(run)}, {name}", as_bytes(drawn)

    def _density(self, run: Run, components: int) -> GaussianMixture:
        if (run.folder, components) not in self._fitted:
            kept = spread(len(self.images.train), FITTED)
            z = posterior_samples(gaussian_of(run), self.images.train[kept])
            self._fitted[run.folder, components] = fit_density(z, components)
        return self._fitted[run.folder, components]


def as_bytes(images: Tensor) -> Tensor:
    """Return images in [0, 1] as uint8."""
    return (images * 255).round().byte()


def gaussian_of(run: Run) -> GaussianModel:
    """Return a run's model, which must have a Gaussian latent."""
    if not isinstance(run.model, GaussianModel):
        raise UserError(f"{run.folder} has no Gaussian latent: give runs of VAEs")
    return run.model


def name_of(run: Run) -> str:
    """Return what a run is called among these sets, such as `VAE β = 1`."""
    return f"{run.model.title} {run.rate_label}"
