"""The commands `vqlib encode`, `vqlib decode` and `vqlib reconstruct`."""

import argparse

from vqlib.paths import expanded
from vqlib.rates.pictures import decode_pictures, encode_pictures
from vqlib.rates.reconstruct import reconstruct_pictures
from vqlib.system.files import as_json


def encode_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib encode`."""
    parser.add_argument(
        "run_folder", metavar="run", help="such as results/paper/vqvae-cifar10-b128-e40-s0"
    )
    _add_pictures(parser)
    parser.add_argument(
        "--prior", metavar="RUN", help="a prior to code with, for fewer bits in more time"
    )
    parser.add_argument(
        "-o", "--output", required=True, type=expanded, metavar="FILE", help="the file to write"
    )


def run_encode(options: argparse.Namespace) -> None:
    """Run `vqlib encode`."""
    figures = encode_pictures(options.run_folder, options.pictures, options.output, options.prior)
    print(as_json(figures))
    print(f"written: {options.output}")


def decode_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib decode`."""
    parser.add_argument("run_folder", metavar="run", help="the run that encoded the file")
    parser.add_argument("file", type=expanded, help="a file that `vqlib encode` wrote")
    parser.add_argument("--prior", metavar="RUN", help="the prior that it was encoded with, if any")
    _add_folder(parser)


def run_decode(options: argparse.Namespace) -> None:
    """Run `vqlib decode`."""
    count = decode_pictures(options.run_folder, options.file, options.output, options.prior)
    print(f"written: {count:,} PNG files in {options.output}")


def reconstruct_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `vqlib reconstruct`."""
    parser.add_argument(
        "run_folder", metavar="run", help="such as results/paper/vae-cifar10-b256-e40-s0"
    )
    _add_pictures(parser)
    _add_folder(parser)


def run_reconstruct(options: argparse.Namespace) -> None:
    """Run `vqlib reconstruct`."""
    figures = reconstruct_pictures(options.run_folder, options.pictures, options.output)
    print(as_json(figures))
    print(f"written: {figures['images']:,} PNG files in {options.output}")


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pictures",
        nargs="*",
        type=expanded,
        help="picture files, and folders of them; without any, the test images of the run",
    )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *("-o", "--output"),
        required=True,
        type=expanded,
        metavar="FOLDER",
        help="a new or empty folder",
    )
