"""What `vqlib bench` measures: each measurement makes rows of the table.

The two values of a row are measured in turn, repeat by repeat, so that anything that slows the
machine down for a while slows both.
"""

import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqlib.bench import peers
from vqlib.bench.baseline import PlainLoop
from vqlib.bench.folders import reading
from vqlib.bench.loops import (
    FEW,
    OwnLoop,
    PlainProcess,
    StudyProcesses,
    batched_ssim,
    code_alone,
    flops_per_image,
    interleave,
    looped_ssim,
    matmul_rate,
    own_quantizer_step,
    plain_rate,
    timed,
    timed_step,
    train_alone,
)
from vqlib.bench.sampling import sampling
from vqlib.bench.sizes import Sizes
from vqlib.bench.table import PLAIN, RATE, RESULTS, Row, compare, number, store, table
from vqlib.evaluation import evaluate
from vqlib.images import Images, load_images, resolve_dataset, scale
from vqlib.models import MODELS, build_model
from vqlib.paths import shown
from vqlib.system.files import make_folder
from vqlib.system.machine import cores, environment

BATCH_SIZES = (256, 64, 16)
STUDY_BATCH_SIZES = (16, 32, 64, 128, 256)
STUDY_EPOCHS, STUDY_IMAGES = 40, 50_000
STUDY_MODELS = ("vae", "vqvae")
UNCAPTURED = "the same, kernel by kernel"
PEER_BATCH_SIZE = 64  # pythae's default
PRECISIONS = ("bfloat16", "float32")
QUALITY, QUALITY_BATCH = 0.060, 64  # test NMSE, and the batch size at which it is reached


def run(sizes: Sizes, dataset: str = "auto", folder: Path = RESULTS) -> list[Row]:
    """Measure everything, print the table, and write it as JSON and as Markdown.

    Args:
        sizes: `QUICK` or `FULL` of `vqlib.bench.sizes`, or your own.
        dataset: a name for `load_images`, or `auto`: CIFAR-10 if it is available, else photos.
        folder: the folder for the files; they are named after the sizes and the machine.

    Raises:
        UserError: if the data are not available or the folder cannot be written.
    """
    make_folder(folder)
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
    machine = {**machine_facts(images.name), "minutes": round((time.monotonic() - started) / 60, 1)}
    print("\n" + table(rows, machine))
    for path in store(folder, sizes.name, rows, machine):
        print(f"written: {shown(path)}")
    return rows


def machine_facts(data: str) -> dict[str, Any]:
    """Return what was measured on: versions, processor, GPU, data and date."""
    has_gpu = torch.cuda.is_available()
    return {
        **environment(),
        "cores": cores(),
        "gpu": torch.cuda.get_device_name() if has_gpu else "no GPU",
        "data": data,
        "date": date.today().isoformat(),
    }


def training(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Compare VQ-VAE training with the plain loop: in one process, and as a study trains."""
    few = _first(images, sizes.images)
    samples: dict[str, Callable[[], float]] = {}
    with (
        StudyProcesses(sizes.config, BATCH_SIZES, few, folder) as study,
        PlainProcess(few, folder) as plain_process,
    ):
        for batch_size in BATCH_SIZES:
            config = replace(sizes.config, batch_size=batch_size)
            own = OwnLoop(config, few, folder / f"own-{batch_size}")
            samples[f"own {batch_size}"] = own.rate
            samples[f"plain {batch_size}"] = partial(plain_process.rate, config)
            samples[f"study {batch_size}"] = partial(study.rate, batch_size)
        for precision in PRECISIONS:
            samples[precision] = partial(matmul_rate, "cpu", precision)
        rates = interleave(sizes.repeats, samples)
    threads = torch.get_num_threads()
    one_process = f"one process of {threads} thread{'s' if threads > 1 else ''}"
    how = f"{len(few.train):,} images per epoch, median of {sizes.repeats}"
    limits = {precision: statistics.median(rates[precision]) for precision in PRECISIONS}
    rows = [
        Row(f"Matrix product, {precision}", "1024×1024, all threads", "GFLOP/s", limit / 1e9)
        for precision, limit in limits.items()
    ]
    flops = flops_per_image(build_model(sizes.config, images.variance))
    for batch_size in BATCH_SIZES:
        what, plain = training_row(batch_size), rates[f"plain {batch_size}"]
        for name, note in (
            ("own", one_process),
            ("study", f"{study.processes} processes of one thread"),
        ):
            ours = rates[f"{name} {batch_size}"]
            limit = _share(ours, flops, own.trainer.precision, limits)
            rows.append(compare(f"{what}, {note}", RATE, ours, plain, PLAIN, f"{limit}; {how}"))
    left = "ratio: the share of the speed at batch 256 that remains at batch 16"
    small, large = rates["own 16"], rates["own 256"]
    what = f"{training_row(16)}, {one_process}"
    return [*rows, compare(what, RATE, small, large, "vqlib, batch 256", left)]


def training_row(batch_size: int) -> str:
    """Return how the rows of `training` at a batch size begin."""
    return f"VQ-VAE training, batch {batch_size}"


def quantizer(sizes: Sizes, _images: Images, _folder: Path) -> list[Row]:
    """Compare the quantizer, forward and backward, with vector-quantize-pytorch."""
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
                "own": partial(timed_step, own_quantizer_step(config), z_e, batches),
                "peer": partial(timed_step, peers.quantizer_step(config), z_e, batches),
            },
        )
        how = f"K={config.num_embeddings}, D={config.embedding_dim}, EMA, {batches} batches"
        beside = f"{peers.QUANTIZER} {version}"
        ours, others = milliseconds["own"], milliseconds["peer"]
        rows.append(compare(f"{what}, batch {batch_size}", "ms", ours, others, beside, how))
    return rows


def package(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Compare VQ-VAE training with pythae."""
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
            "peer": lambda: len(few.train) / timed(epoch),
        },
    )
    how = f"{len(few.train):,} of {len(images.train):,} images per epoch, "
    how += f"median of {sizes.repeats}"
    beside = f"{peers.TRAINER} {version}, its CIFAR-10 networks"
    return [compare(what, RATE, rates["own"], rates["peer"], beside, how)]


def similarity(sizes: Sizes, images: Images, _folder: Path) -> list[Row]:
    """Compare SSIM of many pairs of images with a loop over scikit-image."""
    x = scale(images.test[torch.arange(sizes.pairs) % len(images.test)])
    y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    looped = sizes.loop_pairs
    a, b = (part[:looped].double().contiguous().numpy() for part in (x, y))
    difference = np.abs(batched_ssim(x[:looped], y[:looped]).numpy() - looped_ssim(a, b)).max()
    seconds = interleave(
        sizes.repeats,
        {
            "own": lambda: timed(batched_ssim, x, y),
            "loop": lambda: timed(looped_ssim, a, b) * len(x) / looped,
        },
    )
    how = f"loop over {looped:,} pairs, scaled; largest difference {difference:.1e}"
    what, beside = f"SSIM of {len(x):,} pairs", "loop over scikit-image"
    return [compare(what, "s", seconds["own"], seconds["loop"], beside, how)]


def evaluation(sizes: Sizes, images: Images, _folder: Path) -> list[Row]:
    """Time the full evaluation of a run, with SSIM in all protocols."""
    test = images.test[: sizes.test_images]
    model = build_model(sizes.config, images.variance)
    taken = timed(evaluate, model, test, images.variance)
    what = f"Full evaluation of a run, {len(test):,} test images"
    return [Row(what, "all metrics and SSIM protocols, once", "s", taken)]


