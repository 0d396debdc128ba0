"""Figures show the numbers that they were given, and say them in their alt text."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import drawing, refusal
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from IPython.utils.capture import capture_output
from pypdf import PdfReader
from torch import Tensor
from traitlets.config import Config

from vqlib import curves, figures
from vqlib.figures import Picture
from vqlib.models import MODELS

Histories = dict[int, pd.DataFrame]


@pytest.fixture
def summary() -> pd.DataFrame:
    """Return the summary of runs at two batch sizes; one of them has two seeds."""
    rows = [
        *(("vae", 16, 0, 0.40), ("vae", 64, 0, 0.38)),
        *(("vqvae", 16, 0, 0.84), ("vqvae", 16, 1, 0.86), ("vqvae", 64, 0, 0.83)),
    ]
    return pd.DataFrame(rows, columns=["model", "batch_size", "seed", "test_ssim"])


@pytest.fixture
def histories() -> Histories:
    """Return histories of three epochs at two batch sizes, the larger one first."""
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


@pytest.fixture
def posterior() -> tuple[Tensor, Tensor]:
    """Return mean and log-variance whose dimensions have 0, 2 and 0.5 nats of KL."""
    return torch.tensor([0.0, 2.0, 1.0]).expand(4, 3), torch.zeros(4, 3)


def lines(figure: Picture, panel: int = 0) -> dict[str, list[list[float]]]:
    return {line.get_label(): line.get_xydata().tolist() for line in figure.axes[panel].lines}


# --- in notebooks --------------------------------------------------------------------------


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """Return the shell that `get_ipython` finds, for as long as the test lasts."""
    yield InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    ("form", "mimetype"),
    [("png", "image/png"), ("retina", "image/png"), ("svg", "image/svg+xml")],
)
def test_a_notebook_stores_the_picture_once_and_with_its_alt_text(
    shell: InteractiveShell, form: str, mimetype: str
) -> None:
    select_figure_formats(shell, {form})
    figure = figures.image_grid({"zeros": torch.zeros(2, 3, 32, 32)})
    with capture_output() as captured:
        shell.display_formatter.format(figure)
    (output,) = captured.outputs
    assert set(output.data) == {mimetype, "text/plain"}
    assert output.metadata[mimetype]["alt"] == figure.alt


def test_a_retina_picture_keeps_its_size_next_to_its_alt_text(shell: InteractiveShell) -> None:
    select_figure_formats(shell, {"retina"})
    figure = figures.image_grid({"zeros": torch.zeros(2, 3, 32, 32)})
    with capture_output() as captured:
        shell.display_formatter.format(figure)
    assert {"width", "height", "alt"} == set(captured.outputs[0].metadata["image/png"])


@pytest.fixture
def drawn(
    summary: pd.DataFrame,
    histories: Histories,
    posterior: tuple[Tensor, Tensor],
) -> dict[str, Picture]:
    """Return a figure of each function that draws numbers."""
    images = torch.zeros(2, 3, 32, 32)
    return {
        "image_grid": figures.image_grid({"first": images, "second": images}),
        "metric_by": figures.metric_by(summary),
        "loss_curves": figures.loss_curves(histories),
        "growing_losses": figures.growing_losses(histories[16], ["loss", "commitment"], 9),
        "codebook_curves": figures.codebook_curves(histories, 100),
        "train_against_test": figures.train_against_test(histories),
        "codebook_use_over_training": figures.codebook_use_over_training(histories[16], 100),
        "latent_information": figures.latent_information(*posterior),
        "code_maps": figures.code_maps(
            images, torch.zeros(2, 8, 8, dtype=torch.int64), torch.rand(5, 3)
        ),
    }


ALT: dict[str, tuple[str, ...]] = {  # numbers and names that the alt text must hold
    "image_grid": ("2 rows of 2", "first, second"),
    "metric_by": ("SSIM", "16 to 64", "VAE: 0.3800 to 0.4000", "0.8300 to 0.8500"),
    "loss_curves": ("epochs", "batch size 16, 0.0625 to 0.0208", "64, 0.00781 to 0.0026"),
    "growing_losses": ("3 of 9 epochs", "Total: 0.0625 to 0.0208", "Commitment: 0.2 to 0.0667"),
    "codebook_curves": ("48 to 192", "3 of 100 codes"),
    "train_against_test": ("Batch size 16 ends at 0.010", "0.012", "Batch size 64", "0.003"),
    "codebook_use_over_training": ("99 to 97 of 100", "16 to 48"),
    "latent_information": ("3 latent dimensions", "2.00 nats", "2 have more than 0.05"),
    "code_maps": ("2 rows of 2", "image, codes"),
}


def test_every_function_that_draws_is_tested(drawn: dict[str, Picture]) -> None:
    assert sorted(drawn) == sorted(ALT) == drawing(figures, curves)


@pytest.mark.parametrize("name", ALT)
def test_the_alt_text_is_a_sentence_with_the_numbers_shown(
    drawn: dict[str, Picture], name: str
) -> None:
    alt = drawn[name].alt
    assert alt[0].isupper() or alt[0].isdigit()
    assert alt.endswith(".")
    assert [fact for fact in ALT[name] if fact not in alt] == []


def test_the_alt_text_of_a_single_setting_names_one_value(summary: pd.DataFrame) -> None:
    alone = summary[summary.batch_size == summary.batch_size.max()]
    assert "at batch size 64, means" in figures.metric_by(alone).alt


def test_the_alt_text_of_one_row_names_it() -> None:
    alt = figures.image_grid({"only": torch.zeros(3, 3, 32, 32)}).alt
    assert "3 small images" in alt
    assert "only" in alt


# --- images --------------------------------------------------------------------------------


def test_an_image_grid_shows_the_very_pixels() -> None:
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    figure = figures.image_grid({"first": images, "second": images.float() / 255})
    for axis in figure.axes:
        strip = axis.images[0].get_array()
        for i, image in enumerate(images):
            tile = strip[:, i * 34 : i * 34 + 32]
            assert np.array_equal(np.round(tile * 255), image.permute(1, 2, 0).numpy())
    assert [axis.get_ylabel() for axis in figure.axes] == ["first", "second"]


# --- metrics and losses --------------------------------------------------------------------


def test_models_differ_in_marker_as_well_as_colour() -> None:
    styles = [figures.model_style(model) for model in MODELS]
    for kind in ("marker", "color"):
        assert len({style[kind] for style in styles}) == len(MODELS)


def test_a_metric_is_drawn_as_mean_over_seeds_at_each_batch_size(summary: pd.DataFrame) -> None:
    drawn = lines(figures.metric_by(summary))
    assert np.allclose(drawn["VQ-VAE"], [(16, 0.85), (64, 0.83)])
    assert np.allclose(drawn["VAE"], [(16, 0.40), (64, 0.38)])


def test_every_seed_is_a_point(summary: pd.DataFrame) -> None:
    closer = figures.metric_by(summary).axes[1:]
    points = np.concatenate([axis.lines[1].get_xydata() for axis in closer])
    expected = sorted(zip(summary.batch_size, summary.test_ssim, strict=True))
    assert sorted(map(tuple, points)) == expected


def test_claims_are_drawn_at_their_values(summary: pd.DataFrame) -> None:
    axis = figures.metric_by(summary, claims={"vae": 0.78, "vqvae": 0.96}).axes[0]
    dotted = {line.get_ydata()[0] for line in axis.lines if line.get_ls() == ":"}
    assert dotted == {0.78, 0.96}


def test_a_further_model_has_a_line_a_panel_and_a_place_in_the_alt_text(
    summary: pd.DataFrame, autoencoder: str
) -> None:
    third = summary[summary.model == "vae"].assign(model=autoencoder, test_ssim=[0.5, 0.6])
    figure = figures.metric_by(pd.concat([summary, third]))
    title = MODELS[autoencoder].title
    assert np.allclose(lines(figure)[title], [(16, 0.5), (64, 0.6)])
    assert len(figure.axes) == 1 + 3
    assert f"{title}: 0.5000 to 0.6000" in figure.alt
    colours = {line.get_color() for line in figure.axes[0].lines}
    assert len(colours) == 3


@pytest.fixture
def sweep() -> pd.DataFrame:
    """Return the summary of a sweep: codes of a VQ-VAE, beta of a spatial VAE, and one VAE."""
    rows = [
        *(("vqvae", 16, 8, math.nan, 0.70), ("vqvae", 64, 8, math.nan, 0.75)),
        *(("vqvae", 512, 8, math.nan, 0.80), ("vqvae", 512, 4, math.nan, 0.60)),
        *(("svae", math.nan, 8, 0.1, 0.72), ("svae", math.nan, 8, 0.2, 0.71)),
        ("vae", math.nan, math.nan, 1.0, 0.40),
    ]
    columns = ["model", "num_embeddings", "grid", "beta", "test_ssim"]
    return pd.DataFrame(rows, columns=columns).assign(batch_size=128, seed=0)


def test_runs_that_differ_in_another_setting_too_are_lines_of_their_own(
    sweep: pd.DataFrame,
) -> None:
    figure = figures.metric_by(sweep, "num_embeddings")
    drawn = lines(figure)
    assert drawn["VQ-VAE, grid 8"] == [[16, 0.70], [64, 0.75], [512, 0.80]]
    assert drawn["VQ-VAE, grid 4"] == [[512, 0.60]]
    assert figure.axes[0].get_xlabel() == "codebook size"
    assert all(fact in figure.alt for fact in ("codebook sizes 16 to 512", "0.6000 to 0.8000"))


def test_a_model_without_the_setting_is_a_level_line_if_it_has_one_configuration(
    sweep: pd.DataFrame,
) -> None:
    drawn = lines(figures.metric_by(sweep, "num_embeddings"))
    assert {y for _, y in drawn["VAE"]} == {0.40}
    assert not [label for label in drawn if label.startswith("Spatial VAE")]  # which differ


def test_several_settings_are_drawn_one_below_the_other(sweep: pd.DataFrame) -> None:
    figure = figures.metric_by(sweep, ["beta", "num_embeddings"])
    assert [axis.get_xlabel() for axis in figure.axes] == 3 * ["beta"] + 2 * ["codebook size"]
    assert figure.alt.index("betas 0.1 to 1") < figure.alt.index("codebook sizes 16 to 512")


@pytest.mark.parametrize(
    ("values", "scale", "ticks"),
    [
        ([16, 64, 256], "log", ["16", "64", "256"]),
        ([8, 16, 64], "linear", ["8", "16", "64"]),
        ([0, 0.25, 4], "linear", ["0", "0.25", "4"]),
        ([1e-4, 5e-4, 1e-2], "log", ["0.0001", "0.0005", "0.01"]),
    ],
)
def test_the_axis_of_a_wide_range_is_logarithmic_and_has_a_tick_at_each_value(
    values: list[float], scale: str, ticks: list[str]
) -> None:
    table = pd.DataFrame({"model": "vae", "beta": values, "test_ssim": 0.5})
    axis = figures.metric_by(table, "beta").axes[0]
    assert axis.get_xscale() == scale
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ticks


def test_a_setting_of_words_is_points_without_a_line() -> None:
    table = pd.DataFrame(
        {"model": "vqvae", "codebook_init": ["normal", "uniform"], "test_ssim": [0.8, 0.7]}
    )
    figure = figures.metric_by(table, "codebook_init")
    (line,) = figure.axes[0].lines
    assert line.get_linestyle() == "None"
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["normal", "uniform"]
    assert "initial codebooks normal to uniform" in figure.alt


@pytest.mark.faults
def test_a_setting_that_is_the_same_in_all_runs_is_refused_with_those_that_differ(
    sweep: pd.DataFrame,
) -> None:
    refusal(lambda: figures.metric_by(sweep, "decay"), "'decay'", "beta, grid, num_embeddings")


@pytest.mark.parametrize("x", ["epoch", "steps"])
def test_loss_curves_are_the_histories(histories: Histories, x: str) -> None:
    figure = figures.loss_curves(histories, x=x)
    for panel, term in enumerate(("loss", "reconstruction")):
        drawn = lines(figure, panel)
        for size, history in histories.items():
            assert np.array_equal(drawn[str(size)], history[[x, term]])


def test_a_term_that_the_loss_does_not_have_has_no_panel(histories: Histories) -> None:
    without = {size: history.drop(columns="reconstruction") for size, history in histories.items()}
    figure = figures.loss_curves(without)
    assert [axis.get_title() for axis in figure.axes] == ["total"]
    some = {**histories, 16: without[16]}
    assert set(lines(figures.loss_curves(some), 1)) == {"64"}


def test_a_band_spans_the_losses_of_all_seeds(histories: Histories) -> None:
    seeds = {size: [history, history * 2] for size, history in histories.items()}
    figure = figures.loss_curves(histories, ("loss",), seeds=seeds)
    bands = zip(figure.axes[0].collections, sorted(histories.items()), strict=True)
    for band, (_, history) in bands:
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == history["loss"].min()
        assert heights.max() == 2 * history["loss"].max()


def test_a_loss_axis_is_labelled_even_if_the_loss_hardly_moves(histories: Histories) -> None:
    for history in histories.values():
        history["loss"] = 0.42 + 0.01 * history["epoch"]
    figure = figures.loss_curves(histories, ("loss",))
    figure.canvas.draw()
    axis = figure.axes[0]
    low, high = axis.get_ylim()
    assert sum(low <= tick <= high for tick in axis.get_yticks()) >= 3


def test_a_large_loss_is_labelled_with_all_its_digits(histories: Histories) -> None:
    for history in histories.values():
        history["loss"] = 300.0 * history["epoch"] ** 2
    figure = figures.loss_curves(histories, ("loss",))
    figure.canvas.draw()
    assert "1,000" in [tick.get_text() for tick in figure.axes[0].get_yticklabels()]


def test_curves_are_named_by_all_settings_in_which_they_differ(histories: Histories) -> None:
    by = ["grid", "num_embeddings"]
    pairs = {(4, 512): histories[16], (8, 16): histories[64]}
    for figure in (
        figures.loss_curves(pairs, by=by),
        figures.codebook_curves(pairs, {(4, 512): 512, (8, 16): 100}, by),
    ):
        assert set(lines(figure)) == {"4, 512", "8, 16"}
        assert figure.legends[0].get_title().get_text() == "grid,\ncodebook size"
    assert "of 100 to 512 codes" in figure.alt
    panels = figures.train_against_test(pairs, by)
    assert panels.axes[1].get_title() == "grid 8\ncodebook size 16"
    assert "Grid 8, codebook size 16 ends at" in panels.alt


def test_many_histories_are_panels_in_several_rows(histories: Histories) -> None:
    many = dict.fromkeys(range(1, 8), histories[16])
    titles = [axis.get_title() for axis in figures.train_against_test(many).axes]
    assert titles == [f"batch size {size}" for size in many]


def test_train_against_test_has_a_panel_a_batch_size(histories: Histories) -> None:
    figure = figures.train_against_test(histories)
    for panel, size in enumerate((16, 64)):
        drawn, history = lines(figure, panel), histories[size]
        assert np.array_equal(drawn["train"], history[["epoch", "reconstruction"]])
        assert np.array_equal(drawn["test"], history[["epoch", "test_nmse"]])
        assert figure.axes[panel].get_title() == f"batch size {size}"


# --- codebook and latent -------------------------------------------------------------------


def test_codebook_curves_are_perplexity_and_the_codes_that_are_not_used(
    histories: Histories,
) -> None:
    figure = figures.codebook_curves(histories, num_embeddings=100)
    values = [
        {name: [y for _, y in xy] for name, xy in lines(figure, panel).items()} for panel in (0, 1)
    ]
    assert values == [
        {"16": [16, 32, 48], "64": [64, 128, 192]},
        {"16": [1, 2, 3], "64": [1, 2, 3]},
    ]


def test_codebook_use_over_training_is_codes_used_and_perplexity(histories: Histories) -> None:
    drawn = lines(figures.codebook_use_over_training(histories[16], 100))
    assert [y for _, y in drawn["codes used"]] == [99, 98, 97]
    assert [y for _, y in drawn["perplexity"]] == [16, 32, 48]


def test_latent_information_is_the_kl_of_torch() -> None:
    mean, log_variance = torch.randn(50, 6), torch.randn(50, 6)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(posterior, prior).mean(0).sort(descending=True)
    bars = figures.latent_information(mean, log_variance).axes[0].patches
    assert [bar.get_height() for bar in bars] == pytest.approx(expected.values.tolist(), rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 128])
def test_the_axis_of_ranks_numbers_the_bars_and_nothing_else(count: int) -> None:
    axis = figures.latent_information(torch.ones(2, count), torch.zeros(2, count)).axes[0]
    shown = [tick for tick in axis.get_xticks() if axis.get_xlim()[0] <= tick <= axis.get_xlim()[1]]
    assert set(shown) <= set(range(count + 1))
    assert {1, 2}.issubset(shown) or count != 2


def test_code_maps_give_each_code_its_colour() -> None:
    codes = torch.arange(64).view(1, 8, 8) % 5
    palette = torch.rand(5, 3)
    figure = figures.code_maps(torch.zeros(1, 3, 32, 32), codes, palette)
    strip = np.asarray(figure.axes[1].images[0].get_array())
    expected = palette.numpy()[codes[0].numpy()].repeat(4, 0).repeat(4, 1)
    np.testing.assert_array_equal(strip, expected)


# --- files ---------------------------------------------------------------------------------


def test_a_saved_figure_is_png_pdf_and_svg_with_its_alt_text(
    tmp_path: Path, summary: pd.DataFrame
) -> None:
    figure, folder = figures.metric_by(summary), tmp_path / "new"
    figures.save_figure(figure, folder, "figure")
    assert figures.alt_text(folder / "figure") == figure.alt
    assert PdfReader(folder / "figure.pdf").metadata.subject == figure.alt
    assert figure.alt in (folder / "figure.svg").read_text(encoding="utf-8")


def test_a_figure_saved_twice_makes_the_same_files(tmp_path: Path, summary: pd.DataFrame) -> None:
    for folder in ("one", "two"):
        figures.save_figure(figures.metric_by(summary), tmp_path / folder, "figure")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_an_empty_folder_saves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: pd.DataFrame
) -> None:
    monkeypatch.chdir(tmp_path)
    figures.save_figure(figures.metric_by(summary), "", "figure")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_a_figure_that_cannot_be_stored_leaves_the_one_before(
    summary: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures.save_figure(figures.metric_by(summary), tmp_path, "figure")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    summary["test_ssim"] /= 2
    changed = figures.metric_by(summary)
    facts = (tmp_path / "figure.png", "cannot be written", "No space left on device")
    refusal(lambda: figures.save_figure(changed, tmp_path, "figure"), *facts)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
