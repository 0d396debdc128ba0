"""Other ways to compute a training step on a CPU, beside vqlib's own: `python -m vqlib.bench.ways`.

Each way changes one piece of a step of the VQ-VAE. Some are how vqlib did it before; the others
were tried and left out. One process of one thread takes the steps, as in a study. It measures for
about a quarter of an hour, and needs a C++ compiler for `torch.compile`.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from vqlib.bench.loops import FEW, OwnLoop, flops_per_image, interleave, matmul_rate
from vqlib.bench.measure import machine_facts
from vqlib.bench.sizes import FULL
from vqlib.bench.table import (
    PUBLISHED,
    RESULTS,
    Row,
    compare,
    load,
    markdown,
    named,
    ratio,
    store,
)
from vqlib.images import Images, scale
from vqlib.loop import Trainer
from vqlib.models import ImageModel, build_model
from vqlib.networks import TransposedConvolution
from vqlib.quantizer import VectorQuantizer

BATCH_SIZES = (16, 64, 256)
IMAGES = 512  # in a sample
REPEATS = 5
IN_TURN = 3  # pairs of processes that keep freed memory, and that do not
CONVOLUTIONS = "Convolutions"
RETURNED = "before: freed memory goes back to the system"

Patch = AbstractContextManager[Any]
Way = Callable[[Trainer], Patch]


def bias_inside(_trainer: Trainer) -> Patch:
    """Let the transposed convolutions add their bias themselves."""
    return patch.object(TransposedConvolution, "forward", nn.ConvTranspose2d.forward)


def matrix_product(_trainer: Trainer) -> Patch:
    """Find the codes by a matrix product and `argmax`."""

    @torch.no_grad()
    def nearest(self: VectorQuantizer, z_e: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            half_norms = self.codebook.square().sum(1) / 2
            rows = z_e.float().permute(0, 2, 3, 1).reshape(-1, self.embedding_dim)
            scores = (rows @ self.codebook.T).sub_(half_norms)
        return scores.argmax(1).view(-1, *z_e.shape[2:])

    return patch.object(VectorQuantizer, "nearest", nearest)


def in_parts(_trainer: Trainer) -> Patch:
    """Find the codes of 8 images at a time, so that their scores stay in the cache."""
    nearest = VectorQuantizer.nearest

    def of_parts(self: VectorQuantizer, z_e: Tensor) -> Tensor:
        return torch.cat([nearest(self, part) for part in z_e.split(8)])

    return patch.object(VectorQuantizer, "nearest", of_parts)


def channels_first(_trainer: Trainer) -> Patch:
    """Leave the images as they lie in memory, with channels first."""
    return patch.object(ImageModel, "_unit", lambda _self, x: scale(x))


def in_place(_trainer: Trainer) -> Patch:
    """Let a ReLU overwrite its input, unless the skip path of a residual block needs that."""

    def forward(_self: nn.ReLU, h: Tensor) -> Tensor:
        return F.relu_(h) if "Convolution" in type(h.grad_fn).__name__ else F.relu(h)

    return patch.object(nn.ReLU, "forward", forward)


def one_kernel(_trainer: Trainer) -> Patch:
    """Compute each convolution and the ReLU behind it in one kernel of oneDNN."""

    def forward(self: nn.Sequential, h: Tensor) -> Tensor:
        done = False
        for layer, following in zip(self, [*list(self)[1:], None], strict=True):
            if done:
                done = False
            elif isinstance(layer, nn.Conv2d) and isinstance(following, nn.ReLU):
                h = _ConvolutionAndReLU.apply(h, layer, layer.weight, layer.bias)  # type: ignore[no-untyped-call]
                done = True
            else:
                h = layer(h)
        return h

    return patch.object(nn.Sequential, "forward", forward)


class _ConvolutionAndReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> Tensor:
        h, weight, bias = (tensor.bfloat16() for tensor in (h, weight, bias))
        y: Tensor = torch.ops.mkldnn._convolution_pointwise(
            h, weight, bias, layer.padding, layer.stride, (1, 1), 1, "relu", [], ""
        )
        ctx.layer = layer
        ctx.save_for_backward(h, weight, y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        h, weight, y = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradients[0], y, 0)
        stride, padding = ctx.layer.stride, ctx.layer.padding
        needed = [ctx.needs_input_grad[0], True, True]
        of_h, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradient, h, weight, [len(weight)], stride, padding, (1, 1), False, (0, 0), 1, needed
        )
        return of_h, None, of_weight, of_bias


def subpixels(_trainer: Trainer) -> Patch:
    """Compute the last layer as a 3×3 convolution to 12 channels, and make pixels of these.

    It would have to rearrange the layer's weights as well, which it does not: a lower limit.
    """
    kernels = torch.randn(12, 64, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    transposed = TransposedConvolution.forward

    def forward(self: TransposedConvolution, h: Tensor) -> Tensor:
        if self.out_channels > 3:
            return transposed(self, h)
        y = F.pixel_shuffle(F.conv2d(h, kernels, padding=1), 2)
        return y + self.bias.to(y.dtype).view(-1, 1, 1) + 0 * self.weight[0, 0, 0, 0]

    return patch.object(TransposedConvolution, "forward", forward)


def linear(_trainer: Trainer) -> Patch:
    """Compute 1×1 convolutions as matrix products."""
    convolution = nn.Conv2d.forward

    def forward(self: nn.Conv2d, h: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return convolution(self, h)
        y = F.linear(h.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return y.permute(0, 3, 1, 2)

    return patch.object(nn.Conv2d, "forward", forward)


@contextmanager
def weights_first(trainer: Trainer) -> Iterator[None]:
    """Keep the weights with channels first, in the model and in the optimizer."""
    trainer.optimizer.state.clear()
    trainer.model.to(memory_format=torch.contiguous_format)
    yield
    trainer.optimizer.state.clear()
    trainer.model.to(memory_format=torch.channels_last)


@contextmanager
def foreach(trainer: Trainer) -> Iterator[None]:
    """Let Adam work through PyTorch's foreach functions."""
    trainer.optimizer.param_groups[0].update(fused=False, foreach=True)
    yield
    trainer.optimizer.param_groups[0].update(fused=True, foreach=None)


