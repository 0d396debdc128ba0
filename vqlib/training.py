"""One training loop for both models; an interrupted run goes on where its last epoch ended.

Where torchrun started several processes, the loop is in each, and each trains its share of every
batch: the experiment is the same, and so is the run folder.
"""

import math
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from vqlib import evaluation
from vqlib.config import TrainConfig, normal_dataset
from vqlib.errors import UserError
from vqlib.images import Images, load_images, scale
from vqlib.paths import RUNS, SHIPPED, shown
from vqlib.runs import (
    COLLAPSED,
    FORMAT,
    WEIGHTS,
    Run,
    build_model,
    check_format,
    check_weights,
    collapse_warning,
    environment,
    has_weights,
    is_finished,
    load_run,
    read_config,
    read_state,
    remove_state,
    stored_weights,
    write_environment,
    write_sheet,
    write_state,
    write_weights,
)
from vqlib.system import processes
from vqlib.system.files import sole_writer, write_atomically, write_json
from vqlib.system.progress import Progress

SHEET_IMAGES = 16
STATE = ("config", "model", "optimizer", "history", "precision", "data_md5")  # of a run under way


def fit(
    config: TrainConfig,
    images: Images | None = None,
    results: str | Path = RUNS,
    device: str = "auto",
    retrain: bool = False,
) -> Run:
    """The finished run with this config: found, resumed, or trained; it says which.

    It also says where a codebook collapsed: the history's column `collapsed`.

    Args:
        config: what to train.
        images: the data, if it is loaded already; else `config.dataset` is loaded.
        results: folder of run folders; the run's own is `results / config.run_name`.
        device: `cpu`, `cuda`, or `auto`: CUDA where there is a GPU.
        retrain: train even where a finished run is shipped with the project.

    Raises:
        UserError: where the data or the folder cannot be used, another process holds the run, or
            the loss is no longer finite.
    """
    torch_device = _common_device(device)
    if config.batch_size < processes.count():
        raise UserError(
            f"batch_size {config.batch_size} is too small to be shared by {processes.count()} "
            "processes: start fewer"
        )
    folder = Path(results) / config.run_name
    if images is not None:
        _check_images(images, config)
    run = processes.first(lambda: _find_finished(config, folder, images, retrain))
    if run is not None:
        return run
    if images is None:
        images = processes.first(lambda: load_images(config.dataset, config.limit))
    if not images.variance > 0:
        raise UserError(f"{images.name}: all training pixels are the same, nothing to learn")
    with ExitStack() as held:
        processes.first(lambda: held.enter_context(sole_writer(folder)))
        if processes.first(lambda: _begin(config, folder)):
            trainer = Trainer(config, images, folder, torch_device)
            trainer.train()
            processes.first(trainer.finish)
    return processes.first(lambda: load_run(folder))


def _find_finished(
    config: TrainConfig, folder: Path, images: Images | None, retrain: bool
) -> Run | None:
    for finished in [folder] if retrain else [folder, SHIPPED / config.run_name]:
        if _is_done(finished, config):
            print(f"{config.run_name}: finished, read from {shown(finished)}")
            run = load_run(finished)
            if images is not None or Path(config.dataset).is_dir():
                same = images or load_images(config.dataset, config.limit)
                evaluation.check_same_images(run, same)
            _warn_of_collapse(run.config, run.history)
            return run
    return None


def _begin(config: TrainConfig, folder: Path) -> bool:
    """Names the folder's run; False where another process has finished it meanwhile."""
    if _is_done(folder, config):
        return False
    _check_same_config(folder, config)
    write_json(folder / "config.json", config.to_dict())
    return True


def _check_images(images: Images, config: TrainConfig) -> None:
    """Refuses images other than those that the config names."""
    for what, there, wanted in (
        ("", normal_dataset(images.name), config.dataset),
        ("limit ", images.limit, config.limit),
    ):
        if there != wanted:
            raise UserError(
                f"the images given are {what}{there!r}, the config asks for {what}{wanted!r}: "
                "give both the same"
            )


def _is_done(folder: Path, config: TrainConfig) -> bool:
    return is_finished(folder) and has_weights(folder) and read_config(folder) == config


