"""The reference systems of a data set, and the files that keep them.

references.json    rate and distortion of each point, and what they were computed from
references.png     the first test images as each point decodes them, a row for each
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image, features
from torch import Tensor

from vqlib.errors import UserError
from vqlib.images import SIZE, Images, load_images
from vqlib.paths import SHIPPED_RATES, shown
from vqlib.rates.codecs import CODECS, available_codecs, codec_points
from vqlib.rates.linear import STEPS, fit_pca, gaussian_points, pca_points
from vqlib.rates.measures import MEASURES
from vqlib.rates.points import run_points
from vqlib.rates.published import published_points
from vqlib.runs import Run, check_same_images, checksum
from vqlib.system.files import make_folder, read_bytes, read_json, write_atomically, write_json

TEXTS = ("system", "setting", "rate")
NUMBERS = ("bits", *MEASURES)
FILE, SHEET = "references.json", "references.png"
PACKAGES = ("numpy", "pillow", "pillow-jxl-plugin")
LIBRARIES = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "libavif": "avif"}


@dataclass(frozen=True)
class References:
    """Systems to compare with, on the images of one data set.

    Attributes:
        points: a row for each point. `system` and `setting` name it. `rate` says what `bits`, in
            bits an image, counts: `coded` (by tables that encoder and decoder share), `bound`,
            `whole file`, `without header` (without the bytes that all files share) or
            `published`. The other columns are those of `distortion`, NaN if there is no such
            figure.
        pictures: system and setting to the first test images as they decode them, uint8
            (N, 3, 32, 32).
    """

    points: pd.DataFrame
    pictures: Mapping[tuple[str, str], Tensor]


def load_references(folder: str | Path, run: Run) -> References:
    """Return the reference systems of a run's images from a folder.

    If the folder has none, or if they are damaged or were made from other images or with other
    settings, take those that the project ships. If they are of other images, too, compute and
    store them, and say so. Other versions of Pillow are no reason: the figures are those of the
    versions that the file names.

    Args:
        folder: holds references.json and references.png.
        run: any run on the images.
    """
    folder = Path(folder)
    problem = _problem(folder, run.environment)
    if problem and not _problem(SHIPPED_RATES, run.environment):
        folder = SHIPPED_RATES
    elif problem:
        path = shown(folder / FILE)
        print(f"{path} {problem}: computing the reference points, which takes minutes")
        images = load_images(run.config.dataset, run.config.limit, run.config.image_size)
        check_same_images(run, images)
        write_references(folder, images)
    points = read_json(folder / FILE)["points"]
    return References(
        _table(points, run.environment["dataset"]),
        dict(zip(_drawn(points), read_sheet(folder / SHEET, run.config.image_size), strict=True)),
    )


def all_points(folder: str | Path, runs: list[Run]) -> pd.DataFrame:
    """Return the points of runs and of reference systems, as `rate_distortion` draws them.

    Args:
        folder: holds the runs; see `run_points` and `load_references`.
        runs: finished runs in it, all on the same images.
    """
    references = load_references(folder, runs[0])
    return pd.concat([run_points(folder, runs), references.points], ignore_index=True)


def write_references(folder: str | Path, images: Images) -> None:
    """Compute the reference points of images, and store them in a folder; it takes minutes.

    The points are those of PCA, of its Gaussian bound, and of the image codecs that Pillow has
    here.
    """
    points = _measure(images)
    pictures = {_key(point): point.pop("pictures") for point in points if "pictures" in point}
    table = pd.DataFrame(points, columns=[*TEXTS, *NUMBERS]).astype(object)
    rows = table.where(table.notna(), None).to_dict("records")  # JSON has no NaN
    sheet = sheet_of([pictures[key] for key in _drawn(rows)])
    make_folder(Path(folder))
    write_atomically(Path(folder) / SHEET, sheet)
    shipped = _shipped(images)
    versions = {**(shipped["versions"] if shipped else _versions()), "numpy": version("numpy")}
    content = {**_origin(images.facts), "versions": versions, "points": rows}
    content["sheet_sha256"] = checksum(sheet)
    write_json(Path(folder) / FILE, {**content, "seal": _seal(content)})


def _measure(images: Images) -> list[dict[str, Any]]:
    pca = fit_pca(images.train)
    return pca_points(images, pca) + gaussian_points(images, pca) + _of_codecs(images)


def _of_codecs(images: Images) -> list[dict[str, Any]]:
    """Return the points of the codecs, with pictures."""
    shipped = _shipped(images)
    if shipped is None:
        return [point for codec in available_codecs() for point in codec_points(codec, images)]
    sheet = read_sheet(SHIPPED_RATES / SHEET, images.size)
    pictures = dict(zip(_drawn(shipped["points"]), sheet, strict=True))
    names = [codec.name for codec in CODECS]
    return [
        {**point, "pictures": pictures[_key(point)]}
        for point in shipped["points"]
        if point["system"] in names
    ]


def _shipped(images: Images) -> dict[str, Any] | None:
    """Return the content of the file that the project ships, if it is of the same test images.

    Codecs depend on nothing else, and a study on a part of CIFAR-10 may be tested on all of it.
    """
    of_cifar10 = images.name == "cifar10" and images.size == SIZE
    if not of_cifar10 or not (SHIPPED_RATES / FILE).is_file():
        return None
    content = read_json(SHIPPED_RATES / FILE)
    same = content["images"]["n_test"] == len(images.test)
    return content if same and not _problem(SHIPPED_RATES, content["images"]) else None


def _key(point: Mapping[str, Any]) -> tuple[str, str]:
    return point["system"], point["setting"]


def _drawn(points: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return system and setting of the points that have pictures, in the order of the sheet."""
    return list(dict.fromkeys(_key(point) for point in points if point["rate"] != "bound"))


