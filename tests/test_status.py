"""What is told of the runs under way."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from vqlib.study import status
from vqlib.study.status import runs_under_way

ALIVE = {
    "epoch": 3, "epochs": 40, "step": 5, "steps_per_epoch": 10, "losses": {"loss": 0.1234},
    "seconds_left": 720.0, "updated": time.time(), "pid": os.getpid(),
    "host": socket.gethostname(),
}  # fmt: skip


def begin(results: Path, name: str = "run", **changes: object) -> None:
    """Write the progress of a run of this process."""
    (results / name).mkdir(parents=True)
    (results / name / "progress.json").write_text(json.dumps({**ALIVE, **changes}))


def test_the_runs_under_way_are_those_whose_process_is_alive(tmp_path: Path) -> None:
    begin(tmp_path, "mine")
    begin(tmp_path, "gone", pid=2**22 + 1)
    (tmp_path / "finished").mkdir()
    assert runs_under_way(tmp_path) == {"mine": ALIVE}


@pytest.mark.parametrize(("minutes", "is_alive"), [(1, True), (10, False)])
def test_a_run_on_another_machine_is_alive_if_it_was_heard_of_lately(
    tmp_path: Path, minutes: float, is_alive: bool
) -> None:
    begin(tmp_path, host="elsewhere", updated=time.time() - 60 * minutes)
    assert bool(runs_under_way(tmp_path)) == is_alive


@pytest.mark.faults
@pytest.mark.parametrize("content", ["[]", "{}", "3", '{"pid": 1', '{"pid": "1", "host": 3}'])
def test_damaged_progress_is_passed_over(tmp_path: Path, content: str) -> None:
    begin(tmp_path)
    (tmp_path / "run" / "progress.json").write_text(content)
    assert runs_under_way(tmp_path) == {}


def test_the_status_has_a_line_for_each_run_with_study_epoch_losses_and_time_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "ROOT", tmp_path)
    for study in ("quick", "paper"):
        begin(tmp_path / "results" / study, f"{study}-run")
    status.print_status()
    paper, quick = capsys.readouterr().out.splitlines()
    for fact in ("paper: paper-run", "3/40", "loss 0.1234", "12 min left"):
        assert fact in paper
    assert "quick: quick-run" in quick


def test_the_status_says_if_no_run_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "ROOT", tmp_path)
    status.print_status()
    assert capsys.readouterr().out == "no run is under way\n"
