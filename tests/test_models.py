"""The models: sizes as published, losses against torch.distributions and NumPy."""

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL, MakeConfig
from scipy.stats import entropy
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from vqlib import VAE, VQVAE, TrainConfig
from vqlib.models import (
    BATCH,
    MODELS,
    GaussianModel,
    ImageModel,
    SpatialVAE,
    build_model,
    kl_to_prior,
    reconstruct_all,
    settings,
)
from vqlib.networks import ResidualStack

T = TypeVar("T")


def seeded(make: Callable[..., T], **options: Any) -> T:
    """Return what a function makes from a random state that is always the same."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make(**options)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> ImageModel:
    """Return a fresh model of each kind."""
    return seeded(MODELS[request.param])


@pytest.fixture
def spread_vqvae(random_images: Tensor) -> VQVAE:
    """Return a VQ-VAE whose codes lie among its encoder's outputs, so that many are in use."""
    model = seeded(VQVAE, num_embeddings=64).eval()
    with torch.no_grad():
        vectors = model.encode(random_images).permute(0, 2, 3, 1).reshape(-1, 64)
        model.quantizer.codebook.copy_(vectors[::6])
    assert model.codes(random_images).unique().numel() > 32
    return model


# --- Gaussian models -----------------------------------------------------------------------


GAUSSIAN = [name for name, kind in MODELS.items() if issubclass(kind, GaussianModel)]


@pytest.mark.parametrize("name", GAUSSIAN)
@pytest.mark.parametrize("beta", [1.0, 0.2, 0.0])
def test_the_loss_is_the_negative_evidence_lower_bound(
    random_images: Tensor, name: str, beta: float
) -> None:
    # decoder variance 1/2; the constant of its log-likelihood, log(π)/2 a pixel, is left out
    model = seeded(MODELS[name], beta=beta)
    with torch.no_grad():
        model.encoder[-1].weight.mul_(20)  # a KL that is not next to nothing
    x = random_images
    with torch.no_grad():
        mean, log_variance = model.encode(x)
        torch.manual_seed(1)
        posterior = Normal(mean.double(), (log_variance.double() / 2).exp())
        z = posterior.mean + posterior.stddev * torch.randn_like(mean)
        likelihood = Normal(model.decode(z.float()).double(), math.sqrt(0.5))
        nll = -likelihood.log_prob(x.double()).sum((1, 2, 3)).mean()
        reconstruction = nll.item() - 3 * 32 * 32 * math.log(math.pi) / 2
        kl = kl_divergence(posterior, Normal(0.0, 1.0)).flatten(1).sum(1).mean().item()
    assert kl > 1

    torch.manual_seed(1)
    terms = {name: value.item() for name, value in model.loss(x).items()}

    assert terms["reconstruction"] == pytest.approx(reconstruction, rel=1e-5)
    assert terms["kl"] == pytest.approx(kl, rel=1e-5)
    assert terms["loss"] == pytest.approx(reconstruction + beta * kl, rel=1e-5)


def test_kl_to_the_prior_is_that_of_torch() -> None:
    mean, log_variance = torch.linspace(-3, 3, 7), torch.linspace(-4, 2, 7)
    posterior = Normal(mean.double(), (log_variance.double() / 2).exp())
    expected = kl_divergence(posterior, Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_prior(mean, log_variance).double(), expected)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_a_calibrated_variance_has_the_gradient_of_the_bound(
    random_images: Tensor, name: str
) -> None:
    # the bound with the variance of highest likelihood, times twice that variance
    model = seeded(MODELS[name], **SMALL.get(name, {}), observation="calibrated")

    def gradient(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, model.encoder[0].weight)[0]

    torch.manual_seed(0)
    ours = gradient(model.loss(random_images)["loss"])
    torch.manual_seed(0)
    terms = model.loss(random_images)
    pixels = random_images[0].numel()
    variance = terms["reconstruction"] / pixels
    bound = pixels / 2 * (2 * math.pi * variance).log() + pixels / 2 + terms["kl"]
    torch.testing.assert_close(ours, 2 * variance.detach() * gradient(bound), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_a_calibrated_variance_needs_no_image_of_its_own(name: str) -> None:
    # a process may have none of a batch's images
    model = seeded(MODELS[name], **SMALL.get(name, {}), observation="calibrated")
    assert model.loss(torch.rand(0, 3, 32, 32))["loss"].shape == ()


@pytest.mark.parametrize("name", GAUSSIAN)
def test_the_bits_of_a_gaussian_latent_are_its_kl_term_in_bits(name: str) -> None:
    assert MODELS[name]().bits({"kl": 20.0, "loss": 1.0}) == pytest.approx(20 / math.log(2))


def test_vae_draws_new_noise_for_every_image_and_call(random_images: Tensor) -> None:
    model = seeded(VAE)
    drawn = []
    model.decoder.register_forward_pre_hook(lambda _module, inputs: drawn.append(inputs[0]))
    model.loss(random_images[:1].expand(6, -1, -1, -1))
    model.loss(random_images[:1].expand(6, -1, -1, -1))
    latents = torch.cat(drawn)
    assert latents.unique(dim=0).shape == (12, 128)


def test_vae_has_four_convolutions_down_and_four_up() -> None:
    model = seeded(VAE)
    down = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.stride for m in down] == [(2, 2)] * 4
    assert [m.stride for m in up] == [(2, 2)] * 4


