"""A causal transformer over the codes of an image."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.generation.prior import CodePrior

HEAD = 32  # width of an attention head


class Block(nn.Module):
    """Attention to the places so far, then a network on each place; both add to their input.

    The layer norms stand before them (Xiong et al. 2020, https://arxiv.org/abs/2002.04745).
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.heads = width // HEAD
        self.dropout = dropout
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.project = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.network = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, h: Tensor, past: Tensor | None = None, place: int = 0) -> Tensor:
        """Map (B, n, width) to the same shape.

        Args:
            h: the places; without `past` all of them, and each attends to those up to itself.
            past: keys and values (2, B, heads, places, HEAD) of all places. Then h is one place,
                which attends to those up to itself; its own key and value are written there.
            place: which one it is.
        """
        queries, *pair = (  # (B, heads, n, HEAD)
            part.unflatten(2, (self.heads, HEAD)).transpose(1, 2)
            for part in self.attention(self.norm(h)).chunk(3, dim=2)
        )
        if past is not None:
            past[:, :, :, place : place + 1] = torch.stack(pair)
            pair = list(past[:, :, :, : place + 1])
        keys, values = pair
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=past is None,
        )
        h = h + self.project(attended.transpose(1, 2).flatten(2))
        return h + self.network(h)


class Transformer(CodePrior):
    """A transformer (Vaswani et al. 2017) that predicts each code from the label and those before.

    The sequence is shifted by one: at place i stands the code of place i - 1, and the label at the
    first. Row and column of the place that is predicted are added.

    Args:
        num_codes, grid, num_classes: see `CodePrior`.
        width: numbers at each place, a multiple of 32: there is one attention head for 32.
        layers: number of blocks.
        dropout: share of the numbers that are dropped in training.
    """

    title = "transformer"

    def __init__(
        self,
        num_codes: int,
        grid: int,
        num_classes: int,
        width: int = 128,
        layers: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__(num_codes, grid, num_classes)
        self.code = nn.Embedding(num_codes, width)
        self.label = nn.Embedding(num_classes, width)
        self.row = nn.Embedding(grid, width)
        self.column = nn.Embedding(grid, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, dropout) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_codes))
        for each in (self.code, self.label, self.row, self.column):
            nn.init.normal_(each.weight, std=0.02)

    def logits(self, labels: Tensor, codes: Tensor) -> Tensor:
        """Return the logits (B, n, num_codes) of codes (B, n); see `CodePrior.logits`."""
        before = torch.cat([self.label(labels)[:, None], self.code(codes[:, :-1])], 1)
        h = self.dropout(before + self._positions(0, codes.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.head(h)

    def next_logits(self, labels: Tensor, codes: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the logits of the next code (B, num_codes) from the last one and the cache.

        The cache holds keys and values of each block for all places before.
        """
        place = codes.shape[1]
        if place == 0:
            width = self.row.embedding_dim
            sizes = (len(self.blocks), 2, len(codes), width // HEAD, self.places, HEAD)
            cache["past"] = self.row.weight.new_empty(sizes)
        last = self.code(codes[:, -1:]) if place else self.label(labels)[:, None]  # (B, 1, width)
        h = last + self._positions(place, place + 1)
        for block, past in zip(self.blocks, cache["past"], strict=True):
            h = block(h, past, place)
        return self.head(h)[:, 0]

    def _positions(self, first: int, end: int) -> Tensor:
        """Return the sum of row and column embeddings (end - first, width) of places."""
        places = torch.arange(first, end, device=self.row.weight.device)
        return self.row(places // self.grid) + self.column(places % self.grid)
