"""Presets: what they may say, and the runs that come of it."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from conftest import STUDIED, examples, outcome, refusal
from hypothesis import given
from hypothesis import strategies as st

from vqlib import TrainConfig
from vqlib.config import settings_of
from vqlib.paths import ROOT
from vqlib.study import Study, load_study, sweep
from vqlib.study.parameters import typed_parameters
from vqlib.study.presets import NOTEBOOKS
from vqlib.study.run import _write_request

GOOD = f"""\
dataset: photos
models: [{", ".join(STUDIED)}]
batch_sizes: [16, 64]
seeds: [0, 1]
epochs: 3
"""
ALSO = "also: [{{model: vae, batch_size: {}, seed: {}}}]\n"

Load = Callable[..., Study]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a preset named `mine` from its text, in a project of its own."""
    (tmp_path / "presets").mkdir()
    for name in NOTEBOOKS.values():
        (tmp_path / "notebooks").mkdir(exist_ok=True)
        shutil.copy(ROOT / "notebooks" / name, tmp_path / "notebooks" / name)

    def load(text: str | bytes, name: str = "mine") -> Study:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "presets" / "mine.yaml").write_bytes(content)
        return load_study(name, root=tmp_path)

    return load


# --- what a study is -----------------------------------------------------------------------


def test_the_full_study_owns_the_projects_figures_report_and_paper() -> None:
    paper, quick = Study("paper", []), Study("quick", [])
    assert paper.report.parent == paper.report_notebook.parent == ROOT / "report"
    assert paper.figures == ROOT / "figures"
    assert paper.folder == paper.shipped == quick.shipped
    assert {quick.report.parent, quick.figures.parent} == {ROOT / "results" / "quick"}
    assert paper.report_notebook != quick.report_notebook


@pytest.mark.faults
def test_two_studies_share_no_file_even_if_they_ask_for_the_same_runs(load: Load) -> None:
    mine = load(GOOD)
    other = Study("other", mine.configs, root=mine.root)
    files = [{s.folder, s.figures, s.report, s.summary, *s.run_folders} for s in (mine, other)]
    assert not files[0] & files[1]


def test_training_leaves_an_executed_notebook_of_each_run(load: Load) -> None:
    mine = load(GOOD)
    assert mine.products == [f"notebooks/{name}.ipynb" for name in mine.run_names]


def test_training_a_model_without_a_notebook_leaves_what_it_prints(
    load: Load, autoencoder: str
) -> None:
    mine = load(GOOD.replace(", ".join(STUDIED), autoencoder))
    assert {mine.notebook(config) for config in mine.configs} == {None}
    assert mine.products == [f"notebooks/{name}.txt" for name in mine.run_names]


def test_a_finished_run_without_weights_leaves_nothing(mine: Study) -> None:
    (mine.run_folders[0] / "weights.safetensors").unlink()
    assert mine.products == [mine.product(mine.configs[1])]


def test_a_notebook_gets_every_value_of_its_run(load: Load) -> None:
    mine = load(GOOD)
    config = mine.configs[-1]
    given = mine.arguments(config)
    assert given.pop("results") == str(mine.folder)
    assert {"batch_size", "epochs", "seed", "limit", "precision"} <= set(given)
    assert given == {name: getattr(config, name) for name in given}


def test_a_notebook_gets_no_setting_of_another_model(load: Load) -> None:
    for config in load(GOOD).configs:
        given = load(GOOD).arguments(config)
        assert ("beta" in given) == (config.model == "vae")
        assert ("decay" in given) == (config.model == "vqvae")


def test_a_model_without_a_notebook_gets_all_its_settings(load: Load, autoencoder: str) -> None:
    mine = load(GOOD.replace(", ".join(STUDIED), autoencoder))
    given = mine.arguments(mine.configs[0])
    common = {"dataset", "batch_size", "epochs", "learning_rate", "seed", "limit", "precision"}
    assert set(given) == {*common, "latent_dim", "results"}


# --- what a preset gives -------------------------------------------------------------------


