"""Resume states: written whole, read without executing them, refused if they do not fit."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import MakeConfig, examples, refusal
from faults import flip_a_bit, full_disk
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vqlib import VAE, Images, TrainConfig, fit
from vqlib.system.checkpoint import difference, read_state, remove_state, write_state

State = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a resume state that is not written yet."""
    return tmp_path / "resume.pt"


# --- writing and reading -------------------------------------------------------------------


def test_a_state_is_read_as_it_was_written(path: Path) -> None:
    assert read_state(path) is None
    for number in (1, 2, 3):
        write_state(path, {"weights": torch.full((3,), number), "history": [{"epoch": number}]})
    state = read_state(path)
    assert state is not None
    assert torch.equal(state["weights"], torch.full((3,), 3))
    assert state["history"] == [{"epoch": 3}]


def test_a_removed_state_leaves_nothing(path: Path) -> None:
    for number in (1, 2):
        write_state(path, {"number": number})
    remove_state(path)
    assert list(path.parent.iterdir()) == []


@pytest.mark.faults
def test_a_state_that_cannot_be_written_leaves_the_one_before(path: Path) -> None:
    write_state(path, {"number": 1})
    with full_disk():
        large = {"number": 2, "large": torch.zeros(100_000)}
        refusal(lambda: write_state(path, large), path, "cannot be written")
    assert read_state(path) == {"number": 1}


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip_a_bit,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,  # killed between moving the old state and writing the new one
}


@pytest.mark.faults
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_state_is_named_and_the_one_before_is_used(
    path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for number in (1, 2):
        write_state(path, {"number": number})
    DAMAGES[name](path)
    assert read_state(path) == {"number": 1}
    told = capsys.readouterr().out
    assert (f"{path} is damaged" in told) == (name != "gone")


@pytest.mark.faults
def test_a_damaged_state_never_takes_the_place_of_the_good_one(path: Path) -> None:
    # killed again before the next state is whole, the run still has the good one
    for number in (1, 2):
        write_state(path, {"number": number})
    flip_a_bit(path)
    assert read_state(path) == {"number": 1}
    assert read_state(path) == {"number": 1}
    write_state(path, {"number": 2})
    flip_a_bit(path)
    assert read_state(path) == {"number": 1}


@pytest.mark.faults
@examples(60)
@given(st.binary(max_size=200))
def test_any_bytes_without_their_checksum_are_no_state(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_state(path) is None
    assert not path.exists()


# --- a state in a run ----------------------------------------------------------------------


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.faults
def test_no_pickle_of_a_run_folder_is_executed(
    few_photos: Images, small_config: MakeConfig, tmp_path: Path
) -> None:
    # not even if its checksum is right
    config, proof = small_config("vae"), tmp_path / "executed"
    path = tmp_path / config.run_name / "resume.pt"
    path.parent.mkdir()
    write_state(path, {"model": Malicious(proof)})
    refusal(lambda: fit(config, few_photos, tmp_path), path, "resume state", "delete it")
    assert not proof.exists()


@pytest.fixture(scope="module")
def unfinished(
    few_photos: Images, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the results folder of a VAE that was interrupted after its first epoch."""
    results, calls = tmp_path_factory.mktemp("unfinished"), iter(range(10**6))
    loss = VAE.loss

    def interrupted(self: VAE, x: Tensor) -> dict[str, Tensor]:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return loss(self, x)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(VAE, "loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(small_config("vae"), few_photos, results)
    return results


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def with_model(change: Callable[[State], State]) -> Callable[[State], State]:
    return lambda state: {**state, "model": change(state["model"])}


def with_other_moment(state: State) -> State:
    optimizer = state["optimizer"]
    first = next(iter(optimizer["state"]))
    changed = {**optimizer["state"][first], "exp_avg": torch.zeros(5)}
    return {**state, "optimizer": {**optimizer, "state": {**optimizer["state"], first: changed}}}


STATES: dict[str, tuple[Callable[[State], State], tuple[str, ...]]] = {
    "later format": (lambda s: {**s, "format": 2}, ("format 2", "reads 1")),
    "no optimizer": (without("optimizer"), ("resume state", "optimizer missing")),
    "renamed weight": (
        with_model(lambda m: {f"net.{name}": value for name, value in m.items()}),
        ("does not fit its config", "encoder.0.weight is missing"),
    ),
    "other shape": (
        with_model(lambda m: {**m, "encoder.0.bias": torch.zeros(5)}),
        ("does not fit its config", "encoder.0.bias is 5 and not 32"),
    ),
    "not finite": (
        with_model(lambda m: {name: value * torch.nan for name, value in m.items()}),
        ("is damaged", "encoder.0.weight", "not finite"),
    ),
    "other optimizer": (
        lambda s: {**s, "optimizer": {"state": {}, "param_groups": []}},
        ("does not fit its config", "optimizer"),
    ),
    "other moments": (
        with_other_moment,
        ("does not fit its config", "optimizer", "exp_avg has shape (5,)"),
    ),
    "other run": (
        lambda s: {**s, "config": {**s["config"], "seed": 7, "learning_rate": 0.1}},
        ("another run", "learning_rate 0.1 there, 0.0005 here", "seed 7 there, 0 here"),
    ),
    "other images": (lambda s: {**s, "data_md5": "0"}, ("other images", "photos")),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", STATES)
def test_a_state_that_does_not_fit_is_refused_with_what_differs(
    unfinished: Path, few_photos: Images, small_config: MakeConfig, tmp_path: Path, name: str
) -> None:
    change, facts = STATES[name]
    config = small_config("vae")
    folder = Path(shutil.copytree(unfinished / config.run_name, tmp_path / config.run_name))
    state = read_state(folder / "resume.pt")
    assert state is not None
    write_state(folder / "resume.pt", change(state))
    refusal(lambda: fit(config, few_photos, tmp_path), folder, *facts)


def test_configs_are_compared_by_name() -> None:
    one = TrainConfig(seed=1).to_dict()
    assert difference(one, one) == ""
    assert difference(one, {**one, "seed": 2}) == "seed 1 there, 2 here"
    assert difference({}, {"levels": (8, 5)}) == "levels None there, (8, 5) here"
