"""Count the epochs until a VQ-VAE's test error is low: `python -m vqlib.bench.quality`.

It trains with vqlib's loop, with the plain loop, and with changes that we tried and left out. Each
way has several seeds. One run per core trains at a time, with one thread. On two cores, this takes
more than an hour.
"""

import math
import multiprocessing
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch

from vqlib.bench.baseline import PlainLoop
from vqlib.bench.loops import OwnLoop, load_pixels, nmse_of, store_pixels
from vqlib.bench.measure import QUALITY, QUALITY_BATCH, STUDY_IMAGES, machine_facts, training_row
from vqlib.bench.sizes import FULL
from vqlib.bench.table import PUBLISHED, RESULTS, Row, load, markdown, named, store
from vqlib.config import TrainConfig
from vqlib.images import Images, load_images
from vqlib.models import VQVAE
from vqlib.quantizer import VectorQuantizer
from vqlib.system.machine import cores

SEEDS = (0, 1, 2)
MOST = FULL.quality_epochs

Epoch = Callable[[], float]  # trains one more epoch and returns the test NMSE


def own(config: TrainConfig, images: Images, folder: Path) -> Epoch:
    """Train with vqlib's loop."""
    return _epoch(OwnLoop(config, images, folder))


def from_data(config: TrainConfig, images: Images, folder: Path) -> Epoch:
    """Start the codebook with the untrained encoder's vectors of training images."""
    loop = OwnLoop(config, images, folder)
    model = cast(VQVAE, loop.trainer.model)
    quantizer = cast(VectorQuantizer, model.quantizer)
    with torch.no_grad():
        z_e = model.encode(images.train[: config.num_embeddings])
        vectors = z_e.permute(0, 2, 3, 1).reshape(-1, config.embedding_dim)
        chosen = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(config.seed))
        quantizer.codebook.copy_(vectors[chosen[: config.num_embeddings]])
        quantizer.ema_sums.copy_(quantizer.codebook)
    return _epoch(loop)


def faster_at_first(config: TrainConfig, images: Images, folder: Path) -> Epoch:
    """Use a decay of 0.9 for the codebook in the first epoch."""
    loop = OwnLoop(config, images, folder)
    quantizer = cast(VectorQuantizer, cast(VQVAE, loop.trainer.model).quantizer)
    usual = _epoch(loop)

    def epoch() -> float:
        quantizer.decay = config.decay if loop.trainer.history else 0.9
        return usual()

    return epoch


def plain(config: TrainConfig, images: Images, _folder: Path) -> Epoch:
    """Train with the plain loop."""
    torch.manual_seed(config.seed)
    loop = PlainLoop(config, images)

    def epoch() -> float:
        loop.train_epoch()
        return nmse_of(loop.model, images)

    return epoch


WAYS = {
    "plain loop": plain,
    "vqlib": own,
    "vqlib, codebook starts from the data": from_data,
    "vqlib, decay 0.9 in the first epoch": faster_at_first,
}


def run(folder: Path = RESULTS) -> None:
    """Train in all ways with all seeds; write the epochs as JSON and as Markdown."""
    images = load_images(FULL.config.dataset)
    facts = machine_facts(images.name)
    reached: dict[tuple[str, int], int | None] = {}
    with (
        tempfile.TemporaryDirectory() as scratch,
        ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn")) as processes,
    ):
        pixels = store_pixels(images, Path(scratch))
        asked = {
            processes.submit(epochs_until, QUALITY, way, seed, pixels): (way, seed)
            for way in WAYS
            for seed in SEEDS
        }
        for done in as_completed(asked):
            way, seed = asked[done]
            reached[way, seed] = done.result()
            print(f"{way}, seed {seed}: {reached[way, seed]}", flush=True)
    rows = [epochs_row(way, seed, reached[way, seed]) for way, seed in asked.values()]
    for path in store(folder, "quality", rows, facts):
        print(f"written: {path}")


def epochs_until(quality: float, way: str, seed: int, pixels: Path) -> int | None:
    """Return the number of epochs until the test NMSE is low enough; None if more than `MOST`."""
    torch.set_num_threads(1)
    config = replace(FULL.config, batch_size=QUALITY_BATCH, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        epoch = WAYS[way](config, load_pixels(pixels), Path(folder) / "run")
        return next((n for n in range(1, MOST + 1) if epoch() <= quality), None)


def _epoch(loop: OwnLoop) -> Epoch:
    def epoch() -> float:
        loop.train_epoch()
        return loop.trainer.history[-1]["test_nmse"]

    return epoch


def epochs_row(way: str, seed: int, epochs: int | None) -> Row:
    """Return the row of the table for one run."""
    how = f"until test NMSE ≤ {QUALITY:.3f}, batch {QUALITY_BATCH}"
    how += "" if epochs else f": more than {MOST}"
    return Row(_name(way, seed), how, "epochs", epochs)


def _name(way: str, seed: int) -> str:
    return f"{way}, seed {seed}"


def section(machine: str = PUBLISHED, folder: Path = RESULTS) -> str:
    """Return the table in Markdown, and what it means in seconds, for docs/speed.md."""
    rows, on = load(folder / f"quality-{machine}.json")
    epochs = {row.what: math.inf if row.vqlib is None else row.vqlib for row in rows}
    lines = [("Way", *(f"Seed {seed}" for seed in SEEDS), "Median")]
    middle = {}
    for way in WAYS:
        values = [epochs[_name(way, seed)] for seed in SEEDS]
        middle[way] = statistics.median(values)
        lines.append((way, *map(_shown, (*values, middle[way]))))
    text = [
        f"Epochs until the test NMSE is at most {QUALITY:.3f}, at batch {QUALITY_BATCH}, measured "
        f"on {on['date']} with PyTorch {on['torch']} on {named(on)}:",
        markdown(lines, "<>>>>"),
    ]
    full, _ = load(folder / f"full-{machine}.json")
    alone = f"{training_row(QUALITY_BATCH)}, one process"
    training = next(row for row in full if row.what.startswith(alone))
    if training.vqlib and training.other and math.isfinite(middle["vqlib"] + middle["plain loop"]):
        own_seconds = middle["vqlib"] * STUDY_IMAGES / training.vqlib
        plain_seconds = middle["plain loop"] * STUDY_IMAGES / training.other
        text.append(
            "At the speeds of one process under [Results](#results), the median number of epochs "
            f"takes vqlib {own_seconds:,.0f} s and the plain loop {plain_seconds:,.0f} s, without "
            f"the tests after each epoch: a ratio of {plain_seconds / own_seconds:.1f}."
        )
    return "\n\n".join(text)


def _shown(epochs: float) -> str:
    return f"{epochs:.0f}" if math.isfinite(epochs) else f"more than {MOST}"


if __name__ == "__main__":
    run()