def test_the_paper_preset_is_the_study_of_the_report() -> None:
    paper = load_study("paper", dataset="photos")  # CIFAR-10 need not be here
    runs = {(c.model, c.batch_size) for c in paper.configs}
    assert runs == {(m, b) for m in STUDIED for b in (16, 32, 64, 128, 256)}
    assert {(c.epochs, c.learning_rate, c.limit) for c in paper.configs} == {(40, 5e-4, None)}


def test_a_preset_is_every_model_at_every_batch_size_and_seed(load: Load) -> None:
    mine = load(GOOD)
    runs = {(c.model, c.batch_size, c.seed) for c in mine.configs}
    assert runs == {(m, b, s) for m in STUDIED for b in (16, 64) for s in (0, 1)}
    assert len(mine.configs) == len(runs)
    assert {c.epochs for c in mine.configs} == {3}


@pytest.mark.parametrize("model", STUDIED)
def test_one_model_alone_is_a_study(load: Load, model: str) -> None:
    mine = load(GOOD.replace(", ".join(STUDIED), model))
    assert [c.model for c in mine.configs] == 4 * [model]


def test_a_preset_may_have_single_runs_beyond_its_lists(load: Load) -> None:
    names = load(GOOD + ALSO.format(16, 2)).run_names
    assert len(names) == 9
    assert names[-1] == "vae-photos-b16-e3-s2"


def test_a_setting_goes_to_the_models_that_have_it(load: Load) -> None:
    configs = load(GOOD + "num_embeddings: 64\nbeta: 0.5\nlearning_rate: 1e-3\n").configs
    assert {(c.model, c.num_embeddings) for c in configs} == {("vae", 512), ("vqvae", 64)}
    assert {(c.model, c.beta) for c in configs} == {("vae", 0.5), ("vqvae", 1.0)}
    assert {c.learning_rate for c in configs} == {1e-3}


def test_a_setting_of_two_models_goes_to_both(load: Load, autoencoder: str) -> None:
    text = GOOD.replace(", ".join(STUDIED), ", ".join([*STUDIED, autoencoder]))
    configs = load(text + "latent_dim: 8\n").configs
    assert len(configs) == 12
    assert {(c.model, c.latent_dim) for c in configs} == {
        ("vae", 8),
        ("vqvae", 128),
        (autoencoder, 8),
    }


# --- sweeps --------------------------------------------------------------------------------

SWEEP = """\
dataset: photos
batch_size: 128
epochs: 3
vae: {beta: [1, 0.1]}
vqvae: {num_embeddings: [16, 512], epochs: 2, seeds: [0, 1]}
also:
  - {model: vqvae, grid: 4}
  - {model: vqvae, num_embeddings: 16, seed: [2, 3]}
  - {model: vae, beta: 0.5, learning_rate: 1e-3}
"""


def test_models_have_lists_and_values_of_their_own(load: Load) -> None:
    assert load(SWEEP).run_names[:6] == [
        "vae-photos-b128-e3-s0",
        "vae-photos-b128-e3-s0-beta0.1",
        "vqvae-photos-b128-e2-s0-num_embeddings16",
        "vqvae-photos-b128-e2-s1-num_embeddings16",
        "vqvae-photos-b128-e2-s0",
        "vqvae-photos-b128-e2-s1",
    ]


def test_an_also_run_has_the_preset_s_values_and_the_default_of_what_varies(load: Load) -> None:
    text = SWEEP.replace(", seeds: [0, 1]", "")
    assert load(text).run_names[4:] == [
        "vqvae-photos-b128-e2-s0-grid4",
        "vqvae-photos-b128-e2-s2-num_embeddings16",
        "vqvae-photos-b128-e2-s3-num_embeddings16",
        "vae-photos-b128-e3-s0-learning_rate0.001-beta0.5",
    ]


def test_a_list_of_all_models_goes_to_those_that_have_the_setting(load: Load) -> None:
    configs = load(GOOD + "beta: [1, 0.1]\n").configs
    betas = [(c.model, c.beta) for c in configs if c.batch_size == 16 and c.seed == 0]
    assert betas == [("vae", 1.0), ("vae", 0.1), ("vqvae", 1.0)]


