"""The training loop trains what is neither images nor one of the library's models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib import TrainConfig
from vqlib.loop import Trainer
from vqlib.system.capture import CapturedStep
from vqlib.system.checkpoint import read_state

VALUES = 5
CONFIG = TrainConfig(dataset="photos", batch_size=8, epochs=3, precision="float32", seed=3)


class NextInRow(nn.Module):
    """A model that predicts each integer of a grid from its left neighbour, with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VALUES, VALUES)

    def loss(self, grids: Tensor) -> dict[str, Tensor]:
        logits = F.dropout(self.table(grids[:, :, :-1]), 0.3, self.training)
        nats = F.cross_entropy(logits.flatten(0, 2), grids[:, :, 1:].flatten())
        return {"loss": nats, "bits": nats / torch.tensor(2.0).log()}

    @torch.no_grad()
    def test_figures(self, grids: Tensor) -> dict[str, Any]:
        self.eval()
        return {"test_bits": self.loss(grids)["bits"].item()}


@pytest.fixture(scope="module")
def grids() -> Tensor:
    """Return integers (44, 4, 4); each row counts up."""
    first = torch.randint(VALUES, (44, 4, 1), generator=torch.Generator().manual_seed(0))
    return (first + torch.arange(4)) % VALUES


@pytest.fixture
def train(grids: Tensor) -> Callable[[Path], Trainer]:
    """Return a function that trains on the grids in a folder, or resumes there."""

    def run(folder: Path) -> Trainer:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        trainer = Trainer(
            CONFIG, NextInRow(), grids[:36], grids[36:], folder, torch.device("cpu"),
            {"data_md5": "of the grids"},
        )  # fmt: skip
        trainer.train()
        return trainer

    return run


@pytest.mark.parametrize("schedule", [None, lambda done: 1 - done])
def test_a_schedule_sets_the_learning_rate_of_each_step(
    grids: Tensor, tmp_path: Path, schedule: Callable[[float], float] | None
) -> None:
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            rates.append(self.param_groups[0]["lr"])
            super().step(closure)

    Trainer(
        CONFIG, NextInRow(), grids[:36], grids[36:], tmp_path, torch.device("cpu"),
        {"data_md5": "of the grids"}, Watched, schedule,
    ).train()  # fmt: skip
    shares = [1.0] * 15 if schedule is None else [1 - step / 15 for step in range(15)]
    assert rates == pytest.approx([CONFIG.learning_rate * share for share in shares])


def test_grids_of_integers_are_learnt(train: Callable[[Path], Trainer], tmp_path: Path) -> None:
    history = train(tmp_path / "run").history
    assert list(history[0]) == ["epoch", "steps", "seconds", "loss", "bits", "test_bits"]
    assert [row["steps"] for row in history] == [5, 10, 15]
    assert history[-1]["test_bits"] < history[0]["test_bits"]


@pytest.mark.faults
@pytest.mark.parametrize("step", [1, 7, 15])
def test_killed_at_a_step_it_ends_bit_for_bit_as_if_it_had_not_been(
    train: Callable[[Path], Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    whole = train(tmp_path / "whole")
    loss, taken = NextInRow.loss, iter(range(1, 100))

    def killed(self: NextInRow, grids: Tensor) -> dict[str, Tensor]:
        if self.training and next(taken) == step:
            raise KeyboardInterrupt
        return loss(self, grids)

    with monkeypatch.context() as patched:
        patched.setattr(NextInRow, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed")
    resumed = train(tmp_path / "killed")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    histories = [pd.DataFrame(each.history).drop(columns="seconds") for each in (whole, resumed)]
    pd.testing.assert_frame_equal(*histories)
    moments = [moment(each.folder / "resume.pt") for each in (whole, resumed)]
    assert torch.equal(*moments)


def test_only_full_batches_are_captured() -> None:
    """There need not be a GPU here: a list takes the place of the graph."""
    taken: list[str] = []

    class Graph:
        def replay(self) -> None:
            taken.append("replayed")

    class Recorded(CapturedStep):
        def _capture(self, batch: Tensor) -> Any:
            taken.append(f"captured {len(batch)}")
            self.batch, self.graph = batch.clone(), Graph()
            return self.graph

    def step(batch: Tensor) -> dict[str, Tensor]:
        taken.append(f"usual {len(batch)}")
        return {}

    recorded = Recorded(step, torch.optim.Adam([torch.zeros(1)]))
    recorded._aside = step
    for rows in (8, 3, 8, 3, 8, 3, 8, 8, 3):
        recorded(torch.arange(rows))
    usual = ["usual 8", "usual 3"] * 3
    assert taken == [*usual, "captured 8", "replayed", "replayed", "usual 3"]


def moment(path: Path) -> Tensor:
    """Return the optimizer's second moment in a resume state."""
    state = read_state(path)
    assert state is not None
    return state["optimizer"]["state"][0]["exp_avg_sq"]
