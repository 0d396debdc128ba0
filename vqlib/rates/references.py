"""The references of a data set in one table, and the file that keeps it: references.json."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import features

from vqlib.errors import UserError
from vqlib.images import Images
from vqlib.paths import shown
from vqlib.rates.codecs import CODECS, available_codecs, codec_points
from vqlib.rates.linear import STEPS, fit_pca, gaussian_points, pca_points
from vqlib.rates.measures import MEASURES
from vqlib.rates.published import published_points
from vqlib.runs import checksum
from vqlib.system.files import make_folder, read_json, write_json

TEXTS = ("system", "setting", "rate")
NUMBERS = ("bits", *MEASURES)
FILE = "references.json"
PACKAGES = ("numpy", "pillow", "pillow-jxl-plugin")
LIBRARIES = {"libjpeg-turbo": "libjpeg_turbo", "libwebp": "webp", "libavif": "avif"}


def reference_points(images: Images) -> pd.DataFrame:
    """Return rates and distortions of systems to compare with; it takes minutes.

    These are PCA and its Gaussian bound, the image codecs that Pillow has here, and published
    points if the images are CIFAR-10.

    Returns:
        A row for each point. `system` and `setting` name it. `rate` says what `bits`, in bits an
        image, counts: `coded` (by tables that encoder and decoder share), `bound`, `whole file`,
        `without header` (without the bytes that all files share) or `published`. The other
        columns are those of `distortion`, NaN if there is no such figure.
    """
    return _table(_measure(images), images)


def load_references(folder: str | Path, images: Images) -> pd.DataFrame:
    """Return the `reference_points` of images from a folder's references.json.

    Compute and store them, and say so, if there is no such file, or if it is damaged or was made
    from other images or with other settings. Other versions of Pillow are no reason: the figures
    are those of the versions that the file names.
    """
    path = Path(folder) / FILE
    problem = _problem(path, images)
    if problem:
        print(f"{shown(path)} {problem}: computing the reference points, which takes minutes")
        write_references(folder, images)
    return _table(read_json(path)["points"], images)


def write_references(folder: str | Path, images: Images) -> None:
    """Compute the reference points of images, and store them in a folder's references.json."""
    points = pd.DataFrame(_measure(images), columns=[*TEXTS, *NUMBERS]).astype(object)
    rows = points.where(points.notna(), None).to_dict("records")  # JSON has no NaN
    content = {**_origin(images), "versions": _versions(), "points": rows}
    make_folder(Path(folder))
    write_json(Path(folder) / FILE, {**content, "seal": _seal(content)})


def _measure(images: Images) -> list[dict[str, Any]]:
    pca = fit_pca(images.train)
    points = pca_points(images, pca) + gaussian_points(images, pca)
    for codec in available_codecs():
        points += codec_points(codec, images)
    return points


def _table(points: list[dict[str, Any]], images: Images) -> pd.DataFrame:
    """Return measured points, and published ones if there are some for these images."""
    columns = [*TEXTS, *NUMBERS]
    table = pd.DataFrame(points, columns=columns).astype(dict.fromkeys(NUMBERS, float))
    if images.name != "cifar10":
        return table
    return pd.concat([table, published_points()[columns]], ignore_index=True)


def _problem(path: Path, images: Images) -> str | None:
    """Return why a file does not hold the points of these images, or None."""
    if not path.is_file():
        return "is missing"
    try:
        content = read_json(path)
    except UserError:
        return "cannot be read"
    if content.pop("seal", None) != _seal(content):
        return "is damaged"
    for name, value in _origin(images).items():
        if content.get(name) != value:
            return f"was made with other {name.replace('_', ' ')}"
    return None


def _origin(images: Images) -> dict[str, Any]:
    """Return what the points depend on: the images and all settings."""
    names = ("dataset", "data_md5", "n_train", "n_test")
    facts = images.facts
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
