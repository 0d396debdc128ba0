"""Looks into trained models show what the models do."""

import inspect
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import drawing
from matplotlib.axes import Axes
from torch import Tensor

from vqlib import VQVAE, Run, VectorQuantizer, explore, load_run, ssim
from vqlib.figures import Picture, code_colours
from vqlib.models import MODELS, kl_to_prior
from vqlib.runs import WEIGHTS

Runs = dict[str, Run]


@pytest.fixture
def x(small_runs: Runs) -> Tensor:
    """Return the originals of the runs' sheet, in [0, 1]."""
    return small_runs["vae"].reconstructions[0].float() / 255


def picture(axis: Axes) -> np.ndarray:
    return np.asarray(axis.images[0].get_array())


# --- source --------------------------------------------------------------------------------


@pytest.mark.parametrize("thing", [VectorQuantizer, VectorQuantizer.forward, kl_to_prior])
def test_the_source_shown_is_the_library_s_own(thing: object) -> None:
    shown = explore.show(thing).data
    assert not shown[0].isspace()
    given, source = shown.splitlines(), inspect.getsource(thing).splitlines()
    assert [line.strip() for line in given] == [line.strip() for line in source]
    compile(shown, "shown", "exec")


# --- the VAE -------------------------------------------------------------------------------


def test_a_traversal_moves_one_dimension_of_the_first_image(small_runs: Runs, x: Tensor) -> None:
    model = small_runs["vae"].model
    figure = explore.latent_traversals(model, x, dimensions=3, reach=2.0)
    with torch.no_grad():
        mean, log_variance = model.encode(x)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
        dimension = kl.mean(0).argmax().item()
        z = mean[0].clone()
        z[dimension] = -2.0
        leftmost = model.decode(z[None]).clamp(0, 1)[0].permute(1, 2, 0)
    assert len(figure.axes) == 3
    assert figure.axes[0].get_ylabel() == f"$z_{{{dimension}}}$"
    assert np.allclose(picture(figure.axes[0])[:, :32], leftmost, atol=1e-5)


# --- the codebook --------------------------------------------------------------------------


def test_a_painted_code_is_a_map_of_nothing_else(small_runs: Runs) -> None:
    model = small_runs["vqvae"].model
    painted = explore.painted_codes(model)
    assert painted.shape == (model.num_codes, 3, 32, 32)
    alone = model.decode_codes(torch.full((1, 8, 8), 7))
    assert torch.allclose(painted[7], alone[0], atol=1e-6)


@pytest.mark.parametrize("grid", [4, 16])
def test_codes_of_any_grid_are_painted_and_drawn(grid: int) -> None:
    model = VQVAE(16, 8, 1, 32, 8, grid=grid).eval()
    assert explore.painted_codes(model).shape == (32, 3, 32, 32)
    codes = torch.arange(grid**2).view(1, grid, grid) % 32
    colours = code_colours(codes, torch.rand(32, 3))[0]
    side = 32 // grid
    assert colours.shape == (3, 32, 32)
    assert torch.equal(colours[:, :side, :side], colours[:, :1, :1].expand(3, side, side))


def test_the_projection_is_the_principal_components(small_runs: Runs) -> None:
    model = small_runs["vqvae"].model
    figure = explore.codebook_projection(model)
    places = np.asarray(figure.axes[0].collections[0].get_offsets())
    codebook = model.quantizer.codebook.double().numpy()
    eigenvalues = np.linalg.eigvalsh(np.cov(codebook.T, bias=True))[::-1]
    assert np.allclose(places.var(0), eigenvalues[:2], rtol=1e-4)
    shares = eigenvalues / eigenvalues.sum()
    assert f"{shares[0]:.0%}" in figure.axes[0].get_xlabel()
    assert f"{shares[:2].sum():.0%}" in figure.alt


@pytest.mark.parametrize("sizes", [{"num_embeddings": 1}, {"embedding_dim": 1}])
def test_the_smallest_codebooks_are_drawn(sizes: dict[str, int]) -> None:
    model = VQVAE(**sizes)
    (drawn,) = explore.codebook_projection(model).axes[0].collections
    assert drawn.get_offsets().shape == (model.num_codes, 2)


def test_codes_are_counted_in_training_or_without_averages_in_the_images(
    small_runs: Runs, x: Tensor
) -> None:
    model = small_runs["vqvae"].model
    assert explore.code_counts(model, x) is model.quantizer.ema_counts
    learnt = VQVAE(16, 8, 1, 32, 8, decay=0.0).eval()
    counts = explore.code_counts(learnt, x)
    assert counts.tolist() == np.bincount(learnt.codes(x).numpy().ravel(), minlength=32).tolist()


