"""Looks into trained models: what a latent dimension does, what a code paints, where both err."""

from collections.abc import Mapping

import ipywidgets
import matplotlib as mpl
import torch
import torch.nn.functional as F
from IPython.display import display
from matplotlib.figure import Figure
from torch import Tensor

from vqlib.figures import MODEL_NAMES, STYLE, code_maps, image_grid
from vqlib.models import VAE, VQVAE
from vqlib.runs import Run
from vqlib.similarity import ssim


@torch.no_grad()
def latent_traversals(model: VAE, x: Tensor, dimensions: int = 6, reach: float = 3.0) -> Figure:
    """One image decoded again and again while one latent dimension goes from -reach to reach.

    Args:
        model: a trained VAE.
        x: images (N, 3, 32, 32) in [0, 1]; the first is decoded, all tell which dimensions matter.
        dimensions: how many to show, those with the largest KL first.
        reach: in standard deviations of the prior.
    """
    mean, log_variance = model.encode(x)
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean(0) / 2
    rows = {}
    for dimension in kl.argsort(descending=True)[:dimensions].tolist():
        z = mean[:1].repeat(11, 1)
        z[:, dimension] = torch.linspace(-reach, reach, len(z))
        rows[f"$z_{{{dimension}}}$"] = model.decode(z).clamp(0, 1)
    return image_grid(rows)


@torch.no_grad()
def painted_codes(model: VQVAE) -> Tensor:
    """What each code paints where it stands alone: (num_embeddings, 3, 32, 32) in [0, 1]."""
    codes = torch.arange(model.quantizer.num_embeddings)
    maps = codes[:, None, None].expand(-1, 8, 8)
    return torch.cat([model.decode_codes(some) for some in maps.split(128)])


def codebook_projection(model: VQVAE) -> Figure:
    """The codebook in its first two principal components, each code in the colour it paints."""
    codebook = model.quantizer.codebook.detach()
    centred = codebook - codebook.mean(0)
    centred = F.pad(centred, (0, max(0, 2 - centred.shape[1])))  # one dimension is drawn in two
    _, scale, directions = torch.linalg.svd(centred)
    places = (centred @ directions[:2].T).numpy()
    shares = F.pad(scale.square() / scale.square().sum().clamp_min(1e-30), (0, 1))
    colours = painted_codes(model)[:, :, 12:20, 12:20].mean((2, 3))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.scatter(*places.T, c=colours.numpy(), s=30, edgecolors="#888888", linewidths=0.4)
        axis.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
        axis.set_ylabel(f"second ({shares[1]:.0%})")
    return figure


def code_counts(model: VQVAE, x: Tensor) -> Tensor:
    """How often each code occurs, (num_embeddings,): at the end of training, as the codebook's
    moving averages have it; without these (`decay = 0`), in the images x (N, 3, 32, 32)."""
    if model.quantizer.decay:
        return model.quantizer.ema_counts
    return torch.bincount(model.codes(x).flatten(), minlength=model.quantizer.num_embeddings)


def code_usage(counts: Tensor) -> Figure:
    """Share of each code, most frequent first, against all codes alike."""
    shares = (counts / counts.sum()).sort(descending=True).values.numpy()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 2.4), layout="constrained")
        axis = figure.subplots()
        axis.bar(range(len(shares)), shares, width=1)
        axis.axhline(1 / len(shares), color="black", ls=":", lw=1, label="all alike")
        axis.set(xlabel="code, most frequent first", ylabel="share of positions")
        axis.margins(x=0)
        axis.legend()
    return figure


@torch.no_grad()
def compare(runs: Mapping[str, Run], image: int) -> Figure:
    """One test image, both models' reconstructions, their errors, and the image's codes.

    Args:
        runs: `vae` and `vqvae` to a run of that model on the same data.
        image: number of the image in the runs' sheet, from 0.
    """
    original = runs["vae"].reconstructions[0][image : image + 1].float() / 255
    panels = {"original": original[0]}
    for name, run in runs.items():
        again = run.reconstructions[1][image : image + 1].float() / 255
        score = ssim(original, again).item()
        panels[f"{MODEL_NAMES[name]}\nSSIM {score:.2f}"] = again[0]
        panels[f"{MODEL_NAMES[name]}\nabsolute error"] = (again - original).abs()[0]
    model = runs["vqvae"].model
    maps = code_maps(original, model.codes(original), model.quantizer.num_embeddings)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(6.5, 1.6), layout="constrained")
        axes = figure.subplots(1, len(panels) + 1)
        for axis, (title, pixels) in zip(axes, panels.items(), strict=False):
            axis.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=8)
        axes[-1].imshow(maps.axes[1].images[0].get_array(), interpolation="nearest")
        axes[-1].set_title("codes", fontsize=8)
        for axis in axes:
            axis.set_axis_off()
    return figure


def explorer(runs: Mapping[str, Run]) -> ipywidgets.VBox:
    """A slider over the test images of the runs' sheet, and `compare` for the one chosen."""
    last = len(runs["vae"].reconstructions[0]) - 1
    image = ipywidgets.IntSlider(0, 0, last, description="image", continuous_update=False)
    picture = ipywidgets.interactive_output(
        lambda image: display(compare(runs, image)), {"image": image}
    )
    return ipywidgets.VBox([image, picture])