def test_vae_sizes(random_images: Tensor) -> None:
    model = seeded(VAE)
    mean, log_variance = model.encode(random_images)
    assert mean.shape == log_variance.shape == (6, 128)
    assert model.decode(mean).shape == (6, 3, 32, 32)
    assert model.codes(random_images) is None
    assert seeded(VAE, latent_dim=7).encode(random_images)[0].shape == (6, 7)


def test_vae_reconstructs_the_posterior_mean(random_images: Tensor) -> None:
    model = seeded(VAE)
    expected = model.decode(model.encode(random_images)[0]).clamp(0, 1)
    assert torch.equal(model.reconstruct(random_images), expected)


# --- spatial VAE ---------------------------------------------------------------------------


def test_each_place_of_the_spatial_latent_is_gaussian(random_images: Tensor) -> None:
    for grid in (4, 8, 16):
        model = seeded(SpatialVAE, **{**SMALL["svae"], "latent_channels": 3}, grid=grid)
        mean, log_variance = model.encode(random_images)
        assert mean.shape == log_variance.shape == (6, 3, grid, grid)


def test_the_spatial_vae_differs_from_the_vqvae_in_the_latent_only() -> None:
    # their networks have the same layers, but for those that touch the latent
    spatial, discrete = SpatialVAE(latent_channels=32), VQVAE(embedding_dim=64)
    for part in ("encoder", "decoder"):
        shapes = [
            {name: value.shape for name, value in getattr(model, part).state_dict().items()}
            for model in (spatial, discrete)
        ]
        differing = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
        assert differing <= {"0.weight"}  # 64 channels out, 32 channels in


# --- VQ-VAE --------------------------------------------------------------------------------


def test_vqvae_sizes_are_those_of_the_paper(random_images: Tensor) -> None:
    model = seeded(VQVAE)
    z_e, codes = model.encode(random_images), model.codes(random_images)
    assert z_e.shape == (6, 64, 8, 8)
    assert codes.shape == (6, 8, 8)
    assert codes.dtype == torch.int64
    assert model.quantizer.codebook.shape == (512, 64)
    assert model.decode(z_e).shape == (6, 3, 32, 32)


def test_the_bits_of_a_vqvae_are_those_of_its_codes() -> None:
    assert VQVAE().bits({}) == 64 * 9
    assert VQVAE(num_embeddings=100).bits({}) == pytest.approx(64 * math.log2(100))


@pytest.mark.parametrize("grid", [4, 8, 16])
def test_a_vqvae_has_a_code_for_each_place_of_its_grid(random_images: Tensor, grid: int) -> None:
    model = seeded(VQVAE, **SMALL["vqvae"], grid=grid)
    codes = model.codes(random_images)
    assert codes.shape == (6, grid, grid)
    assert model.decode_codes(codes).shape == random_images.shape
    assert model.bits({}) == grid**2 * 5