def no_optimizer(trainer: Trainer) -> Patch:
    """Leave the weights as they are: what the optimizer takes at most."""
    return patch.object(trainer.optimizer, "step", lambda: None)


def compiled(trainer: Trainer) -> Patch:
    """Compile the loss and its gradient by `torch.compile`."""
    return patch.object(trainer, "loss", _compiled(trainer))


@cache
def _compiled(trainer: Trainer) -> Any:
    return torch.compile(trainer.model.loss, dynamic=False)


WAYS: dict[str, Way] = {
    "before: bias inside the transposed convolutions": bias_inside,
    "before: a matrix product and argmax find the codes": matrix_product,
    "before: images with channels first": channels_first,
    "codes of 8 images at a time": in_parts,
    "ReLU in place": in_place,
    "each convolution and its ReLU in one kernel": one_kernel,
    "the last layer by a 3×3 convolution to 12 channels": subpixels,
    "1×1 convolutions as matrix products": linear,
    "weights with channels first": weights_first,
    "Adam by PyTorch's foreach functions": foreach,
    "no optimizer, for comparison": no_optimizer,
    "compiled by torch.compile, compilation not counted": compiled,
}


def run(folder: Path = RESULTS) -> None:
    """Measure all ways and the parts of a step; write them as JSON and as Markdown."""
    torch.set_num_threads(1)
    rows = parts() + [row for batch_size in BATCH_SIZES for row in in_one_process(batch_size)]
    rows += memory_returned()
    for path in store(folder, "ways", rows, machine_facts("random images")):
        print(f"written: {path}")


def in_one_process(batch_size: int) -> list[Row]:
    """Compare steps of vqlib with steps of each way, in turn."""
    rows = []
    with small_trainer(batch_size) as trainer:
        for name, way in WAYS.items():
            own, other = partial(step_time, trainer), partial(step_time, trainer, way)
            times = interleave(REPEATS, {"own": own, "other": other})
            rows.append(_row(name, batch_size, times["own"], times["other"]))
            print(rows[-1], flush=True)
    return rows


def memory_returned() -> list[Row]:
    """Compare processes that keep freed memory with processes that do not, in turn."""
    pairs = [(_alone(True), _alone(False)) for _ in range(IN_TURN)]
    return [
        _row(RETURNED, size, *([times[size] for times in way] for way in zip(*pairs, strict=True)))
        for size in BATCH_SIZES
    ]


def _alone(keep: bool) -> dict[int, float]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(step_times, keep).result()


def step_times(keep: bool) -> dict[int, float]:
    """Return the milliseconds of a step at each batch size, in a process of its own."""
    torch.set_num_threads(1)
    times = {}
    with nullcontext() if keep else patch("vqlib.loop.keep_freed_memory", lambda: None):
        for batch_size in BATCH_SIZES:
            with small_trainer(batch_size) as trainer:
                times[batch_size] = min(step_time(trainer) for _ in range(REPEATS))
    return times


