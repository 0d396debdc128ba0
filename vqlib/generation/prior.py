"""What every prior over codes is: a distribution of the codes of an image, one after another.

p(codes | label) = Π p(code at place i | codes at places before i, label), where the places of the
grid are in raster order: row by row, from left to right.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.system import processes

BATCH = 250  # rows at a time


class CodePrior(nn.Module):
    """A distribution of codes (B, places), given a label for each image.

    Rows of data are int64 (B, 1 + places): a label, then the codes. A subclass has `logits` and
    `next_logits`.

    Args:
        num_codes: K, how many codes there are.
        grid: places along each side.
        num_classes: how many labels there are; 1 if the images have no classes.
    """

    title: str

    def __init__(self, num_codes: int, grid: int, num_classes: int):
        super().__init__()
        self.num_codes = num_codes
        self.grid = grid
        self.num_classes = num_classes

    @property
    def places(self) -> int:
        """How many codes an image has."""
        return self.grid**2

    def logits(self, labels: Tensor, codes: Tensor) -> Tensor:
        """Return the logits of each code given those before it.

        Args:
            labels: int64 (B,).
            codes: int64 (B, n), the first n places; the prefix is enough for its own logits.

        Returns:
            float (B, n, num_codes).
        """
        raise NotImplementedError

    def next_logits(self, labels: Tensor, codes: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the logits of the next code (B, num_codes), given n codes (B, n).

        Args:
            labels: int64 (B,).
            codes: int64 (B, n), with n below `places`.
            cache: empty at n = 0; what a prior keeps there for the next place. The places come
                one after another.
        """
        raise NotImplementedError

    def bits(self, rows: Tensor) -> Tensor:
        """Return -log2 p(code | codes before it, label) of each code: (B, places), for rows."""
        labels, codes = rows[:, 0], rows[:, 1:]
        logits = self.logits(labels, codes).float().transpose(1, 2)  # (B, K, places)
        return F.cross_entropy(logits, codes, reduction="none") / math.log(2)

    @torch.no_grad()
    def likeliest(self, codes: Tensor) -> Tensor:
        """Return the label under which each row of codes (N, places) takes the fewest bits."""
        labels = []
        for some in codes.split(BATCH):
            each = [F.pad(some, (1, 0), value=label) for label in range(self.num_classes)]
            bits = torch.stack([self.bits(rows).sum(1) for rows in each])  # (classes, B)
            labels.append(bits.argmin(0))
        return torch.cat(labels)

    def loss(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of rows (B, 1 + places) in bits a code, as `loss`."""
        return {"loss": self.bits(rows).mean()}

    @torch.no_grad()
    def test_figures(self, rows: Tensor) -> dict[str, Any]:
        """Return `test_bits`, the cross-entropy of all rows (N, 1 + places) in bits a code.

        If several processes train together, each passes the same rows and takes its share.
        """
        self.eval()
        device = next(self.parameters()).device
        total = torch.zeros(1, dtype=torch.float64)
        for some in processes.share(rows).split(BATCH):
            total += self.bits(some.to(device)).double().sum().cpu()
        processes.add_up(total)
        return {"test_bits": total.item() / rows[:, 1:].numel()}
