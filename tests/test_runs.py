"""Run folders: what is read is what was stored, and damage is told."""

import csv
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MakeConfig, examples, invented_run, refusal
from faults import change_json, reseal
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save

from vqlib import VAE, Images, Run, TrainConfig, find_runs, fit, load_run
from vqlib.models import MODELS, build_model
from vqlib.quantizer import COLLAPSED
from vqlib.runs import (
    FINISHED,
    SUMMED,
    WEIGHTS,
    by_setting,
    collapse_warning,
    evaluate_run,
    load_run_images,
    stored_weights,
    write_sheet,
)

SHEET = "reconstructions.png"


@pytest.fixture
def copied(small_runs: dict[str, Run], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a finished run's folder, to be tampered with."""

    def copy(model: str) -> Path:
        folder = small_runs[model].folder
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return copy


def read_everything(folder: Path) -> None:
    run = load_run(folder)
    _ = run.environment, run.history, run.evaluation, run.model, run.reconstructions


# --- a finished run ------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_finished_run_holds_what_it_should_and_no_more(
    small_runs: dict[str, Run], model: str
) -> None:
    names = {path.name for path in small_runs[model].folder.iterdir()} - {".lock"}
    assert names == {*FINISHED, *SUMMED}


@pytest.mark.parametrize("model", MODELS)
def test_a_run_gives_its_config_and_a_model_ready_for_use(
    small_runs: dict[str, Run], small_config: MakeConfig, model: str
) -> None:
    run = load_run(small_runs[model].folder)
    assert run.config == small_config(model)
    assert not run.model.training
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())
    stored = load_file(run.folder / WEIGHTS)
    assert set(stored) == set(run.model.state_dict())
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, stored[name].float()), name
        is_average = name in ("quantizer.ema_counts", "quantizer.ema_sums")
        assert stored[name].dtype == (torch.float32 if is_average else torch.float16), name


def test_the_bits_of_a_vae_are_its_last_kl_term(small_runs: dict[str, Run]) -> None:
    run = small_runs["vae"]
    assert run.bits == pytest.approx(run.history["kl"].iloc[-1] / np.log(2), rel=1e-12)


def test_the_bits_of_a_vqvae_are_those_of_its_codes(small_runs: dict[str, Run]) -> None:
    run = small_runs["vqvae"]
    assert run.bits == run.config.grid**2 * np.log2(run.config.num_embeddings)


def test_the_bits_of_a_run_need_no_weights(copied: Callable[[str], Path]) -> None:
    folder = copied("vqvae")
    before = load_run(folder).bits
    (folder / WEIGHTS).unlink()
    assert load_run(folder).bits == before


@pytest.mark.parametrize(
    ("model", "values"), [*((model, {}) for model in MODELS), ("vqvae", {"decay": 0.0})]
)
def test_the_terms_of_a_run_are_those_of_its_model_s_loss(
    few_photos: Images,
    small_config: MakeConfig,
    tmp_path: Path,
    model: str,
    values: dict[str, float],
) -> None:
    run = fit(small_config(model, epochs=1, **values), few_photos, tmp_path)
    loss = build_model(run.config, few_photos.variance).loss(few_photos.test[:2])
    assert run.terms == list(loss)
    assert run.terms[0] == "loss"


def test_the_environment_tells_what_the_run_came_from(
    small_runs: dict[str, Run], few_photos: Images
) -> None:
    environment = load_run(small_runs["vae"].folder).environment
    assert torch.__version__.startswith(environment["torch"])
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu"
    assert environment["precision"] == "float32"
    assert {name: environment[name] for name in few_photos.facts} == few_photos.facts


def test_runs_are_found_by_model_then_batch_size_then_seed(
    small_runs: dict[str, Run], tmp_path: Path
) -> None:
    # in the order of numbers, 16 before 128; unfinished runs and other files are left out
    wanted = [
        ("vae", 16, 0),
        ("vae", 128, 0),
        ("vqvae", 16, 2),
        ("vqvae", 16, 10),
        ("vqvae", 128, 1),
    ]
    for model, batch_size, seed in reversed(wanted):
        values = {**small_runs[model].config.to_dict(), "batch_size": batch_size, "seed": seed}
        config = TrainConfig.from_dict(values)
        shutil.copytree(small_runs[model].folder, tmp_path / config.run_name)
        change_json(tmp_path / config.run_name / "config.json", **config.to_dict())
        reseal(tmp_path / config.run_name)
    (tmp_path / "vae-photos-b1-e1-s0").mkdir()
    (tmp_path / "summary.csv").write_text("")
    runs = find_runs(tmp_path)
    assert [(r.config.model, r.config.batch_size, r.config.seed) for r in runs] == wanted
    assert find_runs(tmp_path / "nowhere") == []


