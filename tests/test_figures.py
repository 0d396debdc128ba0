"""Figures show the numbers that they were given."""

import numpy as np
import pandas as pd
import pytest
import torch

from vqlib import figures
from vqlib.models import MODELS


@pytest.fixture
def summary():
    rows = [
        *(("vae", 16, 0, 0.40), ("vae", 64, 0, 0.38)),
        *(("vqvae", 16, 0, 0.84), ("vqvae", 16, 1, 0.86), ("vqvae", 64, 0, 0.83)),
    ]
    return pd.DataFrame(rows, columns=["model", "batch_size", "seed", "test_ssim"])


@pytest.fixture
def histories():
    epochs = np.arange(1, 4)
    return {
        size: pd.DataFrame(
            {
                "epoch": epochs,
                "steps": epochs * 1000 // size,
                "loss": 1 / epochs / size,
                "reconstruction": 0.5 / epochs / size,
                "commitment": 0.2 / epochs,
                "test_nmse": 0.6 / epochs / size,
                "perplexity": epochs * size,
                "codes_used": 100 - epochs,
            }
        )
        for size in (64, 16)
    }


def lines(figure, panel=0):
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[panel].lines}


def test_a_metric_is_drawn_as_mean_over_seeds_at_each_batch_size(summary):
    drawn = lines(figures.metric_by_batch_size(summary))
    assert np.allclose(drawn["VQ-VAE"], [(16, 0.85), (64, 0.83)])
    assert np.allclose(drawn["VAE"], [(16, 0.40), (64, 0.38)])


def test_every_seed_is_a_point(summary):
    closer = figures.metric_by_batch_size(summary).axes[1:]
    points = np.concatenate([axis.lines[1].get_xydata() for axis in closer])
    assert sorted(map(tuple, points)) == sorted(
        zip(summary.batch_size, summary.test_ssim, strict=True)
    )


def test_claims_are_drawn_at_their_values(summary):
    axis = figures.metric_by_batch_size(summary, claims={"vae": 0.78, "vqvae": 0.96}).axes[0]
    dotted = {line.get_ydata()[0] for line in axis.lines if line.get_ls() == ":"}
    assert dotted == {0.78, 0.96}


@pytest.mark.parametrize("x", ["epoch", "steps"])
def test_loss_curves_are_the_histories(histories, x):
    figure = figures.loss_curves(histories, x=x)
    for panel, term in enumerate(("loss", "reconstruction")):
        drawn = lines(figure, panel)
        for size, history in histories.items():
            assert np.array_equal(drawn[str(size)], history[[x, term]])


def test_a_band_spans_the_losses_of_all_seeds(histories):
    seeds = {size: [history, history * 2] for size, history in histories.items()}
    figure = figures.loss_curves(histories, ("loss",), seeds=seeds)
    for band, (_, history) in zip(
        figure.axes[0].collections, sorted(histories.items()), strict=True
    ):
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == history["loss"].min()
        assert heights.max() == 2 * history["loss"].max()


def test_codebook_curves_are_perplexity_and_the_codes_that_are_not_used(histories):
    figure = figures.codebook_curves(histories, num_embeddings=100)
    values = [
        {name: [y for _, y in xy] for name, xy in lines(figure, panel).items()} for panel in (0, 1)
    ]
    assert values == [
        {"16": [16, 32, 48], "64": [64, 128, 192]},
        {"16": [1, 2, 3], "64": [1, 2, 3]},
    ]


def test_train_against_test_has_a_panel_a_batch_size(histories):
    figure = figures.train_against_test(histories)
    for panel, size in enumerate((16, 64)):
        drawn, history = lines(figure, panel), histories[size]
        assert np.array_equal(drawn["train"], history[["epoch", "reconstruction"]])
        assert np.array_equal(drawn["test"], history[["epoch", "test_nmse"]])
        assert figure.axes[panel].get_title() == f"batch size {size}"


def test_a_loss_axis_is_labelled_even_where_the_loss_hardly_moves(histories):
    for history in histories.values():
        history["loss"] = 0.42 + 0.01 * history["epoch"]
    figure = figures.loss_curves(histories, ("loss",))
    figure.canvas.draw()
    axis = figure.axes[0]
    low, high = axis.get_ylim()
    assert sum(low <= tick <= high for tick in axis.get_yticks()) >= 3


def test_models_differ_in_marker_as_well_as_colour():
    styles = [figures.model_style(model) for model in MODELS]
    for kind in ("marker", "color"):
        assert len({style[kind] for style in styles}) == len(MODELS)


def test_image_grid_shows_the_very_pixels():
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    figure = figures.image_grid({"first": images, "second": images.float() / 255})
    for axis in figure.axes:
        strip = axis.images[0].get_array()
        for i, image in enumerate(images):
            tile = strip[:, i * 34 : i * 34 + 32]
            assert np.array_equal(np.round(tile * 255), image.permute(1, 2, 0).numpy())
    assert [axis.get_ylabel() for axis in figure.axes] == ["first", "second"]


def test_code_maps_give_each_code_one_colour():
    codes = torch.arange(64).view(1, 8, 8) % 5
    figure = figures.code_maps(torch.zeros(1, 3, 32, 32), codes, num_embeddings=5)
    strip = np.asarray(figure.axes[1].images[0].get_array())
    colours = {}
    for row in range(8):
        for column in range(8):
            tile = strip[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(-1, 3)
            colours.setdefault(codes[0, row, column].item(), set()).update(map(tuple, tile))
    assert all(len(seen) == 1 for seen in colours.values())
    assert len(set.union(*colours.values())) == 5


def test_latent_information_is_the_kl_of_torch():
    mean, log_variance = torch.randn(50, 6), torch.randn(50, 6)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).mean(0).sort(descending=True)
    bars = figures.latent_information(mean, log_variance).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx(expected.values.tolist(), rel=1e-5)


def test_saved_figures_are_png_and_pdf(tmp_path, summary):
    figures.save_figure(figures.metric_by_batch_size(summary), tmp_path / "new", "figure")
    assert (tmp_path / "new" / "figure.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "new" / "figure.pdf").read_bytes()[:4] == b"%PDF"


def test_an_empty_folder_saves_nothing(tmp_path, monkeypatch, summary):
    monkeypatch.chdir(tmp_path)
    figures.save_figure(figures.metric_by_batch_size(summary), "", "figure")
    assert list(tmp_path.iterdir()) == []
