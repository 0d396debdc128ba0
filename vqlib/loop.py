"""The training loop: it knows neither images nor kinds of model.

It gets rows (N, …) of any kind, and a model with `loss(batch)` and `test_figures(test)`. An
interrupted run resumes after its last epoch. If torchrun started several processes, the loop runs
in each, and each trains its share of every batch: the experiment is the same, and so is the run
folder.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor, nn

from vqlib.errors import InterruptError, UserError
from vqlib.runs import collapse_warning, write_history
from vqlib.system import processes
from vqlib.system.capture import CapturedStep
from vqlib.system.checkpoint import (
    FORMAT,
    check_state,
    check_weights,
    load_optimizer,
    read_state,
    write_state,
)
from vqlib.system.machine import (
    choose_precision,
    device_name,
    environment,
    keep_freed_memory,
)
from vqlib.system.processes import on_first
from vqlib.system.progress import Progress
from vqlib.system.surroundings import name_the_user


class Trainable(Protocol):
    """What the loop asks of a model, which is an `nn.Module` too."""

    def loss(self, batch: Tensor) -> dict[str, Tensor]:
        """Return the scalar loss terms of a batch (B, …); "loss" is the one to minimise."""

    def test_figures(self, test: Tensor) -> dict[str, Any]:
        """Return figures over all test rows (N, …), for the history."""


class Trainer:
    """A run under way: model, optimizer, history, and the folder that keeps them.

    Args:
        config: has batch_size, epochs, learning_rate, seed and precision, and a `run_name`.
        model: an `nn.Module` with `loss` and `test_figures`; see `Trainable`.
        train, test: rows (N, …) of any kind; the model's `loss` gets batches of them.
        folder: the run folder; if it holds a resume state, training resumes from it.
        device: where to compute.
        facts: what the run records of its data; `data_md5` tells whether they are the same.
        optimizer: Adam, or a class of torch that keeps Adam's moments.
        schedule: gives the factor of the learning rate for the share of the training that is over,
            in [0, 1); without one the rate is constant.
    """

    def __init__(
        self,
        config: Any,
        model: nn.Module,
        train: Tensor,
        test: Tensor,
        folder: Path,
        device: torch.device,
        facts: Mapping[str, Any],
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        schedule: Callable[[float], float] | None = None,
    ):
        name_the_user()
        keep_freed_memory()
        self.config = config
        self.folder = folder
        self.device = device
        self.precision = choose_precision(config.precision, device)
        self.train_rows = train.to(device)
        self.test_rows = test
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.environment = {
            **environment(),
            "device": device_name(device),
            "processes": processes.count(),
            "precision": self.precision,
            **facts,
        }
        self.model: Any = model.to(device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = optimizer(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.schedule = schedule
        self.history: list[dict[str, Any]] = []
        self._resume()
        self.loss = processes.in_parallel(_Loss(self.model))
        self.step: Callable[[Tensor], dict[str, Tensor]] = self._step
        if device.type == "cuda" and schedule is None and processes.count() == 1:
            self.step = CapturedStep(self._step, self.optimizer)

    def use_uncaptured_steps(self) -> None:
        """Launch the kernels of each step one by one, on a GPU, too."""
        self.step = self._step

    def train(self) -> None:
        """Train the epochs that are left."""
        try:
            with self._progress() as progress:
                while len(self.history) < self.config.epochs:
                    self.advance(progress)
        except KeyboardInterrupt:
            done, epochs = len(self.history), self.config.epochs
            raise InterruptError(
                f"{self.config.run_name} was interrupted after epoch {done} of {epochs}: run the "
                f"same again to {'resume' if done else 'start again'}"
            ) from None

    def advance(self, progress: Progress | None) -> None:
        """Train one more epoch and test; the run can be resumed from there.

        Args:
            progress: shows how far it is; None in all processes but the first.
        """
        epoch = len(self.history) + 1
        started = time.perf_counter()
        with seeded(_epoch_seed(self.config.seed, epoch), self.device):
            losses = self._train_epoch(epoch, progress)
        seconds = time.perf_counter() - started
        self.history.append(
            {
                "epoch": epoch,
                "steps": epoch * self.steps_per_epoch,
                "seconds": round(seconds, 3),
                **losses,
                **self._test(epoch),
            }
        )
        self._save_state()
        if progress is not None:
            progress.end_epoch(epoch, losses, lambda: self._draw(list(losses)))

    def _draw(self, terms: Sequence[str]) -> Any:
        """Return the curves of the loss terms so far, as a `Picture`."""
        from vqlib.figures import growing_losses  # and matplotlib, which a terminal does not need

        return growing_losses(pd.DataFrame(self.history), terms, self.config.epochs)

    def _progress(self) -> AbstractContextManager[Progress | None]:
        if not processes.is_first():
            return nullcontext()
        return Progress(self.folder, self.config.epochs, self.steps_per_epoch)

    def _train_epoch(self, epoch: int, progress: Progress | None) -> dict[str, float]:
        """Train one pass in a new order; return the mean of each loss term over the rows."""
        self.model.train()
        order = torch.randperm(len(self.train_rows)).to(self.device)
        losses = _LossMeans(self.steps_per_epoch, self.device)
        for step, batch in enumerate(order.split(self.config.batch_size)):
            self._set_rate((epoch - 1) * self.steps_per_epoch + step)
            losses.add(step, len(batch), self.step(batch))
            if progress is not None and progress.is_due():
                if processes.count() == 1:  # several find it together, at the end of the epoch
                    losses.check_finite(epoch, self.folder)
                progress.show(epoch, step + 1, losses.means())
        losses.check_finite(epoch, self.folder)
        return losses.means()

    def _set_rate(self, steps: int) -> None:
        """Set the learning rate after so many steps."""
        if self.schedule is None:
            return
        factor = self.schedule(steps / (self.steps_per_epoch * self.config.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * factor

    def _step(self, batch: Tensor) -> dict[str, Tensor]:
        """Take one step of the optimizer on the rows with these indices (B,)."""
        own = processes.share(batch)
        weight = len(own) / len(batch)
        rows = self.train_rows[own]
        with _autocast(self.device, self.precision):
            terms = self.loss(rows)
        self.optimizer.zero_grad()
        # The mean over processes of gradients with these weights is the mean over the batch.
        (terms["loss"] * (weight * processes.count())).backward()
        self.optimizer.step()
        return _mean_over_processes(terms, weight)

    def _test(self, epoch: int) -> dict[str, Any]:
        """Return the model's test figures, at the training's precision."""
        with _autocast(self.device, self.precision):
            figures = self.model.test_figures(self.test_rows)
        for name, value in figures.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(
                    f"{self.folder.name}: {name} is not finite after epoch {epoch}, step "
                    f"{self.steps_per_epoch}; {_last_good(self.folder, epoch)}"
                )
        return figures

    def _resume(self) -> None:
        path = self.folder / "resume.pt"
        state = self._read_state(path)
        if state is None:
            _tell(f"{self.config.run_name}: training on {self.environment['device']}")
            return
        self.model.load_state_dict(state["model"])
        load_optimizer(path, self.optimizer, state["optimizer"])
        self.history = state["history"]
        self.precision = self.environment["precision"] = state["precision"]
        _tell(f"{self.config.run_name}: resumed after epoch {len(self.history)}")

    @on_first
    def _read_state(self, path: Path) -> dict[str, Any] | None:
        state = read_state(path)
        if state is not None:
            check_state(path, state, self.config.to_dict(), self.environment)
            check_weights(path, self.model, state["model"])
        return state

    @on_first
    def _save_state(self) -> None:
        if warning := collapse_warning(self.config, pd.DataFrame(self.history[-1:])):
            print(warning)
        state = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "precision": self.precision,
            "data_md5": self.environment["data_md5"],
        }
        write_state(self.folder / "resume.pt", state)
        write_history(self.folder, self.history)


class _Loss(nn.Module):
    """A model's loss as a forward pass: what DistributedDataParallel calls."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model: Any = model

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return self.model.loss(rows)


