"""The shipped results are whole, and agree with each other and with the shipped weights."""

from pathlib import Path

import pytest
import torch
from pandas.testing import assert_frame_equal
from safetensors.torch import load_file
from torch import Tensor

from vqlib import Run, load_images
from vqlib.generation import Prior, codes_of, find_priors, rungs
from vqlib.paths import ROOT, SHIPPED
from vqlib.rates import rate_points, run_points
from vqlib.rates.measures import MEASURES
from vqlib.runs import WEIGHTS, find_runs, has_weights, images_of
from vqlib.study import load_summary, summarise

FOLDERS = (*(ROOT / "results" / name for name in ("longer", "codebook", "rate")), SHIPPED)
# rate/ has copies of two runs of the paper, without their weights: the last of a name counts
RUNS = {run.folder.name: run for folder in FOLDERS for run in find_runs(folder)}
WITH_WEIGHTS = {name: run for name, run in RUNS.items() if has_weights(run.folder)}
PRIORS = find_priors(ROOT / "results" / "generation")
MEGABYTE = 2**20

each_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS.keys())
each_run_with_weights = pytest.mark.parametrize(
    "run", WITH_WEIGHTS.values(), ids=WITH_WEIGHTS.keys()
)


def test_only_first_seeds_are_shipped_with_weights_and_those_of_the_study_all_are() -> None:
    assert {run.config.seed for run in WITH_WEIGHTS.values()} == {0}
    first = {run.folder.name for run in find_runs(SHIPPED) if run.config.seed == 0}
    assert first <= set(WITH_WEIGHTS)


def test_a_run_that_is_shipped_twice_is_the_same_run() -> None:
    for run in find_runs(ROOT / "results" / "rate"):
        assert RUNS[run.folder.name].environment == run.environment


@each_run
def test_a_shipped_run_is_a_full_one_and_says_where_it_comes_from(run: Run) -> None:
    assert run.config.run_name == run.folder.name
    assert list(run.history["epoch"]) == list(range(1, run.config.epochs + 1))
    assert run.environment["n_train"] == 50_000
    assert run.evaluation["n_test"] == 10_000
    assert len(run.environment["data_md5"]) == 32
    assert run.reconstructions[0].shape == run.reconstructions[1].shape == (16, 3, 32, 32)


@each_run_with_weights
def test_shipped_weights_are_half_precision_and_make_the_shipped_pictures(run: Run) -> None:
    weights = load_file(run.folder / WEIGHTS)
    assert {v.dtype for k, v in weights.items() if ".ema_" not in k} == {torch.float16}
    originals, reconstructions = run.reconstructions
    again = run.model.reconstruct(originals)
    assert (again * 255 - reconstructions).abs().max() < 2  # grey levels


def test_the_summary_is_that_of_the_runs() -> None:
    summary = load_summary(SHIPPED)
    runs = summarise([RUNS[name] for name in summary["run"]])
    assert_frame_equal(summary, runs, check_dtype=False)


def test_shipped_files_are_small() -> None:
    folders = [each.folder for each in (*RUNS.values(), *PRIORS)]
    results = [path for folder in folders for path in folder.iterdir()]
    sizes = {path: path.stat().st_size for path in results}
    weights = sum(size for path, size in sizes.items() if path.suffix == Path(WEIGHTS).suffix)
    assert max(sizes.values()) < 5 * MEGABYTE
    assert weights < 60e6


def test_the_shipped_transformer_knows_more_of_codes_than_any_other_model_of_them() -> None:
    transformer, pixelcnn = PRIORS
    assert (transformer.model.title, pixelcnn.model.title) == ("transformer", "PixelCNN")
    assert list(rungs(PRIORS)) == [
        "uniform", "frequencies", "left neighbour", "PixelCNN", "transformer",
    ]  # fmt: skip
    assert transformer.evaluation["test_bits"] <= 6.70
    assert transformer.evaluation["gap"] < 0.1


@pytest.fixture(scope="module")
def cifar10(cifar10_root: Path) -> Tensor:
    """Return the test images of CIFAR-10."""
    return load_images("cifar10").test


@each_run_with_weights
def test_shipped_figures_are_those_of_the_weights(run: Run, cifar10: Tensor) -> None:
    figures = run.model.test_figures(cifar10)
    assert figures["test_nmse"] == pytest.approx(run.evaluation["test_nmse"], rel=1e-3)
    if run.model.num_codes:
        assert figures["perplexity"] == pytest.approx(run.evaluation["perplexity"], rel=1e-3)
        assert figures["codes_used"] == pytest.approx(run.evaluation["codes_used"], abs=2)


@pytest.mark.parametrize(
    "name", ["vqvae-cifar10-b128-e40-s0-num_embeddings16", "vae-cifar10-b128-e40-s0-beta0.1"]
)
def test_shipped_rates_are_those_of_the_weights(name: str, cifar10: Tensor) -> None:
    shipped = run_points(ROOT / "results" / "rate", [RUNS[name]]).set_index("rate")
    for point in rate_points(RUNS[name], images_of(RUNS[name])):
        for measure in ("bits", *MEASURES):
            assert shipped.loc[point["rate"], measure] == pytest.approx(point[measure], rel=1e-3)


@pytest.mark.parametrize("prior", PRIORS, ids=lambda prior: prior.config.model)
def test_shipped_priors_need_as_many_bits_as_they_say(prior: Prior, cifar10: Tensor) -> None:
    test = codes_of(prior.vqvae, limit=1000).test
    assert prior.model.test_figures(test)["test_bits"] == pytest.approx(
        prior.evaluation["test_bits"], abs=0.05
    )