def test_runs_of_a_model_are_grouped_by_what_differs_between_them() -> None:
    runs = [
        *(invented_run("vqvae", 64), invented_run("vqvae", 16), invented_run("vqvae", 64, seed=1)),
        invented_run("vae", 64, beta=0.1),
    ]
    groups = by_setting(runs, "vqvae")
    by_size = {size: [run.config.seed for run in group] for size, group in groups.items()}
    assert by_size == {16: [0], 64: [0, 1]}
    assert list(by_setting(runs, "vae")) == [64]
    runs.append(invented_run("vqvae", 64, num_embeddings=16))
    assert list(by_setting(runs, "vqvae")) == [(16, 512), (64, 16), (64, 512)]


def test_auto_precision_counts_as_what_it_stood_for() -> None:
    run = invented_run("vae", 64)
    run.environment["precision"] = "bfloat16"
    assert run.settings["precision"] == "bfloat16"


@pytest.mark.faults
def test_a_model_that_no_run_has_is_refused_with_those_there_are() -> None:
    runs = [invented_run("vae", 16), invented_run("svae", 16)]
    refusal(lambda: by_setting(runs, "vqvae"), "'vqvae'", "svae, vae")


def test_a_run_knows_its_codes_without_its_weights(copied: Callable[[str], Path]) -> None:
    for model, codes in (("vae", 0), ("vqvae", 32)):
        folder = copied(model)
        (folder / WEIGHTS).unlink()
        assert load_run(folder).num_codes == codes


# --- what is missing or damaged ------------------------------------------------------------


@pytest.mark.faults
def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    refusal(lambda: load_run(tmp_path / "nowhere"), tmp_path / "nowhere", "not a finished run")


@pytest.mark.faults
@pytest.mark.parametrize("name", FINISHED)
def test_an_unfinished_run_says_what_is_missing(copied: Callable[[str], Path], name: str) -> None:
    folder = copied("vae")
    (folder / name).unlink()
    refusal(lambda: load_run(folder), folder, f"{name} missing")


@pytest.mark.faults
def test_a_run_without_weights_says_how_to_make_them(copied: Callable[[str], Path]) -> None:
    folder = copied("vae")
    (folder / WEIGHTS).unlink()
    refusal(lambda: load_run(folder).model, folder / WEIGHTS, "vqlib train")


NOT_AN_OBJECT = {"cut": '{"model": "va', "empty": "", "a list": "[1, 2]", "binary": "\x00ÿ"}


@pytest.mark.faults
@pytest.mark.parametrize("content", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT.keys())
@pytest.mark.parametrize("name", ["config.json", "environment.json", "evaluation.json"])
def test_damaged_json_of_a_run_is_refused_by_name(
    copied: Callable[[str], Path], name: str, content: str
) -> None:
    folder = copied("vae")
    (folder / name).write_bytes(content.encode("latin-1"))
    refusal(lambda: read_everything(folder), folder, name)


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"", b"epoch\n\x00\xff", b'"epoch'])
@pytest.mark.parametrize("name", ["history.csv", SHEET, WEIGHTS])
def test_another_file_than_was_stored_is_refused_by_name(
    copied: Callable[[str], Path], name: str, content: bytes
) -> None:
    folder = copied("vae")
    (folder / name).write_bytes(content)
    refusal(lambda: read_everything(folder), folder / name, "is damaged")


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b'"epoch'])
@pytest.mark.parametrize("name", ["history.csv", SHEET, WEIGHTS])
def test_a_stored_file_that_cannot_be_read_is_refused_by_name(
    copied: Callable[[str], Path], name: str, content: bytes
) -> None:
    folder = copied("vae")
    (folder / name).write_bytes(content)
    reseal(folder)
    refusal(lambda: read_everything(folder), folder / name, "cannot be read")


@pytest.mark.faults
@pytest.mark.parametrize("size", [None, (100, 50)])
def test_a_sheet_that_is_gone_or_of_another_size_is_refused_by_name(
    copied: Callable[[str], Path], size: tuple[int, int] | None
) -> None:
    path = copied("vae") / SHEET
    path.unlink()
    if size is not None:
        Image.new("RGB", size).save(path)
    refusal(lambda: load_run(path.parent).reconstructions, path)


