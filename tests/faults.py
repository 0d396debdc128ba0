"""Trainings in processes of their own, and what can befall them at any moment.

A process is forked from one that has imported everything already, so that it starts at once.
"""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

LONG = os.environ.get("FAULTS") == "long"
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
SMALL = {
    "vae": ("--latent-dim", "4"),
    "vqvae": (
        *("--num-hiddens", "8", "--num-residual-hiddens", "4", "--num-residual-layers", "1"),
        *("--num-embeddings", "16", "--embedding-dim", "4"),
    ),
}


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th moment: a signal's name, or `full disk`, or `unwritable`.

    A signal has a moment at each step of training, and before each opening, syncing, renaming and
    removing of a file; then half of the file has been written. The disk is full from the n-th
    syncing on, and the folder unwritable from the n-th opening on.
    """

    kind: str
    moment: int


@dataclass(frozen=True)
class Training:
    """A small training by the command line, to be begun and gone on with in a folder."""

    model: str
    pictures: Path
    results: Path
    name: str = "said"

    def start(self, fault: Fault | None = None) -> ForkServerProcess:
        """Begins or goes on with it in another process."""
        self.results.mkdir(exist_ok=True)
        process = _context().Process(target=_train, args=(self, fault))
        process.start()
        return process

    def run(self, fault: Fault | None = None) -> tuple[int, str]:
        """The exit code, negative for a signal, and what was said."""
        process = self.start(fault)
        process.join()
        return process.exitcode, self.log.read_text()

    @property
    def arguments(self) -> list[str]:
        """Of the command line."""
        return [
            *("train", self.model, "--dataset", str(self.pictures), "--results", str(self.results)),
            *("--epochs", "3", "--batch-size", "32", "--precision", "float32", *SMALL[self.model]),
        ]

    @property
    def folder(self) -> Path:
        """The run folder."""
        return next(path for path in self.results.iterdir() if path.is_dir())

    @property
    def log(self) -> Path:
        """What the last process said."""
        return self.results / f"{self.name}.txt"

    @property
    def moments(self) -> dict[str, int]:
        """How many moments of each kind the last process had that was not killed."""
        lines = (self.results / "moments.txt").read_text().splitlines()
        return {kind: int(count) for kind, count in (line.split("=") for line in lines)}

    @property
    def last_state(self) -> Path:
        """The resume state of the last epoch, which a finished run does away with."""
        kept = self.results / "last.pt"
        return kept if kept.exists() else self.folder / "resume.pt"


def reseal(folder: Path, **changes: Any) -> None:
    """Makes a run's checksums fit its files again, with changes to what else its environment says;
    a value of None is left out."""
    from vqlib.runs import write_environment

    environment = json.loads((folder / "environment.json").read_text()) | changes
    known = {name: value for name, value in environment.items() if value is not None}
    write_environment(folder, {k: v for k, v in known.items() if k not in ("sha256", "seal")})


def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # torch imports its compiler at an optimizer's first step, for a second
    context.set_forkserver_preload(["vqlib.cli", "vqlib.training", "torch._dynamo"])
    return context


def _train(training: Training, fault: Fault | None) -> None:
    import torch

    import vqlib.system.progress
    import vqlib.training
    from vqlib.cli import main

    said = os.open(training.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, sys.stdout.fileno())
    os.dup2(said, sys.stderr.fileno())
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    torch.set_num_threads(1)
    vqlib.system.progress.EVERY_SECONDS = 0  # recorded at every step, however fast
    remove = vqlib.training.remove_state

    def keep_then_remove(path: Path) -> None:
        shutil.copy(path, training.results / "last.pt")
        remove(path)

    vqlib.training.remove_state = keep_then_remove
    moments = _Moments(fault, training.results)
    moments.watch()
    main(training.arguments)
    moments.write(training.results / "moments.txt")


class _Moments:
    """Counts the moments of a training, and lets the fault happen at its own."""

    def __init__(self, fault: Fault | None, results: Path):
        self.fault = fault
        self.counts = {"signal": 0, "full disk": 0, "unwritable": 0}
        self.runs = tuple(f"{results}{os.sep}{model}-" for model in SMALL)

    def watch(self) -> None:
        """Begins to count."""
        from vqlib import VAE, VQVAE

        for model in (VAE, VQVAE):
            model.loss = self._stepping(model.loss)
        os.fsync = self._syncing(os.fsync)
        sys.addaudithook(self._audit)

    def write(self, path: Path) -> None:
        """Stores the counts."""
        path.write_text("".join(f"{kind}={count}\n" for kind, count in self.counts.items()))

    def _stepping(self, loss: Callable) -> Callable:
        def counted(model: Any, x: Any) -> Any:
            self._signal()
            return loss(model, x)

        return counted

    def _syncing(self, sync: Callable) -> Callable:
        def counted(descriptor: int) -> None:
            half = os.fstat(descriptor).st_size // 2
            if self._is_time("full disk"):
                os.ftruncate(descriptor, half)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._signal(lambda: os.ftruncate(descriptor, half))
            sync(descriptor)

        return counted

    def _audit(self, event: str, arguments: tuple) -> None:
        """Called by Python before it does what `event` says."""
        changes = event in ("os.rename", "os.remove")
        opens = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (changes or opens) or not str(arguments[0]).startswith(self.runs):
            return
        if opens and self._is_time("unwritable"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        self._signal()

    def _signal(self, before: Callable[[], None] = lambda: None) -> None:
        if self._is_time("signal"):
            before()
            os.kill(os.getpid(), getattr(signal, self.fault.kind))

    def _is_time(self, kind: str) -> bool:
        """Counts a moment; from the fault's own on, disks stay full, but a signal comes once."""
        self.counts[kind] += 1
        if self.fault is None:
            return False
        if kind == "signal":
            return self.fault.kind in SIGNALS and self.counts[kind] == self.fault.moment
        return self.fault.kind == kind and self.counts[kind] >= self.fault.moment
