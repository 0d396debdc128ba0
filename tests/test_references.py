"""All systems of a data set come in one table, which is computed once for the same images."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from vqlib import Images
from vqlib.paths import ROOT
from vqlib.rates import codecs, linear, references
from vqlib.rates.published import published_points
from vqlib.rates.references import load_references, reference_points, write_references

COLUMNS = ["system", "setting", "rate", "bits", "nmse", "psnr", "mean_psnr", "ssim"]
SHIPPED = ROOT / "results" / "rate" / references.FILE
POINT = {"system": "PCA", "setting": "step 1", "rate": "coded", "bits": 1 / 3, "nmse": 0.1}


@pytest.fixture(scope="module")
def points(few_photos: Images) -> pd.DataFrame:
    return reference_points(few_photos)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Images]:
    """Measure nothing, and return the images whose points were asked for."""
    asked: list[Images] = []

    def measure(images: Images) -> list[dict]:
        asked.append(images)
        return [POINT, {**POINT, "psnr": 20.0, "mean_psnr": math.inf}]

    monkeypatch.setattr(references, "_measure", measure)
    return asked


def test_every_system_has_its_points(points: pd.DataFrame) -> None:
    assert list(points) == COLUMNS
    steps = len(linear.STEPS)
    counts = points.groupby(["system", "rate"]).size().to_dict()
    wanted = {("PCA", "coded"): steps, ("Gaussian bound", "bound"): steps}
    for codec in codecs.available_codecs():
        for rate in ("whole file", "without header"):
            wanted[codec.name, rate] = len(codec.qualities)
    assert counts == wanted
    assert not points.duplicated(["system", "setting", "rate"]).any()


def test_only_the_bound_lacks_figures_of_images(points: pd.DataFrame) -> None:
    is_bound = points["system"] == "Gaussian bound"
    assert points.loc[is_bound, ["mean_psnr", "ssim"]].isna().all(axis=None)
    assert points[["bits", "nmse", "psnr"]].notna().all(axis=None)
    assert points[~is_bound].notna().all(axis=None)


def test_published_points_stand_in_cifar10_s_table_only(
    few_photos: Images, measured: list[Images]
) -> None:
    cifar10 = Images("cifar10", few_photos.train, few_photos.test)
    published = published_points()
    assert_frame_equal(reference_points(cifar10)[2:].reset_index(drop=True), published[COLUMNS])
    assert len(reference_points(few_photos)) == 2


def test_a_published_rate_is_in_bits_of_32_by_32_pixels_and_has_its_source() -> None:
    points = published_points()
    assert points["url"].str.startswith("https://").all()
    assert points["note"].str.len().gt(0).all()
    (codes,) = points.loc[points["system"] == "VQ-VAE", "bits"]
    assert codes == 8 * 8 * math.log2(512)
    assert points["bits"].between(100, 8000).all()


def test_points_are_computed_once_and_read_back_to_the_last_digit(
    few_photos: Images,
    measured: list[Images],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = load_references(tmp_path / "new", few_photos)
    assert len(capsys.readouterr().out.splitlines()) == 1
    again = load_references(tmp_path / "new", few_photos)
    assert capsys.readouterr().out == ""
    assert len(measured) == 1
    assert_frame_equal(first, again, check_exact=True)
    assert_frame_equal(again, reference_points(few_photos), check_exact=True)


@pytest.mark.faults
def test_points_of_other_images_or_settings_are_computed_again(
    few_photos: Images,
    measured: list[Images],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_references(tmp_path, few_photos)
    fewer = Images("photos", few_photos.train, few_photos.test[:39])
    load_references(tmp_path, fewer)
    (line,) = capsys.readouterr().out.splitlines()
    assert "other images" in line
    monkeypatch.setattr(references, "STEPS", (1.0,))
    load_references(tmp_path, fewer)
    (line,) = capsys.readouterr().out.splitlines()
    assert "other settings" in line
    assert measured == [few_photos, fewer, fewer]


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["truncated", "changed digit", "no object"])
def test_a_damaged_file_is_told_and_made_again(
    damage: str,
    few_photos: Images,
    measured: list[Images],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_references(tmp_path, few_photos)
    path = tmp_path / references.FILE
    whole = path.read_text()
    damaged = {
        "truncated": whole[: len(whole) // 2],
        "changed digit": whole.replace("0.1", "0.2"),
        "no object": "[]",
    }
    path.write_text(damaged[damage])
    load_references(tmp_path, few_photos)
    (line,) = capsys.readouterr().out.splitlines()
    assert references.FILE in line
    assert path.read_text() == whole


def test_the_shipped_points_are_those_of_all_of_cifar10_with_today_s_settings() -> None:
    stored = json.loads(SHIPPED.read_text())
    assert stored["seal"] == references._seal({k: v for k, v in stored.items() if k != "seal"})
    images = stored["images"]
    assert (images["dataset"], images["n_train"], images["n_test"]) == ("cifar10", 50_000, 10_000)
    assert stored["settings"] == json.loads(json.dumps(references._settings()))
    assert {row["system"] for row in stored["points"]} == {
        "PCA", "Gaussian bound", *(codec.name for codec in codecs.CODECS)
    }  # fmt: skip
