"""Priors in run folders: trained, resumed, read again, sampled, and refused if they do not fit."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from conftest import MakeConfig, refusal
from faults import SIGNALS, Fault, PriorTraining, change_json, flip_a_bit, reseal
from PIL import Image

from vqlib import Images, Run, find_runs, fit, load_images
from vqlib.cli import main
from vqlib.generation import (
    Prior,
    PriorCoder,
    codes_of,
    find_priors,
    fit_prior,
    load_prior,
    prior_config,
)
from vqlib.generation.config import PRIORS
from vqlib.generation.training import rate
from vqlib.images import scale
from vqlib.rates import decode_pictures, encode_pictures
from vqlib.runs import StoredRun
from vqlib.system.checkpoint import read_state
from vqlib.system.files import sole_writer

SMALL = {
    "transformer": {"width": 32, "layers": 1},
    "pixelcnn": {"channels": 8, "blocks": 2},
}
TINY = {"batch_size": 16, "epochs": 2, "precision": "float32"}
CLASSES = ["even", "odd"]
Output = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def vqvae(
    small_config: MakeConfig, picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Return a finished run on pictures of two classes."""
    config = small_config("vqvae", dataset=str(picture_folder), epochs=1)
    return fit(config, results=tmp_path_factory.mktemp("vqvae"))


@pytest.fixture(scope="module")
def priors(vqvae: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prior]:
    """Return a finished prior of each kind; copy its folder before changing it."""
    results = tmp_path_factory.mktemp("priors")
    return {
        name: fit_prior(vqvae, results=results, model=name, **TINY, **SMALL[name])
        for name in PRIORS
    }


@pytest.fixture
def prior(priors: dict[str, Prior], tmp_path: Path) -> Prior:
    """Return a transformer in a folder of its own, that may be changed."""
    there = priors["transformer"].folder
    return load_prior(
        shutil.copytree(there, tmp_path / there.name), priors["transformer"].vqvae.folder
    )


# --- codes ---------------------------------------------------------------------------------


def test_rows_are_labels_and_codes_of_images_and_of_mirrored_images(vqvae: Run) -> None:
    images = load_images(vqvae.config.dataset)
    codes = codes_of(vqvae, images)
    assert codes.classes == tuple(CLASSES)
    assert codes.train.shape == (2 * len(images.train), 1 + 64)
    assert codes.train[:, 0].tolist() == [*images.labels.tolist()] * 2
    assert codes.test[:, 0].tolist() == images.test_labels.tolist()
    for rows, pixels in (
        (codes.train[: len(images.train)], images.train),
        (
            codes.train[len(images.train) :],
            torch.from_numpy(images.train.numpy()[..., ::-1].copy()),
        ),
        (codes.test, images.test),
    ):
        assert torch.equal(rows[:, 1:], vqvae.model.codes(scale(pixels)).flatten(1))


def test_a_limit_keeps_images_of_all_classes(vqvae: Run) -> None:
    codes = codes_of(vqvae, limit=6)
    assert codes.facts["n_train"] == codes.facts["n_test"] == 6
    assert set(codes.train[:, 0].tolist()) == {0, 1}


def test_without_classes_all_labels_are_0(small_runs: dict[str, Run], few_photos: Images) -> None:
    codes = codes_of(small_runs["vqvae"], few_photos)
    assert codes.classes == ()
    assert not codes.train[:, 0].any()


@pytest.mark.faults
def test_a_run_without_codes_has_no_prior(small_runs: dict[str, Run], few_photos: Images) -> None:
    run = small_runs["vae"]
    refusal(lambda: fit_prior(run, few_photos), run.folder, "no codes", "VQ-VAE")


@pytest.mark.faults
def test_images_that_changed_since_the_vqvae_have_no_prior(
    small_runs: dict[str, Run], few_photos: Images, tmp_path: Path
) -> None:
    others = Images("photos", few_photos.test, few_photos.test)
    refusal(lambda: fit_prior(small_runs["vqvae"], others, tmp_path), "other images")