def test_a_model_s_own_value_replaces_the_one_for_all(load: Load) -> None:
    configs = load(GOOD + "vqvae: {epochs: 2, batch_sizes: 32}\n").configs
    assert {(c.model, c.batch_size, c.epochs) for c in configs} == {
        *(("vae", 16, 3), ("vae", 64, 3), ("vqvae", 32, 2)),
    }


@pytest.mark.parametrize("lines", ["batch_size: 32\nseed: [1]\n", "batch_sizes: 32\nseeds: 1\n"])
def test_plural_names_mean_the_same_and_a_single_value_is_a_list_of_one(
    load: Load, lines: str
) -> None:
    assert load("dataset: photos\nmodel: vae\nepochs: 2\n" + lines).run_names == [
        "vae-photos-b32-e2-s1"
    ]


def test_what_a_preset_does_not_give_has_its_default(load: Load) -> None:
    assert load("dataset: photos\nmodels: [vae]\n").configs == [
        TrainConfig(model="vae", dataset="photos")
    ]


def test_a_setting_that_is_a_list_has_one_value_unless_its_items_are_lists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweep, "LISTS", {"levels"})
    assert sweep._several("levels", [8, 5, 5]) == [[8, 5, 5]]
    assert sweep._several("levels", "8,5,5") == ["8,5,5"]
    assert sweep._several("levels", [[8, 5, 5], [8, 8]]) == [[8, 5, 5], [8, 8]]


def test_the_rate_preset_varies_the_rate_of_three_models() -> None:
    rate = load_study("rate", dataset="photos")
    assert {c.model for c in rate.configs} == {"vae", "vqvae", "svae"}
    assert {(c.batch_size, c.limit) for c in rate.configs} == {(128, None)}
    assert {c.num_embeddings for c in rate.configs} == {16, 64, 512, 4096}


def test_rates_are_compared_if_a_model_has_several(load: Load) -> None:
    several = load("model: vqvae\nnum_embeddings: [16, 32]\n")
    assert several.rates == several.folder
    assert load("models: [vae, vqvae]\nbatch_sizes: [16, 32]\n").rates is None
    assert load_study("paper").rates == ROOT / "results" / "rate"


PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_can_be_run(preset: str) -> None:
    study = load_study(preset, dataset="photos")
    assert all(study.notebook(c) is None or study.notebook(c).is_file() for c in study.configs)


# --- what it may not say -------------------------------------------------------------------


@pytest.mark.faults
def test_an_unknown_preset_names_those_there_are() -> None:
    refusal(lambda: load_study("papr"), "'papr'", *PRESETS)


@pytest.mark.faults
def test_a_size_that_a_model_does_not_have_is_refused(load: Load, autoencoder: str) -> None:
    preset = GOOD.replace(", ".join(STUDIED), f"vae, {autoencoder}") + "image_size: 64\n"
    refusal(lambda: load(preset), autoencoder, "image_size")


