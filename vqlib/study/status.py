"""How far the runs of a study are, told from the `progress.json` that each writes."""

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from vqlib.errors import UserError
from vqlib.paths import ROOT
from vqlib.runs import is_finished
from vqlib.system.files import read_json
from vqlib.system.progress import describe, duration

LINE_EVERY_SECONDS = 30.0


def runs_under_way(results: Path) -> dict[str, dict[str, Any]]:
    """The progress of each run in the folder whose process is alive, by run name."""
    progress = {}
    for path in sorted(results.glob("*/progress.json")):
        try:
            said = read_json(path)
            if _alive(said):
                _line(path.parent.name, said)
                progress[path.parent.name] = said
        except (UserError, KeyError, TypeError, ValueError):  # it just ended, or is damaged
            continue
    return progress


def print_status() -> None:
    """Prints a line for each run under way in any folder of results/."""
    studies = sorted(path for path in (ROOT / "results").glob("*") if path.is_dir())
    lines = [f"{study.name}: {line}" for study in studies for line in _lines(runs_under_way(study))]
    print("\n".join(lines) or "no run is under way")


def watch(process: psutil.Popen, folder: Path, waiting: list[str]) -> None:
    """Shows the runs under way until the process ends: redrawn in a terminal, else now and then."""
    live = sys.stdout.isatty()
    started = time.monotonic()
    drawn, printed, pause = 0, 0.0, 0.5
    while process.poll() is None:
        time.sleep(pause)
        if live:
            asked = time.monotonic()
            drawn = _redraw(_report(folder, waiting, started), drawn)
            pause = max(0.5, 20 * (time.monotonic() - asked))  # a thousand runs, a slow disk
        elif time.monotonic() - printed > LINE_EVERY_SECONDS:
            printed = time.monotonic()
            print("\n".join(_report(folder, waiting, started)), flush=True)
    if live:
        _redraw([], drawn)
    print(f"took {duration(time.monotonic() - started)}", flush=True)


def _report(folder: Path, waiting: list[str], started: float) -> list[str]:
    done = sum(is_finished(folder / name) for name in waiting)
    under_way = runs_under_way(folder)
    head = f"{duration(time.monotonic() - started)}: {done} of {len(waiting)} runs trained"
    if done == len(waiting):
        head += ", making figures and report"
    return [head, *("  " + line for line in _lines(under_way))]


def _lines(under_way: dict[str, dict[str, Any]]) -> list[str]:
    return [_line(name, said) for name, said in under_way.items()]


def _line(name: str, said: dict[str, Any]) -> str:
    values = (said[key] for key in ("epoch", "epochs", "losses", "seconds_left"))
    return f"{name}  {describe(*values)}"


def _redraw(lines: list[str], drawn: int) -> int:
    """Replaces the `drawn` lines above the cursor; returns how many there are now."""
    width = os.get_terminal_size().columns - 1
    up = f"\x1b[{drawn}A" if drawn else ""
    sys.stdout.write(up + "\r\x1b[J" + "".join(line[:width] + "\n" for line in lines))
    sys.stdout.flush()
    return len(lines)


def _alive(said: dict[str, Any]) -> bool:
    if said["host"] != socket.gethostname():
        return time.time() - said["updated"] < 300
    return psutil.pid_exists(said["pid"])
