"""Processes that train together, started as torchrun starts them, but forked: that is faster."""

import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forked import forked

Prepare = Callable[[int], None]


@dataclass(frozen=True)
class Rank:
    """How a process ended.

    Attributes:
        exit_code: negative for a signal.
        printed: what it printed, errors too.
        losses: all terms of each step it took; none if it was killed.
        wrote: files that it opened to write in the folder of results; none if it was killed.
    """

    exit_code: int
    printed: str
    losses: list[dict[str, float]]
    wrote: list[str]


def train(
    arguments: Sequence[str], results: Path, processes: int, prepare: Prepare | None = None
) -> list[Rank]:
    """Run `vqlib train` in processes that train together, and return how each ended.

    Args:
        arguments: of `vqlib train`.
        results: folder of run folders; `last.pt` in it keeps the last resume state.
        processes: how many; one trains alone.
        prepare: is called in each process with its rank.
    """
    results.mkdir(exist_ok=True)
    command = ["train", *arguments, "--results", str(results)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {
        "TORCHELASTIC_RUN_ID": "test",
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    started = []
    for rank in range(processes):
        environment = {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        own = environment if processes > 1 else {}
        aside = results.with_name(f"{results.name}-rank{rank}")
        aside.mkdir(exist_ok=True)
        process = forked().Process(
            target=_train, args=(command, results, aside, rank, own, prepare)
        )
        process.start()
        started.append((process, aside))
    return [_ended(process, aside) for process, aside in started]


def _ended(process: Any, aside: Path) -> Rank:
    process.join()
    record = aside / "record.json"
    losses, wrote = json.loads(record.read_text()) if record.exists() else ([], [])
    record.unlink(missing_ok=True)
    return Rank(process.exitcode, (aside / "printed.txt").read_text(), losses, wrote)


def _train(
    command: list[str],
    results: Path,
    aside: Path,
    rank: int,
    environment: dict[str, str],
    prepare: Prepare | None,
) -> None:
    import torch

    import vqlib.training
    from vqlib.cli import main

    printed = os.open(aside / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, sys.stdout.fileno())
    os.dup2(printed, sys.stderr.fileno())
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    os.environ.update(environment)
    torch.set_num_threads(1)
    losses: list[dict[str, float]] = []
    wrote: list[str] = []
    step = vqlib.training.Trainer._step

    def recorded(trainer: Any, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        terms = step(trainer, batch)
        losses.append({name: value.item() for name, value in terms.items()})
        return terms

    def watch(event: str, about: tuple) -> None:
        writes = event == "open" and about[2] & (os.O_WRONLY | os.O_RDWR)
        if writes and str(about[0]).startswith(f"{results}{os.sep}"):
            wrote.append(str(about[0]))

    vqlib.training.Trainer._step = recorded
    vqlib.training.remove_state = lambda path: path.replace(results / "last.pt")
    sys.addaudithook(watch)
    if prepare is not None:
        prepare(rank)
    try:
        main(command)
    finally:
        (aside / "record.json").write_text(json.dumps([losses, wrote]))
