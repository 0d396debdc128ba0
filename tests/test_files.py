"""Files are written whole or not at all, and one process at a time writes a folder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import MakeConfig, refusal
from faults import full_disk

from vqlib import fit, load_images
from vqlib.system.files import make_folder, read_json, sole_writer, write_atomically


def hold(folder: Path) -> None:
    with sole_writer(folder):
        pass


# --- one file ------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"[1, 2]", b"\x00\xff", None])
def test_damaged_json_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    refusal(lambda: read_json(path), path, "cannot be read")


def test_a_write_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old and longer", b"new"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_keeps_the_old_file_under_another_name_on_demand(tmp_path: Path) -> None:
    path, previous = tmp_path / "file", tmp_path / "previous"
    for content in (b"first", b"second", b"third"):
        write_atomically(path, content, previous)
    assert (previous.read_bytes(), path.read_bytes()) == (b"second", b"third")


@pytest.mark.faults
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with full_disk():
        refusal(lambda: write_atomically(path, bytes(200_000)), path, "File too large")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# --- folders -------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "below"
    for ask in (
        lambda: write_atomically(below, b"new"),
        lambda: make_folder(below),
        lambda: hold(below),
    ):
        refusal(ask, below, "cannot be written")


def test_a_writer_lets_go_of_the_folder_even_if_it_fails(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyError), sole_writer(folder):
        raise KeyError
    hold(folder)
    assert folder.is_dir()


@pytest.mark.faults
def test_a_second_writer_is_told_pid_and_host_of_the_first(tmp_path: Path) -> None:
    with sole_writer(tmp_path):
        host = json.loads((tmp_path / ".holder").read_text())["host"]
        facts = (tmp_path, "another process", f"pid {os.getpid()}", host)
        refusal(lambda: hold(tmp_path), *facts)


@pytest.mark.faults
def test_a_lock_that_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".holder").write_text(json.dumps({"pid": 2**22 + 1, "host": "gone"}))
    (tmp_path / ".weights.safetensors.4194305.tmp").write_bytes(b"half of it")
    with sole_writer(tmp_path):
        assert json.loads((tmp_path / ".holder").read_text())["host"] != "gone"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


TRAINS_AND_STALLS = """
import json, sys, time
from pathlib import Path
import vqlib

config, results, marker = sys.argv[1:]
loss, calls = vqlib.VQVAE.loss, 0
def stalling(self, x):
    global calls
    calls += 1
    if calls == 6:  # in the third epoch of two steps
        Path(marker).touch()
        time.sleep(120)
    return loss(self, x)
vqlib.VQVAE.loss = stalling
vqlib.fit(vqlib.TrainConfig.from_dict(json.loads(config)), results=results)
"""


@pytest.mark.faults
def test_a_second_training_is_refused_until_the_first_is_killed_and_then_resumes_it(
    picture_folder: Path,
    small_config: MakeConfig,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = small_config("vqvae", dataset=str(picture_folder), epochs=4)
    results, marker = tmp_path / "runs", tmp_path / "stalled"
    arguments = [json.dumps(config.to_dict()), results, marker]
    process = subprocess.Popen([sys.executable, "-c", TRAINS_AND_STALLS, *arguments])
    try:
        deadline = time.monotonic() + 100
        while not marker.exists():
            assert process.poll() is None, "the other process ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        refusal(lambda: fit(config, results=results), config.run_name, f"pid {process.pid}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    capsys.readouterr()
    resumed = fit(config, results=results)
    assert "resumed after epoch 2" in capsys.readouterr().out
    whole = fit(config, load_images(str(picture_folder)), results=tmp_path / "whole")
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