def test_vqvae_has_the_paper_s_layers() -> None:
    # two stride-2 convolutions of 4×4, two residual blocks of 3×3 and 1×1; the mirror image
    model = seeded(VQVAE)
    for half, kind in ((model.encoder, nn.Conv2d), (model.decoder, nn.ConvTranspose2d)):
        strided = [m for m in half.modules() if isinstance(m, kind) and m.stride == (2, 2)]
        assert [m.kernel_size for m in strided] == [(4, 4)] * 2
        blocks = [
            block for m in half.modules() if isinstance(m, ResidualStack) for block in m.blocks
        ]
        convolutions = [[m for m in b if isinstance(m, nn.Conv2d)] for b in blocks]
        assert [[m.kernel_size for m in pair] for pair in convolutions] == [[(3, 3), (1, 1)]] * 2
        assert [[m.out_channels for m in pair] for pair in convolutions] == [[32, 128]] * 2


@pytest.mark.parametrize("decay", [0.99, 0.0])
def test_vqvae_loss_is_equation_3(random_images: Tensor, decay: float) -> None:
    options = {"decay": decay, "commitment_cost": 0.7, "data_variance": 0.08}
    model = seeded(VQVAE, **options).eval()
    with torch.no_grad():
        z_e = model.encode(random_images)
        z_q = model.quantizer.lookup(model.codes(random_images))
        x_hat = model.decode(z_q).double().numpy()
    distance = np.mean((z_e.double().numpy() - z_q.detach().double().numpy()) ** 2)
    mse = np.mean((random_images.double().numpy() - x_hat) ** 2)

    terms = {name: value.item() for name, value in model.loss(random_images).items()}

    assert terms["reconstruction"] == pytest.approx(mse / 0.08, rel=1e-5)
    assert terms["commitment"] == pytest.approx(distance, rel=1e-5)
    expected = mse / 0.08 + 0.7 * distance
    if decay == 0:
        assert terms["codebook"] == pytest.approx(distance, rel=1e-5)
        expected += distance
    assert terms["loss"] == pytest.approx(expected, rel=1e-5)
    assert set(terms) == {"loss", "reconstruction", "commitment"} | (
        {"codebook"} if decay == 0 else set()
    )


def test_reconstruction_error_reaches_the_encoder_through_the_quantizer(
    random_images: Tensor,
) -> None:
    # without commitment the encoder gets the decoder's gradient as if it were the code
    model = seeded(VQVAE, commitment_cost=0.0).eval()
    model.loss(random_images)["loss"].backward()
    received = [p.grad.clone() for p in model.encoder.parameters()]
    assert all(gradient.any() for gradient in received)

    model.zero_grad()
    z_q = model.quantizer.lookup(model.codes(random_images)).requires_grad_()
    F.mse_loss(model.decode(z_q), random_images).backward()
    model.encode(random_images).backward(z_q.grad)
    for gradient, parameter in zip(received, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-8)


def test_reconstruction_is_decoded_from_codes_alone(
    spread_vqvae: VQVAE, random_images: Tensor
) -> None:
    codes = spread_vqvae.codes(random_images)
    assert torch.equal(spread_vqvae.decode_codes(codes), spread_vqvae.reconstruct(random_images))


def test_codes_are_float32_decisions_under_autocast(
    spread_vqvae: VQVAE, random_images: Tensor
) -> None:
    # whatever the encoder computes in, its output is assigned in float32
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        z_e = spread_vqvae.encode(random_images)
        codes = spread_vqvae.codes(random_images)
        reconstruction = spread_vqvae.reconstruct(random_images)
        from_float32_codes = spread_vqvae.decode_codes(spread_vqvae.quantizer(z_e).codes)
    assert torch.equal(codes, spread_vqvae.quantizer.nearest(z_e))
    assert torch.equal(reconstruction, from_float32_codes)


# --- every model ---------------------------------------------------------------------------


def test_reconstruct_is_deterministic_and_stays_in_range(
    model: ImageModel, random_images: Tensor
) -> None:
    with torch.no_grad():
        model.decoder[-1].weight.mul_(1000)  # far outside [0, 1] before it is clipped
    first = model.reconstruct(random_images)
    assert torch.equal(first, model.reconstruct(random_images))
    assert first.shape == random_images.shape
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert first.min() == 0
    assert first.max() == 1


