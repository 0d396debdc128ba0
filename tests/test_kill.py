"""Whatever stops a training, and whenever: it goes on as if nothing had been."""

import json
import random
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from faults import LONG, SIGNALS, Fault, Training

from vqlib.runs import load_run
from vqlib.system.checkpoint import read_state
from vqlib.system.files import sole_writer

pytestmark = pytest.mark.faults

MODELS = ("vae", "vqvae")
KILLS, FAILURES, RESTARTS = (200, 40, 40) if LONG else (20, 5, 4)


@pytest.fixture(scope="module")
def whole(picture_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Training]:
    """A training of each model that nothing befell."""
    trainings = {}
    for model in MODELS:
        trainings[model] = Training(model, picture_folder, tmp_path_factory.mktemp("whole"))
        exit_code, said = trainings[model].run()
        assert exit_code == 0, said
    return trainings


@pytest.fixture
def training(picture_folder: Path, tmp_path: Path, model: str) -> Training:
    """The same training, not yet begun."""
    return Training(model, picture_folder, tmp_path / "results")


def any_moment(whole: Training, kind: str, number: int) -> int:
    """The same ones each time, spread over the whole training: a shuffled pack, dealt in turn."""
    moments = list(range(1, whole.moments[kind] + 1))
    random.Random(kind).shuffle(moments)
    return moments[number % len(moments)]


def same(a: object, b: object) -> bool:
    """Bit for bit, whatever holds the tensors; seconds are left out."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        names = a.keys() - {"seconds"}
        return names == b.keys() - {"seconds"} and all(same(a[name], b[name]) for name in names)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same(training: Training, whole: Training) -> None:
    """Files byte for byte; optimizer, moving averages and history bit for bit."""
    for name in ("weights.safetensors", "evaluation.json", "reconstructions.png", "config.json"):
        content = (training.folder / name).read_bytes()
        assert content == (whole.folder / name).read_bytes(), name
    histories = [load_run(t.folder).history.drop(columns="seconds") for t in (training, whole)]
    pd.testing.assert_frame_equal(*histories, rtol=0, atol=0)
    states = [read_state(t.last_state) for t in (training, whole)]
    assert states[0]["optimizer"]["state"]
    assert same(*states)


def goes_on(training: Training, whole: Training) -> None:
    """The same command ends well, its run is the whole one's, and free for the next process."""
    exit_code, said = training.run()
    assert exit_code == 0, said
    assert_same(training, whole)
    assert not list(training.folder.glob(".*.tmp"))
    with sole_writer(training.folder):
        pass


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_it_ends_as_if_it_had_not_been(
    training: Training, whole: dict[str, Training], model: str, number: int
) -> None:
    kind = random.Random(number).choice(SIGNALS)
    moment = any_moment(whole[model], "signal", number)
    exit_code, said = training.run(Fault(kind, moment))
    if kind == "SIGKILL":
        assert exit_code == -9, (moment, said)
    else:
        assert exit_code == 130, (moment, said)
        assert "vqlib: interrupted; run the same command again to resume\n" in said
        assert "Traceback" not in said
    goes_on(training, whole[model])


@pytest.mark.parametrize("model", MODELS)
def test_killed_again_and_again_it_ends_as_if_it_had_not_been(
    training: Training, whole: dict[str, Training], model: str
) -> None:
    """By the clock, from outside: wherever it happens to be."""
    for number in range(RESTARTS):
        process = training.start()
        time.sleep(random.Random(number).uniform(0, 0.3))
        process.kill()
        process.join()
    goes_on(training, whole[model])


@pytest.mark.parametrize("model", MODELS)
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
    exit_code, said = training.run(Fault(kind, moment))
    assert exit_code == 1, (moment, said)
    told = [line for line in said.splitlines() if line.startswith("vqlib: ")]
    assert len(told) == 1
    assert str(training.results) in told[0]
    assert told[0].endswith(f" cannot be written: {cause}")
    assert "Traceback" not in said
    goes_on(training, whole[model])


@pytest.mark.parametrize("model", MODELS)
def test_of_several_at_once_one_trains_and_the_others_name_it(
    training: Training, whole: dict[str, Training], model: str
) -> None:
    """One that comes late may find it finished."""
    several = [replace(training, name=f"said{number}") for number in range(3)]
    processes = [each.start() for each in several]
    for process in processes:
        process.join()
    assert 0 in [process.exitcode for process in processes]
    for each, process in zip(several, processes, strict=True):
        if process.exitcode:
            assert process.exitcode == 1
            assert "is being written by another process" in each.log.read_text()
    goes_on(training, whole[model])


def test_a_lock_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".holder").write_text(json.dumps({"pid": 2**22 + 1, "host": "gone"}))
    (tmp_path / ".weights.safetensors.4194305.tmp").write_bytes(b"half of it")
    with sole_writer(tmp_path):
        assert json.loads((tmp_path / ".holder").read_text())["host"] != "gone"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
