"""The command line: what a user sees if all is well, and if it is not."""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeConfig
from faults import change_json, command_line, reseal
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from vqlib import Run, TrainConfig, __version__, fit, load_images, load_run, runs
from vqlib.bench.measured import MEASURED
from vqlib.cli import COMMANDS, main
from vqlib.config import Config, setting
from vqlib.models import MODELS, settings
from vqlib.options import setting_arguments
from vqlib.paths import ROOT

Output = pytest.CaptureFixture[str]
Fails = Callable[..., str]


@pytest.fixture
def config(small_config: MakeConfig, picture_folder: Path) -> TrainConfig:
    """Return a config of two quick epochs."""
    return small_config("vae", dataset=str(picture_folder), epochs=2)


@pytest.fixture(scope="module")
def finished(
    picture_folder: Path, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a finished run; copy it before changing it."""
    config = small_config("vae", dataset=str(picture_folder), epochs=1)
    return fit(config, results=tmp_path_factory.mktemp("finished")).folder


@pytest.fixture
def fails(capsys: Output) -> Fails:
    """Return a function that runs a command, which must fail, and returns its line of error."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        error = capsys.readouterr().err
        assert ended.value.code == 1
        assert error.startswith("vqlib")
        assert error.endswith("\n")
        assert error.count("\n") == 1, error
        return error

    return run


# --- as a process --------------------------------------------------------------------------


def test_a_process_that_fails_has_exit_code_1_and_one_line_of_error() -> None:
    command = [sys.executable, "-m", "vqlib", "train", "vae", "--batch-size", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("vqlib: batch_size")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


# --- help ----------------------------------------------------------------------------------


def helped(capsys: Output, *command: str) -> str:
    """Return what `--help` prints."""
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out


def test_help_names_every_command(capsys: Output) -> None:
    shown = helped(capsys)
    assert set(COMMANDS) <= set(re.findall(r"^    (\w+)", shown, re.MULTILINE))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_says_what_the_command_does_and_what_each_argument_is(
    command: str, capsys: Output
) -> None:
    shown = helped(capsys, *command.split())
    usage, described, *_ = shown.split("\n\n")
    assert usage.startswith(f"usage: vqlib {command}".rstrip())
    assert not described.endswith("arguments:")
    bare = re.findall(r"^  (?!COMMAND)(\S+)$", shown, re.MULTILINE)
    assert bare == []  # an argument without a word of help


def test_help_on_training_names_every_setting_with_its_default_and_its_models(
    capsys: Output,
) -> None:
    shown = " ".join(helped(capsys, "train").split())
    for field in fields(TrainConfig)[1:]:
        assert f" --{field.name.replace('_', '-')} … {field.metadata['help']}" in shown
        default = field.default
        text = ",".join(map(str, default)) if isinstance(default, tuple) else default
        assert f"(default: {text})" in shown
    for name, model in MODELS.items():
        assert name in shown
        assert model.title in shown or not settings(name)


def test_help_shows_a_list_as_it_is_given() -> None:
    @dataclass(frozen=True)
    class Listed(Config):
        levels: tuple[int, ...] = setting((8, 5), "levels of each dimension")

    parser = argparse.ArgumentParser()
    setting_arguments(parser, Listed, {}, ())
    assert "(default: 8,5)" in parser.format_help()
    assert Listed.from_dict(vars(parser.parse_args(["--levels", "8,5"]))) == Listed()


# --- training and evaluating ---------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_options_make_the_config(small_runs: dict[str, Run], model: str, capsys: Output) -> None:
    # the run is finished already: it is read, and what is printed is its evaluation
    run = small_runs[model]
    main([*command_line(run.config), "--results", str(run.folder.parent)])
    printed = capsys.readouterr().out
    assert f"run folder: {run.folder}" in printed
    assert json.loads(printed[printed.index("{") : printed.rindex("}") + 1]) == run.evaluation


def test_what_is_trained_is_evaluated_to_the_same_figures(
    config: TrainConfig, tmp_path: Path, capsys: Output
) -> None:
    main([*command_line(config), "--results", str(tmp_path)])
    run = load_run(tmp_path / config.run_name)
    assert run.config == config
    assert f"run folder: {run.folder}" in capsys.readouterr().out
    main(["evaluate", str(run.folder)])
    assert json.loads(capsys.readouterr().out) == run.evaluation


def test_an_interrupted_training_says_how_to_resume(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    command = [*command_line(config), "--results", str(tmp_path)]

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MODELS[config.model], "loss", interrupt)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 130
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "same command again" in error
    main(command)
    assert "run folder:" in capsys.readouterr().out


def test_an_old_run_is_brought_up_to_today_s_metrics(
    small_runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    old = small_runs["vqvae"]
    folder = Path(shutil.copytree(old.folder, tmp_path / "run"))
    monkeypatch.setattr(runs, "load_run_images", lambda _: load_images("photos", 8).test)
    change_json(folder / "evaluation.json", test_ssim=None)
    reseal(folder)  # with the sum of that file
    main(["evaluate", str(folder)])
    assert "test_ssim" not in load_run(folder).evaluation
    main(["evaluate", "--write", str(folder)])
    *_, printed = capsys.readouterr().out.split("\n{")
    run = load_run(folder)
    assert run.evaluation == json.loads("{" + printed)
    assert run.evaluation["n_test"] == 8
    assert (run.environment["data_md5"], run.history.equals(old.history)) == (
        *(old.environment["data_md5"], True),
    )


# --- lists ---------------------------------------------------------------------------------


def test_runs_are_listed_with_their_figures(
    small_runs: dict[str, Run], tmp_path: Path, capsys: Output
) -> None:
    for run in small_runs.values():
        shutil.copytree(run.folder, tmp_path / run.folder.name)
    cut = Path(shutil.copytree(small_runs["vae"].folder, tmp_path / "cut"))
    (cut / "history.csv").write_text("")
    main(["runs", str(tmp_path)])
    printed = capsys.readouterr()
    heading, *lines = printed.out.splitlines()
    assert heading.split() == ["run", "bits", "NMSE", "PSNR", "(dB)", "SSIM", "Perplexity"]
    assert len(lines) == len(small_runs)
    for run in small_runs.values():
        (line,) = [line for line in lines if f"/{run.folder.name} " in line]
        assert f" {run.bits:.1f} " in line
        assert f" {run.evaluation['test_ssim']:.4f} " in line
    assert str(cut / "history.csv") in printed.err
    assert printed.err.count("\n") == 1


def test_a_version_is_told(capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"vqlib {__version__}\n"
    for path in ("CITATION.cff", "CHANGELOG.md"):
        assert __version__ in (ROOT / path).read_text(encoding="utf-8")


def test_help_on_the_benchmark_and_its_page_have_the_same_list(capsys: Output) -> None:
    shown = " ".join(helped(capsys, "bench").split())
    page = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    for what, other in MEASURED:
        assert what in shown
        assert f"| {what} |" in page
        assert other in shown


# --- pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vae", "vqvae"])
def test_pictures_are_reconstructed_under_their_names(
    small_runs: dict[str, Run], picture_folder: Path, tmp_path: Path, model: str, capsys: Output
) -> None:
    run, out = small_runs[model], tmp_path / "out"
    main(["reconstruct", str(run.folder), str(picture_folder / "test"), "-o", str(out)])
    printed = capsys.readouterr().out
    figures = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    names = sorted(p.relative_to(picture_folder / "test") for p in picture_folder.glob("test/*/*"))
    assert sorted(path.relative_to(out) for path in out.rglob("*.png")) == names
    originals, images = (
        np.stack([np.asarray(Image.open(folder / name)) for name in names]).astype(float) / 255
        for folder in (picture_folder / "test", out)
    )
    expected = peak_signal_noise_ratio(originals, images, data_range=1)
    assert figures["images"] == len(names)
    assert figures["psnr"] == pytest.approx(expected, abs=0.01)  # files are rounded to 256 levels


# --- coding ----------------------------------------------------------------------------------


def test_pictures_are_encoded_and_decoded(
    small_runs: dict[str, Run], picture_folder: Path, tmp_path: Path, capsys: Output
) -> None:
    run, file = str(small_runs["vqvae"].folder), str(tmp_path / "file.vqlb")
    main(["encode", run, str(picture_folder), "-o", file])
    printed = capsys.readouterr().out
    figures = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    assert figures["images"] == 50
    assert figures["file_bytes"] == Path(file).stat().st_size
    assert f"written: {file}" in printed
    main(["decode", run, file, "-o", str(tmp_path / "out")])
    assert f"50 PNG files in {tmp_path / 'out'}" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.png"))) == 50


@pytest.mark.faults
def test_what_cannot_be_coded_ends_in_one_line(
    fails: Fails, finished: Path, small_runs: dict[str, Run], tmp_path: Path
) -> None:
    coder, foreign, out = small_runs["vqvae"].folder, tmp_path / "foreign", tmp_path / "out"
    foreign.write_bytes(b"GIF89a")
    assert "has no codes" in fails("encode", finished, "-o", out)
    assert f"{foreign} cannot be read" in fails("encode", coder, foreign, "-o", out)
    assert f"{foreign} is not a file" in fails("decode", coder, foreign, "-o", out)
    assert "cannot be written" in fails("decode", coder, foreign, "-o", foreign / "out")
    assert "cannot be read" in fails("reconstruct", coder, foreign, "-o", out)
    assert "is not empty" in fails("reconstruct", coder, "-o", tmp_path)


# --- what is wrong -------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["train", "gan"], ["unknown model 'gan'", *MODELS]),
        (["train", "vae", "--grid", "4"], ["--grid", "vae"]),
        (["train", "vqvae", "--embedding", "4"], ["--embedding"]),  # no abbreviation
        (["train", "vae", "--dataset", "mnist"], ["unknown dataset 'mnist'"]),
        (["train", "vae", "--dataset", ""], ["dataset"]),
        (["train", "vae", "--dropout", "0.5"], ["--dropout"]),
        (["train"], ["model"]),
        (["train", "vae", "vqvae"], ["vqvae"]),
        (["train", "vae", "--precision", "int8"], ["unknown precision 'int8'", "bfloat16"]),
        (["train", "vae", "--device", "tpu"], ["unknown device 'tpu'", "cpu"]),
        (["train", "vae", "--batch-size"], ["--batch-size"]),
        (["retrain"], ["retrain"]),
        ([], ["COMMAND"]),
        (["evaluate"], ["run"]),
        (["encode", "run", "picture.png"], ["-o"]),
        (["decode", "run", "-o", "folder"], ["file"]),
        (["explorer", "-o", "page.html"], ["run"]),
        (["explorer", "nowhere", "-o", "page.html"], ["nowhere is not a finished run"]),
        (["explorer", "nowhere"], ["--output"]),
    ],
)
def test_an_unknown_choice_ends_in_one_line(
    fails: Fails, tmp_path: Path, arguments: list[str], facts: list[str]
) -> None:
    results = ["--results", tmp_path] if "vae" in arguments[1:2] else []
    error = fails(*arguments, *results)
    assert [fact for fact in facts if fact not in error] == []


@pytest.mark.faults
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--batch-size", value) for value in ("0", "-4", "many", "2.5")),
        *(("--epochs", value) for value in ("0", "-1", "ten")),
        *(("--learning-rate", value) for value in ("0", "-0.1", "fast", "nan")),
        *(("--limit", "0"), ("--seed", "-1")),
    ],
)
def test_a_bad_value_ends_in_one_line(fails: Fails, option: str, value: str) -> None:
    error = fails("train", "vae", option, value)
    assert option.strip("-").replace("-", "_") in error
    assert value in error


@pytest.mark.faults
def test_a_results_folder_that_cannot_be_written_ends_in_one_line(
    fails: Fails, config: TrainConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    results = tmp_path / "file" / "runs"
    error = fails(*command_line(config), "--results", results)
    assert f"{results / config.run_name} cannot be written" in error


@pytest.mark.faults
def test_a_name_too_long_for_the_system_ends_in_one_line(
    fails: Fails, config: TrainConfig, tmp_path: Path
) -> None:
    results = tmp_path / ("x" * 300)
    assert "File name too long" in fails(*command_line(config), "--results", results)


@pytest.mark.faults
def test_a_bad_picture_ends_in_one_line(
    fails: Fails, picture_folder: Path, small_config: MakeConfig, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    bad = folder / "test" / "even" / "000.png"
    bad.write_bytes(b"no picture")
    config = small_config("vae", dataset=str(folder))
    assert str(bad) in fails(*command_line(config), "--results", tmp_path)


def cut_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut weights": (cut_weights, "weights.safetensors"),
    "no weights": (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors"),
    "cut config": (lambda f: (f / "config.json").write_text('{"model": "vae"'), "config.json"),
    "other config": (lambda f: change_json(f / "config.json", latent_dim=99), "config.json"),
    "later config": (lambda f: change_json(f / "config.json", dropout=1), "dropout"),
    "empty environment": (
        lambda f: (f / "environment.json").write_text("{}"),
        "environment.json",
    ),
    "no folder": (shutil.rmtree, "not a finished run"),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_ends_in_one_line(
    fails: Fails, finished: Path, tmp_path: Path, name: str
) -> None:
    damage, fact = DAMAGES[name]
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    damage(folder)
    error = fails("evaluate", folder)
    assert str(folder) in error
    assert fact in error
