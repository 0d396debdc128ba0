"""Run folders: what is written is whole, what is damaged is said to be."""

import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from faults import reseal
from PIL import Image
from safetensors.torch import load_file

from vqlib import Images, Run, TrainConfig, UserError, find_runs, fit, load_images, load_run
from vqlib.runs import checksum, write_sheet
from vqlib.system.checkpoint import read_state, write_state
from vqlib.system.files import sole_writer, write_atomically

MODELS = ("vae", "vqvae")


@contextmanager
def full_disk() -> Iterator[None]:
    """Writing beyond 100 kB fails, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def copied(small_runs: dict[str, Run], tmp_path: Path) -> Callable[[str], Path]:
    """Copies a finished run's folder, to be tampered with."""

    def copy(model: str) -> Path:
        folder = small_runs[model].folder
        return Path(shutil.copytree(folder, tmp_path / folder.name))

    return copy


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


# --- writing -------------------------------------------------------------------------------


@pytest.mark.faults
def test_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with (
        full_disk(),
        pytest.raises(UserError, match="cannot be written: File too large") as refused,
    ):
        write_atomically(path, bytes(200_000))
    assert str(path) in one_line(refused)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old and longer", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.faults
def test_write_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", b"new")


def test_sheet_is_exact_to_the_pixel(photos: Images, tmp_path: Path) -> None:
    originals, reconstructions = photos.test[:16], photos.train[:16]
    write_sheet(
        tmp_path / "reconstructions.png", originals.float() / 255, reconstructions.float() / 255
    )
    run = Run(tmp_path, TrainConfig())
    sheet = (tmp_path / "reconstructions.png").read_bytes()
    run.__dict__["environment"] = {"sha256": {"reconstructions.png": checksum(sheet)}}
    read = run.reconstructions
    assert torch.equal(read[0], originals)
    assert torch.equal(read[1], reconstructions)
    pixels = np.asarray(Image.open(tmp_path / "reconstructions.png"))
    assert pixels.shape == (64, 16 * 32, 3)
    np.testing.assert_array_equal(pixels[:32, 32:64], originals[1].permute(1, 2, 0))
    np.testing.assert_array_equal(pixels[32:, :32], reconstructions[0].permute(1, 2, 0))


@pytest.mark.parametrize("model", MODELS)
def test_sheet_holds_the_model_s_reconstructions(
    small_runs: dict[str, Run], few_photos: Images, model: str
) -> None:
    originals, reconstructions = small_runs[model].reconstructions
    assert torch.equal(originals, few_photos.test[:16])
    expected = small_runs[model].model.reconstruct(originals.float() / 255)
    difference = reconstructions.float() - 255 * expected
    assert difference.abs().max() < 0.51  # rounded to 8 bits


# --- a finished run ------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_finished_run_holds_what_it_should_and_no_more(
    small_runs: dict[str, Run], model: str
) -> None:
    names = {path.name for path in small_runs[model].folder.iterdir()} - {".lock"}
    assert names == {
        *("config.json", "environment.json", "history.csv"),
        *("weights.safetensors", "evaluation.json", "reconstructions.png"),
    }


@pytest.mark.parametrize("model", MODELS)
def test_run_gives_its_config_and_a_model_ready_for_use(
    small_runs: dict[str, Run], small_config: Callable[..., TrainConfig], model: str
) -> None:
    run = load_run(small_runs[model].folder)
    assert run.config == small_config(model)
    assert not run.model.training
    assert all(p.dtype == torch.float32 for p in run.model.parameters())
    stored = load_file(run.folder / "weights.safetensors")
    assert set(stored) == set(run.model.state_dict())
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, stored[name].float()), name
        is_average = name in ("quantizer.ema_counts", "quantizer.ema_sums")
        assert stored[name].dtype == (torch.float32 if is_average else torch.float16), name