def coding(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Time images to a file of codes and back, in a process of its own, with its memory."""
    config = replace(sizes.config, dataset=images.name, epochs=1)
    count = min(sizes.test_images, len(images.test))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        writing, reading, peak = process.submit(code_alone, config, count, folder).result()
    how = "entropy-coded by frequencies, once"
    what = f"Peak memory of coding {count:,} images"
    return [
        Row(f"{count:,} images to a file of codes", how, RATE, writing),
        Row(f"A file of codes to {count:,} PNG files", how, RATE, reading),
        Row(what, "not measured: this system has no /proc")
        if peak is None
        else Row(what, "resident, with all images of the data set", "MB", peak),
    ]


def growth(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Measure speed and memory with a quarter, half and all images, each in its own process."""
    count = min(sizes.growth_images, len(images.train))
    rates: list[float] = []
    peaks: list[float] = []
    for limit in (count // 4, count // 2, count):
        config = replace(sizes.config, dataset=images.name, limit=limit, epochs=1)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rate, peak = process.submit(train_alone, config, folder).result()
        rates.append(rate)
        peaks += [] if peak is None else [peak]
    what, beside = f"batch {sizes.config.batch_size}, {count:,} images", "a quarter of them"
    rows = [
        compare(
            f"VQ-VAE training, {what}", RATE, rates[2:], rates[:1], beside,
            f"one epoch, once; with half of them: {number(rates[1])} {RATE}",
        )
    ]  # fmt: skip
    what = f"Peak memory of a training process, {what}"
    if not peaks:
        return [*rows, Row(what, "not measured: this system has no /proc")]
    how = f"resident, with data and evaluation; with half of them: {number(peaks[1])} MB"
    return [*rows, Row(what, how, "MB", peaks[2], peaks[0], beside)]


def folder_of_pictures(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Compare reading a folder of small pictures with torchvision's ImageFolder."""
    return reading(sizes.pictures, sizes.repeats, images, folder)


def samples(sizes: Sizes, _images: Images, folder: Path) -> list[Row]:
    """Compare sampling from a prior over codes with pythae's sampler."""
    return sampling(sizes.config, sizes.samples, sizes.repeats, folder)


def quality(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Compare how long vqlib and the plain loop train until the test error is low."""
    what = f"Training until test NMSE ≤ {QUALITY:.3f}, batch {QUALITY_BATCH}"
    if not sizes.quality_epochs:
        return [Row(what, "not measured with --quick")]
    config = replace(sizes.config, batch_size=QUALITY_BATCH)
    own = OwnLoop(config, images, folder / "own")
    spent, reached = {"own": 0.0, "plain": 0.0}, {}
    with PlainProcess(images, folder) as plain:
        loops = {
            "own": lambda: (own.train_epoch(), own.trainer.history[-1]["test_nmse"]),
            "plain": lambda: plain.epoch(config),
        }
        for epoch in range(1, sizes.quality_epochs + 1):
            for name in [name for name in loops if name not in reached]:
                seconds, nmse = loops[name]()
                spent[name] += seconds
                print(f"  {name}, epoch {epoch}: NMSE {nmse:.4f}, {spent[name]:.0f} s", flush=True)
                if nmse <= QUALITY:
                    reached[name] = epoch
    epochs = [reached.get(name, f"more than {sizes.quality_epochs}") for name in loops]
    how = f"tested after each epoch; epochs: vqlib {epochs[0]}, plain loop {epochs[1]}"
    own_seconds, plain_seconds = ([spent[name]] if name in reached else [] for name in loops)
    return [compare(what, "s", own_seconds, plain_seconds, PLAIN, how)]


def gpu(sizes: Sizes, images: Images, folder: Path) -> list[Row]:
    """Compare training on a GPU with the plain loop, with uncaptured steps, and with its limit."""
    what = "Training on a GPU"
    if not torch.cuda.is_available():
        return [Row(what, "not measured: this machine has no GPU")]
    few = _first(images, 4 * sizes.images)
    limits = {precision: matmul_rate("cuda", precision) for precision in PRECISIONS}
    name = torch.cuda.get_device_name()
    rows, minutes = [], 0.0
    for model in MODELS:
        flops = flops_per_image(build_model(replace(sizes.config, model=model), images.variance))
        for batch_size in STUDY_BATCH_SIZES:
            config = replace(sizes.config, model=model, batch_size=batch_size)
            own, uncaptured = (
                OwnLoop(config, few, folder / f"{kind}-{config.run_name}", "cuda")
                for kind in ("captured", "uncaptured")
            )
            uncaptured.trainer.use_uncaptured_steps()
            samples = {"own": own.rate, UNCAPTURED: uncaptured.rate}
            if model == "vqvae":
                samples[PLAIN] = partial(plain_rate, PlainLoop(config, few, "cuda"))
            rates = interleave(sizes.repeats, samples)
            ours = rates.pop("own")
            if model in STUDY_MODELS:
                minutes += STUDY_EPOCHS * STUDY_IMAGES / statistics.median(ours) / 60
            how = _share(ours, flops, own.trainer.precision, limits)
            row_name = f"{MODELS[model].title} training, batch {batch_size}, {name}"
            rows += [
                compare(row_name, RATE, ours, theirs, beside, how)
                for beside, theirs in rates.items()
            ]
    runs = len(STUDY_MODELS) * len(STUDY_BATCH_SIZES)
    how = f"computed from these rates: {runs} runs, one after the other, "
    how += f"of {STUDY_EPOCHS} epochs of {STUDY_IMAGES:,} images"
    return [*rows, Row(f"Training of the full study's first seed, {name}", how, "min", minutes)]


MEASUREMENTS: dict[str, Callable[[Sizes, Images, Path], list[Row]]] = {
    "training, against the plain loop": training,
    f"quantizer, against {peers.QUANTIZER}": quantizer,
    f"training, against {peers.TRAINER}": package,
    "SSIM, against scikit-image": similarity,
    "evaluation of a run": evaluation,
    "images to a file of codes and back": coding,
    "growth with the number of images": growth,
    "reading a folder of pictures": folder_of_pictures,
    f"sampling, against {peers.TRAINER}": samples,
    "GPU": gpu,
    "time to quality": quality,
}


def _share(rates: list[float], flops: float, precision: str, limits: dict[str, float]) -> str:
    """Return the precision of a training, and its share of the rate of matrix products."""
    limit = limits[precision]
    share = statistics.median(rates) * flops / limit
    decimals = 0 if share >= 0.1 else 1
    return f"{precision}, {share:.{decimals}%} of a matrix product's {limit / 1e9:,.0f} GFLOP/s"


def _first(images: Images, count: int) -> Images:
    return Images(images.name, images.train[:count], images.test[:FEW])


def _missing(what: str, package: str) -> Row:
    return Row(what, f"not measured: {package} is not installed ({peers.INSTALL})")
