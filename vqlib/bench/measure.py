"""How fast vqlib is beside other ways to do the same; `vqlib bench` prints and stores a table.

What stands side by side in the table is measured in turn, repeat by repeat, so that whatever else
the machine does meanwhile falls on all of it alike.
"""

import math
import multiprocessing
import os
import re
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from vqlib.bench import peers
from vqlib.bench.baseline import PlainLoop
from vqlib.bench.table import RATE, Row, compare, number, store, table
from vqlib.config import MODELS, TrainConfig
from vqlib.errors import UserError
from vqlib.evaluation import evaluate, reconstruct_all
from vqlib.figures import MODEL_NAMES
from vqlib.images import Images, load_images, resolve_dataset, scale
from vqlib.paths import ROOT, shown
from vqlib.quantizer import VectorQuantizer
from vqlib.report.words import plural
from vqlib.runs import build_model, environment
from vqlib.similarity import ssim
from vqlib.system.progress import Progress
from vqlib.training import Trainer, fit

RESULTS = ROOT / "benchmarks" / "results"
BATCH_SIZES = (256, 16)
STUDY_BATCH_SIZES = (16, 32, 64, 128, 256)
STUDY_IMAGES = 40 * 50_000  # epochs times images of a run
PEER_BATCH_SIZE = 64  # pythae's default
MAX_PROCESSES = 8
FEW = 64  # images where their number does not matter
QUALITY = 0.060  # test NMSE
CHUNK = 500  # pairs of images at a time


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    name: str
    repeats: int  # measured, after one that is not
    images: int  # trained on in each
    pairs: int  # of images, for SSIM
    loop_pairs: int  # of them in the loop over scikit-image, which is then scaled
    test_images: int  # evaluated
    growth_images: int  # all of them, in the rows on growth
    quality_epochs: int  # at most, until the quality is reached; 0 leaves it out
    config: TrainConfig


QUICK = Sizes("quick", 3, 1_024, 10_000, 200, 2_000, 2_048, 0, TrainConfig(model="vqvae"))
FULL = Sizes("full", 5, 4_096, 10_000, 1_000, 10_000, 50_000, 25, TrainConfig(model="vqvae"))


def run(sizes: Sizes, dataset: str = "auto", folder: Path = RESULTS) -> list[Row]:
    """Measures everything, prints the table, and writes it as JSON and as Markdown.

    Args:
        sizes: `QUICK`, `FULL`, or your own.
        dataset: as `load_images` takes it, or `auto`: CIFAR-10 where it can be had, else photos.
        folder: where the files go; they are named after sizes and machine.

    Raises:
        UserError: where the data cannot be had or the folder not be written.
    """
    _make(folder)
    dataset = resolve_dataset(dataset)
    images = load_images(dataset)
    torch.manual_seed(sizes.config.seed)
    started = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for place, (title, measure) in enumerate(MEASUREMENTS.items(), start=1):
            print(f"{place}/{len(MEASUREMENTS)} {title} …", flush=True)
            part = Path(scratch) / str(place)
            part.mkdir()
            rows += measure(sizes, images, part)
    machine = {**_machine(images), "minutes": round((time.monotonic() - started) / 60, 1)}
    print("\n" + table(rows, machine))
    for path in store(folder, sizes.name, rows, machine):
        print(f"written: {shown(path)}")
    return rows


def training(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """VQ-VAE training against the plain loop: in one process, and as a study trains."""
    few = _first(images, sizes.images)
    samples: dict[str, Callable[[], float]] = {}
    with StudyProcesses(sizes.config, few, folder) as study:
        for batch_size in BATCH_SIZES:
            config = replace(sizes.config, batch_size=batch_size)
            own = OwnLoop(config, few, folder / f"own-{batch_size}")
            samples[f"own {batch_size}"] = own.rate
            samples[f"plain {batch_size}"] = partial(_plain_rate, PlainLoop(config, few))
            samples[f"study {batch_size}"] = partial(study.rate, batch_size)
        rates = interleave(sizes.repeats, samples)
    threads = torch.get_num_threads()
    how = f"{own.trainer.precision}; {len(few.train):,} images an epoch, median of {sizes.repeats}"
    rows = []
    for batch_size in BATCH_SIZES:
        what, plain = f"VQ-VAE training, batch {batch_size}", rates[f"plain {batch_size}"]
        for name, note in (
            ("own", f"one process of {threads} {plural('thread', threads)}"),
            ("study", f"{study.processes} processes of one thread"),
        ):
            ours = rates[f"{name} {batch_size}"]
            rows.append(compare(f"{what}, {note}", RATE, ours, plain, "plain loop, float32", how))
    share = "the ratio is the share of the speed at batch 256 that is left"
    small, large = rates["own 16"], rates["own 256"]
    what = f"VQ-VAE training, batch 16, one process of {threads} {plural('thread', threads)}"
    return [*rows, compare(what, RATE, small, large, "vqlib, batch 256", share)]


def quantizer(sizes: Sizes, _images: Images, _folder: Path) -> list[Row]:
    """The quantizer alone, forward and backward, against vector-quantize-pytorch."""
    what = "Quantizer, forward and backward"
    version = peers.installed_version(peers.QUANTIZER)
    if version is None:
        return [_missing(what, peers.QUANTIZER)]
    config = sizes.config
    rows = []
    for batch_size in BATCH_SIZES:
        z_e = torch.randn(batch_size, config.embedding_dim, 8, 8)
        z_e = z_e.to(memory_format=torch.channels_last).requires_grad_()
        batches = math.ceil(sizes.images / batch_size)
        milliseconds = interleave(
            sizes.repeats,
            {
                "own": partial(_milliseconds, _own_quantizer_step(config), z_e, batches),
                "peer": partial(_milliseconds, peers.quantizer_step(config), z_e, batches),
            },
        )
        how = f"K={config.num_embeddings}, D={config.embedding_dim}, EMA, {batches} batches"
        beside = f"{peers.QUANTIZER} {version}"
        ours, others = milliseconds["own"], milliseconds["peer"]
        rows.append(compare(f"{what}, batch {batch_size}", "ms", ours, others, beside, how))
    return rows


def package(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """VQ-VAE training against pythae's."""
    what = f"VQ-VAE training, batch {PEER_BATCH_SIZE}"
    version = peers.installed_version(peers.TRAINER)
    if version is None:
        return [_missing(what, peers.TRAINER)]
    few = _first(images, sizes.images)
    config = replace(sizes.config, batch_size=PEER_BATCH_SIZE)
    epoch = peers.training_epoch(config, few.train, folder)
    rates = interleave(
        sizes.repeats,
        {
            "own": OwnLoop(config, few, folder / "own").rate,
            "peer": lambda: len(few.train) / _seconds(epoch),
        },
    )
    how = f"{len(few.train):,} of {len(images.train):,} images an epoch, median of {sizes.repeats}"
    beside = f"{peers.TRAINER} {version}, its CIFAR-10 networks"
    return [compare(what, RATE, rates["own"], rates["peer"], beside, how)]


def similarity(sizes: Sizes, images: Images, _folder: Path) -> list[Row]:
    """SSIM of many pairs of images against a loop over scikit-image."""
    x = scale(images.test[torch.arange(sizes.pairs) % len(images.test)])
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    looped = sizes.loop_pairs
    a, b = (part[:looped].double().contiguous().numpy() for part in (x, y))
    difference = np.abs(_batched_ssim(x[:looped], y[:looped]).numpy() - _looped_ssim(a, b)).max()
    seconds = interleave(
        sizes.repeats,
        {
            "own": lambda: _seconds(_batched_ssim, x, y),
            "loop": lambda: _seconds(_looped_ssim, a, b) * len(x) / looped,
        },
    )
    how = f"loop over {looped:,} pairs, scaled; largest difference {difference:.1e}"
    what, beside = f"SSIM of {len(x):,} pairs", "loop over scikit-image"
    return [compare(what, "s", seconds["own"], seconds["loop"], beside, how)]


def evaluation(sizes: Sizes, images: Images, _folder: Path) -> list[Row]:
    """All figures of a run, eight kinds of SSIM among them."""
    test = images.test[: sizes.test_images]
    model = build_model(sizes.config, images.variance)
    taken = _seconds(evaluate, model, test, images.variance)
    what = f"Full evaluation of a run, {len(test):,} test images"
    return [Row(what, "all metrics and protocols, once", "s", taken)]


def growth(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Speed and memory with a quarter, half and all of the images, each in a fresh process."""
    count = min(sizes.growth_images, len(images.train))
    rates, peaks = [], []
    for limit in (count // 4, count // 2, count):
        config = replace(sizes.config, dataset=images.name, limit=limit, epochs=1)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rate, peak = process.submit(_train_alone, config, folder).result()
        rates.append(rate)
        peaks.append(peak)
    what, beside = f"batch {sizes.config.batch_size}, {count:,} images", "a quarter of them"
    rows = [
        compare(
            f"VQ-VAE training, {what}", RATE, rates[2:], rates[:1], beside,
            f"an epoch, once; half of them: {number(rates[1])} {RATE}",
        )
    ]  # fmt: skip
    what = f"Peak memory of a training process, {what}"
    if None in peaks:
        return [*rows, Row(what, "not measured: this system has no /proc")]
    how = f"resident, data and evaluation included; half of them: {number(peaks[1])} MB"
    return [*rows, Row(what, how, "MB", peaks[2], peaks[0], beside)]


def quality(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Seconds of training until the test error is low, ours and the plain loop's."""
    what = f"Training until test NMSE ≤ {QUALITY:.3f}, batch 64"
    if not sizes.quality_epochs:
        return [Row(what, "not measured here: takes most of the full bench")]
    config = replace(sizes.config, batch_size=64)
    own, plain = OwnLoop(config, images, folder / "own"), PlainLoop(config, images)
    loops = {
        "own": lambda: (own.train_epoch(), own.trainer.history[-1]["test_nmse"]),
        "plain": lambda: (_seconds(plain.train_epoch), _nmse(plain.model, images)),
    }
    spent, reached = dict.fromkeys(loops, 0.0), {}
    for epoch in range(1, sizes.quality_epochs + 1):
        for name in [name for name in loops if name not in reached]:
            seconds, nmse = loops[name]()
            spent[name] += seconds
            print(f"  {name}, epoch {epoch}: NMSE {nmse:.4f}, {spent[name]:.0f} s", flush=True)
            if nmse <= QUALITY:
                reached[name] = epoch
    epochs = [reached.get(name, f"more than {sizes.quality_epochs}") for name in loops]
    how = f"tested after each epoch; vqlib took {epochs[0]} epochs, the plain loop {epochs[1]}"
    own_seconds, plain_seconds = ([spent[name]] if name in reached else [] for name in loops)
    return [compare(what, "s", own_seconds, plain_seconds, "plain loop, float32", how)]


def gpu(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Training of both models on a GPU, against the plain loop and against the GPU's limit."""
    what = "Training on a GPU"
    if not torch.cuda.is_available():
        return [Row(what, "not measured: no GPU here")]
    few = _first(images, 4 * sizes.images)
    limit, name = _matmul_rate(), torch.cuda.get_device_name()
    rows, minutes = [], 0.0
    for model in MODELS:
        flops = _flops(build_model(replace(sizes.config, model=model), images.variance))
        for batch_size in STUDY_BATCH_SIZES:
            config = replace(sizes.config, model=model, batch_size=batch_size)
            own = OwnLoop(config, few, folder / config.run_name, "cuda")
            samples = {"own": own.rate}
            if model == "vqvae":
                samples["plain"] = partial(_plain_rate, PlainLoop(config, few, "cuda"))
            rates = interleave(sizes.repeats, samples)
            rate = statistics.median(rates["own"])
            minutes += STUDY_IMAGES / rate / 60
            how = f"{own.trainer.precision}; {rate * flops / limit:.2%} of the rate of a bfloat16 "
            how += f"matrix product, {limit / 1e12:.0f} TFLOP/s"
            row_name = f"{MODEL_NAMES[model]} training, batch {batch_size}, {name}"
            beside = "plain loop, float32" if "plain" in rates else ""
            rows.append(compare(row_name, RATE, rates["own"], rates.get("plain", []), beside, how))
    how = "ten runs of 40 epochs of 50,000 images, one after the other, from these rates"
    return [*rows, Row(f"Training of the full study, {name}", how, "min", minutes)]


MEASUREMENTS: dict[str, Callable[[Sizes, Images, Path], list[Row]]] = {
    "training, against the plain loop": training,
    f"quantizer, against {peers.QUANTIZER}": quantizer,
    f"training, against {peers.TRAINER}": package,
    "SSIM, against scikit-image": similarity,
    "evaluation of a run": evaluation,
    "growth with the number of images": growth,
    "GPU": gpu,
    "time to quality": quality,
}


class OwnLoop:
    """A VQ-VAE or VAE in vqlib's own training.

    Args:
        config: what to train.
        images: its images; the test images are evaluated after each epoch, outside the timing.
        folder: where its run folder goes.
        device: `cpu` or `cuda`.
    """

    def __init__(self, config: TrainConfig, images: Images, folder: Path, device: str = "cpu"):
        folder.mkdir(parents=True)
        with _quiet():
            self.trainer = Trainer(config, images, folder, torch.device(device))
        self.progress = _Silent(config, folder, self.trainer.steps_per_epoch)

    def train_epoch(self) -> float:
        """Trains one more epoch; the seconds that this took."""
        with _quiet():  # a few steps collapse a codebook: no news here
            self.trainer.advance(self.progress)
        return self.trainer.history[-1]["seconds"]

    def rate(self) -> float:
        """Trains one more epoch; images per second."""
        return len(self.trainer.train_images) / self.train_epoch()


class _Silent(Progress):
    def is_due(self) -> bool:
        return False


class StudyProcesses:
    """Trainings side by side, a core and one thread each, as a study runs; a context manager."""

    def __init__(self, config: TrainConfig, images: Images, folder: Path):
        self.images = len(images.train)
        self.processes = min(_cores(), MAX_PROCESSES)
        pixels = folder / "images.pt"
        torch.save((images.train.clone(), images.test.clone()), pixels)
        context = multiprocessing.get_context("spawn")
        self.connections = []
        for process in range(self.processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, config, pixels, folder / f"process-{process}")
            context.Process(target=_serve, args=arguments, daemon=True).start()
            theirs.close()
            self.connections.append(ours)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in self.connections:
            connection.close()  # which ends the process

    def rate(self, batch_size: int) -> float:
        """Each trains an epoch; images per second of all together."""
        for connection in self.connections:
            connection.send(batch_size)
        slowest = max(connection.recv() for connection in self.connections)
        return self.processes * self.images / slowest


def _serve(requests: Connection, config: TrainConfig, pixels: Path, folder: Path) -> None:
    """Trains an epoch at each batch size asked for, and answers with the seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    torch.set_num_threads(1)
    images = Images(config.dataset, *torch.load(pixels))
    loops = {
        batch_size: OwnLoop(
            replace(config, batch_size=batch_size), images, folder / str(batch_size)
        )
        for batch_size in BATCH_SIZES
    }
    with suppress(EOFError, BrokenPipeError):
        while True:
            requests.send(loops[requests.recv()].train_epoch())


def interleave(repeats: int, samples: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Takes every sample once to warm up, then all of them in turn, `repeats` times."""
    for sample in samples.values():
        sample()
    taken: dict[str, list[float]] = {name: [] for name in samples}
    for _ in range(repeats):
        for name, sample in samples.items():
            taken[name].append(sample())
    return taken


def peak_memory() -> float | None:
    """The most resident memory that this process has had, in MB; None where none can tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    # Not `getrusage`: on Linux its figure includes the process that started this one.
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) * 1024 / 1e6


def _train_alone(config: TrainConfig, folder: Path) -> tuple[float, float | None]:
    """Trains a run from loading to evaluation; images per second, and the peak memory in MB."""
    with _quiet():
        fit(replace(config, limit=FEW), results=folder / f"warm-up-{config.limit}", device="cpu")
        run = fit(config, results=folder, device="cpu")
    return run.environment["n_train"] / run.history["seconds"].sum().item(), peak_memory()


def _plain_rate(loop: PlainLoop) -> float:
    return len(loop.loader.dataset) / _seconds(loop.train_epoch)


def _own_quantizer_step(config: TrainConfig) -> Callable[[Tensor], None]:
    quantizer = VectorQuantizer(config.num_embeddings, config.embedding_dim, config.decay)

    def step(z_e: Tensor) -> None:
        quantized = quantizer(z_e)
        (quantized.z_q.mean() + config.commitment_cost * quantized.commitment).backward()

    return step


def _milliseconds(step: Callable[[Tensor], None], z_e: Tensor, batches: int) -> float:
    """Of a step, over so many."""
    started = time.perf_counter()
    for _ in range(batches):
        z_e.grad = None
        step(z_e)
    return (time.perf_counter() - started) / batches * 1000


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def _batched_ssim(x: Tensor, y: Tensor) -> Tensor:
    chunks = zip(x.split(CHUNK), y.split(CHUNK), strict=True)
    return torch.cat([ssim(a, b) for a, b in chunks])


def _looped_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same settings, a pair at a time."""
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return np.array(
        [
            structural_similarity(a, b, data_range=1, channel_axis=0, **settings)
            for a, b in zip(x, y, strict=True)
        ]
    )


def _nmse(model: nn.Module, images: Images) -> float:
    errors = [(x - y).square().sum().item() for x, y, _ in reconstruct_all(model, images.test)]
    return sum(errors) / images.test.numel() / images.variance


def _flops(model: nn.Module) -> float:
    """Of a training step, for each image."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model.loss(torch.rand(FEW, 3, 32, 32))["loss"].backward()
    return counter.get_total_flops() / FEW


def _matmul_rate(side: int = 8_192, times: int = 20) -> float:
    """Operations per second that the GPU reaches in a large bfloat16 matrix product."""
    matrix = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)

    def products() -> None:
        for _ in range(times):
            matrix @ matrix
        torch.cuda.synchronize()

    products()
    return times * 2 * side**3 / _seconds(products)


def _first(images: Images, count: int) -> Images:
    return Images(images.name, images.train[:count], images.test[:FEW])


def _missing(what: str, package: str) -> Row:
    return Row(what, f"not measured: {package} is not installed ({peers.INSTALL})")


def _machine(images: Images) -> dict[str, Any]:
    has_gpu = torch.cuda.is_available()
    return {
        **environment(),
        "cores": _cores(),
        "gpu": torch.cuda.get_device_name() if has_gpu else "no GPU",
        "data": images.name,
        "date": date.today().isoformat(),
    }


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield
