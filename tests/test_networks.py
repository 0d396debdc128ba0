"""The convolutional networks between images and a grid of vectors."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.networks import ResidualStack, TransposedConvolution, grid_decoder, grid_encoder


@pytest.mark.parametrize("grid", [4, 8, 16])
def test_encoder_and_decoder_meet_at_the_grid(grid: int, random_images: Tensor) -> None:
    z = grid_encoder(5, grid, (16, 8, 1))(random_images)
    assert z.shape == (6, 5, grid, grid)
    assert grid_decoder(5, grid, (16, 8, 1))(z).shape == random_images.shape


def test_a_residual_block_leaves_the_skip_path_alone() -> None:
    # h + f(relu(h)), not relu(h) + f(relu(h)), as an in-place ReLU would make it
    stack = ResidualStack(num_hiddens=8, num_residual_hiddens=4, num_residual_layers=2)
    h = torch.randn(2, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    kept = h.clone()
    expected = h
    for block in stack.blocks:
        wide, narrow = (m for m in block if isinstance(m, nn.Conv2d))
        inner = F.conv2d(F.relu(expected), wide.weight, wide.bias, padding=1)
        expected = expected + F.conv2d(F.relu(inner), narrow.weight, narrow.bias)
    torch.testing.assert_close(stack(h), F.relu(expected))
    assert torch.equal(h, kept)


def test_a_transposed_convolution_is_that_of_pytorch() -> None:
    ours = TransposedConvolution(5, 3).double()
    theirs = nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1).double()
    theirs.load_state_dict(ours.state_dict())
    h = torch.randn(2, 5, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    results = []
    for layer in (ours, theirs):
        y = layer(h)
        y.square().sum().backward()
        results.append((y, layer.weight.grad, layer.bias.grad))
    torch.testing.assert_close(*results)