def sheet_of(rows: list[Tensor]) -> bytes:
    """Return rows of pictures, each uint8 (N, 3, 32, 32), as an exact PNG."""
    pixels = torch.stack(rows).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
    buffer = BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def read_sheet(path: Path, side: int) -> Tensor:
    """Return the rows of a sheet: uint8 (rows, N, 3, 32, 32)."""
    with Image.open(path) as sheet:
        pixels = torch.from_numpy(np.array(sheet))  # (32·rows, 32·N, 3)
    return pixels.unflatten(0, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 1, 3)


def _table(points: list[dict[str, Any]], dataset: str) -> pd.DataFrame:
    """Return measured points, and published ones if there are some for this data set."""
    columns = [*TEXTS, *NUMBERS]
    table = pd.DataFrame(points, columns=columns).astype(dict.fromkeys(NUMBERS, float))
    if dataset != "cifar10":
        return table
    return pd.concat([table, published_points()[columns]], ignore_index=True)


def _problem(folder: Path, facts: Mapping[str, Any]) -> str | None:
    """Return why a folder does not hold the points of images with these facts, or None."""
    if not (folder / FILE).is_file() or not (folder / SHEET).is_file():
        return "is missing"
    try:
        content = read_json(folder / FILE)
        sheet = read_bytes(folder / SHEET)
    except UserError:
        return "cannot be read"
    if content.pop("seal", None) != _seal(content) or content["sheet_sha256"] != checksum(sheet):
        return "is damaged"
    for name, value in _origin(facts).items():
        if content.get(name) != value:
            return f"was made with other {name}"
    return None


def _origin(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the points depend on: the images and all settings."""
    names = ("dataset", "data_md5", "n_train", "n_test")
    return {"images": {name: facts[name] for name in names}, "settings": _settings()}


def _settings() -> dict[str, Any]:
    codecs = {codec.name: {"qualities": [*codec.qualities], **codec.options} for codec in CODECS}
    return {"PCA": {"steps": [*STEPS]}, **codecs}


def _versions() -> dict[str, str | None]:
    """Return the versions of Pillow, its codecs and NumPy; None for what is not installed."""
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return {**found, **{name: features.version(key) for name, key in LIBRARIES.items()}}


def _seal(content: dict[str, Any]) -> str:
    return checksum(json.dumps(content).encode())
