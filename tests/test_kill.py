"""Whatever stops a training, and whenever, it ends as if it had never been stopped."""

import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import STUDIED, MakeConfig
from faults import LONG, SIGNALS, Fault, Training

from vqlib.runs import SUMMED, evaluate_run, load_run
from vqlib.system.checkpoint import read_state
from vqlib.system.files import sole_writer

pytestmark = pytest.mark.faults

KILLS, FAILURES, RESTARTS = (200, 40, 40) if LONG else (20, 5, 4)


@pytest.fixture(scope="module")
def whole(
    small_config: MakeConfig, picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Training]:
    """Return a training of each model that nothing stopped."""
    trainings = {}
    for model in STUDIED:
        config = small_config(model, dataset=str(picture_folder))
        trainings[model] = Training(config, tmp_path_factory.mktemp("whole"))
        exit_code, printed = trainings[model].run()
        assert exit_code == 0, printed
    return trainings


@pytest.fixture
def training(whole: dict[str, Training], tmp_path: Path, model: str) -> Training:
    """Return the same training, not yet begun."""
    return Training(whole[model].config, tmp_path / "results")


def any_moment(whole: Training, kind: str, number: int) -> int:
    """Return a moment of the whole training, dealt from a shuffled pack that is always the same."""
    moments = list(range(1, whole.moments[kind] + 1))
    random.Random(kind).shuffle(moments)
    return moments[number % len(moments)]


def same(a: object, b: object) -> bool:
    """Return whether two states are equal bit for bit, but for the seconds in them."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        names = a.keys() - {"seconds"}
        return names == b.keys() - {"seconds"} and all(same(a[name], b[name]) for name in names)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same(training: Training, whole: Training) -> None:
    """Compare files byte for byte; optimizer, moving averages and history bit for bit."""
    for name in {*SUMMED} - {"history.csv"}:
        assert (training.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    histories = [load_run(t.folder).history.drop(columns="seconds") for t in (training, whole)]
    pd.testing.assert_frame_equal(*histories, rtol=0, atol=0)
    states = [read_state(t.last_state) for t in (training, whole)]
    assert states[0]["optimizer"]["state"]
    assert same(*states)


def assert_goes_on(training: Training, whole: Training) -> None:
    """Run the same command again: it ends as the whole run, and leaves the folder free."""
    exit_code, printed = training.run()
    assert exit_code == 0, printed
    assert_same(training, whole)
    assert not list(training.folder.glob(".*.tmp"))
    with sole_writer(training.folder):
        pass


def test_killed_with_images_of_64_pixels_it_goes_on(
    small_config: MakeConfig, tmp_path: Path
) -> None:
    config = small_config("vqvae", image_size=64, limit=48, epochs=2)
    whole = Training(config, tmp_path / "whole")
    exit_code, printed = whole.run()
    assert exit_code == 0, printed
    training = Training(config, tmp_path / "killed")
    assert training.run(Fault("SIGKILL", whole.moments["signal"] // 2))[0] == -signal.SIGKILL
    assert_goes_on(training, whole)
    assert load_run(training.folder).reconstructions[0].shape == (16, 3, 64, 64)
    assert evaluate_run(training.folder) == load_run(whole.folder).evaluation


@pytest.mark.parametrize("model", STUDIED)
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(
    training: Training, whole: dict[str, Training], model: str, number: int
) -> None:
    kind = random.Random(number).choice(SIGNALS)
    moment = any_moment(whole[model], "signal", number)
    exit_code, printed = training.run(Fault(kind, moment))
    if kind == "SIGKILL":
        assert exit_code == -9, (moment, printed)
    else:
        assert exit_code == 130, (moment, printed)
        (told,) = [line for line in printed.splitlines() if line.startswith("vqlib: ")]
        assert "interrupted" in told
        assert "same command again" in told
        assert "Traceback" not in printed
    assert_goes_on(training, whole[model])


@pytest.mark.parametrize("model", STUDIED)
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(
    training: Training, whole: dict[str, Training], model: str
) -> None:
    # by the clock, from outside
    for number in range(RESTARTS):
        process = training.start()
        time.sleep(random.Random(number).uniform(0, 0.3))
        process.kill()
        process.join()
    assert_goes_on(training, whole[model])


@pytest.mark.parametrize("model", STUDIED)
@pytest.mark.parametrize("number", range(FAILURES))
@pytest.mark.parametrize(
    ("kind", "cause"),
    [("full disk", "No space left on device"), ("unwritable", "Permission denied")],
)
def test_what_cannot_be_written_is_told_in_a_line_and_what_was_there_stays_good(
    training: Training,
    whole: dict[str, Training],
    model: str,
    kind: str,
    cause: str,
    number: int,
) -> None:
    moment = any_moment(whole[model], kind, number)
    exit_code, printed = training.run(Fault(kind, moment))
    assert exit_code == 1, (moment, printed)
    (told,) = [line for line in printed.splitlines() if line.startswith("vqlib: ")]
    assert str(training.results) in told
    assert "cannot be written" in told
    assert cause in told
    assert "Traceback" not in printed
    assert_goes_on(training, whole[model])


@pytest.mark.parametrize("model", STUDIED)
def test_of_several_at_once_one_trains_and_the_others_name_it(
    training: Training, whole: dict[str, Training], model: str
) -> None:
    several = [replace(training, name=f"printed{number}") for number in range(3)]
    processes = [each.start() for each in several]
    for process in processes:
        process.join()
    assert 0 in [process.exitcode for process in processes]
    for each, process in zip(several, processes, strict=True):
        if process.exitcode:  # one that came late may have found the run finished
            assert process.exitcode == 1
            assert "is being written by another process" in each.log.read_text()
    assert_goes_on(training, whole[model])
