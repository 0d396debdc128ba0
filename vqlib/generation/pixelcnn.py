"""The gated PixelCNN of van den Oord et al. (2016), https://arxiv.org/abs/1606.05328.

It is the prior of the VQ-VAE's paper. Two stacks of convolutions keep each place from what comes
after it: the vertical one sees the rows above, the horizontal one the same row to the left. Here a
shift of the input and padding on one side take the place of masks; what a place sees is the same.
"""

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
        vertical_bias, bias = self.label(labels)[:, :, None, None].chunk(2, dim=1)
        seen = self.vertical(F.pad(above, (1, 1, 1, 0)))  # this row of the stack and the one above
        both = self.horizontal(F.pad(left, (1, 0, 0, 0))) + self.down(seen)
        return _gate(seen + vertical_bias), left + self.out(_gate(both + bias))


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
        self.blocks = nn.ModuleList(
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


def _gate(x: Tensor) -> Tensor:
    """Return tanh of half the channels, times the sigmoid of the others (equation 2)."""
    value, gate = x.chunk(2, dim=1)
    return torch.tanh(value) * torch.sigmoid(gate)
