"""The command line: what a user sees when all is well, and when it is not."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from vqlib import VAE, TrainConfig, fit, load_run
from vqlib.cli import main

SMALL_VAE = ("train", "vae", "--latent-dim", "4", "--batch-size", "16", "--epochs", "2")


@pytest.fixture(scope="module")
def finished(picture_folder: Path, small_config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; copy it before changing it."""
    results = tmp_path_factory.mktemp("finished")
    config = small_config("vae", dataset=str(picture_folder), epochs=1)
    return fit(config, results=results).folder


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]):
    """Runs a command that must end with exit code 1; returns its one line on standard error."""

    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert ended.value.code == 1
        assert said.endswith("\n")
        assert said.count("\n") == 1, said
        assert said.startswith("vqlib")
        return said

    return run


def test_train_then_evaluate(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*SMALL_VAE, "--dataset", str(picture_folder), "--results", str(tmp_path)])
    said = capsys.readouterr().out
    config = TrainConfig(
        model="vae", dataset=str(picture_folder), latent_dim=4, batch_size=16, epochs=2
    )
    run = load_run(tmp_path / config.run_name)
    assert run.config == config
    assert f"run folder: {run.folder}" in said
    assert json.loads(said[said.index("{") : said.rindex("}") + 1]) == run.evaluation

    main(["evaluate", str(run.folder)])
    assert json.loads(capsys.readouterr().out) == run.evaluation


def test_interrupted_training_says_how_to_go_on(
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [*SMALL_VAE, "--dataset", str(picture_folder), "--results", str(tmp_path)]

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(VAE, "loss", interrupt)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "run the same command again" in said
    main(command)
    assert "run folder:" in capsys.readouterr().out


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "gan"], "unknown model 'gan': choose one of vae, vqvae"),
        (["train", "vae", "--dataset", "mnist"], "unknown dataset 'mnist'"),
        (["train", "vae", "--dataset", ""], "dataset"),
        (["train", "vae", "--dropout", "0.5"], "--dropout"),
        (["train"], "model"),
        (["train", "vae", "vqvae"], "vqvae"),
        (["train", "vae", "--precision", "int8"], "unknown precision 'int8'"),
        (["train", "vae", "--batch-size"], "--batch-size"),
        (["retrain"], "retrain"),
        ([], "COMMAND"),
        (["evaluate"], "run"),
    ],
)
def test_unknown_choice_ends_in_one_line(fails, tmp_path: Path, arguments, said: str) -> None:
    results = ["--results", tmp_path] if "vae" in arguments[1:2] else []
    assert said in fails(*arguments, *results)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--batch-size", "0", "batch_size must be above 0, got 0"),
        ("--batch-size", "-4", "batch_size must be above 0, got -4"),
        ("--batch-size", "many", "batch_size must be a whole number, got 'many'"),
        ("--batch-size", "2.5", "batch_size must be a whole number, got '2.5'"),
        ("--epochs", "0", "epochs must be above 0, got 0"),
        ("--epochs", "-1", "epochs must be above 0, got -1"),
        ("--epochs", "ten", "epochs must be a whole number, got 'ten'"),
        ("--learning-rate", "0", "learning_rate must be above 0, got 0.0"),
        ("--learning-rate", "-0.1", "learning_rate must be above 0, got -0.1"),
        ("--learning-rate", "fast", "learning_rate must be a number, got 'fast'"),
        ("--learning-rate", "nan", "learning_rate must be a number, got 'nan'"),
        ("--limit", "0", "limit must be above 0, got 0"),
        ("--seed", "-1", "seed must be at least 0"),
    ],
)
def test_bad_value_ends_in_one_line(fails, option: str, value: str, said: str) -> None:
    assert said in fails("train", "vae", option, value)


def test_unknown_device_ends_in_one_line(fails, picture_folder: Path, tmp_path: Path) -> None:
    data = ("--dataset", picture_folder, "--results", tmp_path)
    assert "unknown device 'tpu'" in fails(*SMALL_VAE, *data, "--device", "tpu")


@pytest.mark.faults
def test_results_folder_that_cannot_be_written_ends_in_one_line(
    fails, picture_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    results = tmp_path / "file" / "runs"
    said = fails(*SMALL_VAE, "--dataset", picture_folder, "--results", results)
    assert str(results) in said
    assert "cannot be written" in said


@pytest.mark.faults
def test_bad_picture_ends_in_one_line(fails, picture_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    (folder / "test" / "even" / "000.png").write_bytes(b"no picture")
    said = fails(*SMALL_VAE, "--dataset", folder, "--results", tmp_path)
    assert str(folder / "test" / "even" / "000.png") in said


def break_weights(folder: Path) -> str:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    return path.name


def break_config(folder: Path) -> str:
    (folder / "config.json").write_text('{"model": "vae"')
    return "config.json"


def change_config(folder: Path) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "latent_dim": 99}))
    return "config.json is damaged"


def add_to_config(folder: Path) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "dropout": 1}))
    return "dropout"


def empty_environment(folder: Path) -> str:
    (folder / "environment.json").write_text("{}")
    return "environment.json"


def remove_weights(folder: Path) -> str:
    (folder / "weights.safetensors").unlink()
    return "weights.safetensors is not there"


def remove_all(folder: Path) -> str:
    shutil.rmtree(folder)
    return "is not a finished run"


@pytest.mark.faults
@pytest.mark.parametrize(
    "damage",
    [
        *(break_weights, break_config, change_config, add_to_config),
        *(empty_environment, remove_weights, remove_all),
    ],
)
def test_damaged_run_ends_in_one_line(fails, finished: Path, tmp_path: Path, damage) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    expected = damage(folder)
    said = fails("evaluate", folder)
    assert str(folder) in said
    assert expected in said


def test_help_names_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for field in fields(TrainConfig):
        option = "model" if field.name == "model" else "--" + field.name.replace("_", "-")
        assert f" {option} " in said
        assert field.name == "model" or f"(default: {field.default})" in said


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["bench"]])
def test_help_ends_well(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert "usage: vqlib" in said.out
    assert said.err == ""


def test_as_a_process() -> None:
    """Exit code 1 and one line, as a shell or a Makefile sees it."""
    command = [sys.executable, "-m", "vqlib", "train", "vae", "--batch-size", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "vqlib: batch_size must be above 0, got 0\n"
    assert ended.stdout == ""
