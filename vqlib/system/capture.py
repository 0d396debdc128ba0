"""Steps of a training on a GPU, captured as one CUDA graph each."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps that run as usual before one is captured


class CapturedStep:
    """A step that is launched as a whole: small models leave a GPU waiting for Python otherwise.

    The first steps run as usual, so that the optimizer and the libraries allocate what they need.
    The next one is captured; it and all later ones are replayed. A batch of another size than the
    first, such as an epoch's last, runs as usual. The result is that of the usual steps.

    Args:
        step: takes one step on the rows with the given indices (B,), int64 on the GPU, and returns
            scalars by name. It must do the same each time, and not wait for the GPU.
        optimizer: the one that `step` uses; a fused one.
    """

    def __init__(
        self, step: Callable[[Tensor], dict[str, Tensor]], optimizer: torch.optim.Optimizer
    ):
        self.step = step
        self.optimizer = optimizer
        self.size = 0  # of a batch
        self.warm = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.batch = torch.empty(0)
        self.terms: dict[str, Tensor] = {}

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        """Take one step; the tensors that it returns hold until the next one."""
        self.size = self.size or len(batch)
        if len(batch) != self.size:
            return self.step(batch)
        if self.warm < WARM_UP:
            self.warm += 1
            return self._aside(batch)
        graph = self.graph or self._capture(batch)
        self.batch.copy_(batch)
        graph.replay()
        return self.terms

    def _aside(self, batch: Tensor) -> dict[str, Tensor]:
        """Take a step on a stream of its own, as PyTorch asks of steps before a capture."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            terms = self.step(batch)
        here.wait_stream(aside)
        return terms

    def _capture(self, batch: Tensor) -> torch.cuda.CUDAGraph:
        """Record a step on as many rows, without taking it; return it."""
        self.batch = batch.clone()
        self.graph = torch.cuda.CUDAGraph()
        self._may_be_captured(True)
        with torch.cuda.graph(self.graph):
            self.terms = self.step(self.batch)
        self._may_be_captured(False)
        return self.graph

    def _may_be_captured(self, capturable: bool) -> None:
        """Tell the optimizer whether it is being captured; fused ones compute the same anyway."""
        for group in self.optimizer.param_groups:
            group["capturable"] = capturable