def test_usage_is_drawn_most_frequent_first() -> None:
    bars = explore.code_usage(torch.tensor([1.0, 6.0, 3.0])).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx([0.6, 0.3, 0.1])


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])  # int64 with `decay = 0`
@torch.no_grad()
def test_a_swap_puts_in_codes_of_different_colours_that_occur(
    small_runs: Runs, x: Tensor, kind: torch.dtype
) -> None:
    model = small_runs["vqvae"].model
    codes, counts = model.codes(x)[0], torch.zeros(32, dtype=kind)
    counts[[3, 7, 20]] = 5
    figure = explore.code_swaps(model, codes, counts)
    strip = picture(figure.axes[1])
    shown = np.stack([strip[:, 34 * n : 34 * n + 32] for n in range(3)])
    for code in (3, 7, 20):
        changed = codes.clone()
        changed[3:5, 3:5] = code
        expected = model.decode_codes(changed[None])[0].permute(1, 2, 0).numpy()
        assert np.abs(shown - expected).max((1, 2, 3)).min() < 1e-5


def test_the_clearest_images_have_the_largest_spread_of_grey(x: Tensor) -> None:
    spread = x.mean(1).flatten(1).numpy().std(1)
    chosen = explore.clearest(x, 5).tolist()
    assert chosen == sorted(np.argsort(spread)[-5:].tolist())


def test_errors_have_one_scale(small_runs: Runs) -> None:
    figure = explore.compare(small_runs, image=2)
    maps = [a.images[0] for a in figure.axes if "absolute error" in a.get_title()]
    highest = max(np.asarray(one.get_array()).max() for one in maps)
    assert {one.get_clim() for one in maps} == {(0, highest)}
    assert any(axis.get_ylabel() == "error" for axis in figure.axes)


# --- both models ---------------------------------------------------------------------------


def test_a_comparison_shows_the_sheet_s_pictures_and_their_ssim(small_runs: Runs) -> None:
    figure = explore.compare(small_runs, image=2)
    by_title = {axis.get_title(): picture(axis) for axis in figure.axes if axis.images}
    for model, run in small_runs.items():
        original, again = (sheet[2:3].float() / 255 for sheet in run.reconstructions)
        score = f"SSIM {ssim(original, again).item():.2f}"
        title = MODELS[model].title
        assert np.allclose(by_title[f"{title}\n{score}"], again[0].permute(1, 2, 0))
        error = (again - original).abs()[0].mean(0)
        assert np.allclose(by_title[f"{title}\nabsolute error"], error)
        assert f"{title}, {score}" in figure.alt
        assert (f"{title}\ncodes" in by_title) == isinstance(run.model, VQVAE)


def test_a_run_without_weights_is_compared_without_its_codes(
    small_runs: Runs, tmp_path: Path
) -> None:
    run = load_run(shutil.copytree(small_runs["vqvae"].folder, tmp_path / "run"))
    (run.folder / WEIGHTS).unlink()
    titles = [axis.get_title() for axis in explore.compare({"vqvae": run}, image=0).axes]
    assert "VQ-VAE\nabsolute error" in titles
    assert "VQ-VAE\ncodes" not in titles


def test_the_explorer_s_slider_reaches_every_picture_of_the_sheet(small_runs: Runs) -> None:
    slider, _ = explore.explorer(small_runs).children
    assert (slider.min, slider.max) == (0, len(small_runs["vae"].reconstructions[0]) - 1)


# --- alt texts -----------------------------------------------------------------------------


@pytest.fixture
def drawn(small_runs: Runs, x: Tensor) -> dict[str, Picture]:
    """Return a figure of each function that draws."""
    return {
        "latent_traversals": explore.latent_traversals(small_runs["vae"].model, x, 3),
        "codebook_projection": explore.codebook_projection(small_runs["vqvae"].model),
        "code_usage": explore.code_usage(torch.tensor([1.0, 6.0, 3.0])),
        "code_swaps": explore.code_swaps(
            small_runs["vqvae"].model, small_runs["vqvae"].model.codes(x)[0], torch.ones(32), 3
        ),
        "compare": explore.compare(small_runs, 2),
    }


ALT: dict[str, tuple[str, ...]] = {  # numbers and names that the alt text must hold
    "latent_traversals": ("3 rows of 11", "from -3 to 3", "From the top: z"),
    "codebook_projection": ("32 codes", "% of the variance"),
    "code_usage": ("3 codes", "60.00%", "10.000%", "33.33%"),
    "code_swaps": ("3 rows of 3", "code, image, change", "of the range"),
    "compare": ("image 2", "VAE, SSIM", "VQ-VAE, SSIM"),
}


def test_every_function_that_draws_is_tested(drawn: dict[str, Picture]) -> None:
    assert sorted(drawn) == sorted(ALT) == drawing(explore)


@pytest.mark.parametrize("name", ALT)
def test_the_alt_text_is_a_sentence_with_the_numbers_shown(
    drawn: dict[str, Picture], name: str
) -> None:
    alt = drawn[name].alt
    assert alt.endswith(".")
    assert [fact for fact in ALT[name] if fact not in alt] == []
