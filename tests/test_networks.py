"""Grids of other sizes, the spatial VAE, and a calibrated variance."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from vqlib import VAE, VQVAE, TrainConfig, UserError
from vqlib.models import GaussianModel, SpatialVAE, build_model, settings
from vqlib.networks import grid_decoder, grid_encoder

SMALL = {"num_hiddens": 16, "num_residual_hiddens": 8, "num_residual_layers": 1}
GRIDS = (4, 8, 16)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grid", GRIDS)
def test_encoder_and_decoder_meet_at_the_grid(grid: int, images: Tensor) -> None:
    z = grid_encoder(5, grid, (16, 8, 1))(images)
    assert z.shape == (6, 5, grid, grid)
    assert grid_decoder(5, grid, (16, 8, 1))(z).shape == images.shape


@pytest.mark.parametrize("grid", GRIDS)
def test_a_vqvae_has_a_code_for_each_place_of_its_grid(grid: int, images: Tensor) -> None:
    model = VQVAE(**SMALL, num_embeddings=32, embedding_dim=8, grid=grid)
    codes = model.codes(images)
    assert codes.shape == (6, grid, grid)
    assert model.decode_codes(codes).shape == images.shape
    assert model.bits({}) == grid**2 * 5


def test_other_grids_are_refused() -> None:
    with pytest.raises(UserError, match="unknown grid 5: choose one of 4, 8, 16"):
        TrainConfig(grid=5)


def test_new_settings_leave_the_names_of_older_runs_as_they_are() -> None:
    assert TrainConfig(model="vae", batch_size=16).run_name == "vae-cifar10-b16-e40-s0"
    assert TrainConfig(grid=16).run_name.endswith("-s0-grid16")


def test_the_spatial_vae_differs_from_the_vqvae_in_the_latent_only() -> None:
    """Their networks have the same layers, but for those that touch the latent."""
    spatial, discrete = SpatialVAE(latent_channels=32), VQVAE(embedding_dim=64)
    for part in ("encoder", "decoder"):
        shapes = [
            {name: value.shape for name, value in getattr(model, part).state_dict().items()}
            for model in (spatial, discrete)
        ]
        differing = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
        assert differing <= {"0.weight"}  # 64 channels out, 32 channels in


def test_each_place_of_the_spatial_latent_is_gaussian(images: Tensor) -> None:
    mean, log_variance = SpatialVAE(**SMALL, latent_channels=3).encode(images)
    assert mean.shape == log_variance.shape == (6, 3, 8, 8)


def models() -> dict[str, GaussianModel]:
    return {
        "vae": VAE(latent_dim=4, beta=0.3),
        "svae": SpatialVAE(**SMALL, latent_channels=2, beta=0.3),
    }


@pytest.mark.parametrize("name", ["vae", "svae"])
def test_the_loss_is_squares_plus_beta_times_torch_s_divergence(name: str, images: Tensor) -> None:
    model = models()[name]
    torch.manual_seed(0)
    terms = model.loss(images)
    mean, log_variance = model.encode(images)
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), mean.ndim - 1)
    prior = Independent(Normal(torch.zeros_like(mean), 1.0), mean.ndim - 1)
    kl = torch.distributions.kl_divergence(posterior, prior).mean()
    torch.testing.assert_close(terms["kl"], kl)
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.3 * kl)
    assert model.bits({"kl": 3.0}) == pytest.approx(3.0 / math.log(2))


@pytest.mark.parametrize("name", ["vae", "svae"])
def test_a_calibrated_variance_has_the_gradient_of_the_bound(name: str, images: Tensor) -> None:
    """With the variance of highest likelihood, up to the scale of twice that variance."""
    model = models()[name]
    model.observation = "calibrated"

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, model.encoder[0].weight)[0]

    torch.manual_seed(0)
    ours = gradient(model.loss(images)["loss"])
    torch.manual_seed(0)
    terms = model.loss(images)
    pixels = images[0].numel()
    variance = terms["reconstruction"] / pixels
    bound = pixels / 2 * (2 * math.pi * variance).log() + pixels / 2 + terms["kl"]
    torch.testing.assert_close(ours, 2 * variance.detach() * gradient(bound), rtol=1e-4, atol=1e-5)


def test_the_spatial_vae_is_built_from_its_settings() -> None:
    config = TrainConfig(model="svae", latent_channels=3, observation="calibrated", grid=16)
    model = build_model(config, 0.06)
    assert isinstance(model, SpatialVAE)
    assert model.observation == "calibrated"
    assert model.encode(torch.rand(1, 3, 32, 32))[0].shape == (1, 3, 16, 16)
    assert {"latent_channels", "beta", "observation", "grid"} <= set(settings("svae"))


def test_a_calibrated_variance_needs_no_image_of_its_own() -> None:
    """A process may have none of a batch's images."""
    terms = VAE(latent_dim=4, observation="calibrated").loss(torch.rand(0, 3, 32, 32))
    assert terms["loss"].shape == ()