@pytest.mark.faults
@pytest.mark.parametrize("name", ["../presets/mine", "folder", "mine.yaml", ""])
def test_a_preset_is_a_file_in_presets_by_its_name(load: Load, tmp_path: Path, name: str) -> None:
    (tmp_path / "presets" / "folder.yaml").mkdir()
    message = refusal(lambda: load(GOOD, name))
    assert repr(name) in message
    assert message.endswith(" mine")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("text", "facts"),
    [
        (GOOD + "epoch: 3\n", ("'epoch'", "epochs")),
        (GOOD + "results: elsewhere\n", ("'results'",)),
        (GOOD.replace(", ".join(STUDIED), "vqvae") + "beta: 2\n", ("'beta'",)),
        (GOOD.replace("epochs: 3", "epochs: 0"), ("epochs", "above 0", "got 0")),
        (GOOD.replace("[16, 64]", "[16, -1]"), ("batch_size", "above 0", "got -1")),
        (GOOD.replace("[16, 64]", "many"), ("batch_size", "whole number", "'many'")),
        (GOOD.replace(", ".join(STUDIED), "gan"), ("'gan'", *STUDIED)),
        (GOOD.replace(", ".join(STUDIED), "[vae]"), ("model", "text")),
        (GOOD.replace("seeds: [0, 1]", "seeds: []"), ("seed", "empty list")),
        (GOOD + "learning_rate: fast\n", ("learning_rate", "number", "'fast'")),
        (GOOD + "epochs: 5\n", ("epochs", "2 times")),
        (GOOD + "batch_size: 3\n", ("batch_size and batch_sizes", "one of them")),
        (GOOD + "seed: 3\n", ("seed and seeds", "one of them")),
        (GOOD + "model: vae\n", ("model and models", "one of them")),
        (GOOD + "vae: {seed: 3, seeds: 3}\n", ("seed and seeds", "one of them")),
        (GOOD.replace("[16, 64]", "[16, 16]"), ("vae-photos-b16-e3-s0", "2 times")),
        (GOOD.replace("[16, 64]", "[16, 16.0]"), ("vae-photos-b16-e3-s0", "2 times")),
        (GOOD + "also: 1\n", ("also", "list")),
        (GOOD + "also: [{seed: 2}]\n", ("also", "model")),
        (GOOD + "also: [{model: vae, seed: 2, size: 1}]\n", ("also: vae", "'size'", "beta")),
        (GOOD + "also: [{model: vae, seed: 2, limit: 9}]\n", ("also: vae", "limit", "all runs")),
        (
            GOOD.replace("[16, 64]", "[16, 32]") + "also: [{model: vae, seed: 2}]\n",
            ("also", "vae", "batch_size", "64"),
        ),
        (GOOD + ALSO.format(0, 2), ("batch_size", "above 0")),
        (GOOD + ALSO.format(16, 1), ("vae-photos-b16-e3-s1", "2 times")),
        ("dataset: photos\n", ("model", "models: [vae, vqvae]")),
        (GOOD + "vae: 3\n", ("vae", "settings", "3")),
        (GOOD + "vae: {dataset: photos}\n", ("vae", "dataset", "all runs")),
        (GOOD + "vae: {num_embeddings: 3}\n", ("vae", "'num_embeddings'", "latent_dim")),
        (GOOD + "vqvae: {grid: 5}\n", ("grid", "5", "4, 8, 16")),
        (GOOD + "vqvae: {decay: []}\n", ("decay", "empty list")),
        (GOOD + "svae: {grid: 4}\n", ("svae", "models")),
        (GOOD + "gan: {beta: 1}\n", ("'gan'", "svae")),
        (GOOD.replace("photos", "[photos]"), ("dataset", "text")),
        ("models: [vae", ("YAML",)),
        (b"\xff\xfe\x00", ("YAML",)),
        ("- vae", ("epochs",)),
    ],
)
def test_a_bad_preset_is_refused_by_name(
    load: Load, text: str | bytes, facts: tuple[str, ...]
) -> None:
    message = refusal(lambda: load(text))
    assert all(fact in message for fact in ("mine.yaml", *facts)), message


def change_cell(notebook: Path, old: str, new: str) -> None:
    """Replace text in the first cell that has it."""
    content = nbformat.read(notebook, as_version=4)
    cell = next(cell for cell in content.cells if old in cell.source)
    cell.source = cell.source.replace(old, new)
    nbformat.write(content, notebook)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("old", "new", "more", "facts"),
    [
        ("learning_rate: float = 5e-4", "", "learning_rate: 1e-3\n", ("learning_rate", "0.001")),
        ("epochs: int = 40", "", "", ("epochs", "3")),
        ("epochs: int", "epochs: bool", "", ("epochs", "3")),
        ("    decay=decay,\n", "", "decay: [0.9, 0.99]\n", ("decay", "0.9", "TrainConfig")),
    ],
    ids=["setting", "epochs", "other type", "not passed on"],
)
def test_a_notebook_that_cannot_train_what_the_preset_asks_for_is_refused(
    load: Load, tmp_path: Path, old: str, new: str, more: str, facts: tuple[str, ...]
) -> None:
    notebook = NOTEBOOKS["vqvae"]
    change_cell(tmp_path / "notebooks" / notebook, old, new)
    message = refusal(lambda: load(GOOD + more))
    assert all(fact in message for fact in ("mine.yaml", notebook, *facts)), message


