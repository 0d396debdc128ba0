"""All systems of a data set come in one table, which is computed once for the same images."""

import json
import math
from pathlib import Path

import pytest
import torch
from pandas.testing import assert_frame_equal

from vqlib import Images, Run, load_images
from vqlib.paths import ROOT
from vqlib.rates import codecs, distortion, linear, references
from vqlib.rates.published import published_points
from vqlib.rates.references import References, load_references, write_references

COLUMNS = ["system", "setting", "rate", "bits", "nmse", "psnr", "mean_psnr", "ssim"]
SHIPPED = ROOT / "results" / "rate" / references.FILE


@pytest.fixture(scope="module")
def found(
    few_photos: Images, small_runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory
) -> References:
    """Return all references of a few photos, as they are stored."""
    folder = tmp_path_factory.mktemp("references")
    write_references(folder, few_photos)
    return load_references(folder, small_runs["vae"])


@pytest.fixture
def run(few_photos: Images, small_runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run whose images are a few photos, wherever they are loaded."""
    monkeypatch.setattr(references, "load_images", lambda *_: few_photos)
    return small_runs["vae"]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Images]:
    """Measure nothing, and return the images whose points were asked for."""
    asked: list[Images] = []

    def measure(images: Images) -> list[dict]:
        asked.append(images)
        point = {"system": "PCA", "rate": "coded", "bits": 1 / 3, "nmse": 0.1}
        return [
            {**point, "setting": "step 1", "pictures": images.test[:16]},
            {**point, "setting": "step 2", "mean_psnr": math.inf, "pictures": images.test[16:32]},
        ]

    monkeypatch.setattr(references, "_measure", measure)
    return asked


def test_every_system_has_its_points(found: References) -> None:
    points = found.points
    assert list(points) == COLUMNS
    steps = len(linear.STEPS)
    counts = points.groupby(["system", "rate"]).size().to_dict()
    wanted = {("PCA", "coded"): steps, ("Gaussian bound", "bound"): steps}
    for codec in codecs.available_codecs():
        for rate in ("whole file", "without header"):
            wanted[codec.name, rate] = len(codec.qualities)
    assert counts == wanted
    assert not points.duplicated(["system", "setting", "rate"]).any()


def test_only_the_bound_lacks_figures_of_images(found: References) -> None:
    points = found.points
    is_bound = points["system"] == "Gaussian bound"
    assert points.loc[is_bound, ["mean_psnr", "ssim"]].isna().all(axis=None)
    assert points[["bits", "nmse", "psnr"]].notna().all(axis=None)
    assert points[~is_bound].notna().all(axis=None)
    drawn = points[~is_bound]
    assert set(found.pictures) == set(zip(drawn["system"], drawn["setting"], strict=True))


def test_pictures_lose_what_the_points_say(found: References, few_photos: Images) -> None:
    originals = few_photos.test[:16]
    errors = {
        setting: distortion(originals, found.pictures["PCA", setting], 1.0)["nmse"]
        for setting in (f"step {step:g}" for step in linear.STEPS)
    }
    assert list(errors.values()) == sorted(errors.values(), reverse=True)
    codec = codecs.CODECS[0]
    files = [codec.encode(image, codec.qualities[0]) for image in originals]
    expected = torch.stack([codecs.decode(file) for file in files])
    stored = found.pictures[codec.name, f"quality {codec.qualities[0]}"]
    assert torch.equal(stored, expected)


def test_published_points_stand_in_cifar10_s_table_only() -> None:
    published = published_points()
    found = references._table([], "cifar10")
    assert_frame_equal(found, published[COLUMNS], check_dtype=False)
    assert references._table([], "photos").empty


def test_a_published_rate_is_in_bits_of_32_by_32_pixels_and_has_its_source() -> None:
    points = published_points()
    assert points["url"].str.startswith("https://").all()
    assert points["note"].str.len().gt(0).all()
    (codes,) = points.loc[points["system"] == "VQ-VAE", "bits"]
    assert codes == 8 * 8 * math.log2(512)
    assert points["bits"].between(100, 8000).all()


def test_points_are_computed_once_and_read_back_to_the_last_digit(
    run: Run,
    few_photos: Images,
    measured: list[Images],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = load_references(tmp_path / "new", run)
    assert len(capsys.readouterr().out.splitlines()) == 1
    again = load_references(tmp_path / "new", run)
    assert capsys.readouterr().out == ""
    assert measured == [few_photos]
    assert_frame_equal(first.points, again.points, check_exact=True)
    assert list(again.points["bits"]) == [1 / 3, 1 / 3]
    assert torch.equal(again.pictures["PCA", "step 2"], few_photos.test[16:32])


@pytest.mark.faults
def test_points_of_other_images_or_settings_are_computed_again(
    run: Run,
    few_photos: Images,
    measured: list[Images],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_references(tmp_path, Images("photos", few_photos.train, few_photos.test[:39]))
    load_references(tmp_path, run)
    (line,) = capsys.readouterr().out.splitlines()
    assert "other images" in line
    monkeypatch.setattr(references, "STEPS", (1.0,))
    load_references(tmp_path, run)
    (line,) = capsys.readouterr().out.splitlines()
    assert "other settings" in line
    assert len(measured) == 3


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["truncated", "changed digit", "no object", "other pictures"])
def test_a_damaged_file_is_told_and_made_again(
    damage: str,
    run: Run,
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
    path.write_text(damaged.get(damage, whole))
    if damage == "other pictures":
        (tmp_path / references.SHEET).write_bytes(b"")
    load_references(tmp_path, run)
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


def test_codecs_are_not_measured_again_on_the_same_test_images(
    cifar10_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(references, "codec_points")
    points = references._of_codecs(load_images("cifar10", limit=10_000))
    stored = json.loads(SHIPPED.read_text())["points"]
    pictures = [point.pop("pictures") for point in points]
    assert points == [row for row in stored if row["system"] not in ("PCA", "Gaussian bound")]
    assert {tuple(rows.shape) for rows in pictures} == {(16, 3, 32, 32)}


def test_codecs_are_measured_on_larger_images() -> None:
    large = torch.zeros(1, 3, 64, 64, dtype=torch.uint8).expand(10_000, -1, -1, -1)
    small = large[..., :32, :32]
    assert references._shipped(Images("cifar10", small, small)) is not None
    assert references._shipped(Images("cifar10", large, large)) is None