def test_environment_tells_what_the_run_came_from(
    small_runs: dict[str, Run], few_photos: Images
) -> None:
    environment = load_run(small_runs["vae"].folder).environment
    assert torch.__version__.startswith(environment["torch"])
    assert environment["threads"] == torch.get_num_threads()
    assert environment["device"] == "cpu"
    assert environment["precision"] == "float32"
    assert environment["data_md5"] == few_photos.digest
    assert (environment["n_train"], environment["n_test"]) == (100, 40)
    assert environment["data_variance"] == pytest.approx(few_photos.variance)


def test_runs_are_found_by_model_then_batch_size_then_seed(
    small_runs: dict[str, Run], tmp_path: Path
) -> None:
    """In the order of numbers (16 before 128), with unfinished runs and other files left out."""
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
        (tmp_path / config.run_name / "config.json").write_text(json.dumps(config.to_dict()))
        reseal(tmp_path / config.run_name)
    (tmp_path / "vae-photos-b1-e1-s0").mkdir()
    (tmp_path / "summary.csv").write_text("")
    runs = find_runs(tmp_path)
    assert [(r.config.model, r.config.batch_size, r.config.seed) for r in runs] == wanted
    assert find_runs(tmp_path / "nowhere") == []


# --- damaged and unfinished runs -----------------------------------------------------------


@pytest.mark.faults
def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a finished run") as refused:
        load_run(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in one_line(refused)


@pytest.mark.faults
@pytest.mark.parametrize(
    "name",
    ["config.json", "environment.json", "history.csv", "evaluation.json"],
)
def test_unfinished_run_says_what_is_missing(copied: Callable[[str], Path], name: str) -> None:
    folder = copied("vae")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name} missing") as refused:
        load_run(folder)
    assert str(folder) in one_line(refused)


NOT_AN_OBJECT = {"cut": '{"model": "va', "empty": "", "a list": "[1, 2]", "binary": "\x00ÿ"}


@pytest.mark.faults
@pytest.mark.parametrize("content", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT.keys())
@pytest.mark.parametrize("name", ["config.json", "environment.json", "evaluation.json"])
def test_damaged_json_is_refused_by_name(
    copied: Callable[[str], Path], name: str, content: str
) -> None:
    folder = copied("vae")
    (folder / name).write_bytes(content.encode("latin-1"))

    def read() -> None:
        run = load_run(folder)
        _ = run.environment, run.evaluation

    with pytest.raises(UserError, match=re.escape(name)) as refused:
        read()
    assert str(folder) in one_line(refused)


@pytest.mark.faults
def test_environment_without_the_variance_is_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("vqvae")
    reseal(folder, data_variance=None)
    with pytest.raises(UserError, match=r"environment\.json.*data_variance") as refused:
        _ = load_run(folder).model
    one_line(refused)


@pytest.mark.faults
@pytest.mark.parametrize(
    "content", [b"", b"epoch\n\x00\xff", b'"epoch'], ids=["empty", "binary", "cut"]
)
def test_damaged_history_is_refused_by_name(copied: Callable[[str], Path], content: bytes) -> None:
    folder = copied("vae")
    (folder / "history.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"history\.csv") as refused:
        _ = load_run(folder).history
    one_line(refused)


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["missing", "cut", "other size"])
def test_damaged_sheet_is_refused_by_name(copied: Callable[[str], Path], damage: str) -> None:
    folder = copied("vae")
    path = folder / "reconstructions.png"
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    if damage == "other size":
        Image.new("RGB", (100, 50)).save(path)
    with pytest.raises(UserError, match=r"reconstructions\.png") as refused:
        _ = load_run(folder).reconstructions
    one_line(refused)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("vqvae", {"num_hiddens": 32}),
        ("vqvae", {"num_embeddings": 16}),
        ("vqvae", {"decay": 0.0}),
        ("vae", {"latent_dim": 8}),
        ("vae", {"model": "vqvae"}),
    ],
)
def test_weights_that_do_not_fit_the_config_are_refused(
    copied: Callable[[str], Path], model: str, changes: dict[str, object]
) -> None:
    folder = copied(model)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    reseal(folder)
    with pytest.raises(UserError, match=r"weights\.safetensors does not fit") as refused:
        _ = load_run(folder).model
    assert str(folder) in one_line(refused)


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"", b"garbage" * 100, None], ids=["empty", "garbage", "cut"])
def test_damaged_weights_are_refused(copied: Callable[[str], Path], content: bytes | None) -> None:
    path = copied("vae") / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1000] if content is None else content)
    with pytest.raises(UserError, match=r"weights\.safetensors") as refused:
        _ = load_run(path.parent).model
    one_line(refused)