def test_a_parameter_that_the_notebook_lacks_may_have_its_default(
    load: Load, tmp_path: Path
) -> None:
    change_cell(tmp_path / "notebooks" / NOTEBOOKS["vqvae"], "decay: float = 0.99", "")
    change_cell(tmp_path / "notebooks" / NOTEBOOKS["vqvae"], "    decay=decay,\n", "")
    assert len(load(GOOD + "decay: 0.99\n").configs) == 8
    assert "decay" in refusal(lambda: load(GOOD + "decay: 0.5\n"))


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("beta: float = 1.0", "beta = 0.2", "beta"),
        ("limit: int = None", "limit: int = 500", "limit"),
        ("limit: int = None", "limit = 500", "limit"),
        ("limit: int = None", "limit: int | None = 500", "limit"),
        ("batch_size: int = 256  # images", "batch_size: int = 8  # (default=256)", "batch_size"),
    ],
)
def test_values_saved_in_a_notebook_do_not_leak_into_a_study(
    load: Load, tmp_path: Path, old: str, new: str, name: str
) -> None:
    notebook = tmp_path / "notebooks" / NOTEBOOKS["vae"]
    change_cell(notebook, old, new)
    mine = load(GOOD)
    for config in mine.configs[:4]:
        given = {name: str(value) for name, value in mine.arguments(config).items()}  # as a shell
        assert typed_parameters(notebook, given)[name] == getattr(config, name)


@pytest.mark.parametrize("name", ["2025_11_25", "007", "3e-4", "1:30", "true", "null", "ä b", "#1"])
def test_a_preset_may_have_any_name(load: Load, tmp_path: Path, name: str) -> None:
    load(GOOD)
    (tmp_path / "presets" / "mine.yaml").rename(tmp_path / "presets" / f"{name}.yaml")
    study = load_study(name, root=tmp_path)
    (study.folder / "logs").mkdir(parents=True)
    _write_request(study, [1.0] * len(study.configs))
    request = json.loads((study.folder / "logs" / "study.json").read_text(encoding="utf-8"))
    assert (request["preset"], request["dataset"]) == (name, "photos")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("dataset: 007", "dataset", "007"),
        ("dataset: 2025-11-25", "dataset", "2025-11-25"),
        ('dataset: "/x/a: b"', "dataset", "/x/a: b"),
        ('dataset: "/x/run #2"', "dataset", "/x/run #2"),
        ("seeds: 010", "seed", 10),
        ("limit: ~", "limit", None),
        ("limit:", "limit", None),
        ("limit: 1e2", "limit", 100),
        ("learning_rate: 1e-3", "learning_rate", 1e-3),
    ],
)
def test_a_value_is_the_text_that_stands_in_the_preset(
    load: Load, text: str, name: str, value: object
) -> None:
    others = [line for line in GOOD.splitlines() if line.split(":")[0] != text.split(":")[0]]
    (config, *_) = load("\n".join([*others, text])).configs
    assert getattr(config, name) == value


VALUES = {  # values that a preset may give, and what each run then has
    "batch_size": st.sampled_from([16, "16", "1e1", 7]),
    "epochs": st.sampled_from([1, "2", 3.0]),
    "seed": st.sampled_from([0, "007", "010", 3]),
    "learning_rate": st.sampled_from(["3e-4", 0.001, "1e-3", 1]),
    "limit": st.sampled_from([None, 5, "~", "1_000", ""]),
    "dataset": st.sampled_from(["photos", "/x/run #2", "/x/a: b", "007", "2025-11-25", "@work"]),
    "beta": st.sampled_from([0, "1e-2", 0.5]),
    "num_embeddings": st.sampled_from([8, "64"]),
    "codebook_init": st.sampled_from(["uniform", "normal", "on"]),
    "epoch": st.just(3),
}
GIVEN = st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5).flatmap(
    lambda names: st.fixed_dictionaries(
        {
            name: VALUES[name] | st.lists(VALUES[name], max_size=2)
            if name not in ("dataset", "limit")
            else VALUES[name]
            for name in names
        }
    )
)