def test_reconstruct_is_float32_under_autocast(model: ImageModel, random_images: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert model.reconstruct(random_images).dtype == torch.float32


def test_reconstruct_changes_nothing_in_training_mode(
    model: ImageModel, random_images: Tensor
) -> None:
    before = copy.deepcopy(model.state_dict())
    expected = model.eval().reconstruct(random_images)
    assert torch.equal(model.train().reconstruct(random_images), expected)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_an_image_s_reconstruction_does_not_depend_on_its_batch(
    model: ImageModel, random_images: Tensor
) -> None:
    together, alone = model.reconstruct(random_images), model.reconstruct(random_images[2:3])
    torch.testing.assert_close(together[2:3], alone, rtol=0, atol=1e-5)


def test_loss_gives_every_parameter_a_gradient(model: ImageModel, random_images: Tensor) -> None:
    model.loss(random_images)["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_loss_does_not_alter_the_images(model: ImageModel, random_images: Tensor) -> None:
    kept = random_images.clone()
    model.loss(random_images)
    model.reconstruct(random_images)
    assert torch.equal(random_images, kept)


def bytes_and_floats() -> tuple[Tensor, Tensor]:
    """Return the same six images as uint8 and as float32 in [0, 1]."""
    levels = torch.randint(
        0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    return levels, levels.float() / 255


def test_images_may_be_uint8_or_float(model: ImageModel) -> None:
    as_bytes, as_floats = bytes_and_floats()
    assert torch.equal(model.reconstruct(as_bytes), model.reconstruct(as_floats))
    losses = [seeded(copy.deepcopy(model).loss, x=x) for x in (as_bytes, as_floats)]
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])
    if model.num_codes:
        assert torch.equal(model.codes(as_bytes), model.codes(as_floats))


METHODS = [(name, method) for name in MODELS for method in ("loss", "reconstruct")]


@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 28, 28), (2, 32, 32, 3), (3, 32, 32)])
@pytest.mark.parametrize(("name", "method"), [*METHODS, ("vae", "encode"), ("vqvae", "codes")])
def test_a_wrong_shape_is_refused_with_the_shape_expected(
    name: str, method: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, 32, 32\)") as refused:
        getattr(seeded(MODELS[name]), method)(torch.zeros(shape))
    assert str(shape) in str(refused.value)


# --- other sizes ---------------------------------------------------------------------------

SIZES = (16, 48, 64)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [name for name in MODELS if "image_size" in settings(name)])
def test_a_model_reconstructs_images_of_its_own_size_only(name: str, size: int) -> None:
    model = seeded(MODELS[name], image_size=size)
    x = torch.rand(2, 3, size, size)
    assert model.reconstruct(x).shape == x.shape
    loss = model.loss(x)["loss"]
    assert loss.isfinite()
    with pytest.raises(ValueError, match=rf"\(B, 3, {size}, {size}\)"):
        model.loss(torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [4, 8, 16])
def test_a_larger_image_has_as_many_more_codes(grid: int, size: int) -> None:
    model = VQVAE(grid=grid, num_embeddings=256, image_size=size)
    side = grid * size // 32
    assert model.codes(torch.rand(2, 3, size, size)).shape == (2, side, side)
    assert model.bits({}) == side**2 * 8
    assert model.decode_codes(torch.zeros(2, side, side, dtype=torch.int64)).shape[-1] == size


@pytest.mark.parametrize("size", SIZES)
def test_a_vae_of_any_size_has_one_latent_of_its_length(size: int) -> None:
    mean, _ = VAE(latent_dim=20, image_size=size).encode(torch.rand(2, 3, size, size))
    assert mean.shape == (2, 20)


# --- what a model is built from ------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_settings_of_a_model_are_what_its_constructor_takes(name: str) -> None:
    assert {*settings(name), "data_variance"} == set(inspect.signature(MODELS[name]).parameters)


