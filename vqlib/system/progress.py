"""The progress of a training: a bar in a terminal or notebook, a curve, a file for others."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from vqlib.system.files import write_json

EVERY_SECONDS = 1.0
BAR = 20  # characters


class Progress:
    """A display and a record of a run's progress; a context manager around the training loop.

    A terminal shows a tqdm bar. A notebook shows a bar and, from the second epoch on, the losses so
    far as a curve. Both change in place: JupyterLab shows them live, papermill stores them once.
    `vqlib status` reads `progress.json` in the run folder.

    Args:
        folder: the run folder.
        epochs: number of epochs.
        steps_per_epoch: steps in each of them.
    """

    def __init__(self, folder: Path, epochs: int, steps_per_epoch: int):
        self.folder = folder
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.first_step: int | None = None
        self.started = self.shown = self.drawn = time.monotonic()
        self.line = "training"
        self.draw: Callable[[], Any] | None = None

    def __enter__(self) -> Self:
        self.display = _display(self.epochs * self.steps_per_epoch, f"{self.line}…")
        self._record(0, 0, {}, None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None and self.draw is not None:
            self.display.draw(self.draw)
        self.display.close(self.line if error is None else f"stopped: {self.line}")

    def is_due(self) -> bool:
        """Return whether it is time to show again."""
        return time.monotonic() - self.shown >= EVERY_SECONDS

    def show(self, epoch: int, step: int, losses: dict[str, float]) -> None:
        """Show and record where the training is.

        Args:
            epoch: the number of the epoch, from 1.
            step: the number of the step in it, from 1.
            losses: means of the loss terms in this epoch so far.
        """
        self.shown = time.monotonic()
        done = (epoch - 1) * self.steps_per_epoch + step
        total = self.epochs * self.steps_per_epoch
        if self.first_step is None:
            self.first_step, self.started = done, self.shown
            seconds_left = None
        else:
            rate = (done - self.first_step) / (self.shown - self.started)
            seconds_left = (total - done) / rate
        self._record(epoch, step, losses, seconds_left)
        self.line = describe(epoch, self.epochs, losses, None)
        self.display.show(done, describe(epoch, self.epochs, losses, seconds_left))

    def end_epoch(self, epoch: int, losses: dict[str, float], draw: Callable[[], Any]) -> None:
        """Keep the losses of an epoch, and show those of all epochs so far.

        Args:
            epoch: the number of the epoch, from 1.
            losses: means of the loss terms in this epoch.
            draw: returns a `Picture` of the losses so far; only a notebook asks for it.
        """
        self.line = describe(epoch, self.epochs, losses, None)
        self.draw = draw if epoch > 1 else None
        now = time.monotonic()
        if self.draw is not None and now - self.drawn >= EVERY_SECONDS:
            self.display.draw(self.draw)
            self.drawn, self.draw = now, None

    def _record(
        self, epoch: int, step: int, losses: dict[str, float], seconds_left: float | None
    ) -> None:
        write_json(
            self.folder / "progress.json",
            {
                "epoch": epoch,
                "epochs": self.epochs,
                "step": step,
                "steps_per_epoch": self.steps_per_epoch,
                "losses": losses,
                "seconds_left": seconds_left,
                "updated": time.time(),
                "pid": os.getpid(),
                "host": socket.gethostname(),
            },
        )


def describe(epoch: int, epochs: int, losses: dict[str, float], seconds_left: float | None) -> str:
    """Return a line such as `epoch 3/40 · loss 0.112 · reconstruction 0.084 · 12 min left`."""
    parts = [f"epoch {epoch}/{epochs}"]
    parts += [f"{name} {value:.4g}" for name, value in losses.items()]
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as `45 s`, `12 min` or `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def counting(counts: Iterable[int], total: int, what: str) -> Iterator[int]:
    """Yield counts, and show their sum once they have taken a second.

    Args:
        counts: how many were done, again and again.
        total: their sum at the end.
        what: was done, as in `pictures read`.
    """
    display: _TerminalBar | _NotebookLine | None = None
    done, shown = 0, time.monotonic()
    for count in counts:
        yield count
        done += count
        if time.monotonic() - shown >= EVERY_SECONDS:
            line = f"{done:,} of {total:,} {what}"
            display = display or _display(total, line)
            display.show(done, line)
            shown = time.monotonic()
    if display is not None:
        display.close(f"{total:,} {what}")


class _TerminalBar:
    """A tqdm bar, shown if standard error is a terminal."""

    def __init__(self, steps: int):
        self.bar = tqdm(
            total=steps,
            disable=not sys.stderr.isatty(),
            bar_format="{percentage:3.0f}%|{bar:20}| {desc}",
            leave=False,
        )

    def show(self, done: int, line: str) -> None:
        self.bar.n = done
        self.bar.set_description_str(line)

    def draw(self, picture: Callable[[], Any]) -> None:
        pass  # a terminal shows no pictures

    def close(self, last: str) -> None:
        self.bar.close()


class _NotebookLine:
    """A bar with a line of text, and a picture beneath it; both change in place."""

    def __init__(self, steps: int, first: str) -> None:
        from IPython.display import display

        self.steps = steps
        self.display = display
        self.picture: Any = None
        self.handle = display({"text/plain": first}, raw=True, display_id=True)

    def show(self, done: int, line: str) -> None:
        share = done / self.steps
        bar = "█" * round(share * BAR) + "░" * (BAR - round(share * BAR))
        self.handle.update({"text/plain": f"{bar} {share:.0%} · {line}"}, raw=True)

    def draw(self, picture: Callable[[], Any]) -> None:
        data, metadata = picture().formats()
        if not any("image/" in mimetype for mimetype in data):
            return  # the notebook shows no figures
        if self.picture is None:
            self.picture = self.display(data, metadata=metadata, raw=True, display_id=True)
        else:
            self.picture.update(data, metadata=metadata, raw=True)

    def close(self, last: str) -> None:
        self.handle.update({"text/plain": last}, raw=True)


def _display(total: int, first: str) -> _TerminalBar | _NotebookLine:
    """Return a line if this process is a notebook's kernel, else a bar.

    Args:
        total: steps of the bar.
        first: text of the line at the beginning.
    """
    if "ipykernel" in sys.modules:
        from IPython import get_ipython

        shell = get_ipython()
        if shell is not None and hasattr(shell, "kernel"):
            return _NotebookLine(total, first)
    return _TerminalBar(total)
