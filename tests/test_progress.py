"""How far a training is: a file, a bar in a terminal, and a line of text."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vqlib.system import progress
from vqlib.system.progress import Progress, describe, duration


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets what the clock shows, one time it is read after another."""

    def show(*seconds: float) -> None:
        times = iter(seconds)
        shown = SimpleNamespace(monotonic=lambda: next(times), time=time.time)
        monkeypatch.setattr(progress, "time", shown)

    return show


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        *((0, "0 s"), (45, "45 s"), (89.4, "89 s"), (90, "2 min"), (720, "12 min")),
        *((89 * 60, "89 min"), (90 * 60, "1 h 30 min"), (3 * 3600 + 300, "3 h 05 min")),
    ],
)
def test_a_duration_has_no_more_digits_than_it_needs(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_line_has_epoch_losses_and_time_left() -> None:
    losses = {"loss": 0.11234567, "reconstruction": 0.08}
    line = "epoch 3/40 · loss 0.1123 · reconstruction 0.08"
    assert describe(3, 40, losses, 720) == f"{line} · 12 min left"
    assert describe(3, 40, losses, None) == line


def test_the_time_left_is_that_of_the_steps_since_the_first_one_shown(
    tmp_path: Path, clock: Callable[..., None]
) -> None:
    # a resumed run starts late in its epochs; only its own steps tell how fast it is
    clock(0.0, 100.0, 106.0)
    shown = Progress(tmp_path, epochs=4, steps_per_epoch=10)
    with shown:
        shown.show(2, 5, {"loss": 1.0})
        first = json.loads((tmp_path / "progress.json").read_text())
        shown.show(2, 8, {"loss": 0.5})
    second = json.loads((tmp_path / "progress.json").read_text())
    assert first["seconds_left"] is None
    assert second["seconds_left"] == (40 - 18) * 6 / 3
    assert (second["epoch"], second["step"], second["losses"]) == (2, 8, {"loss": 0.5})
    assert second["pid"] == os.getpid()


def test_it_is_due_again_after_a_second(tmp_path: Path, clock: Callable[..., None]) -> None:
    clock(0.0, 0.5, 1.0)
    shown = Progress(tmp_path, epochs=1, steps_per_epoch=1)
    assert not shown.is_due()
    assert shown.is_due()
