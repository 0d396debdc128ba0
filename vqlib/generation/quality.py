"""How much sampled images resemble real ones: distances between two sets of features.

Each function takes features as `vqlib.generation.features` gives them. All depend on how many
images there are, so figures can be compared only if the sets are equally large.
"""

import torch
from torch import Tensor

NEIGHBOURS = 5  # k of density and coverage, as in the paper
CHUNK = 500  # rows of distances at a time


def frechet_distance(real: Tensor, fake: Tensor) -> float:
    """Return the squared Fréchet distance between two Gaussians with the sets' moments.

    ‖m1 - m2‖² + tr(C1 + C2 - 2 (C1 C2)^½). With Inception's features, this is the FID (Heusel et
    al. 2017, https://arxiv.org/abs/1706.08500). The last trace is that of (R C2 R)^½, in which
    R = C1^½; this matrix is symmetric.

    Args:
        real, fake: features (N, D) and (M, D), with at least two rows each.
    """
    means, covariances = zip(*(_moments(each) for each in (real, fake)), strict=True)
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    traces = sum(torch.trace(each) for each in covariances)
    return ((means[0] - means[1]).square().sum() + traces - 2 * both).item()


def density_and_coverage(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Return density and coverage (Naeem et al. 2020, https://arxiv.org/abs/2002.09797).

    Around each real image lies a ball that reaches to its k-th nearest real neighbour. Density is
    the mean number of balls that a fake image lies in, divided by k. It is about 1 for two sets of
    one distribution, and rises if fakes stay where real images are dense. Coverage is the share of
    balls that hold a fake image.

    Args:
        real, fake: features (N, D) and (M, D); N above k.
        k: which neighbour is the last.
    """
    reach = torch.cat(
        [torch.cdist(some, real).kthvalue(k + 1, dim=1).values for some in real.split(CHUNK)]
    )
    inside, covered = 0, torch.zeros(len(real), dtype=torch.bool)
    for some in fake.split(CHUNK):
        within = torch.cdist(some, real) < reach
        inside += int(within.sum())
        covered |= within.any(0)
    return inside / k / len(fake), covered.double().mean().item()


def nearest(queries: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return distance and index of the nearest candidate of each query, each (N,).

    Args:
        queries: float (N, D), or images (N, …).
        candidates: float (M, D), or images (M, …).
    """
    flat = candidates.flatten(1)
    half_norms = flat.square().sum(1) / 2  # |q - c|² / 2 = |q|² / 2 - q·c + |c|² / 2
    distances, indices = [], []
    for some in queries.flatten(1).split(CHUNK):
        indices.append(torch.addmm(half_norms, some, flat.T, alpha=-1).argmin(1))
        distances.append((some - flat[indices[-1]]).norm(dim=1))
    return torch.cat(distances), torch.cat(indices)


def blurred(images: Tensor, sigma: float = 1.0) -> Tensor:
    """Return uint8 images (N, 3, H, W) under a Gaussian blur of so many pixels."""
    from torchvision.transforms.functional import gaussian_blur

    return gaussian_blur(images, 2 * round(3 * sigma) + 1, sigma)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and covariance (D, D), in float64."""
    exact = features.double()
    return exact.mean(0), torch.cov(exact.T).reshape(exact.shape[1], exact.shape[1])
