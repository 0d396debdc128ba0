"""A training in several processes is the same experiment as in one."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import ranks
import torch
from conftest import refusal
from torch import Tensor, nn

import vqlib.training
from vqlib import load_run
from vqlib.system import processes
from vqlib.system.checkpoint import read_state
from vqlib.system.files import sole_writer

# 40 images in batches of 13: one of two processes gets 7 images, the other 6. The last batch is a
# single image, so that one of them gets nothing. 13 epochs are 52 steps.
FEW = ("--batch-size", "13", "--epochs", "13")
STEPS = 52
CODES = 16
FLOAT32 = ("--precision", "float32")
# Two processes round their sums differently from one. Training magnifies that, as it magnifies any
# change of 1e-7; with these sizes and rates it does so least.
KINDS: dict[str, tuple[str, ...]] = {
    "vae": ("vae", "--learning-rate", "2e-5"),
    "vqvae": (
        *("vqvae", "--num-hiddens", "32", "--num-residual-hiddens", "8"),
        *("--num-residual-layers", "1", "--num-embeddings", str(CODES), "--embedding-dim", "4"),
    ),
}
KINDS["calibrated VAE"] = (*KINDS["vae"], "--observation", "calibrated")
KINDS["learnt codebook"] = (*KINDS["vqvae"], "--decay", "0")

Few = tuple[str, ...]
Train = Callable[..., list[ranks.Rank]]
Alone = dict[str, tuple[Path, list[dict[str, float]]]]


# --- two processes -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(picture_folder: Path) -> Few:
    """Return options for a training of 40 images."""
    return ("--dataset", str(picture_folder), *FEW)


@pytest.fixture(scope="module")
def train(few: Few) -> Train:
    """Return a function that trains in so many processes, which must all end well."""

    def trained(
        results: Path, kind: str, count: int, prepare: ranks.Prepare | None = None
    ) -> list[ranks.Rank]:
        ended = ranks.train([*KINDS[kind], *few, *FLOAT32], results, count, prepare)
        assert [rank.exit_code for rank in ended] == [0] * count, [rank.printed for rank in ended]
        return ended

    return trained


def run_folder(results: Path) -> Path:
    return next(path for path in results.iterdir() if path.is_dir())


def codebook(results: Path) -> torch.Tensor:
    """Return the codebook as it was when the last epoch ended, in float32."""
    state = read_state(results / "last.pt")
    assert state is not None
    return state["model"]["quantizer.codebook"]


def assert_same_history(results: Path, other: Path) -> None:
    """Compare two histories within 1e-5, but for the seconds."""
    histories = [load_run(run_folder(folder)).history for folder in (results, other)]
    one, two = (history.drop(columns=["seconds", "collapsed"]) for history in histories)
    pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-6, check_dtype=False)


@pytest.fixture(scope="module")
def alone(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """Return results and losses of each step of each kind of model, trained by one process."""
    folders = {kind: tmp_path_factory.mktemp("alone") / "results" for kind in KINDS}
    return {kind: (at, train(at, kind, 1)[0].losses) for kind, at in folders.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_train_as_one_does(
    train: Train, alone: Alone, kind: str, tmp_path: Path
) -> None:
    results, losses = alone[kind]
    both = train(tmp_path / "two", kind, 2)
    assert len(losses) == STEPS
    for rank in both:
        for term in losses[0]:
            ours, alones = [step[term] for step in rank.losses], [step[term] for step in losses]
            np.testing.assert_allclose(ours, alones, rtol=1e-5, atol=1e-6, err_msg=term)
    assert_same_history(tmp_path / "two", results)
    if "vqvae" in KINDS[kind]:
        ours, alones = codebook(tmp_path / "two"), codebook(results)
        assert len(ours.unique(dim=0)) == CODES
        torch.testing.assert_close(ours, alones, rtol=1e-5, atol=1e-5)


def forget_to_add_up(_rank: int) -> None:
    import vqlib.quantizer

    class Forgetful:
        add_up = staticmethod(lambda *_tensors: None)

    vqlib.quantizer.processes = Forgetful


def test_codes_that_are_not_added_up_would_be_seen(
    train: Train, alone: Alone, tmp_path: Path
) -> None:
    results, losses = alone["vqvae"]
    both = train(tmp_path / "two", "vqvae", 2, forget_to_add_up)
    differences = [
        abs(ours["loss"] - alones["loss"])
        for ours, alones in zip(both[0].losses, losses, strict=True)
    ]
    assert max(differences) > 1e-3
    assert (codebook(tmp_path / "two") - codebook(results)).abs().max() > 1e-3


def start_elsewhere(rank: int) -> None:
    build = vqlib.training.build_model

    def built(*arguments: object) -> nn.Module:
        model = build(*arguments)
        with torch.no_grad():
            for weight in model.state_dict().values():
                weight += rank
        return model

    vqlib.training.build_model = built


@pytest.mark.parametrize("kind", ["vae", "vqvae"])
def test_weights_and_codebook_start_as_the_first_process_has_them(
    train: Train, alone: Alone, kind: str, tmp_path: Path
) -> None:
    train(tmp_path / "two", kind, 2, start_elsewhere)
    assert_same_history(tmp_path / "two", alone[kind][0])


def test_only_the_first_process_writes_and_speaks(train: Train, tmp_path: Path) -> None:
    first, second = train(tmp_path / "two", "vae", 2)
    assert "training on cpu" in first.printed
    assert any("weights.safetensors" in path for path in first.wrote)
    assert second.printed == ""
    assert second.wrote == []
    assert load_run(run_folder(tmp_path / "two")).environment["processes"] == 2
    again = train(tmp_path / "two", "vae", 2)
    assert "finished, read from" in again[0].printed
    assert [rank.losses for rank in again] == [[], []]


def test_bfloat16_in_two_processes_is_bfloat16(few: Few, tmp_path: Path) -> None:
    arguments = [*KINDS["vqvae"], *few, "--precision", "bfloat16"]
    losses = []
    for count in (1, 2):
        ended = ranks.train(arguments, tmp_path / str(count), count)
        assert ended[0].exit_code == 0, ended[0].printed
        assert load_run(run_folder(tmp_path / str(count))).environment["precision"] == "bfloat16"
        losses.append([step["loss"] for step in ended[0].losses])
    np.testing.assert_allclose(losses[0][:10], losses[1][:10], rtol=1e-2)


def kill_itself(rank: int, which: int) -> None:
    """Kill a process in the middle of the eighth epoch, as the system does without memory."""
    step, steps = vqlib.training.Trainer._step, itertools.count(1)

    def killed(trainer: vqlib.training.Trainer, batch: Tensor) -> dict[str, Tensor]:
        if rank == which and next(steps) == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer, batch)

    vqlib.training.Trainer._step = killed


@pytest.mark.faults
@pytest.mark.parametrize(
    ("kind", "begun", "killed", "resumed"),
    [("vqvae", 2, 1, 1), ("vqvae", 1, 0, 2), ("vae", 2, 0, 2), ("learnt codebook", 2, 1, 2)],
)
def test_a_run_goes_on_in_any_number_of_processes_once_one_was_killed(
    train: Train,
    few: Few,
    alone: Alone,
    kind: str,
    begun: int,
    killed: int,
    resumed: int,
    tmp_path: Path,
) -> None:
    arguments = [*KINDS[kind], *few, *FLOAT32]
    ended = ranks.train(arguments, tmp_path / "run", begun, partial(kill_itself, which=killed))
    assert ended.pop(killed).exit_code == -signal.SIGKILL
    for rank in ended:
        assert rank.exit_code == 1
        told = rank.printed.splitlines()[-1]
        for fact in (f"vqlib: rank {1 - killed}:", "2 processes ended", "same command again"):
            assert fact in told
        assert "Traceback" not in rank.printed
    after = train(tmp_path / "run", kind, resumed)
    assert "resumed after epoch 7" in after[0].printed
    assert len(after[0].losses) == STEPS - 28
    assert_same_history(tmp_path / "run", alone[kind][0])


@pytest.mark.faults
def test_torchrun_ends_when_a_process_is_killed_and_the_same_command_goes_on(
    few: Few, tmp_path: Path
) -> None:
    arguments = [*KINDS["vqvae"], *few, "--epochs", "50"]
    results = tmp_path / "results"
    torchrun = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
            *("-m", "vqlib", "train", *arguments, "--results", str(results)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list(results.glob("*/resume.pt")):
        assert torchrun.poll() is None, torchrun.stdout.read()
        time.sleep(0.05)
    workers = {w.environ()["RANK"]: w for w in psutil.Process(torchrun.pid).children()}
    workers["1"].kill()
    printed, _ = torchrun.communicate(timeout=60)
    assert torchrun.returncode == 1
    [line] = [line for line in printed.splitlines() if line.startswith("vqlib: ")]
    assert "2 processes ended" in line
    assert "same command again" in line
    assert not workers["0"].is_running()
    again = ranks.train(arguments, results, 2)
    assert "resumed after epoch" in again[0].printed
    assert len(load_run(run_folder(results)).history) == 50


@pytest.mark.faults
@pytest.mark.parametrize(
    ("slip", "told"),
    [
        (("--batch-size", "1"), "batch_size 1 is too small to be shared by 2 processes"),
        (("--beta", "-1"), "beta must be at least 0"),
        (("--device", "tpu"), "unknown device 'tpu'"),
        (("--dataset", "/nowhere"), "/nowhere"),
        (("--learning-rate", "1e30"), "epoch 1, step 2"),
    ],
)
def test_what_is_wrong_is_said_once(
    few: Few, slip: tuple[str, str], told: str, tmp_path: Path
) -> None:
    first, second = ranks.train([*KINDS["vae"], *few, *FLOAT32, *slip], tmp_path / "two", 2)
    assert (first.exit_code, second.exit_code) == (1, 1)
    [line] = [line for line in first.printed.splitlines() if line.startswith("vqlib: ")]
    assert told in line
    assert "Traceback" not in first.printed
    assert second.printed == ""


@pytest.mark.faults
def test_a_run_in_another_process_s_hands_is_left_to_it(
    few: Few, alone: Alone, tmp_path: Path
) -> None:
    arguments = [*KINDS["vae"], *few, *FLOAT32]
    with sole_writer(tmp_path / run_folder(alone["vae"][0]).name):
        first, second = ranks.train(arguments, tmp_path, 2)
    assert (first.exit_code, second.exit_code) == (1, 1)
    assert "is being written by another process" in first.printed
    assert second.printed == ""


# --- one process -----------------------------------------------------------------------------


def test_a_single_process_is_the_first_and_has_everything() -> None:
    rows = torch.arange(6.0)
    assert processes.count() == 1
    assert processes.is_first()
    assert processes.share(rows) is rows
    assert processes.each(lambda: 3) == [3]
    processes.add_up(rows)
    assert rows.tolist() == [0, 1, 2, 3, 4, 5]
    torch.manual_seed(1)
    noise = processes.randn_like(rows)
    torch.manual_seed(1)
    assert torch.equal(noise, torch.randn(6))


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.gpu() == 1
    monkeypatch.setenv("LOCAL_RANK", "2")
    refusal(processes.gpu, "more processes than GPUs", "2")