# --- the state of an unfinished run ----------------------------------------------------------


def test_state_roundtrip(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    assert read_state(path) is None
    for number in (1, 2, 3):
        write_state(path, {"weights": torch.full((3,), number), "history": [{"epoch": number}]})
    state = read_state(path)
    assert torch.equal(state["weights"], torch.full((3,), 3))
    assert state["history"] == [{"epoch": 3}]


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["flipped bit", "cut", "empty", "gone"])
def test_damaged_state_is_passed_over_for_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = tmp_path / "resume.pt"
    for number in (1, 2):
        write_state(path, {"number": number})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "gone":  # the process was killed between moving the old and writing the new one
        path.unlink()
    else:
        path.write_bytes({"flipped bit": content, "cut": content[:-9], "empty": b""}[damage])
    assert read_state(path) == {"number": 1}
    said = capsys.readouterr().out
    assert ("damaged" in said) == (damage != "gone")
    assert str(path) in said or damage == "gone"


@pytest.mark.faults
def test_state_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    write_state(path, {"number": 1})
    with full_disk(), pytest.raises(UserError, match="cannot be written"):
        write_state(path, {"number": 2, "large": torch.zeros(100_000)})
    assert read_state(path) == {"number": 1}


# --- one writer ------------------------------------------------------------------------------

TRAINS_AND_STALLS = """
import sys, time
from pathlib import Path
import vqlib
from vqlib.models import VQVAE

folder, results, marker = sys.argv[1:]
loss, calls = VQVAE.loss, 0
def stalling(self, x):
    global calls
    calls += 1
    if calls == 6:  # in the third epoch of two steps
        Path(marker).touch()
        time.sleep(120)
    return loss(self, x)
VQVAE.loss = stalling
small = dict(num_hiddens=16, num_residual_hiddens=8, num_residual_layers=1)
config = vqlib.TrainConfig(model="vqvae", dataset=folder, batch_size=32, epochs=4, **small)
vqlib.fit(config, results=results)
"""


@pytest.mark.faults
def test_second_writer_is_refused_and_a_killed_run_goes_on(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process is killed for good in epoch 3: the run ends as if it had not been."""
    small = {"num_hiddens": 16, "num_residual_hiddens": 8, "num_residual_layers": 1}
    config = TrainConfig(
        model="vqvae", dataset=str(picture_folder), batch_size=32, epochs=4, **small
    )
    results, marker = tmp_path / "runs", tmp_path / "stalled"
    command = [sys.executable, "-c", TRAINS_AND_STALLS, str(picture_folder), results, marker]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 100
        while not marker.exists():
            assert process.poll() is None, "the other process ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(UserError, match=f"pid {process.pid} ") as refused:
            fit(config, results=results)
        assert config.run_name in one_line(refused)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    capsys.readouterr()
    resumed = fit(config, results=results)
    assert "resumed after epoch 2" in capsys.readouterr().out

    whole = fit(config, load_images(str(picture_folder)), results=tmp_path / "whole")
    losses = ["loss", "reconstruction", "commitment", "test_nmse", "perplexity"]
    assert resumed.history[losses].equals(whole.history[losses])
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name


def test_writer_lets_go_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyError), sole_writer(folder):
        raise KeyError
    with sole_writer(folder):
        assert folder.is_dir()


@pytest.mark.faults
def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot be written") as refused,
        sole_writer(tmp_path / "file" / "run"),
    ):
        pass
    assert str(tmp_path / "file" / "run") in one_line(refused)
