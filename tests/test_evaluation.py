"""The figures of a model over test images, against NumPy, SciPy and scikit-image."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import SMALL, refusal
from scipy.stats import entropy
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from vqlib import VQVAE, Images, Run, evaluate, load_run
from vqlib.evaluation import METRICS, Metric
from vqlib.models import BATCH, MODELS, ImageModel
from vqlib.similarity import PROTOCOLS

VARIANCE = 0.07


@pytest.fixture(scope="module")
def images(photos: Images) -> Tensor:
    """Return more than one batch of photos, sorted by brightness: the last batch is the darkest."""
    some = photos.test[: BATCH + 120]
    return some[some.float().mean((1, 2, 3)).argsort(descending=True)]


@pytest.fixture(scope="module")
def models(images: Tensor) -> dict[str, ImageModel]:
    """Return a model of each kind; many of the VQ-VAE's codes are in use."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = {name: model(**SMALL.get(name, {})).eval() for name, model in MODELS.items()}
        vqvae = VQVAE(**{**SMALL["vqvae"], "num_embeddings": 128}).eval()
    with torch.no_grad():  # codes lie among the encoder's outputs for some of the images
        z_e = vqvae.encode(images[::19])
        vqvae.quantizer.codebook.copy_(z_e.permute(0, 2, 3, 1).reshape(-1, z_e.shape[1])[::10])
    return {**made, "vqvae": vqvae}


class Answering(ImageModel):
    """A model whose reconstructions are what it is told."""

    def __init__(self, answer: Callable[[Tensor], Tensor]):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.answer = answer

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.answer(x)


# --- figures -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_error_psnr_and_ssim_are_those_of_other_libraries(
    models: dict[str, ImageModel], images: Tensor, model: str
) -> None:
    x, y = (images / 255).double().numpy(), models[model].reconstruct(images).double().numpy()
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssims = [
        structural_similarity(a, b, channel_axis=0, data_range=1, **wang)
        for a, b in zip(x, y, strict=True)
    ]
    figures = evaluate(models[model], images, VARIANCE)
    assert figures["n_test"] == BATCH + 120
    assert figures["test_mse"] == pytest.approx(np.mean((x - y) ** 2), rel=1e-6)
    assert figures["test_nmse"] == pytest.approx(np.mean((x - y) ** 2) / VARIANCE, rel=1e-6)
    psnr = peak_signal_noise_ratio(x, y, data_range=1)
    assert figures["test_psnr"] == pytest.approx(psnr, abs=1e-5)
    assert figures["test_ssim"] == pytest.approx(np.mean(ssims), abs=1e-6)
    assert figures["ssim_by_protocol"]["Wang et al."] == figures["test_ssim"]


def test_perplexity_is_that_of_all_codes_together(
    models: dict[str, ImageModel], images: Tensor
) -> None:
    # not a mean over batches, which is lower
    codes = models["vqvae"].codes(images).numpy()
    counts = np.bincount(codes.ravel(), minlength=128)
    expected = np.exp(entropy(counts / counts.sum()))
    parts = [codes[:BATCH], codes[BATCH:]]
    of_batches = np.mean([np.exp(entropy(np.bincount(part.ravel()))) for part in parts])
    assert abs(expected - of_batches) > 1e-3 * expected

    figures = evaluate(models["vqvae"], images, VARIANCE)
    assert figures["perplexity"] == pytest.approx(expected, rel=1e-9)
    assert figures["codes_used"] == np.count_nonzero(counts)
    assert 20 < figures["codes_used"] <= 128


def test_a_model_without_codes_has_no_perplexity(
    models: dict[str, ImageModel], images: Tensor
) -> None:
    figures = evaluate(models["vae"], images[:10], VARIANCE)
    assert figures["perplexity"] is None
    assert figures["codes_used"] is None


def test_perfect_reconstructions_have_no_error_and_an_ssim_of_one(images: Tensor) -> None:
    figures = evaluate(Answering(lambda x: x), images[:10], VARIANCE)
    assert figures["test_mse"] == figures["test_nmse"] == 0
    assert figures["test_psnr"] == math.inf
    assert figures["test_ssim"] == pytest.approx(1)


def test_figures_are_the_metrics_in_their_order_and_ssim_by_every_protocol(images: Tensor) -> None:
    figures = evaluate(Answering(lambda x: x), images[:10], VARIANCE)
    assert list(figures) == ["n_test", *METRICS, "ssim_by_protocol"]
    assert list(figures["ssim_by_protocol"]) == list(PROTOCOLS)


def test_a_further_metric_is_one_entry_in_the_table(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    mae = Metric("MAE", 3, lambda made: (made.x - made.y).abs().mean().item())
    monkeypatch.setitem(METRICS, "test_mae", mae)
    figures = evaluate(Answering(lambda x: (x - 0.25).clamp(0, 1)), images[:10], VARIANCE)
    x = images[:10].double().numpy() / 255
    expected = np.abs(x - np.clip(x - 0.25, 0, 1)).mean()
    assert figures["test_mae"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_figures_of_a_run_are_those_of_the_stored_weights(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    run = load_run(small_runs[model].folder)
    assert evaluate(run.model, few_photos.test, few_photos.variance) == run.evaluation


# --- what gives no figure ------------------------------------------------------------------

GREY = torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("images", "got"),
    [
        (GREY.float(), "float32 (2, 3, 32, 32)"),
        (GREY[:0], "uint8 (0, 3, 32, 32)"),
        (GREY[..., :28], "uint8 (2, 3, 32, 28)"),
    ],
)
def test_images_that_are_none_are_not_evaluated(images: Tensor, got: str) -> None:
    model, facts = Answering(lambda x: x), ("test images", "uint8 (N, 3, 32, 32)", f"got {got}")
    refusal(lambda: evaluate(model, images, VARIANCE), *facts)


@pytest.mark.faults
@pytest.mark.parametrize("variance", [0.0, math.nan, math.inf, -0.06])
def test_a_variance_that_is_none_is_refused(variance: float) -> None:
    model = Answering(lambda x: x)
    refusal(lambda: evaluate(model, GREY, variance), "data_variance", f"got {variance}")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("answer", "facts"),
    [
        (lambda x: x * torch.nan, ["y has values", "nan", "[0, 1]"]),
        (lambda x: x - 2, ["y has values", "[0, 1]"]),
        (lambda x: 255 * x, ["y has values", "[0, 1]"]),
        (lambda x: x[:1], ["(2, 3, 32, 32) and (1, 3, 32, 32)"]),
        (lambda x: x[:, :1], ["(2, 3, 32, 32) and (2, 1, 32, 32)"]),
    ],
)
def test_reconstructions_that_are_no_images_are_not_evaluated(
    answer: Callable[[Tensor], Tensor], facts: list[str]
) -> None:
    refusal(lambda: evaluate(Answering(answer), GREY, VARIANCE), *facts)
