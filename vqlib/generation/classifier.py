"""A small classifier of images: its features say how much samples resemble images of a data set.

It is a residual network (He et al. 2016, https://arxiv.org/abs/1512.03385), trained by the same
loop as everything else. Features of a network that was trained on the images themselves see what
tells their classes apart; those of `vqlib.generation.features` come from photographs at large.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqlib.images import scale
from vqlib.system import processes

BATCH = 250  # images at a time
SHIFT = 4  # pixels, at most, that an image is moved in training


class Block(nn.Module):
    """Two 3×3 convolutions with batch normalisation, added to their input."""

    def __init__(self, narrow: int, wide: int):
        super().__init__()
        stride = 1 if narrow == wide else 2
        self.body = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            shorter = nn.Conv2d(narrow, wide, 1, stride, bias=False)
            self.skip = nn.Sequential(shorter, nn.BatchNorm2d(wide))

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, narrow, H, W) to (B, wide, H', W'); the sides are halved if it gets wider."""
        return F.relu(self.skip(h) + self.body(h))


class Classifier(nn.Module):
    """A residual network with three blocks, from images to classes.

    Rows of data are uint8 (B, 3 · side² + 2): the pixels of an image, and its label in two bytes;
    see `labelled`.

    Args:
        num_classes: how many classes there are.
        width: channels of the first block; each other block has twice those of the one before.
        image_size: side of the images in pixels.
    """

    def __init__(self, num_classes: int, width: int = 32, image_size: int = 32):
        super().__init__()
        self.image_size = image_size
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            Block(width, width),
            Block(width, 2 * width),
            Block(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the features (B, 4 · width) of x (B, 3, H, W) in [0, 1]: the last layer's input.

        They are averages over what is left of the image's area.
        """
        return self.body(x - 0.5).float()

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (B, num_classes) of x (B, 3, H, W) in [0, 1]."""
        return self.head(self.features(x))

    def loss(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of rows in nats, as `loss`.

        Each image is mirrored or not, and moved by up to four pixels.
        """
        images, labels = self._parts(rows)
        return {"loss": F.cross_entropy(self(varied(scale(images))), labels)}

    @torch.no_grad()
    def test_figures(self, rows: Tensor) -> dict[str, Any]:
        """Return `test_accuracy`, the share of rows whose class is the likeliest.

        If several processes train together, each passes the same rows and takes its share.
        """
        self.eval()
        device = next(self.parameters()).device
        right = torch.zeros(1, dtype=torch.float64)
        for some in processes.share(rows).split(BATCH):
            images, labels = self._parts(some.to(device))
            right += (self(scale(images)).argmax(1) == labels).sum().cpu()
        processes.add_up(right)
        return {"test_accuracy": right.item() / len(rows)}

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images (B, 3, H, W) and the labels (B,) of rows."""
        images = rows[:, :-2].unflatten(1, (3, self.image_size, self.image_size))
        return images, rows[:, -2].long() + 256 * rows[:, -1].long()


def labelled(images: Tensor, labels: Tensor) -> Tensor:
    """Return the rows of uint8 images (N, 3, H, W) and int64 labels (N,); see `Classifier`."""
    halves = torch.stack([labels % 256, labels // 256], 1).byte()
    return torch.cat([images.flatten(1), halves], 1)


def varied(x: Tensor) -> Tensor:
    """Return images (B, 3, H, W), each mirrored or not, and moved by up to four pixels.

    What comes in at an edge is the image's reflection.
    """
    count, side = len(x), x.shape[-1]
    mirrored = torch.rand(count, 1, 1, 1, device=x.device) < 0.5
    padded = F.pad(torch.where(mirrored, x.flip(3), x), (SHIFT,) * 4, "reflect")
    first = torch.randint(2 * SHIFT + 1, (2, count, 1), device=x.device)
    rows, columns = first + torch.arange(side, device=x.device)  # each (B, side)
    each = torch.arange(count, device=x.device)[:, None, None]
    return padded[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
