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

from vqlib.figures import STYLE, Picture, code_colours, image_grid, rank_axis
from vqlib.models import MODELS, VAE, VQVAE, kl_to_prior
from vqlib.quantizer import count_codes
from vqlib.runs import Run, has_weights
from vqlib.similarity import ssim


def show(function: Callable | type) -> Code:
    """Show a function's or a class's source, as it is in the library."""
    return Code(textwrap.dedent(inspect.getsource(function)), language="python")


def clearest(images: Tensor, count: int) -> Tensor:
    """Return the numbers of the `count` images with the most contrast, in their order.

    Some crops of photographs show nothing but fur or table.

    Args:
        images: (N, 3, H, W).
        count: how many numbers to return, at most N.
    """
    contrast = images.float().mean(1).flatten(1).std(1)
    return contrast.argsort(descending=True)[:count].sort().values


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
    chosen, rows = kl.argsort(descending=True)[:dimensions].tolist(), {}
    for dimension in chosen:
        z = mean[:1].repeat(11, 1)
        z[:, dimension] = torch.linspace(-reach, reach, len(z))
        rows[f"$z_{{{dimension}}}$"] = model.decode(z).clamp(0, 1)
    figure = image_grid(rows)
    figure.alt = (
        f"{len(rows)} rows of 11 small images. Each row is one image, decoded while a latent "
        f"number goes from {-reach:g} to {reach:g}. From the top: "
        f"{', '.join(f'z{dimension}' for dimension in chosen)}."
    )
    return figure


@torch.no_grad()
def painted_codes(model: VQVAE, codes: Tensor | None = None) -> Tensor:
    """Return what each code paints when it fills the whole map: (N, 3, 32, 32).

    Args:
        model: a VQ-VAE.
        codes: which codes, (N,); without them all codes of the codebook.
    """
    codes = torch.arange(model.quantizer.num_embeddings) if codes is None else codes
    maps = codes[:, None, None].expand(-1, model.grid, model.grid)
    return torch.cat([model.decode_codes(some) for some in maps.split(128)])


def code_paints(model: VQVAE, codes: Tensor | None = None) -> Tensor:
    """Return the colour that each code paints, (N, 3) in [0, 1].

    It is the mean colour in the middle of `painted_codes`, far from the edges.
    """
    side = model.image_size
    middle = slice(side // 2 - side // 8, side // 2 + side // 8)  # 12 to 20 of 32 pixels
    return painted_codes(model, codes)[:, :, middle, middle].mean((2, 3))


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
        axis.bar(range(1, len(shares) + 1), shares, width=0.9 if len(shares) <= 32 else 1)
        axis.axhline(1 / len(shares), color="black", ls=":", lw=1, label="equal shares")
        axis.set(xlabel="code, most frequent first", ylabel="share of positions")
        rank_axis(axis, len(shares))
        axis.legend()
    figure.alt = (
        f"Bars for {len(shares)} codes in falling order: the most frequent has {shares[0]:.2%} of "
        f"the positions, the rarest {shares[-1]:.3%}; equal shares would be {1 / len(shares):.2%}."
    )
    return figure


@torch.no_grad()
def code_swaps(model: VQVAE, codes: Tensor, counts: Tensor, count: int = 10) -> Picture:
    """Draw an image again and again, the codes in its middle replaced by another code.

    The codes put in are those that occur and paint the most different colours.

    Args:
        model: a trained VQ-VAE.
        codes: the image's codes (H, W).
        counts: how often each code occurs, (num_embeddings,).
        count: how many codes to put in, one after the other.
    """
    put_in = _most_different(code_paints(model), counts, count)
    middle = slice(model.grid // 2 - 1, model.grid // 2 + 1)
    swapped = codes.repeat(len(put_in), 1, 1)
    swapped[:, middle, middle] = put_in[:, None, None]
    before, after = model.decode_codes(codes[None]), model.decode_codes(swapped)
    change = (after - before).abs().mean(1, keepdim=True).expand_as(after)
    figure = image_grid(
        {
            "code": painted_codes(model, put_in),
            "image": after,
            f"change\n0 to {change.max():.2f}": change / change.max().clamp_min(1e-6),
        }
    )
    figure.alt = (
        f"{figure.alt} The code of each column replaces those in the middle of the image; a pixel "
        f"changes by up to {change.max():.2f} of the range."
    )
    return figure


def _most_different(paints: Tensor, counts: Tensor, count: int) -> Tensor:
    """Return codes that occur, each as far in colour from those before it as can be."""
    occur = (counts > 0.01 * counts.sum() / len(counts)).nonzero().flatten()
    colours = paints[occur]
    chosen = [int(colours.sum(1).argmax())]
    while len(chosen) < min(count, len(occur)):
        chosen.append(int(torch.cdist(colours, colours[chosen]).min(1).values.argmax()))
    return occur[chosen]


@torch.no_grad()
def compare(runs: Mapping[str, Run], image: int) -> Picture:
    """Draw one test image, each model's reconstruction with its error, and the image's codes.

    An error is the mean over the three colours; one scale holds for all. Codes have the colours
    that they paint, and need the weights of a run.

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
        panels[f"{title}\nabsolute error"] = (again - original).abs()[0].mean(0)
        if has_weights(run.folder) and isinstance(run.model, VQVAE):
            occurring, places = run.model.codes(original).unique(return_inverse=True)
            palette = code_paints(run.model, occurring)
            colours = code_colours(places, palette, original.shape[-1])
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
    """Draw images (3, H, W), and maps (H, W) by one scale, side by side with their titles."""
    highest = max((float(panel.max()) for panel in panels.values() if panel.ndim == 2), default=0)
    with mpl.rc_context(STYLE | {"axes.grid": False}):
        figure = Picture(figsize=(1.08 * len(panels) + 0.5, 1.6), layout="constrained")
        axes = figure.subplots(1, len(panels))
        for axis, (title, panel) in zip(axes, panels.items(), strict=True):
            if panel.ndim == 2:
                look = {"cmap": "magma", "vmin": 0, "vmax": highest}
                drawn = axis.imshow(panel.numpy(), interpolation="nearest", **look)
            else:
                axis.imshow(panel.permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(title, fontsize=8)
            axis.set_axis_off()
        if highest:
            figure.colorbar(drawn, ax=axes, label="error", fraction=0.02, pad=0.01)
    return figure