def flip_a_digit(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from(["history.csv", "evaluation.json"]))
    text = path.read_text()
    digits = [place for place, letter in enumerate(text) if letter.isdigit()]
    place = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != text[place]]))
    path.write_text(text[:place] + other + text[place + 1 :])


def flip_any_bit(folder: Path, data: st.DataObject) -> None:
    path = folder / data.draw(st.sampled_from([WEIGHTS, SHEET]))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)


def cut(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["history.csv", "evaluation.json", WEIGHTS]))
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])


@pytest.mark.faults
@pytest.mark.parametrize("damage", [flip_a_digit, flip_any_bit, cut])
def test_any_damage_to_a_result_is_told(
    small_runs: dict[str, Run], tmp_path: Path, damage: Callable[[Path, st.DataObject], None]
) -> None:
    @examples(20)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(small_runs["vqvae"].folder, folder)
        damage(folder, data)
        refusal(lambda: read_everything(folder), folder, "is damaged", "checksum")

    holds()


@pytest.mark.faults
@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_a_changed_digit_in_what_a_run_says_of_itself_is_told(
    copied: Callable[[str], Path], name: str
) -> None:
    folder = copied("vae")
    text = (folder / name).read_text()
    summed = text.partition('"sha256"')[0]  # without the checksums themselves
    for place in (place for place, letter in enumerate(summed) if letter in "0123456789"):
        other = str((int(text[place]) + 1) % 10)
        (folder / name).write_text(text[:place] + other + text[place + 1 :])
        refusal(lambda: read_everything(folder), folder)
    renamed = text.replace('"sha256"', '"sha257"').replace('"epochs"', '"epoch"')
    (folder / name).write_text(renamed)
    refusal(lambda: read_everything(folder), folder / name)


# --- what does not fit ---------------------------------------------------------------------


def change_weights(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        change(weights)
        (folder / WEIGHTS).write_bytes(save(weights))

    return changed


def changed_json(name: str, **values: object) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / name, **values)


def change_history(row: int, column: str, value: str) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        lines = list(csv.DictReader((folder / "history.csv").open()))
        lines[row][column] = value
        with (folder / "history.csv").open("w") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)

    return changed


def lose_an_epoch(folder: Path) -> None:
    path = folder / "history.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def lose_a_column(folder: Path) -> None:
    path = folder / "history.csv"
    path.write_text(path.read_text().replace("test_nmse", "test_error"))


BIAS = "encoder.0.bias"
MISFITS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "renamed weight": (
        change_weights(lambda w: w.update({"encoder.first": w.pop("encoder.0.weight")})),
        (f"{WEIGHTS} does not fit", "encoder.0.weight is missing", "encoder.first is unknown"),
    ),
    "other shape": (
        change_weights(lambda w: w.update({BIAS: w[BIAS][:4].clone()})),
        (f"{WEIGHTS} does not fit", f"{BIAS} is 4 and not 8"),
    ),
    "not finite": (
        change_weights(lambda w: w[BIAS].fill_(math.nan)),
        ("is damaged", BIAS, "not finite"),
    ),
    "later config": (
        changed_json("config.json", dropout=3),
        ("config.json", "unknown parameter 'dropout'", "model"),
    ),
    "no model": (changed_json("config.json", model=None), ("config.json", "model missing")),
    "mistyped config": (
        changed_json("config.json", batch_size="many"),
        ("config.json", "batch_size must be a whole number", "'many'"),
    ),
    "later format": (
        changed_json("environment.json", format=2),
        ("environment.json", "format 2", "reads 1"),
    ),
    "no variance": (
        changed_json("environment.json", data_variance=None),
        ("environment.json", "data_variance is None"),
    ),
    "variance of text": (
        changed_json("environment.json", data_variance="0.06"),
        ("environment.json", "data_variance is '0.06'"),
    ),
    "lost epoch": (lose_an_epoch, ("history.csv is damaged", "1 to 3")),
    "epoch twice": (change_history(2, "epoch", "2"), ("history.csv is damaged", "1 to 3")),
    "lost column": (lose_a_column, ("history.csv cannot be read",)),
    "loss of text": (change_history(1, "loss", "low"), ("history.csv cannot be read",)),
    "loss not finite": (change_history(1, "loss", "nan"), ("history.csv", "some of its losses")),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", MISFITS)