@pytest.mark.faults
@examples(40)
@given(st.sampled_from([["vae"], ["vqvae"], ["vae", "vqvae"]]), GIVEN)
def test_any_preset_is_the_runs_that_it_asks_for_or_refused_in_a_line(
    load: Load, models: list[str], values: dict[str, Any]
) -> None:
    text = yaml.safe_dump({"models": models, **values}, allow_unicode=True)
    study, refused = outcome(lambda: load(text))
    if refused:
        assert "mine.yaml" in refused
        return
    asked = []
    for model in models:
        own = {name: each for name, each in values.items() if name in settings_of(model)}
        lists = [each if isinstance(each, list) else [each] for each in own.values()]
        for combined in itertools.product(*lists):
            given = dict(zip(own, combined, strict=True))
            asked.append(TrainConfig(model=model, **{k: v for k, v in given.items() if v != "~"}))
    assert sorted(map(repr, study.configs)) == sorted(map(repr, asked))
    for config in study.configs:  # a shell passes text to the notebook
        text_only = {name: str(value) for name, value in study.arguments(config).items()}
        typed = typed_parameters(study.notebook(config), text_only)
        typed.pop("results")
        assert TrainConfig(model=config.model, **typed) == config


@pytest.mark.faults
def test_a_preset_with_braces_in_its_name_is_refused(load: Load, tmp_path: Path) -> None:
    load(GOOD)
    (tmp_path / "presets" / "mine.yaml").rename(tmp_path / "presets" / "a{b}.yaml")
    refusal(lambda: load_study("a{b}", root=tmp_path), "a{b}.yaml", "braces")


@pytest.mark.faults
def test_a_folder_whose_name_is_no_utf8_is_refused_by_a_study(load: Load, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    message = refusal(lambda: load(GOOD.replace("photos", str(tmp_path / "link"))))
    assert "UTF-8" in message
    assert "mine.yaml" in message


# --- priors --------------------------------------------------------------------------------


def test_a_preset_may_ask_for_priors_over_the_codes_of_its_first_vqvae(load: Load) -> None:
    study = load(GOOD + "prior: {model: [transformer, pixelcnn], epochs: 2}\n")
    assert [prior.run_name for prior in study.priors] == [
        f"{model}-b128-e2-s0-of-vqvae-photos-b16-e3-s0" for model in ("transformer", "pixelcnn")
    ]
    assert study.coded.run_name == "vqvae-photos-b16-e3-s0"
    assert [run.run_name for run in study.gaussian] == [
        f"vae-photos-b{size}-e3-s0" for size in (16, 64)
    ]
    given = study.prior_arguments(study.priors[1])
    assert given["results"] == str(study.folder)
    assert "vqvae" not in given
    assert load(GOOD).priors == []


@pytest.mark.faults
@pytest.mark.parametrize(
    ("prior", "facts"),
    [
        ("{epochs: 0}", ["epochs", "above 0"]),
        ("{heads: 3}", ["heads", "choose from"]),
        ("{model: pixelcnn, width: 64}", ["width", "PixelCNN"]),
        ("transformer", ["prior", "settings"]),
    ],
)
def test_a_prior_that_makes_no_sense_is_told_before_anything_runs(
    load: Load, prior: str, facts: list[str]
) -> None:
    refusal(lambda: load(f"{GOOD}prior: {prior}\n"), "mine.yaml", *facts)


@pytest.mark.faults
def test_a_prior_needs_a_vqvae(load: Load) -> None:
    refusal(lambda: load("dataset: photos\nmodels: [vae]\nprior: {}\n"), "no VQ-VAE")
