"""Trainings in processes of their own, what can befall them, and damage to files."""

import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from forked import forked

from vqlib import TrainConfig

LONG = os.environ.get("FAULTS") == "long"
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")


def command_line(config: TrainConfig) -> list[str]:
    """Return the arguments with which `vqlib` trains this config."""
    values = {each.name: getattr(config, each.name) for each in fields(config)[1:]}
    options = [("--" + name.replace("_", "-"), str(value)) for name, value in values.items()]
    return ["train", config.model, *(part for option in options for part in option)]


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no process write more than 100 kB to a file, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def change_json(path: Path, **values: object) -> None:
    """Set values in a JSON file; None takes one away."""
    content = json.loads(path.read_text()) | values
    kept = {name: value for name, value in content.items() if value is not None}
    path.write_text(json.dumps(kept))


def reseal(folder: Path, **changes: Any) -> None:
    """Make a run's checksums fit its files, so that only what the files say is wrong.

    Args:
        folder: the run's.
        changes: to what environment.json says; None takes a value away.
    """
    from vqlib.runs import write_environment

    environment = json.loads((folder / "environment.json").read_text()) | changes
    known = {name: value for name, value in environment.items() if value is not None}
    write_environment(folder, {k: v for k, v in known.items() if k not in ("sha256", "seal")})


def flip_a_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@dataclass(frozen=True)
class Fault:
    """What happens at the n-th moment: a signal's name, or `full disk`, or `unwritable`.

    A signal has a moment at each step of training, and before a file is opened, synced, renamed or
    removed; then half of the file has been written. The disk is full from the n-th syncing on, and
    the folder unwritable from the n-th opening on.
    """

    kind: str
    moment: int


@dataclass(frozen=True)
class Training:
    """A small training by the command line, to be started and resumed in a folder."""

    config: Any
    results: Path
    name: str = "printed"

    @property
    def arguments(self) -> list[str]:
        """The arguments of the command line, without the folder for results."""
        return command_line(self.config)

    def start(self, fault: Fault | None = None) -> ForkServerProcess:
        """Start or resume it in another process."""
        self.results.mkdir(exist_ok=True)
        process = forked().Process(target=_train, args=(self, fault))
        process.start()
        return process

    def run(self, fault: Fault | None = None) -> tuple[int, str]:
        """Start or resume it; return the exit code, negative for a signal, and what it printed."""
        process = self.start(fault)
        process.join()
        return process.exitcode, self.log.read_text()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.results / self.config.run_name

    @property
    def log(self) -> Path:
        """The file with what the last process printed."""
        return self.results / f"{self.name}.txt"

    @property
    def moments(self) -> dict[str, int]:
        """How many moments of each kind the last process had that was not killed."""
        lines = (self.results / "moments.txt").read_text().splitlines()
        return {kind: int(count) for kind, count in (line.split("=") for line in lines)}

    @property
    def last_state(self) -> Path:
        """The resume state of the last epoch; a copy if the run is finished."""
        kept = self.results / "last.pt"
        return kept if kept.exists() else self.folder / "resume.pt"


@dataclass(frozen=True)
class PriorTraining(Training):
    """The same for a prior over the codes of a VQ-VAE, whose run is in a folder."""

    vqvae: Path = Path()

    @property
    def arguments(self) -> list[str]:
        """The arguments of the command line, without the folder for results."""
        given = {k: v for k, v in self.config.to_dict().items() if k not in ("vqvae", "weights")}
        options = [("--" + k.replace("_", "-"), str(v)) for k, v in given.items()]
        return ["prior", str(self.vqvae), *(part for option in options for part in option)]


def _train(training: Training, fault: Fault | None) -> None:
    import torch

    import vqlib.system.progress
    import vqlib.training
    from vqlib.cli import main

    printed = os.open(training.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(printed, sys.stdout.fileno())
    os.dup2(printed, sys.stderr.fileno())
    sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
    torch.set_num_threads(1)
    vqlib.system.progress.EVERY_SECONDS = 0  # recorded at every step, however fast
    remove = vqlib.training.remove_state

    def keep_then_remove(path: Path) -> None:
        shutil.copy(path, training.results / "last.pt")
        remove(path)

    vqlib.training.remove_state = keep_then_remove
    moments = _Moments(fault, training.folder)
    moments.watch()
    main([*training.arguments, "--results", str(training.results)])
    moments.write(training.results / "moments.txt")


class _Moments:
    """Counts the moments of a training, and lets the fault happen at its own."""

    def __init__(self, fault: Fault | None, folder: Path):
        self.fault = fault
        self.counts = {"signal": 0, "full disk": 0, "unwritable": 0}
        self.folder = str(folder)

    def watch(self) -> None:
        """Begin to count."""
        from vqlib.generation.config import PRIORS
        from vqlib.models import MODELS

        for model in [*MODELS.values(), *PRIORS.values()]:
            model.loss = self._stepping(model.loss)
        os.fsync = self._syncing(os.fsync)
        sys.addaudithook(self._audit)

    def write(self, path: Path) -> None:
        """Store the counts."""
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
        """Look at an event before Python carries it out."""
        changes = event in ("os.rename", "os.remove")
        opens = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (changes or opens) or not str(arguments[0]).startswith(self.folder):
            return
        if opens and self._is_time("unwritable"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        self._signal()

    def _signal(self, before: Callable[[], None] = lambda: None) -> None:
        if self._is_time("signal"):
            before()
            os.kill(os.getpid(), getattr(signal, self.fault.kind))

    def _is_time(self, kind: str) -> bool:
        """Count a moment; from the fault's own on, disks stay full, but a signal comes once."""
        self.counts[kind] += 1
        if self.fault is None:
            return False
        if kind == "signal":
            return self.fault.kind in SIGNALS and self.counts[kind] == self.fault.moment
        return self.fault.kind == kind and self.counts[kind] >= self.fault.moment
