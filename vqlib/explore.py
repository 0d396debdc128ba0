"""A look into trained models: what a latent dimension does, what a code paints, where they err."""

import inspect
import textwrap
from collections.abc import Callable, Mapping

import ipywidgets
import matplotlib as mpl
import torch
import torch.nn.functional as F
from IPython.display import Code, display
from torch import Tensor

from vqlib.figures import STYLE, Picture, code_colours, image_grid
from vqlib.models import MODELS, VAE, VQVAE, kl_to_prior
from vqlib.quantizer import count_codes
from vqlib.runs import Run, has_weights
from vqlib.similarity import ssim


def show(function: Callable | type) -> Code:
    """Show a function's or a class's source, as it is in the library."""
    return Code(textwrap.dedent(inspect.getsource(function)), language="python")


@torch.no_grad()
def latent_traversals(model: VAE, x: Tensor, dimensions: int = 6, reach: float = 3.0) -> Picture:
    """Draw one image decoded again and again while a latent dimension goes from -reach to reach.

    Args:
        model: a trained VAE.
        x: images (N, 3, 32, 32) in [0, 1]; the first is decoded, all tell which dimensions matter.
        dimensions: how many to show, those with the largest KL first.
        reach: in standard deviations of the prior.
    """
    mean, log_variance = model.encode(x)
    kl = kl_to_prior(mean, log_variance).mean(0)
    rows = {}
    for dimension in kl.argsort(descending=True)[:dimensions].tolist():
        z = mean[:1].repeat(11, 1)
        z[:, dimension] = torch.linspace(-reach, reach, len(z))
        rows[f"$z_{{{dimension}}}$"] = model.decode(z).clamp(0, 1)
    return image_grid(rows)


@torch.no_grad()
def painted_codes(model: VQVAE) -> Tensor:
    """Return what each code paints when it fills the whole map: (num_embeddings, 3, 32, 32)."""
    codes = torch.arange(model.quantizer.num_embeddings)
    maps = codes[:, None, None].expand(-1, model.grid, model.grid)
    return torch.cat([model.decode_codes(some) for some in maps.split(128)])


def code_paints(model: VQVAE) -> Tensor:
    """Return the colour that each code paints, (num_embeddings, 3) in [0, 1].

    It is the mean colour in the middle of `painted_codes`, far from the edges.
    """
    side = model.image_size
    middle = slice(side // 2 - side // 8, side // 2 + side // 8)  # 12 to 20 of 32 pixels
    return painted_codes(model)[:, :, middle, middle].mean((2, 3))


def codebook_projection(model: VQVAE) -> Picture:
    """Draw the codebook's first two principal components, each code in the colour it paints."""
    codebook = model.quantizer.codebook.detach()
    centred = codebook - codebook.mean(0)
    centred = F.pad(centred, (0, max(0, 2 - centred.shape[1])))  # one dimension is drawn in two
    _, scale, directions = torch.linalg.svd(centred)
    places = (centred @ directions[:2].T).numpy()
    shares = F.pad(scale.square() / scale.square().sum().clamp_min(1e-30), (0, 1))
    colours = code_paints(model)
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(4.8, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.scatter(
            places[:, 0],
            places[:, 1],
            c=colours.numpy(),
            s=30,
            edgecolors="#888888",
            linewidths=0.4,
        )
        axis.set_xlabel(f"first component ({shares[0]:.0%} of the variance)")
        axis.set_ylabel(f"second ({shares[1]:.0%})")
    figure.alt = (
        f"A dot for each of {len(codebook)} codes, in the colour that it paints, in the plane of "
        f"two principal components, which hold {shares[:2].sum():.0%} of the variance."
    )
    return figure


def code_counts(model: VQVAE, x: Tensor) -> Tensor:
    """Return how often each code occurs, (num_embeddings,).

    The counts are the codebook's moving averages at the end of training. With `decay = 0` there
    are none, and the counts are those of the images x (N, 3, 32, 32).
    """
    if model.quantizer.decay:
        return model.quantizer.ema_counts
    return count_codes(model.codes(x), model.num_codes)


def code_usage(counts: Tensor) -> Picture:
    """Draw the share of each code, the most frequent first, against equal shares."""
    shares = (counts / counts.sum()).sort(descending=True).values.numpy()
    with mpl.rc_context(STYLE):
        figure = Picture(figsize=(4.8, 2.4), layout="constrained")
        axis = figure.subplots()
        axis.bar(range(len(shares)), shares, width=1)
        axis.axhline(1 / len(shares), color="black", ls=":", lw=1, label="equal shares")
        axis.set(xlabel="code, most frequent first", ylabel="share of positions")
        axis.margins(x=0)
        axis.legend()
    figure.alt = (
        f"Bars for {len(shares)} codes in falling order: the most frequent has {shares[0]:.2%} of "
        f"the positions, the rarest {shares[-1]:.3%}; equal shares would be {1 / len(shares):.2%}."
    )
    return figure


@torch.no_grad()
def compare(runs: Mapping[str, Run], image: int) -> Picture:
    """Draw one test image, each model's reconstruction with its error, and the image's codes.

    Codes need the weights of a run.

    Args:
        runs: model to a run of it, all on the same data.
        image: number of the image in the runs' sheet, from 0.
    """
    originals = next(iter(runs.values())).reconstructions[0]
    original = originals[image : image + 1].float() / 255
    panels, maps, scores = {"original": original[0]}, {}, []
    for name, run in runs.items():
        again = run.reconstructions[1][image : image + 1].float() / 255
        title, score = MODELS[name].title, f"SSIM {ssim(original, again).item():.2f}"
        scores.append(f"{title}, {score}")
        panels[f"{title}\n{score}"] = again[0]
        panels[f"{title}\nabsolute error"] = (again - original).abs()[0]
        codes = run.model.codes(original) if has_weights(run.folder) else None
        if codes is not None:
            colours = code_colours(codes, run.model.num_codes, original.shape[-1])
            maps[f"{title}\ncodes"] = colours[0]
    figure = _panels(panels | maps)
    figure.alt = f"Test image {image}, its reconstructions ({'; '.join(scores)}) and their errors."
    return figure


def explorer(runs: Mapping[str, Run]) -> ipywidgets.VBox:
    """Return a slider over the test images of the runs' sheet, with `compare` of the chosen one."""
    last = len(next(iter(runs.values())).reconstructions[0]) - 1
    image = ipywidgets.IntSlider(0, 0, last, description="image", continuous_update=False)
    picture = ipywidgets.interactive_output(
        lambda image: display(compare(runs, image)), {"image": image}
    )
    return ipywidgets.VBox([image, picture])


def _panels(panels: Mapping[str, Tensor]) -> Picture:
    """Draw images (3, H, W) side by side with their titles."""
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(1.08 * len(panels), 1.6), layout="constrained")
        axes = figure.subplots(1, len(panels))
        for axis, (title, pixels) in zip(axes, panels.items(), strict=True):
            axis.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=8)
            axis.set_axis_off()
    return figure
