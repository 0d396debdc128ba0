"""Samples of a VAE: from its prior N(0, I), or from a density fitted to posterior samples.

A VAE is trained so that the posteriors of all images together resemble N(0, I), but they do not
have to be it. A density of what the encoder really gives is an ex-post density (Ghosh et al. 2020,
https://arxiv.org/abs/1903.12436).
"""

import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from vqlib.images import scale
from vqlib.models import BATCH, GaussianModel


@torch.no_grad()
def posterior_samples(model: GaussianModel, images: Tensor, seed: int = 0) -> Tensor:
    """Return a sample of q(z|x) for each of uint8 images (N, 3, 32, 32): (N, D), flat."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for some in images.split(BATCH):
        mean, log_variance = model.encode(scale(some))
        noise = torch.randn(mean.shape, generator=generator)
        samples.append((mean + (log_variance / 2).exp() * noise).flatten(1))
    return torch.cat(samples)


def fit_density(samples: Tensor, components: int = 1, seed: int = 0) -> GaussianMixture:
    """Fit Gaussians with full covariances to samples (N, D): one, or a mixture of several."""
    mixture = GaussianMixture(components, covariance_type="full", random_state=seed)
    return mixture.fit(samples.double().numpy())


@torch.no_grad()
def sample_vae(
    model: GaussianModel, count: int, density: GaussianMixture | None = None, seed: int = 0
) -> Tensor:
    """Return sampled images (count, 3, 32, 32) in [0, 1]; the seed fixes them.

    Args:
        model: in evaluation mode.
        count: how many.
        density: of latents, as `fit_density` gives it; None stands for N(0, I).
        seed: of the random numbers.
    """
    side = model.image_size
    shape = model.encode(torch.zeros(1, 3, side, side))[0].shape[1:]  # of one latent
    if density is None:
        z = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    else:
        drawn = density.set_params(random_state=seed).sample(count)[0]
        z = torch.from_numpy(drawn).float().reshape(count, *shape)
    return torch.cat([model.decode(some).clamp(0, 1) for some in z.split(BATCH)])
