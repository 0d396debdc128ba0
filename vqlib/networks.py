"""The convolutional encoder and decoder of the VQ-VAE, from images to a grid of vectors and back.

They are those of van den Oord et al. (2017), https://arxiv.org/abs/1711.00937, section 4.1, for an
8×8 grid. Each halving more or less of the image's side gives another grid.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.images import SIZE


class TransposedConvolution(nn.ConvTranspose2d):
    """Transposed 4×4 convolution of stride 2, which doubles the side of a map.

    The bias is added apart: on a CPU, PyTorch takes longer for its gradient than for its weights'
    otherwise.

    Args:
        channels, out_channels: of the map before and after.
    """

    bias: nn.Parameter

    def __init__(self, channels: int, out_channels: int):
        super().__init__(channels, out_channels, 4, stride=2, padding=1)

    def forward(self, h: Tensor) -> Tensor:  # type: ignore[override]
        """Map (B, channels, H, W) to (B, out_channels, 2H, 2W)."""
        y = F.conv_transpose2d(h, self.weight, stride=2, padding=1)
        return y.add_(self.bias.to(y.dtype).view(-1, 1, 1))


class ResidualStack(nn.Module):
    """Residual blocks of ReLU, 3×3 convolution, ReLU, 1×1 convolution; a last ReLU.

    The ReLUs are not in place: at the head of a block that would change the skip path.
    """

    def __init__(self, num_hiddens: int, num_residual_hiddens: int, num_residual_layers: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(num_hiddens, num_residual_hiddens, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(num_residual_hiddens, num_hiddens, 1),
            )
            for _ in range(num_residual_layers)
        )

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, num_hiddens, H, W) to the same shape."""
        for block in self.blocks:
            h = h + block(h)
        return F.relu(h)


def grid_encoder(channels: int, grid: int, residual: tuple[int, int, int]) -> nn.Sequential:
    """Return a network from images (B, 3, 32, 32) to (B, channels, grid, grid).

    The grid of a larger image is larger in proportion.

    Args:
        channels: of the output.
        grid: side of the output: 16, 8 or 4.
        residual: num_hiddens, num_residual_hiddens, num_residual_layers.
    """
    wide, half = residual[0], residual[0] // 2
    layers: list[nn.Module] = []
    for narrow, wider in zip([3, half, wide], _widths(grid, half, wide), strict=False):
        layers += [nn.Conv2d(narrow, wider, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(
        *layers,
        nn.Conv2d(_widths(grid, half, wide)[-1], wide, 3, padding=1),
        ResidualStack(*residual),
        nn.Conv2d(wide, channels, 1),
    )


def grid_decoder(channels: int, grid: int, residual: tuple[int, int, int]) -> nn.Sequential:
    """Return a network from (B, channels, grid, grid) to images (B, 3, 32, 32); see above."""
    wide, half = residual[0], residual[0] // 2
    layers: list[nn.Module] = [nn.Conv2d(channels, wide, 3, padding=1), ResidualStack(*residual)]
    widths = [*_widths(grid, half, wide)[::-1], 3]  # from the grid to the image
    for wider, narrow in zip([wide, *widths[1:]], widths[1:], strict=False):
        layers += [TransposedConvolution(wider, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _widths(grid: int, half: int, wide: int) -> list[int]:
    """Return the channels after each halving of the image's side."""
    halvings = round(math.log2(SIZE / grid))
    return [half, *[wide] * (halvings - 1)]
