"""How far a training is: a file, a bar in a terminal or a notebook, and a curve."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from IPython.utils.capture import RichOutput, capture_output
from traitlets.config import Config

from vqlib.figures import growing_losses
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


# --- in a notebook -------------------------------------------------------------------------


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """Return a shell that looks like that of a notebook's kernel."""
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    select_figure_formats(shell, {"png"})
    monkeypatch.setattr(
        progress, "_display", lambda total, first: progress._NotebookLine(total, first)
    )
    yield shell
    InteractiveShell.clear_instance()


def trained(folder: Path, epochs: int, fails: bool = False) -> list[RichOutput]:
    """Return what a notebook is told to show while a training of 10 steps an epoch runs."""
    history = pd.DataFrame({"epoch": range(1, epochs + 1)}).assign(loss=lambda h: 1 / h["epoch"])
    with (
        capture_output() as captured,
        suppress(ZeroDivisionError),
        Progress(folder, epochs, 10) as shown,
    ):
        for epoch, loss in history.itertuples(index=False):
            shown.show(epoch, 5, {"loss": 2 * loss})
            draw = partial(growing_losses, history[:epoch], ["loss"], epochs)
            shown.end_epoch(epoch, {"loss": loss}, draw)
            if fails:
                raise ZeroDivisionError
    return captured.outputs


def left(outputs: list[RichOutput]) -> list[RichOutput]:
    """Return what a stored notebook holds: the last state of each display."""
    return list({output.transient["display_id"]: output for output in outputs}.values())


def test_a_notebook_shows_a_bar_with_losses_and_time_left(
    notebook: InteractiveShell, tmp_path: Path
) -> None:
    texts = [output.data["text/plain"] for output in trained(tmp_path, 4)]
    assert texts[0] == "training…"
    assert re.fullmatch(r"█{2}░{18} 12% · epoch 1/4 · loss 2", texts[1])
    assert any(
        re.fullmatch(r"█{12}░{8} 62% · epoch 3/4 · loss 0\.6667 · \d+ s left", text)
        for text in texts
    )


def test_the_curve_grows_and_one_picture_stays_with_the_final_losses(
    notebook: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    outputs = trained(tmp_path, 4)
    curves = [output for output in outputs if "image/png" in output.data]
    assert [output.metadata["image/png"]["alt"].split(".")[0] for output in curves] == [
        f"Curves of the loss terms over {epochs} of 4 epochs" for epochs in (2, 3, 4)
    ]
    line, picture = left(outputs)
    assert line.data["text/plain"] == "epoch 4/4 · loss 0.25"
    assert picture.data == curves[-1].data


def test_a_fast_training_draws_its_curve_once(notebook: InteractiveShell, tmp_path: Path) -> None:
    outputs = trained(tmp_path, 4)
    (curve,) = [output for output in outputs if "image/png" in output.data]
    assert "4 of 4 epochs" in curve.metadata["image/png"]["alt"]


def test_a_single_epoch_makes_no_curve(notebook: InteractiveShell, tmp_path: Path) -> None:
    assert not any("image/png" in output.data for output in trained(tmp_path, 1))


def test_a_training_that_ends_early_says_where(notebook: InteractiveShell, tmp_path: Path) -> None:
    (line,) = left(trained(tmp_path, 4, fails=True))
    assert line.data["text/plain"] == "stopped: epoch 1/4 · loss 1"