def test_a_run_that_does_not_fit_is_refused_with_what_differs(
    copied: Callable[[str], Path], name: str
) -> None:
    change, facts = MISFITS[name]
    folder = copied("vqvae")
    change(folder)
    reseal(folder)
    refusal(lambda: read_everything(folder), folder, *facts)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("vqvae", {"num_hiddens": 32}),
        ("vqvae", {"num_embeddings": 16}),
        ("vqvae", {"embedding_dim": 4}),
        ("vqvae", {"decay": 0.0}),
        ("vae", {"latent_dim": 8}),
        ("vae", {"model": "vqvae"}),
    ],
)
def test_weights_of_another_config_are_refused(
    copied: Callable[[str], Path], model: str, changes: dict[str, object]
) -> None:
    folder = copied(model)
    change_json(folder / "config.json", **changes)
    reseal(folder)
    refusal(lambda: load_run(folder).model, folder, f"{WEIGHTS} does not fit")


# --- the codebook --------------------------------------------------------------------------


def test_a_collapse_is_told_with_its_epochs_and_no_other() -> None:
    config = TrainConfig()
    history = pd.DataFrame({"epoch": range(1, 5), "collapsed": [False, True, False, True]})
    told = collapse_warning(config, history)
    assert told is not None
    for fact in (config.run_name, "2, 4", str(COLLAPSED)):
        assert fact in told
    assert collapse_warning(config, history.assign(collapsed=False)) is None


@pytest.mark.parametrize("collapsed", [None, [None, None]])
def test_nothing_is_told_without_a_record_of_collapse(collapsed: list[None] | None) -> None:
    # the first runs did not record it, and a VAE has no codebook
    history = pd.DataFrame({"epoch": [1, 2]})
    if collapsed is not None:
        history["collapsed"] = collapsed
    assert collapse_warning(TrainConfig(), history) is None


# --- what is written -----------------------------------------------------------------------


@pytest.mark.faults
def test_weights_beyond_float16_are_refused() -> None:
    model = VAE(latent_dim=2)
    with torch.no_grad():
        model.encoder[0].bias[0] = 1e6
    refusal(lambda: stored_weights(model), BIAS, "float16", "lower learning rate")


def test_the_sheet_is_exact_to_the_pixel(photos: Images, copied: Callable[[str], Path]) -> None:
    folder = copied("vae")
    originals, reconstructions = photos.test[:16], photos.train[:16]
    write_sheet(folder / SHEET, originals.float() / 255, reconstructions.float() / 255)
    reseal(folder)
    read = load_run(folder).reconstructions
    assert torch.equal(read[0], originals)
    assert torch.equal(read[1], reconstructions)
    pixels = np.asarray(Image.open(folder / SHEET))
    assert pixels.shape == (64, 16 * 32, 3)
    np.testing.assert_array_equal(pixels[:32, 32:64], originals[1].permute(1, 2, 0))
    np.testing.assert_array_equal(pixels[32:, :32], reconstructions[0].permute(1, 2, 0))


@pytest.mark.parametrize("model", MODELS)
def test_the_sheet_holds_the_model_s_reconstructions(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    originals, reconstructions = small_runs[model].reconstructions
    assert torch.equal(originals, few_photos.test[:16])
    expected = small_runs[model].model.reconstruct(originals)
    difference = reconstructions.float() - 255 * expected
    assert difference.abs().max() < 0.51  # rounded to 8 bits


# --- a run and its images ------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_a_run_evaluated_again_gives_the_same_figures(
    picture_folder: Path, small_config: MakeConfig, tmp_path: Path, model: str
) -> None:
    run = fit(small_config(model, dataset=str(picture_folder), epochs=1), results=tmp_path)
    assert run.evaluation["n_test"] == 10
    assert evaluate_run(run.folder) == run.evaluation


def test_a_run_s_test_images_obey_its_limit(
    picture_folder: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config("vqvae", dataset=str(picture_folder), limit=4, epochs=1)
    run = fit(config, results=tmp_path)
    assert run.evaluation["n_test"] == 4
    assert load_run_images(run).shape == (4, 3, 32, 32)
    assert evaluate_run(run.folder) == run.evaluation


@pytest.mark.faults
def test_pictures_that_changed_are_no_part_of_an_older_run(
    picture_folder: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    pictures = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    config = small_config("vae", dataset=str(pictures), epochs=1)
    run = fit(config, results=tmp_path)
    some = next(pictures.rglob("*.png"))
    Image.fromarray(np.asarray(Image.open(some)) // 2).save(some)
    for again in (lambda: evaluate_run(run.folder), lambda: fit(config, results=tmp_path)):
        refusal(again, run.folder.name, "other images", pictures)