class Trainer:
    """A run under way: model, optimizer, history, and the folder they are kept in."""

    def __init__(self, config: TrainConfig, images: Images, folder: Path, device: torch.device):
        self.config = config
        self.folder = folder
        self.device = device
        self.precision = processes.first(lambda: _precision(config.precision, device))
        self.train_images = images.train.to(device)
        self.test_images = images.test
        self.steps_per_epoch = math.ceil(len(images.train) / config.batch_size)
        self.data_variance = images.variance
        self.environment = {
            **environment(),
            "device": _device_name(device),
            "processes": processes.count(),
            "precision": self.precision,
            "dataset": images.name,
            "data_md5": images.digest,
            "n_train": len(images.train),
            "n_test": len(images.test),
            "data_variance": self.data_variance,
        }
        with _seeded(config.seed, device):
            model = build_model(config, self.data_variance)
        self.model = model.to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, fused=True
        )
        self.history: list[dict[str, Any]] = []
        self._resume()
        self.loss = processes.in_parallel(_Loss(self.model))

    def train(self) -> None:
        """Trains the epochs that are left."""
        with self._progress() as progress:
            while len(self.history) < self.config.epochs:
                self.advance(progress)

    def advance(self, progress: Progress | None) -> None:
        """Trains one more epoch and tests; the run can be resumed from there.

        Args:
            progress: where it is shown; None in all processes but the first.
        """
        epoch = len(self.history) + 1
        started = time.perf_counter()
        with _seeded(_epoch_seed(self.config.seed, epoch), self.device):
            losses = self._train_epoch(epoch, progress)
        seconds = time.perf_counter() - started
        self.history.append(
            {
                "epoch": epoch,
                "steps": epoch * self.steps_per_epoch,
                "seconds": round(seconds, 3),
                **losses,
                **self._test(),
            }
        )
        processes.first(self._save_state)

    def finish(self) -> None:
        """Stores the weights as shipped, and evaluates those; the environment is written last.

        It has the checksums of the other files, and makes the run a finished one.
        """
        weights = stored_weights(self.model)
        model = build_model(self.config, self.data_variance)
        model.load_state_dict(weights)
        model = model.to(self.device).eval()
        figures = evaluation.evaluate(model, self.test_images, self.data_variance)
        sample = self.test_images[:SHEET_IMAGES].to(self.device)
        x = scale(sample)
        write_weights(self.folder / WEIGHTS, weights)
        write_sheet(self.folder / "reconstructions.png", x, model.reconstruct(x))
        self._write_history()
        write_json(self.folder / "evaluation.json", figures)
        write_environment(self.folder, self.environment)
        remove_state(self.folder / "resume.pt")
        (self.folder / "progress.json").unlink(missing_ok=True)

    def _progress(self) -> AbstractContextManager[Progress | None]:
        if not processes.is_first():
            return nullcontext()
        return Progress(self.config, self.folder, self.steps_per_epoch)

    def _train_epoch(self, epoch: int, progress: Progress | None) -> dict[str, float]:
        """One pass in a new order; the mean of each loss term over the images."""
        self.model.train()
        order = torch.randperm(len(self.train_images)).to(self.device)
        losses = _LossMeans(self.steps_per_epoch, self.device)
        for step, batch in enumerate(order.split(self.config.batch_size)):
            losses.add(step, len(batch), self._step(batch))
            if progress is not None and progress.is_due():
                if processes.count() == 1:  # several find it together, at the end of the epoch
                    losses.check_finite(epoch, self.folder)
                progress.show(epoch, step + 1, losses.means())
        losses.check_finite(epoch, self.folder)
        return losses.means()

    def _step(self, batch: Tensor) -> dict[str, Tensor]:
        """One step of the optimizer on the images with these indices (B,); the loss terms."""
        own = processes.share(batch)
        weight = len(own) / len(batch)
        x = scale(self.train_images[own])
        with _autocast(self.device, self.precision):
            terms = self.loss(x)
        self.optimizer.zero_grad()
        # The mean over processes of so weighted gradients is the mean over the batch's images.
        (terms["loss"] * (weight * processes.count())).backward()
        self.optimizer.step()
        return _mean_over_processes(terms, weight)

    def _test(self) -> dict[str, Any]:
        """Test error and use of the codebook after an epoch, at the training's precision."""
        squared_error, usage = 0.0, None
        with _autocast(self.device, self.precision):
            own = processes.share(self.test_images)
            for x, y, codes in evaluation.reconstruct_all(self.model, own):
                squared_error += (x - y).square().sum().item()
                usage = evaluation.count_codes(self.model, codes, usage)
        total = torch.tensor(squared_error, dtype=torch.float64)
        processes.add_up(total, *([] if usage is None else [usage]))
        nmse = total.item() / self.test_images.numel() / self.data_variance
        if not math.isfinite(nmse):
            epoch = len(self.history) + 1
            raise UserError(
                f"{self.folder.name}: test error not finite after epoch {epoch}, step "
                f"{self.steps_per_epoch}; {_last_good(self.folder, epoch)}"
            )
        use = evaluation.codebook_use(usage)
        return {"test_nmse": nmse, **use, "collapsed": _is_collapsed(usage, use["perplexity"])}

    def _resume(self) -> None:
        path = self.folder / "resume.pt"
        state = processes.first(lambda: self._read_state(path))
        if state is None:
            if processes.is_first():
                print(f"{self.config.run_name}: training on {self.environment['device']}")
            return
        self.model.load_state_dict(state["model"])
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            _check_moments(self.optimizer)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} does not fit its config: the optimizer's {error}") from None
        self.history = state["history"]
        self.precision = self.environment["precision"] = state["precision"]
        if processes.is_first():
            print(f"{self.config.run_name}: resumed after epoch {len(self.history)}")

    def _read_state(self, path: Path) -> dict[str, Any] | None:
        state = read_state(path)
        if state is None:
            return None
        check_format(path, state)
        if missing := [name for name in STATE if name not in state]:
            raise UserError(f"{path} is no resume state of vqlib: {', '.join(missing)} missing")
        if differing := _differing(state["config"], self.config.to_dict()):
            raise UserError(f"{path} is of another run: {differing}. Delete it to train anew.")
        if state["data_md5"] != self.environment["data_md5"]:
            raise UserError(
                f"{self.folder} was begun with other images than {self.config.dataset} holds now: "
                "delete the folder to begin anew"
            )
        check_weights(path, self.model, state["model"])
        return state

    def _save_state(self) -> None:
        _warn_of_collapse(self.config, pd.DataFrame(self.history[-1:]))
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
        self._write_history()

    def _write_history(self) -> None:
        table = pd.DataFrame(self.history).to_csv(index=False)
        write_atomically(self.folder / "history.csv", table.encode())


class _Loss(nn.Module):
    """A model's loss as a forward pass: what DistributedDataParallel calls."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.model.loss(x)


def _mean_over_processes(terms: dict[str, Tensor], weight: float) -> dict[str, Tensor]:
    """The terms over all images of a batch, of which this process had the part `weight`."""
    if processes.count() == 1:
        return terms
    own = torch.stack([value.detach().double() for value in terms.values()])
    mean = own * weight if weight else torch.zeros_like(own)  # the mean of no images is NaN
    processes.add_up(mean)
    return dict(zip(terms, mean, strict=True))


class _LossMeans:
    """Means over an epoch's images, summed on the device so that no step waits for a number."""

    def __init__(self, steps: int, device: torch.device):
        self.losses = torch.zeros(steps, device=device)
        self.sums: dict[str, Tensor] = {}
        self.images = 0

    def add(self, step: int, images: int, terms: dict[str, Tensor]) -> None:
        self.losses[step] = terms["loss"].detach()
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().double() * images
        self.images += images

    def means(self) -> dict[str, float]:
        return {name: value.item() / self.images for name, value in self.sums.items()}

    def check_finite(self, epoch: int, folder: Path) -> None:
        bad = (~self.losses.isfinite()).nonzero()
        if len(bad):
            raise UserError(
                f"{folder.name}: loss not finite at epoch {epoch}, step {bad[0].item() + 1}; "
                f"{_last_good(folder, epoch)}"
            )


def _last_good(folder: Path, epoch: int) -> str:
    """What is left to go on from where an epoch failed."""
    path = folder / "resume.pt"
    kept = f"{path} holds the state after epoch {epoch - 1}" if epoch > 1 else "no epoch is kept"
    return f"{kept}. Try a lower learning rate."


def _warn_of_collapse(config: TrainConfig, history: pd.DataFrame) -> None:
    if warning := collapse_warning(config, history):
        print(warning)


def _is_collapsed(usage: Tensor | None, perplexity: float | None) -> bool | None:
    """Whether a codebook that has more codes than that is down to one or two; None without one."""
    if usage is None or perplexity is None:
        return None
    return len(usage) > COLLAPSED and perplexity < COLLAPSED


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Adam's moments have the shapes of their parameters; else it would write beyond them."""
    for parameter, state in optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            if state[name].shape != parameter.shape:
                shapes = f"{tuple(state[name].shape)} for {tuple(parameter.shape)}"
                raise ValueError(f"{name} has shape {shapes}")


def _check_same_config(folder: Path, config: TrainConfig) -> None:
    if not (folder / "config.json").exists():
        return
    if differing := _differing(read_config(folder).to_dict(), config.to_dict()):
        raise UserError(f"{folder} belongs to another config: {differing}")


def _differing(there: dict[str, Any], here: dict[str, Any]) -> str:
    """What differs between two configs; empty where nothing does."""
    pairs = ((name, there.get(name), value) for name, value in here.items())
    return "; ".join(f"{name} {a} there, {b} here" for name, a, b in pairs if a != b)


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + epoch


@contextmanager
def _seeded(seed: int, device: torch.device):
    """Seeds torch for a while; the caller's random state is as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _common_device(name: str) -> torch.device:
    """This process's device, of the same kind as that of the others."""
    devices = processes.each(lambda: _device(name))
    if len({device.type for device in devices}) > 1:
        raise UserError("some of the processes have a GPU and some have none: use --device cpu")
    return _device(name)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise UserError(f"unknown device {name!r}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda asked for, but torch finds no GPU here: use auto or cpu")
    if name == "cpu":
        return torch.device("cpu")
    device = torch.device("cuda", processes.gpu())
    torch.cuda.set_device(device)
    return device


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def _precision(name: str, device: torch.device) -> str:
    """`auto` is bfloat16 where the hardware computes in it, else float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"
