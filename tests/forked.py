"""Processes that start without delay: forked from one that has imported what they need."""

import multiprocessing
from multiprocessing.context import ForkServerContext

PRELOADED = [
    "vqlib.cli",
    "vqlib.generation.training",
    "vqlib.bench.measure",
    "torch._dynamo",  # torch imports its compiler at an optimizer's first step: a second
]


def forked() -> ForkServerContext:
    """Return the context of multiprocessing for such processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