# --- training ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRIORS)
def test_a_finished_prior_has_history_and_figures(priors: dict[str, Prior], name: str) -> None:
    prior = priors[name]
    assert list(prior.history) == ["epoch", "steps", "seconds", "loss", "test_bits"]
    assert list(prior.history["steps"]) == [5, 10]  # 80 rows in batches of 16
    figures = prior.evaluation
    assert figures["n_test"] == 10
    assert figures["test_bits"] == pytest.approx(prior.history["test_bits"].iloc[-1], abs=1e-2)
    assert figures["gap"] == figures["test_bits"] - figures["train_bits"]
    assert figures["bits_per_image"] == 64 * figures["test_bits"]
    assert figures["uniform_bits"] == 5  # 32 codes
    assert prior.environment["classes"] == CLASSES
    assert prior.model.title in ("transformer", "PixelCNN")


def test_figures_are_those_of_the_stored_weights(priors: dict[str, Prior], vqvae: Run) -> None:
    prior = load_prior(priors["transformer"].folder, vqvae.folder)
    again = prior.model.test_figures(codes_of(vqvae).test)
    assert again == {"test_bits": pytest.approx(prior.evaluation["test_bits"], rel=1e-6)}


def test_a_finished_prior_is_not_trained_again(
    priors: dict[str, Prior], vqvae: Run, capsys: Output
) -> None:
    prior = priors["pixelcnn"]
    given = {name: getattr(prior.config, name) for name in (*TINY, *SMALL["pixelcnn"])}
    again = fit_prior(vqvae, results=prior.folder.parent, model="pixelcnn", **given)
    assert "finished, read from" in capsys.readouterr().out
    assert again.folder == prior.folder


def test_a_run_s_name_says_what_it_is(vqvae: Run) -> None:
    name = vqvae.folder.name
    assert prior_config(vqvae).run_name == f"transformer-b128-e15-s0-of-{name}"
    wide = prior_config(vqvae, width=64, seed=3)
    assert wide.run_name == f"transformer-b128-e15-s3-width64-of-{name}"


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    rates = [rate(step / 1000) for step in range(1000)]
    highest = int(np.argmax(rates))
    assert 0 < rates[0] < 0.05
    assert 0.99 < max(rates) <= 1
    assert rates[: highest + 1] == sorted(rates[: highest + 1])
    assert rates[highest:] == sorted(rates[highest:], reverse=True)
    assert rates[-1] < 1e-4


def test_priors_are_no_runs_of_images(priors: dict[str, Prior], vqvae: Run, tmp_path: Path) -> None:
    for run in (vqvae, *priors.values()):
        shutil.copytree(run.folder, tmp_path / run.folder.name)
    assert [run.folder.name for run in find_runs(tmp_path)] == [vqvae.folder.name]


# --- kill and resume -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(vqvae: Run, tmp_path_factory: pytest.TempPathFactory) -> PriorTraining:
    """Return a training that nothing stopped."""
    config = prior_config(vqvae, **TINY, **SMALL["transformer"])
    training = PriorTraining(config, tmp_path_factory.mktemp("whole"), vqvae=vqvae.folder)
    exit_code, printed = training.run()
    assert exit_code == 0, printed
    return training


def files(run: StoredRun) -> dict[str, bytes]:
    """Return the files of a run that must be the same, byte for byte."""
    return {name: (run.folder / name).read_bytes()
            for name in ("config.json", "weights.safetensors", "evaluation.json")}  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize("number", range(4))
def test_a_prior_killed_at_any_moment_ends_as_if_it_had_not_been(
    whole: PriorTraining, tmp_path: Path, number: int
) -> None:
    training = PriorTraining(whole.config, tmp_path / "results", vqvae=whole.vqvae)
    moment = random.Random(number).randint(1, whole.moments["signal"])
    exit_code, printed = training.run(Fault(SIGNALS[number % 3], moment))
    assert exit_code in (-9, 130), printed
    exit_code, printed = training.run()
    assert exit_code == 0, printed
    ended, wanted = load_prior(training.folder), load_prior(whole.folder)
    assert files(ended) == files(wanted)
    histories = [each.history.drop(columns="seconds") for each in (ended, wanted)]
    pd.testing.assert_frame_equal(*histories, rtol=0, atol=0)
    states = [read_state(each.last_state)["optimizer"] for each in (training, whole)]
    assert states[0]["param_groups"] == states[1]["param_groups"]  # the learning rate is there
    for one, other in zip(*(state["state"].values() for state in states), strict=True):
        assert torch.equal(one["exp_avg_sq"], other["exp_avg_sq"])
    with sole_writer(training.folder):
        assert not list(training.folder.glob("*.pt"))