def test_a_third_model_has_the_settings_of_its_constructor(autoencoder: str) -> None:
    assert settings(autoencoder) == ("latent_dim",)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_built_with_the_values_of_its_config(
    name: str, small_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setitem(MODELS, name, _taking(MODELS[name], given))
    config = small_config(name)
    build_model(config, 0.07)
    expected = {setting: getattr(config, setting) for setting in settings(name)}
    assert given == {**expected, "data_variance": 0.07}


def _taking(kind: type[ImageModel], given: dict[str, Any]) -> Any:
    """Return a constructor with the signature of a model's, which stores what it is given."""

    def make(**values: Any) -> ImageModel:
        given.update(values)
        return kind(**values)

    make.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
    return make


@pytest.mark.parametrize("name", MODELS)
def test_building_a_model_leaves_the_random_state_as_it_was(name: str) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = build_model(TrainConfig(model=name), 0.07)
    assert torch.equal(torch.get_rng_state(), before)
    second = build_model(TrainConfig(model=name), 0.07)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


# --- figures over test images --------------------------------------------------------------


class Told(ImageModel):
    """A model whose reconstructions are darker by 0.25, or 0.25 if it is told codes."""

    def __init__(self, codes: Tensor | None, num_codes: int = 0):
        super().__init__()
        self.data_variance = 0.0625
        self.weight = nn.Parameter(torch.ones(1))
        self.told, self.count, self.seen = codes, num_codes, 0

    @property
    def num_codes(self) -> int:
        return self.count

    def codes(self, x: Tensor) -> Tensor | None:
        if self.told is None:
            return None
        self.seen += len(x)
        return self.told[self.seen - len(x) : self.seen]

    def reconstruct(self, x: Tensor) -> Tensor:
        return x - 0.25

    def decode_codes(self, codes: Tensor) -> Tensor:
        return torch.full((len(codes), 3, 32, 32), 0.25)


GREY = torch.full((BATCH + 50, 3, 32, 32), 51, dtype=torch.uint8)  # 0.2


def test_test_figures_without_codes_are_the_error_alone() -> None:
    figures = Told(None).test_figures(GREY)
    assert figures.pop("test_nmse") == pytest.approx(1.0)  # 0.25² / 0.0625
    assert figures == {"perplexity": None, "codes_used": None, "collapsed": None}


def test_test_figures_count_the_codes_of_all_images() -> None:
    codes = torch.zeros(len(GREY), 8, 8, dtype=torch.int64)
    codes[:100], codes[-30:] = 1, 3  # 100 : 170 : 30 images, in two batches
    figures = Told(codes, num_codes=5).test_figures(GREY)
    assert figures["test_nmse"] == pytest.approx(0.05**2 / 0.0625, rel=1e-5)
    expected = np.exp(entropy(np.array([100, 170, 30]) / 300))
    assert figures["perplexity"] == pytest.approx(expected, rel=1e-9)
    assert figures["codes_used"] == 3
    assert figures["collapsed"] is False


def test_test_figures_tell_a_collapse() -> None:
    codes = torch.zeros(len(GREY), 8, 8, dtype=torch.int64)
    figures = Told(codes, num_codes=5).test_figures(GREY)
    assert figures["perplexity"] == pytest.approx(1)
    assert figures["collapsed"] is True


@pytest.mark.parametrize("name", MODELS)
def test_test_figures_are_those_of_the_reconstructions(name: str) -> None:
    as_bytes, as_floats = bytes_and_floats()
    model = seeded(MODELS[name], data_variance=0.07)
    figures = model.test_figures(as_bytes)
    y = model.reconstruct(as_floats)
    expected = np.mean((as_floats.double().numpy() - y.double().numpy()) ** 2) / 0.07
    assert figures["test_nmse"] == pytest.approx(expected, rel=1e-6)
    codes = model.codes(as_floats)
    assert figures["codes_used"] == (None if codes is None else codes.unique().numel())


def test_all_images_are_reconstructed_in_batches_and_in_evaluation_mode() -> None:
    as_bytes, as_floats = bytes_and_floats()
    images = as_bytes.repeat(BATCH // 6 + 1, 1, 1, 1)
    model = seeded(VQVAE).train()
    made = list(reconstruct_all(model, images))
    assert [len(x) for x, _, _ in made] == [BATCH, len(images) - BATCH]
    assert not model.training
    x, y, codes = made[0]
    assert torch.equal(x[:6], as_floats)
    torch.testing.assert_close(y[:6], model.reconstruct(as_floats), rtol=0, atol=1e-5)
    assert codes is not None
    assert codes.shape == (BATCH, 8, 8)