class _LossMeans:
    """Means over an epoch's rows, kept on the device so that no step waits for a number."""

    def __init__(self, steps: int, device: torch.device):
        self.values = torch.zeros(0, device=device)  # (steps, terms)
        self.rows = torch.zeros(steps, 1, dtype=torch.float64)
        self.names: list[str] = []

    def add(self, step: int, rows: int, terms: dict[str, Tensor]) -> None:
        if not self.names:
            self.names = list(terms)
            self.values = self.values.new_zeros(len(self.rows), len(terms))
        torch.stack([value.detach() for value in terms.values()], out=self.values[step])
        self.rows[step] = rows

    def means(self) -> dict[str, float]:
        sums = (self.values.cpu().double() * self.rows).sum(0) / self.rows.sum()
        return dict(zip(self.names, sums.tolist(), strict=True))

    def check_finite(self, epoch: int, folder: Path) -> None:
        bad = (~self.values.isfinite().all(1)).nonzero()
        if len(bad):
            raise UserError(
                f"{folder.name}: loss not finite in epoch {epoch}, step {bad[0].item() + 1}; "
                f"{_last_good(folder, epoch)}"
            )


def _mean_over_processes(terms: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """Return the terms over all rows of a batch; this process had the part `weight` of them."""
    if processes.count() == 1:
        return terms
    own = torch.stack([value.detach().double() for value in terms.values()])
    mean = own * weight if weight else torch.zeros_like(own)  # the mean of no rows is NaN
    processes.add_up(mean)
    return dict(zip(terms, mean, strict=True))


def _last_good(folder: Path, epoch: int) -> str:
    path = folder / "resume.pt"
    kept = f"{path} holds the state after epoch {epoch - 1}" if epoch > 1 else "no epoch was saved"
    return f"{kept}. Try a lower learning rate."


def _tell(message: str) -> None:
    if processes.is_first():
        print(message)


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch for a while; the caller's random state is as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
