"""In which order a study trains its runs: the longest first, so that no core waits at the end."""

import heapq
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch.utils.flop_counter import FlopCounterMode

from vqlib.config import TrainConfig
from vqlib.errors import UserError
from vqlib.models import build_model
from vqlib.paths import SHIPPED, is_finished
from vqlib.runs import load_run

ALL = 50_000  # training images, if a config does not limit them


def expected_seconds(configs: Sequence[TrainConfig], known: Path = SHIPPED) -> list[float]:
    """Return how long each run will train, judged by runs that have been trained.

    An epoch takes a time for each operation on its images and a time for each step. Both are
    fitted to the fastest epochs of the known runs. On another machine the seconds differ, but
    hardly their order.

    Args:
        configs: of the runs.
        known: a folder of finished runs. If it has none, an operation takes a nanosecond, and a
            step as long as its operations.
    """
    costs = np.array([1.0, 0.0])
    if examples := _examples(known):
        work = np.array([work for work, _ in examples])
        fastest = np.array([seconds for _, seconds in examples])
        costs, _ = nnls(work / fastest[:, None], np.ones(len(examples)))  # relative errors count
    return [
        config.epochs * float(np.dot(costs, _work(config, config.limit or ALL)))
        for config in configs
    ]


def makespan(seconds: Sequence[float], cores: int) -> float:
    """Return when the last run ends, if a core that is free takes the longest run that waits.

    Args:
        seconds: what each run takes on one core.
        cores: how many runs are trained at a time.
    """
    ends = [0.0] * cores
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _examples(folder: Path) -> list[tuple[tuple[float, int], float]]:
    """Return the work of an epoch and its least seconds, of each run that can be read."""
    found = []
    for path in sorted(folder.glob("*/")):
        if is_finished(path):
            with suppress(UserError):
                run = load_run(path)
                work = _work(run.config, run.environment["n_train"])
                found.append((work, float(run.history["seconds"].min())))
    return found


def _work(config: TrainConfig, images: int) -> tuple[float, int]:
    """Return 10⁹ operations and steps of an epoch."""
    alike = replace(config, batch_size=1, epochs=1, seed=0, limit=None)
    return images * _operations(alike) / 1e9, math.ceil(images / config.batch_size)


@cache
def _operations(config: TrainConfig) -> int:
    """Return the floating-point operations of a loss of one image and of its gradient."""
    image = torch.zeros(1, 3, config.image_size, config.image_size)
    with torch.random.fork_rng(devices=[]), FlopCounterMode(display=False) as counter:
        build_model(config, 1.0).loss(image)["loss"].backward()
    return counter.get_total_flops()
