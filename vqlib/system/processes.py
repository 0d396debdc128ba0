"""Several processes that train one model together, as torchrun starts them; else one, alone.

The first one (rank 0) reads and writes for all, so that they agree on what there is; each trains
its share of every batch. Outside such a group each function does what one process would.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqlib.errors import UserError

T = TypeVar("T")


@contextmanager
def group() -> Iterator[None]:
    """Joins the processes that torchrun started together; does nothing where it started none.

    What lies on the CPU goes from one to another by gloo, what lies on a GPU by NCCL. A `UserError`
    that all have is left to the first, the others end without a word.

    Raises:
        UserError: where another one ended, with what to do.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    rank, processes = os.environ["RANK"], os.environ["WORLD_SIZE"]
    ended = f"another of the {processes} processes ended"
    again = "the same command goes on from the last epoch"
    try:
        dist.init_process_group()
        dist.all_reduce(torch.zeros(1))  # none ends before all have joined
        yield
        dist.destroy_process_group()
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it while this one ends
        if isinstance(error, KeyboardInterrupt):
            raise UserError(f"rank {rank}: interrupted, or {ended}; {again}") from None
        if _is_broken_connection(error):
            raise UserError(f"rank {rank}: {ended}; {again}") from None
        if isinstance(error, UserError) and not is_first():
            sys.exit(1)
        raise


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the one that reads, writes and speaks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def first(action: Callable[[], T]) -> T:
    """What `action` returns in the first process, or its `UserError`, in all of them."""
    if count() == 1:
        return action()
    said: list[Any] = [None, None]
    if is_first():
        try:
            said[0] = action()
        except UserError as error:
            said[1] = str(error)
    dist.broadcast_object_list(said)
    value, problem = said
    if problem is not None:
        raise UserError(problem)
    return value


def each(action: Callable[[], T]) -> list[T]:
    """What `action` returns in each process; a `UserError` of any is one of all."""
    if count() == 1:
        return [action()]
    try:
        said = (action(), None)
    except UserError as error:
        said = (None, str(error))
    everything: list[Any] = [None] * count()
    dist.all_gather_object(everything, said)
    for _, problem in everything:
        if problem is not None:
            raise UserError(problem)
    return [value for value, _ in everything]


def share(rows: Tensor) -> Tensor:
    """This process's part of rows (N, …): in order, none larger than another by more than one.

    The last of them are empty where there are fewer rows than processes.
    """
    return rows if count() == 1 else rows.tensor_split(count())[dist.get_rank()]


def add_up(*tensors: Tensor) -> None:
    """Replaces each tensor by its sum over the processes."""
    if count() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def randn_like(rows: Tensor) -> Tensor:
    """This process's share of the noise that one alone would draw for the rows of all.

    Args:
        rows: (n, …), this process's share of them.
    """
    if count() == 1:
        return torch.randn_like(rows)
    sizes = torch.zeros(count(), dtype=torch.int64)
    sizes[dist.get_rank()] = len(rows)
    add_up(sizes)
    noise = torch.randn(int(sizes.sum()), *rows.shape[1:], dtype=rows.dtype, device=rows.device)
    return noise.split(sizes.tolist())[dist.get_rank()]


def in_parallel(module: nn.Module) -> nn.Module:
    """The module with the first process's weights, and gradients that are means over all of them.

    Buffers are the first one's too, but only now: were they handed out again at each step, as
    DistributedDataParallel does otherwise, a sum forgotten by the others would go unseen.
    """
    if count() == 1:
        return module
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)
    return DistributedDataParallel(module, broadcast_buffers=False)


def gpu() -> int:
    """Which of its machine's GPUs is this process's own."""
    number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= there:
        raise UserError(f"more processes than GPUs ({there}) on a machine: start at most as many")
    return number


def _is_broken_connection(error: BaseException) -> bool:
    """Whether it is NCCL's error or gloo's, which has no class of its own."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )
