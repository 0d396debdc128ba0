"""A step captured as a CUDA graph does what the same step does kernel by kernel."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqlib import TrainConfig, load_images
from vqlib.loop import Trainer
from vqlib.models import MODELS
from vqlib.system.capture import CapturedStep
from vqlib.training import make_trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

IMAGES = load_images("photos", limit=300)  # 18 batches of 16, and one of 12
VARIANTS = [
    *({"model": model} for model in MODELS),
    {"model": "vae", "observation": "calibrated"},
    {"model": "vqvae", "decay": 0.0},
]


@pytest.fixture(autouse=True)
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no sum on the GPU depend on which thread comes first."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def trainer(folder: Path, **settings: object) -> Trainer:
    config = TrainConfig.from_dict(
        {"dataset": "photos", "limit": 300, "batch_size": 16, "epochs": 2, "seed": 1, **settings}
    )
    folder.mkdir(exist_ok=True)
    return make_trainer(config, IMAGES, folder, torch.device("cuda"))


def without_seconds(history: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return copy.deepcopy(trainer.model.state_dict())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(map(str, v.values())))
def test_captured_steps_end_bit_for_bit_where_usual_ones_do(
    tmp_path: Path, variant: dict[str, object]
) -> None:
    captured, usual = (trainer(tmp_path / name, **variant) for name in ("captured", "usual"))
    assert isinstance(captured.step, CapturedStep)
    usual.use_uncaptured_steps()
    for each in (captured, usual):
        each.train()
    assert captured.step.graph is not None
    assert without_seconds(captured.history) == without_seconds(usual.history)
    for name, value in weights(usual).items():
        assert torch.equal(weights(captured)[name], value), name


def test_a_run_resumed_on_a_gpu_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, first = trainer(tmp_path / "whole"), trainer(tmp_path / "resumed")
    whole.train()
    first.advance(None)
    resumed = trainer(tmp_path / "resumed")
    resumed.train()
    assert without_seconds(resumed.history) == without_seconds(whole.history)
    for name, value in weights(whole).items():
        assert torch.equal(weights(resumed)[name], value), name
