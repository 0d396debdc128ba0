"""The gated PixelCNN of van den Oord et al. (2016), https://arxiv.org/abs/1606.05328.

It is the prior of the VQ-VAE's paper. Two stacks of convolutions keep each place from what comes
after it: the vertical one sees the rows above, the horizontal one the same row to the left. Here a
shift of the input and padding on one side take the place of masks; what a place sees is the same.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.generation.prior import CodePrior


class GatedBlock(nn.Module):
    """One layer of both stacks (figure 2 of the paper); each is gated and knows the label."""

    def __init__(self, channels: int, num_classes: int, dropout: float):
        super().__init__()
        self.vertical = nn.Conv2d(channels, 2 * channels, (2, 3))
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, 2))
        self.down = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.out = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.Dropout2d(dropout))
        self.label = nn.Embedding(num_classes, 4 * channels)

    def forward(self, above: Tensor, left: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Map the vertical and the horizontal stack, each (B, channels, H, W), to their next."""
        lower, seen = self.down_from(F.pad(above, (0, 0, 1, 0)), labels)
        return lower, self.right_from(F.pad(left, (1, 0)), seen, labels)

    def down_from(self, above: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next of the vertical stack, and what the horizontal one gets from it.

        Args:
            above: the vertical stack with the row before it, (B, channels, 1 + H, W).
            labels: int64 (B,).
        """
        seen = self.vertical(F.pad(above, (1, 1)))
        return _gate(seen + self._bias(labels)[0]), self.down(seen)

    def right_from(self, left: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
        """Return the next of the horizontal stack.

        Args:
            left: the horizontal stack with the column before it, (B, channels, H, 1 + W).
            seen: from the vertical stack, (B, 2 · channels, H, W).
            labels: int64 (B,).
        """
        both = self.horizontal(left) + seen + self._bias(labels)[1]
        return left[..., 1:] + self.out(_gate(both))

    def _bias(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what labels add in each stack, (B, 2 · channels, 1, 1)."""
        vertical, horizontal = self.label(labels)[:, :, None, None].chunk(2, dim=1)
        return vertical, horizontal


class PixelCNN(CodePrior):
    """A gated PixelCNN over the grid of codes.

    Args:
        num_codes, grid, num_classes: see `CodePrior`.
        channels: of each stack.
        blocks: number of gated layers; each sees one row and one column further.
        dropout: share of the channels that are dropped in training.
    """

    title = "PixelCNN"

    def __init__(
        self,
        num_codes: int,
        grid: int,
        num_classes: int,
        channels: int = 64,
        blocks: int = 10,
        dropout: float = 0.1,
    ):
        super().__init__(num_codes, grid, num_classes)
        self.code = nn.Embedding(num_codes, channels)
        self.blocks: Any = nn.ModuleList(
            GatedBlock(channels, num_classes, dropout) for _ in range(blocks)
        )
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, 4 * channels, 1),
            nn.ReLU(),
            nn.Conv2d(4 * channels, num_codes, 1),
        )

    def logits(self, labels: Tensor, codes: Tensor) -> Tensor:
        """Return the logits (B, n, num_codes) of codes (B, n); see `CodePrior.logits`."""
        given = codes.shape[1]
        rows = -(-given // self.grid)
        padded = F.pad(codes, (0, rows * self.grid - given))
        x = self.code(padded).transpose(1, 2).unflatten(2, (rows, self.grid))  # (B, C, rows, grid)
        above = F.pad(x, (0, 0, 1, 0))[:, :, :-1]  # at each place the code of the row above
        left = F.pad(x, (1, 0, 0, 0))[:, :, :, :-1]  # at each place the code to the left
        for block in self.blocks:
            above, left = block(above, left, labels)
        return self.head(left).flatten(2).transpose(1, 2)[:, :given]

    def next_logits(self, labels: Tensor, codes: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the logits of the next code (B, num_codes) from the last ones and the cache.

        The cache holds, for each block, the row of the vertical stack and the place of the
        horizontal one that the next will need, and what the row sees above.
        """
        column = codes.shape[1] % self.grid
        if column == 0:
            cache["above"], cache["seen"] = self._next_row(labels, codes, cache.get("above"))
        nothing = self.code.weight.new_zeros(len(codes), self.code.embedding_dim, 1, 1)
        left = self.code(codes[:, -1:]).transpose(1, 2)[..., None] if column else nothing
        before = cache["left"] if column else [nothing] * len(self.blocks)
        cache["left"] = []
        for block, old, seen in zip(self.blocks, before, cache["seen"], strict=True):
            cache["left"].append(left)
            pair = torch.cat([old, left], 3)
            left = block.right_from(pair, seen[..., column : column + 1], labels)
        return self.head(left)[:, :, 0, 0]

    def _next_row(
        self, labels: Tensor, codes: Tensor, before: list[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return each block's row of the vertical stack, and what it tells the horizontal one.

        Args:
            labels: int64 (B,).
            codes: all rows so far.
            before: each block's row for the last of them; None at the first row.
        """
        nothing = self.code.weight.new_zeros(len(codes), self.code.embedding_dim, 1, self.grid)
        last = self.code(codes[:, -self.grid :]).transpose(1, 2)[:, :, None]
        above = nothing if before is None else last
        rows, seen = [], []
        for block, old in zip(self.blocks, before or [nothing] * len(self.blocks), strict=True):
            rows.append(above)
            above, told = block.down_from(torch.cat([old, above], 2), labels)
            seen.append(told)
        return rows, seen


def _gate(x: Tensor) -> Tensor:
    """Return tanh of half the channels, times the sigmoid of the others (equation 2)."""
    value, gate = x.chunk(2, dim=1)
    return torch.tanh(value) * torch.sigmoid(gate)