def step_time(trainer: Trainer, way: Way = lambda _trainer: nullcontext()) -> float:
    """Return the milliseconds of a step, after two that warm up."""
    batch = torch.arange(trainer.config.batch_size)
    steps = IMAGES // len(batch)
    with way(trainer):
        for _ in range(2):
            trainer.step(batch)
        started = time.perf_counter()
        for _ in range(steps):
            trainer.step(batch)
        return (time.perf_counter() - started) / steps * 1000


def parts() -> list[Row]:
    """Return the shares of a step's time by kind of work, and the convolutions' own speed."""
    config = FULL.config
    of_codes = 2 * config.grid**2 * config.num_embeddings * config.embedding_dim
    flops = flops_per_image(build_model(config, 1.0)) - of_codes
    rows = []
    for batch_size in BATCH_SIZES:
        limit = statistics.median(matmul_rate("cpu", "bfloat16") for _ in range(REPEATS))
        with small_trainer(batch_size) as trainer:
            step_time(trainer)
            with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
                step_time(trainer)
        spent = dict.fromkeys((CONVOLUTIONS, "Finding codes", "ReLU", "Adam", "Other"), 0.0)
        for event in profiled.key_averages(group_by_input_shape=True):
            spent[_kind(event.key, event.input_shapes)] += event.self_cpu_time_total  # µs
        rows += [
            Row(kind, f"batch {batch_size}", "%", 100 * part / sum(spent.values()))
            for kind, part in spent.items()
        ]
        images = (IMAGES // batch_size + 2) * batch_size
        share = flops * images / (spent[CONVOLUTIONS] / 1e6) / limit
        what = "Convolutions alone: share of the rate of matrix products"
        rows.append(Row(what, f"batch {batch_size}", "%", 100 * share))
    return rows


def _kind(operation: str, shapes: list[list[int]]) -> str:
    """Return which kind of work an operation of the profile does."""
    of_quantizer = len(shapes) > 1 and list(shapes[1]) == [FULL.config.num_embeddings, 64, 1, 1]
    if of_quantizer or operation == "aten::max":
        return "Finding codes"
    if "conv" in operation.lower():
        return CONVOLUTIONS
    if operation in ("aten::clamp_min", "aten::threshold_backward"):
        return "ReLU"
    return "Adam" if "adam" in operation.lower() else "Other"


@contextmanager
def small_trainer(batch_size: int) -> Iterator[Trainer]:
    """Give the trainer of a VQ-VAE on a few random images, for as long as the context lasts."""
    rows = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8)
    config = replace(FULL.config, batch_size=batch_size, dataset="photos")
    with tempfile.TemporaryDirectory() as folder:
        trainer = OwnLoop(config, Images("photos", rows, rows[:FEW]), Path(folder) / "run").trainer
        trainer.model.train()
        yield trainer


def _row(name: str, batch_size: int, own: list[float], way: list[float]) -> Row:
    return compare(name, "ms", own, way, f"batch {batch_size}", f"median of {len(own)}")


def section(machine: str = PUBLISHED, folder: Path = RESULTS) -> str:
    """Return both tables in Markdown, one column for each batch size, for docs/speed.md."""
    rows, on = load(folder / f"ways-{machine}.json")
    shares = [row for row in rows if not row.ratios]
    compared = [row for row in rows if row.ratios]
    measured = f"Measured on {on['date']} with PyTorch {on['torch']} on {named(on)}"
    return "\n\n".join(
        (
            f"{measured}, in one thread.",
            _pivoted("Part of a step", shares, lambda row: f"{row.vqlib:.0f}%"),
            "The next table divides the time of each way by that of vqlib: above 1, vqlib is "
            "faster. It shows the median, with the lowest and the highest in brackets.",
            _pivoted("Way", compared, lambda row: ratio(row.ratios)),
        )
    )


def _pivoted(title: str, rows: list[Row], cell: Callable[[Row], str]) -> str:
    """Return a table with a line for each `what` of the rows, and a column for each batch size."""
    lines = [(title, *(f"Batch {size}" for size in BATCH_SIZES))]
    for what in dict.fromkeys(row.what for row in rows):
        lines.append((what, *(cell(row) for row in rows if row.what == what)))
    return markdown(lines, "<>>>")


if __name__ == "__main__":
    run()
