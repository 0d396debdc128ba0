"""The training loops and single steps that `vqlib bench` runs, and how it times them."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from functools import cache
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from vqlib.bench.baseline import PlainLoop
from vqlib.config import TrainConfig
from vqlib.images import Images, load_images
from vqlib.models import ImageModel, reconstruct_all
from vqlib.quantizer import VectorQuantizer
from vqlib.rates import decode_pictures, encode
from vqlib.similarity import ssim
from vqlib.system.machine import cores, peak_memory
from vqlib.system.progress import Progress
from vqlib.training import fit, make_trainer

FEW = 64  # images, if their number does not matter
MAX_PROCESSES = 8
CHUNK = 500  # pairs of images at a time


class OwnLoop:
    """A model that is trained by vqlib's own loop.

    Args:
        config: what to train.
        images: the images; the evaluation of the test images after each epoch is not timed.
        folder: the run folder, which must not exist.
        device: `cpu` or `cuda`.
    """

    def __init__(self, config: TrainConfig, images: Images, folder: Path, device: str = "cpu"):
        folder.mkdir(parents=True)
        with quiet():
            self.trainer = make_trainer(config, images, folder, torch.device(device))
        self.progress = _Silent(folder, config.epochs, self.trainer.steps_per_epoch)

    def train_epoch(self) -> float:
        """Train one more epoch; return the seconds it took."""
        with quiet():  # a codebook often collapses in its first steps, no news here
            self.trainer.advance(self.progress)
        return self.trainer.history[-1]["seconds"]

    def rate(self) -> float:
        """Train one more epoch; return images per second."""
        return len(self.trainer.train_rows) / self.train_epoch()


class _Silent(Progress):
    def is_due(self) -> bool:
        return False

    def end_epoch(self, *_: object) -> None:
        pass


class StudyProcesses:
    """Processes that train side by side, each with one thread, as the runs of a study do.

    It is a context manager; at its end, the processes end.

    Args:
        config: what to train.
        batch_sizes: the batch sizes at which `rate` can be asked for.
        images: the images.
        folder: the folder for the run folders.
    """

    def __init__(
        self, config: TrainConfig, batch_sizes: Sequence[int], images: Images, folder: Path
    ):
        self.images = len(images.train)
        self.processes = min(cores(), MAX_PROCESSES)
        pixels = store_pixels(images, folder)
        context = multiprocessing.get_context("spawn")
        self.connections = []
        for process in range(self.processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, config, batch_sizes, pixels, folder / f"process-{process}")
            context.Process(target=_serve, args=arguments, daemon=True).start()
            theirs.close()
            self.connections.append(ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in self.connections:
            connection.close()  # this ends the process

    def rate(self, batch_size: int) -> float:
        """Let each process train an epoch; return images per second of all together."""
        for connection in self.connections:
            connection.send(batch_size)
        slowest = max(connection.recv() for connection in self.connections)
        return self.processes * self.images / slowest


def _serve(
    requests: Connection,
    config: TrainConfig,
    batch_sizes: Sequence[int],
    pixels: Path,
    folder: Path,
) -> None:
    """Receive batch sizes; train an epoch at each and send the seconds it took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one
    torch.set_num_threads(1)
    images = load_pixels(pixels)
    loops = {
        batch_size: OwnLoop(
            replace(config, batch_size=batch_size), images, folder / str(batch_size)
        )
        for batch_size in batch_sizes
    }
    with suppress(EOFError, BrokenPipeError):
        while True:
            requests.send(loops[requests.recv()].train_epoch())


def store_pixels(images: Images, folder: Path) -> Path:
    """Write images for other processes, to be read by `load_pixels`; return the file's path."""
    path = folder / "images.pt"
    torch.save((images.name, images.train.clone(), images.test.clone()), path)
    return path


def load_pixels(path: Path) -> Images:
    """Read the images that `store_pixels` wrote."""
    return Images(*torch.load(path))


class PlainProcess:
    """Plain loops in a process of their own, whose memory is managed as usual.

    It is a context manager; at its end, the process ends.

    Args:
        images: the images.
        folder: the folder for a copy of them.
    """

    def __init__(self, images: Images, folder: Path):
        self.pixels = store_pixels(images, folder)
        self.process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.shutdown()

    def rate(self, config: TrainConfig) -> float:
        """Train one more epoch with this config; return images per second."""
        return self.process.submit(_plain_rate, config, self.pixels).result()

    def epoch(self, config: TrainConfig) -> tuple[float, float]:
        """Train one more epoch with this config; return its seconds and the NMSE afterwards."""
        return self.process.submit(_plain_epoch, config, self.pixels).result()


@cache
def _plain_loop(config: TrainConfig, pixels: Path) -> PlainLoop:
    torch.manual_seed(config.seed)
    return PlainLoop(config, load_pixels(pixels))


def _plain_rate(config: TrainConfig, pixels: Path) -> float:
    return plain_rate(_plain_loop(config, pixels))


def _plain_epoch(config: TrainConfig, pixels: Path) -> tuple[float, float]:
    loop = _plain_loop(config, pixels)
    return timed(loop.train_epoch), nmse_of(loop.model, load_pixels(pixels))


def nmse_of(model: ImageModel, images: Images) -> float:
    """Return the NMSE of a model over the test images, in float32."""
    errors = [(x - y).square().sum().item() for x, y, _ in reconstruct_all(model, images.test)]
    return sum(errors) / images.test.numel() / images.variance


def interleave(repeats: int, samples: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Take every sample once to warm up, then all of them in turn, `repeats` times.

    This way, anything that slows the machine down for a while slows all samples alike.
    """
    for sample in samples.values():
        sample()
    taken: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(repeats):
        for name, sample in samples.items():
            taken[name].append(sample())
    return taken


def train_alone(config: TrainConfig, folder: Path) -> tuple[float, float | None]:
    """Train a run, from loading to evaluation; return images per second and peak memory in MB."""
    with quiet():
        fit(replace(config, limit=FEW), results=folder / f"warm-up-{config.limit}", device="cpu")
        run = fit(config, results=folder, device="cpu")
    return run.environment["n_train"] / float(run.history["seconds"].sum()), peak_memory()


def code_alone(config: TrainConfig, count: int, folder: Path) -> tuple[float, float, float | None]:
    """Write test images to a file of codes, and read them back as PNG files.

    Returns:
        Images per second written and read, and peak memory in MB.
    """
    file, pictures = folder / "images.vqlb", folder / "pictures"
    with quiet():
        run = fit(replace(config, limit=FEW), results=folder, device="cpu")
        images = load_images(config.dataset).test[:count]
        encode(run, images[:FEW])  # to warm up
        writing = timed(lambda: file.write_bytes(encode(run, images)))
        reading = timed(decode_pictures, run.folder, file, pictures)
    return len(images) / writing, len(images) / reading, peak_memory()


def plain_rate(loop: PlainLoop) -> float:
    """Train the plain loop for one more epoch; return images per second."""
    return len(loop.pictures) / timed(loop.train_epoch)


def own_quantizer_step(config: TrainConfig) -> Callable[[Tensor], None]:
    """Return a function that runs vqlib's quantizer forward and backward on z_e (B, D, H, W)."""
    quantizer = VectorQuantizer(config.num_embeddings, config.embedding_dim, config.decay)

    def step(z_e: Tensor) -> None:
        quantized = quantizer(z_e)
        (quantized.z_q.mean() + config.commitment_cost * quantized.commitment).backward()

    return step


def timed_step(step: Callable[[Tensor], None], z_e: Tensor, batches: int) -> float:
    """Return a step's mean time in milliseconds, over this many steps on the same batch."""
    started = time.perf_counter()
    for _ in range(batches):
        z_e.grad = None
        step(z_e)
    return (time.perf_counter() - started) / batches * 1000


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Call a function and return the seconds that it took."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def batched_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Return vqlib's SSIM of each pair of images, (N,)."""
    chunks = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
    return torch.cat([ssim(a, b) for a, b in chunks])


def looped_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return scikit-image's SSIM of each pair, (N,): the same settings, one pair at a time."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.array(
        [
            structural_similarity(a, b, data_range=1, channel_axis=0, **settings)
            for a, b in zip(x, y, strict=True)
        ]
    )


def flops_per_image(model: nn.Module) -> float:
    """Return the floating-point operations of a training step, per image."""
    from torch.utils.flop_counter import FlopCounterMode

    loss = cast(Callable[[Tensor], dict[str, Tensor]], model.loss)
    with FlopCounterMode(display=False) as counter:
        loss(torch.rand(FEW, 3, 32, 32))["loss"].backward()
    return counter.get_total_flops() / FEW


def matmul_rate(device: str, precision: str) -> float:
    """Return the operations per second of large matrix products: the most a device can do.

    Args:
        device: `cpu`, with all threads of this process, or `cuda`.
        precision: `bfloat16` or `float32`.
    """
    side, times = (1_024, 10) if device == "cpu" else (8_192, 20)
    matrix = torch.randn(side, side, device=device, dtype=getattr(torch, precision))

    def products() -> None:
        for _ in range(times):
            matrix @ matrix
        if device != "cpu":
            torch.cuda.synchronize()

    products()
    return times * 2 * side**3 / timed(products)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide all output."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield
