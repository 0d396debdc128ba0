"""The commands `vqlib prior`, `vqlib sample` and `vqlib quality`."""

import argparse
import re
from pathlib import Path

import torch
from torch import Tensor

from vqlib.errors import UserError
from vqlib.generation.assessment import FILES, assess
from vqlib.generation.config import PRIORS, PriorConfig, settings_of_prior
from vqlib.generation.runs import Prior, load_prior
from vqlib.generation.training import PRIORS_FOLDER, fit_prior
from vqlib.options import given_settings, setting_arguments, training_arguments
from vqlib.paths import expanded
from vqlib.runs import load_run, write_png
from vqlib.system import processes
from vqlib.system.files import as_json, make_folder

OF_RUN = ("vqvae", "weights")  # settings that the run gives
COLUMNS = 8  # of the sheet


def prior_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib prior`."""
    parser.add_argument(
        "run_folder", metavar="run", help="such as results/paper/vqvae-cifar10-b256-e40-s0"
    )
    takers = {prior.title: settings_of_prior(name) for name, prior in PRIORS.items()}
    setting_arguments(parser, PriorConfig, takers, OF_RUN)
    training_arguments(parser, PRIORS_FOLDER, "prior")


def run_prior(options: argparse.Namespace) -> None:
    """Run `vqlib prior`."""
    with processes.group():
        prior = fit_prior(
            options.run_folder,
            results=options.results,
            device=options.device,
            retrain=options.retrain,
            **given_settings(options, PriorConfig),
        )
        if processes.is_first():
            print(as_json(prior.evaluation))
            print(f"run folder: {prior.folder}")


def sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib sample`."""
    parser.add_argument("run_folder", metavar="run", help="a folder that `vqlib prior` made")
    parser.add_argument("--label", metavar="…", help="a class (default: all classes in turn)")
    parser.add_argument(
        "--count", type=int, default=64, metavar="…", help="number of images (default: 64)"
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="…",
        help="below 1 likely codes become more likely; 0 takes the likeliest (default: 1)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="…", help="fixes the samples (default: 0)"
    )
    parser.add_argument(
        "--vqvae", metavar="…", help="run of the prior's VQ-VAE, if it has moved since the training"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=expanded,
        metavar="FOLDER",
        help="a new or empty folder",
    )


def run_sample(options: argparse.Namespace) -> None:
    """Run `vqlib sample`."""
    prior = load_prior(options.run_folder, options.vqvae)
    write_samples(
        prior, options.output, options.count, options.label, options.temperature, options.seed
    )
    print(f"written: {options.count:,} PNG files and sheet.png in {options.output}")


def quality_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib quality`."""
    parser.add_argument(
        "run_folders", metavar="run", nargs="+", help="folders that `vqlib prior` made"
    )
    parser.add_argument(
        "--vae",
        metavar="RUN",
        nargs="+",
        default=[],
        help="runs of VAEs on the same images, to compare with",
    )
    parser.add_argument(
        "--count", type=int, default=5_000, metavar="…", help="images of each set (default: 5000)"
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="…", help="sets of each system (default: 3)"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=Path, metavar="FOLDER", help="where figures go"
    )


def run_quality(options: argparse.Namespace) -> None:
    """Run `vqlib quality`."""
    priors = [load_prior(folder) for folder in options.run_folders]
    vaes = [load_run(folder) for folder in options.vae]
    assess(priors, vaes, options.output, options.count, options.seeds)
    print(f"written: {', '.join(FILES)} in {options.output}")


def write_samples(
    prior: Prior,
    folder: Path,
    count: int = 64,
    label: str | None = None,
    temperature: float = 1.0,
    seed: int = 0,
) -> None:
    """Write samples as PNG files, and all of them in sheet.png; see `Prior.sample`.

    A file's name has the number of the sample and its class, such as `00007-horse.png`.
    """
    make_folder(folder)
    if any(path.name[0] != "." for path in folder.iterdir()):
        raise UserError(f"{folder} is not empty: give a new folder")
    names = prior.names(label, count)
    images = (prior.sample(count, label, temperature, seed) * 255).round().byte()
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        write_png(folder / f"{number:05}{_slug(name)}.png", image.permute(1, 2, 0))
    write_png(folder / "sheet.png", tiled(images))


def tiled(images: Tensor) -> Tensor:
    """Return images (N, 3, H, W) in rows of eight, as one picture (rows · H, 8 · W, 3).

    What is left of the last row is white.
    """
    missing = -len(images) % COLUMNS
    filled = torch.cat([images, images.new_full((missing, *images.shape[1:]), 255)])
    return filled.unflatten(0, (-1, COLUMNS)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)


def _slug(name: str) -> str:
    """Return the part of a file's name that names the class."""
    return "-" + re.sub(r"[^\w-]+", "_", name) if name else ""
