"""Several processes that train one model together, as torchrun starts them; usually just one.

The first one (rank 0) reads and writes for all, so that they agree on what there is; each trains
its share of every batch. Outside such a group each function does what one process would do.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqlib.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def group() -> Iterator[None]:
    """Join the processes that torchrun started together; do nothing if it started none.

    Tensors on the CPU go from one to another by gloo, those on a GPU by NCCL. If all have the same
    `UserError`, the first process raises it, and the others exit without a message.

    Raises:
        UserError: if another process ended; the message says what to do.
    """
    if not dist.is_torchelastic_launched():
        yield
        return
    rank, processes = os.environ["RANK"], os.environ["WORLD_SIZE"]
    ended = f"another of the {processes} processes ended"
    again = "run the same command again to resume"
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
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Return whether this is the process that reads, writes and prints."""
    return not dist.is_initialized() or dist.get_rank() == 0


def on_first(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function run in the first process only, and return its result in all of them.

    A `UserError` that it raises is raised in all of them, too.
    """

    @wraps(function)
    def in_all(*args: P.args, **kwargs: P.kwargs) -> T:
        if count() == 1:
            return function(*args, **kwargs)
        outcome: list[Any] = [None, None]
        if is_first():
            try:
                outcome[0] = function(*args, **kwargs)
            except UserError as error:
                outcome[1] = str(error)
        dist.broadcast_object_list(outcome)
        result, problem = outcome
        if problem is not None:
            raise UserError(problem)
        return result

    return in_all


def each(action: Callable[[], T]) -> list[T]:
    """Return what `action` returns in each process; raise a `UserError` of any in all of them."""
    if count() == 1:
        return [action()]
    own: list[Any] = [None, None]
    try:
        own[0] = action()
    except UserError as error:
        own[1] = str(error)
    outcomes: list[Any] = [None] * count()
    dist.all_gather_object(outcomes, own)
    for _, problem in outcomes:
        if problem is not None:
            raise UserError(problem)
    return [result for result, _ in outcomes]


def share(rows: Tensor) -> Tensor:
    """Return this process's part of rows (N, …).

    Parts are in order, and their lengths differ by at most one. If there are fewer rows than
    processes, the last parts are empty.
    """
    return rows if count() == 1 else rows.tensor_split(count())[dist.get_rank()]


def add_up(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the processes."""
    if count() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def mean(value: Tensor, rows: int) -> Tensor:
    """Return the mean over all processes of a mean over this process's rows, weighted by them."""
    if count() == 1:
        return value
    total = torch.stack([value.double() * rows if rows else torch.zeros_like(value).double(),
                         torch.tensor(rows, dtype=torch.float64, device=value.device)])  # fmt: skip
    add_up(total)
    return (total[0] / total[1]).to(value.dtype)


def randn_like(rows: Tensor) -> Tensor:
    """Return this process's share of the noise that a single process would draw for all rows.

    Args:
        rows: (n, …), this process's share of the rows.
    """
    if count() == 1:
        return torch.randn_like(rows)
    sizes = torch.zeros(count(), dtype=torch.int64)
    sizes[dist.get_rank()] = len(rows)
    add_up(sizes)
    noise = torch.randn(int(sizes.sum()), *rows.shape[1:], dtype=rows.dtype, device=rows.device)
    return noise.split(sizes.tolist())[dist.get_rank()]


def in_parallel(module: nn.Module) -> nn.Module:
    """Return the module with the first process's weights and with gradients averaged over all.

    Buffers are copied from the first process once. DistributedDataParallel would copy them at each
    step by default, which would hide a sum that was not taken over all processes.
    """
    if count() == 1:
        return module
    for buffer in module.buffers():
        dist.broadcast(buffer, 0)
    return DistributedDataParallel(module, broadcast_buffers=False)


def gpu() -> int:
    """Return the number of the GPU, among its machine's, that this process uses."""
    number, there = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= there:
        raise UserError(
            f"there are more processes than GPUs on a machine: start at most {there} on each"
        )
    return number


def _is_broken_connection(error: BaseException) -> bool:
    """Return whether it is an error of NCCL, or of gloo, which has no class of its own."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )
