"""The progress of a study's runs, read from the `progress.json` that each of them writes."""

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from vqlib.errors import UserError
from vqlib.paths import HOME, is_finished
from vqlib.system.files import read_json
from vqlib.system.progress import describe, duration

LINE_EVERY_SECONDS = 30.0
RECENT_SECONDS = 300.0  # a run on another machine counts as alive if it wrote this recently


def runs_under_way(results: Path) -> dict[str, dict[str, Any]]:
    """Return what `progress.json` says of each run under way in a folder, by run name."""
    progress = {}
    for path in sorted(results.glob("*/progress.json")):
        try:
            record = read_json(path)
            if _is_alive(record):
                _line(path.parent.name, record)
                progress[path.parent.name] = record
        except (UserError, KeyError, TypeError, ValueError, OverflowError):
            continue  # the run just ended, or the file is damaged
    return progress


def print_status(root: Path = HOME) -> None:
    """Print a line for each run under way in any folder of `results/`."""
    studies = sorted(path for path in (root / "results").glob("*") if path.is_dir())
    lines = [f"{study.name}: {line}" for study in studies for line in _lines(runs_under_way(study))]
    print("\n".join(lines) or "no run is under way")


def watch(process: psutil.Popen, folder: Path, waiting: list[str]) -> None:
    """Show the runs under way until a process ends.

    A terminal shows them in place; anywhere else they are printed every half minute.

    Args:
        process: the one that runs the study.
        folder: holds the run folders.
        waiting: names of the runs to train.
    """
    live = sys.stdout.isatty()
    started = time.monotonic()
    drawn, printed, pause = 0, 0.0, 0.5
    while process.poll() is None:
        time.sleep(pause)
        if live:
            asked = time.monotonic()
            drawn = _redraw(_report(folder, waiting, started), drawn)
            pause = max(0.5, 20 * (time.monotonic() - asked))  # for a thousand runs on a slow disk
        elif time.monotonic() - printed > LINE_EVERY_SECONDS:
            printed = time.monotonic()
            print("\n".join(_report(folder, waiting, started)), flush=True)
    if live:
        _redraw([], drawn)
    print(f"took {duration(time.monotonic() - started)}", flush=True)


def _report(folder: Path, waiting: list[str], started: float) -> list[str]:
    done = sum(is_finished(folder / name) for name in waiting)
    under_way = runs_under_way(folder)
    stages = [f"{done} of {len(waiting)} runs trained"] if waiting else []
    if done == len(waiting):
        stages.append("making figures and report")
    head = f"{duration(time.monotonic() - started)}: {', '.join(stages)}"
    return [head, *("  " + line for line in _lines(under_way))]


def _lines(under_way: dict[str, dict[str, Any]]) -> list[str]:
    return [_line(name, record) for name, record in under_way.items()]


def _line(name: str, record: dict[str, Any]) -> str:
    values = (record[key] for key in ("epoch", "epochs", "losses", "seconds_left"))
    return f"{name}  {describe(*values)}"


def _redraw(lines: list[str], drawn: int) -> int:
    """Replace the `drawn` lines above the cursor; return how many there are now."""
    width = os.get_terminal_size().columns - 1
    up = f"\x1b[{drawn}A" if drawn else ""
    sys.stdout.write(up + "\r\x1b[J" + "".join(line[:width] + "\n" for line in lines))
    sys.stdout.flush()
    return len(lines)


def _is_alive(record: dict[str, Any]) -> bool:
    """Return whether the process that wrote a record is alive, on any machine."""
    if record["host"] != socket.gethostname():
        return time.time() - record["updated"] < RECENT_SECONDS
    return psutil.pid_exists(record["pid"])