@pytest.mark.faults
@pytest.mark.parametrize("change", ["names", "labels"])
def test_a_prior_begun_with_other_classes_is_not_resumed(
    vqvae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    settings = {**TINY, **SMALL["transformer"]}
    with monkeypatch.context() as stopped:
        stopped.setattr("vqlib.generation.training._store", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit_prior(vqvae, results=tmp_path, **settings)
    images = load_images(vqvae.config.dataset)
    classes = ("even", "odder") if change == "names" else images.classes
    labels = images.labels if change == "names" else 1 - images.labels
    other = Images(images.name, images.train, images.test, None, "", labels, images.test_labels,
                   classes)  # fmt: skip
    refusal(lambda: fit_prior(vqvae, other, tmp_path, **settings), "other images")


# --- samples -------------------------------------------------------------------------------


def test_samples_are_images_that_seed_and_label_fix(prior: Prior) -> None:
    images = prior.sample(6, "odd", seed=1)
    assert images.shape == (6, 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(images, prior.sample(6, 1, seed=1))
    assert torch.equal(images, prior.sample(6, ["odd"] * 6, seed=1))
    assert torch.equal(
        images, load_prior(prior.folder, prior.vqvae.folder).sample(6, "odd", seed=1)
    )


def test_labels_are_the_classes_in_turn_or_as_given(prior: Prior) -> None:
    assert prior.classes == CLASSES
    assert prior.names(None, 3) == ["even", "odd", "even"]
    assert prior.names(torch.tensor([1, 1, 0]), 3) == ["odd", "odd", "even"]


def test_a_completed_image_keeps_the_codes_of_its_upper_half(prior: Prior, vqvae: Run) -> None:
    images = load_images(vqvae.config.dataset)
    completed = prior.complete(images.test, images.test_labels)
    assert completed.shape == images.test.shape
    asked: list[torch.Tensor] = []
    known = vqvae.model.codes(scale(images.test))
    vqvae_model = prior.vqvae.model
    vqvae_model.decode_codes, decode = (
        lambda codes: asked.append(codes) or decode(codes), vqvae_model.decode_codes
    )  # fmt: skip
    prior.complete(images.test, images.test_labels)
    assert torch.equal(asked[0][:, :4], known[:, :4])


def test_a_prior_without_classes_has_one_kind_of_sample(
    small_runs: dict[str, Run], few_photos: Images, tmp_path: Path
) -> None:
    run = small_runs["vqvae"]
    prior = fit_prior(run, few_photos, tmp_path, **{**TINY, "epochs": 1}, **SMALL["transformer"])
    assert prior.names(None, 2) == ["", ""]
    assert prior.sample(2).shape == (2, 3, 32, 32)
    refusal(lambda: prior.sample(2, "cat"), "no classes", "'cat'")


@pytest.mark.faults
def test_the_priors_of_a_folder_are_found_best_first_or_it_is_told_that_there_are_none(
    priors: dict[str, Prior], tmp_path: Path
) -> None:
    found = find_priors(priors["transformer"].folder.parent)
    assert {prior.folder for prior in found} == {prior.folder for prior in priors.values()}
    bits = [prior.evaluation["test_bits"] for prior in found]
    assert bits == sorted(bits)
    refusal(lambda: find_priors(tmp_path), tmp_path, "vqlib prior")


@pytest.mark.faults
def test_a_prior_of_another_vqvae_is_refused(prior: Prior, tmp_path: Path) -> None:
    other = Path(shutil.copytree(prior.vqvae.folder, tmp_path / "other"))
    flip_a_bit(other / "weights.safetensors")
    reseal(other)
    refusal(
        lambda: load_prior(prior.folder, other).sample(1),
        prior.folder, other, prior.config.weights[:8], "the VQ-VAE that it was trained for",
    )  # fmt: skip


@pytest.mark.faults
def test_a_prior_is_not_trained_on_for_another_vqvae_of_the_same_name(
    prior: Prior, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(prior.vqvae.folder, tmp_path / "other" / prior.config.vqvae))
    flip_a_bit(other / "weights.safetensors")
    reseal(other)
    settings = {**TINY, **SMALL["transformer"]}
    refusal(
        lambda: fit_prior(other, results=prior.folder.parent, **settings),
        prior.folder, "belongs to another config", f"weights {prior.config.weights}",
    )  # fmt: skip


@pytest.mark.faults
def test_a_vqvae_that_has_moved_is_asked_for(prior: Prior, tmp_path: Path) -> None:
    change_json(prior.folder / "environment.json", vqvae_folder=str(tmp_path / "gone"))
    reseal(prior.folder)
    alone = load_prior(prior.folder)
    refusal(lambda: alone.sample(1), prior.folder, tmp_path / "gone", "give the folder")
    assert load_prior(prior.folder, prior.vqvae.folder).sample(1).shape == (1, 3, 32, 32)
    shutil.copytree(prior.vqvae.folder, prior.folder.parent / prior.config.vqvae)
    assert load_prior(prior.folder).sample(1).shape == (1, 3, 32, 32)


@pytest.mark.faults
def test_damage_to_a_prior_is_told(prior: Prior) -> None:
    flip_a_bit(prior.folder / "weights.safetensors")
    refusal(lambda: prior.sample(1), prior.folder / "weights.safetensors", "damaged")


# --- the command line ----------------------------------------------------------------------


def test_samples_are_written_as_pictures_and_as_a_sheet(prior: Prior, tmp_path: Path) -> None:
    out = tmp_path / "samples"
    main(["sample", str(prior.folder), "--vqvae", str(prior.vqvae.folder), "--label", "odd",
          "--count", "10", "--seed", "4", "-o", str(out)])  # fmt: skip
    names = [f"{number:05}-odd.png" for number in range(10)]
    assert sorted(path.name for path in out.iterdir()) == [*names, "sheet.png"]
    images = (prior.sample(10, "odd", seed=4) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(np.array(Image.open(out / name)), image)
    sheet = np.array(Image.open(out / "sheet.png"))
    assert sheet.shape == (64, 256, 3)
    np.testing.assert_array_equal(sheet[32:, 32:64], images[9])
    assert (sheet[32:, 64:] == 255).all()


Refused = tuple[Callable[[Prior, Path], list[object]], tuple[str, ...]]
REFUSED: dict[str, Refused] = {
    "mistyped label": (
        lambda prior, _: [prior.folder, "--label", "evne"],
        ("unknown label 'evne'", "even, odd"),
    ),
    "no image": (lambda prior, _: [prior.folder, "--count", 0], ("count must be at least 1",)),
    "cold": (lambda prior, _: [prior.folder, "--temperature", -1], ("temperature",)),
    "a VQ-VAE": (lambda prior, _: [prior.vqvae.folder], ("is the run of a VQ-VAE", "vqlib prior")),
    "nothing": (lambda _, path: [path], ("not a finished run",)),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_sampled_ends_in_one_line(
    prior: Prior, tmp_path: Path, capsys: Output, name: str
) -> None:
    arguments, facts = REFUSED[name]
    given = [*arguments(prior, tmp_path), "-o", tmp_path / "samples"]
    assert_fails(capsys, ["sample", *given], facts)


@pytest.mark.faults
def test_a_folder_with_other_files_gets_no_samples(
    prior: Prior, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    assert_fails(capsys, ["sample", prior.folder, "-o", tmp_path], ("not empty", "new folder"))


@pytest.mark.faults
def test_a_vae_has_neither_prior_nor_samples(
    small_runs: dict[str, Run], tmp_path: Path, capsys: Output
) -> None:
    folder = small_runs["vae"].folder
    assert_fails(capsys, ["prior", folder], (str(folder), "no codes"))
    assert_fails(capsys, ["sample", folder, "-o", tmp_path / "new"], (str(folder), "VAE"))


@pytest.mark.faults
def test_a_setting_of_the_other_prior_ends_in_one_line(vqvae: Run, capsys: Output) -> None:
    assert_fails(capsys, ["prior", vqvae.folder, "--channels", 8], ("channels", "transformer"))


@pytest.mark.faults
def test_a_prior_is_not_evaluated_as_images_are(prior: Prior, capsys: Output) -> None:
    assert_fails(capsys, ["evaluate", prior.folder], (str(prior.folder), "prior over codes"))


def test_a_prior_is_trained_from_the_command_line(
    vqvae: Run, tmp_path: Path, capsys: Output
) -> None:
    small = {**TINY, **SMALL["pixelcnn"], "epochs": 1, "model": "pixelcnn"}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in small.items()]
    main(["prior", str(vqvae.folder), *options, "--results", str(tmp_path)])
    printed = capsys.readouterr().out
    (folder,) = tmp_path.iterdir()
    assert f"run folder: {folder}" in printed
    assert json.loads(printed[printed.index("{") : printed.rindex("}") + 1]) == (
        load_prior(folder).evaluation
    )


@pytest.mark.parametrize("name", PRIORS)
def test_pictures_are_coded_with_a_prior_and_come_back(
    priors: dict[str, Prior], vqvae: Run, tmp_path: Path, capsys: Output, name: str
) -> None:
    folder, file = priors[name].folder, tmp_path / "file"
    main(["encode", str(vqvae.folder), "--prior", str(folder), "-o", str(file)])
    printed = capsys.readouterr().out
    figures = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    assert figures["images"] == 10
    assert figures["coded_bits"] < 1.001 * figures["ideal_bits"] + 6.4
    main(["decode", str(vqvae.folder), str(file), "--prior", str(folder),
          "-o", str(tmp_path / "out")])  # fmt: skip
    images = load_images(vqvae.config.dataset).test
    decoded = (vqvae.model.reconstruct(scale(images)) * 255).round().byte().numpy()
    for number, pixels in enumerate(decoded):
        again = np.array(Image.open(tmp_path / "out" / f"{number:05}.png"))
        np.testing.assert_array_equal(again, pixels.transpose(1, 2, 0))


def test_each_image_is_coded_under_its_cheapest_label(prior: Prior, vqvae: Run) -> None:
    codes = codes_of(vqvae).test[:, 1:]
    coder = PriorCoder(prior)
    bits = coder.ideal_bits(codes.numpy().reshape(-1, 8, 8))
    rows = [F.pad(codes, (1, 0), value=label) for label in range(2)]
    with torch.no_grad():
        each = torch.stack([prior.model.bits(some).sum(1) for some in rows])
    assert bits == pytest.approx(each.min(0).values.sum().item() + len(codes), rel=1e-6)


@pytest.mark.faults
def test_a_file_is_decoded_with_the_prior_that_encoded_it_or_refused(
    priors: dict[str, Prior], vqvae: Run, tmp_path: Path
) -> None:
    run, (one, other) = vqvae.folder, (each.folder for each in priors.values())
    encode_pictures(run, [], tmp_path / "with", one)
    encode_pictures(run, [], tmp_path / "without")
    out, told = tmp_path / "out", "give the same"
    refusal(lambda: decode_pictures(run, tmp_path / "with", out), "you gave none", told)
    refusal(lambda: decode_pictures(run, tmp_path / "with", out, other), "you gave one", told)
    refusal(lambda: decode_pictures(run, tmp_path / "without", out, one), "no prior", told)


def assert_fails(capsys: Output, arguments: list[object], facts: tuple[str, ...]) -> None:
    """Run a command, which must end in one line with these facts."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert error.count("\n") == 1
    assert [fact for fact in facts if fact not in error] == []
