"""Pictures to a file of codes and back: `vqlib encode` and `vqlib decode`."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakeConfig, refusal
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from vqlib import Images, Run, fit, load_run
from vqlib.images import load_images
from vqlib.paths import SHIPPED
from vqlib.rates import (
    code_probabilities,
    coding,
    coding_figures,
    decode,
    decode_pictures,
    encode,
    encode_pictures,
    pictures,
)
from vqlib.rates.container import dump, parse

Output = pytest.CaptureFixture[str]


@pytest.fixture
def run(small_runs: dict[str, Run]) -> Run:
    """Return a run whose model has codes."""
    return small_runs["vqvae"]


@pytest.fixture(scope="module")
def own(
    picture_folder: Path, small_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Return a run on a folder of pictures, with other weights than `run`."""
    config = small_config("vqvae", dataset=str(picture_folder), epochs=1)
    return fit(config, results=tmp_path_factory.mktemp("own"))


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)


def rounded(run: Run, images: torch.Tensor) -> torch.Tensor:
    """Return images encoded and decoded by the model alone, uint8."""
    decoded = run.model.decode_codes(run.model.codes(images))
    return (decoded * 255).round().byte()


def photograph(path: Path, size: tuple[int, int] = (32, 32), colour: str = "teal") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


# --- tensors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 40])
def test_decoded_images_are_what_the_model_makes_of_the_codes(
    run: Run, few_photos: Images, count: int
) -> None:
    images = few_photos.test[:count]
    assert torch.equal(decode(run, encode(run, images)), rounded(run, images))


def test_images_of_more_than_a_batch_are_coded_in_order(
    run: Run, few_photos: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = few_photos.test[:10]
    at_once = encode(run, images)
    monkeypatch.setattr(pictures, "BATCH", 3)
    content = encode(run, images)
    assert content == at_once
    assert torch.equal(decode(run, content), torch.cat([rounded(run, b) for b in images.split(3)]))


def test_another_grid_and_a_codebook_without_counts_are_coded_too(
    small_config: MakeConfig, few_photos: Images, tmp_path: Path
) -> None:
    run = fit(small_config("vqvae", grid=4, decay=0.0, epochs=1), few_photos, tmp_path)
    content = encode(run, few_photos.test)
    assert parse(content, "file").shape == (40, 4, 4)
    assert torch.equal(decode(run, content), rounded(run, few_photos.test))
    bits = coding_figures(run, content, few_photos.test)
    assert bits["raw_bits"] == bits["ideal_bits"] == 16 * 5


def test_the_figures_are_those_of_the_file(run: Run, few_photos: Images) -> None:
    images = few_photos.test
    content = encode(run, images)
    figures = coding_figures(run, content, images)
    assert figures["images"] == 40
    assert figures["file_bytes"] == len(content)
    assert figures["coded_bits"] * 40 == 8 * len(parse(content, "file").codes)
    assert figures["raw_bits"] == 64 * math.log2(32)
    assert figures["entropy_bits"] < figures["ideal_bits"] < figures["coded_bits"]
    psnr = peak_signal_noise_ratio(images.numpy(), decode(run, content).numpy())
    assert figures["psnr"] == pytest.approx(psnr, abs=1e-6)


def test_the_shipped_model_codes_cifar10_within_a_thousandth_of_the_computed_rate(
    cifar10_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQLIB_DATA", str(cifar10_root))
    run = load_run(SHIPPED / "vqvae-cifar10-b128-e40-s0")
    images = load_images("cifar10", 1_000).test
    content = encode(run, images)
    figures = coding_figures(run, content, images)
    assert figures["coded_bits"] == pytest.approx(figures["ideal_bits"], rel=1e-3)
    assert figures["ideal_bits"] < figures["raw_bits"] == 576
    codes = pictures.read_codes(run, parse(content, "file"))
    expected = torch.cat([run.model.codes(batch) for batch in images.split(pictures.BATCH)])
    np.testing.assert_array_equal(codes, expected)


# --- files -----------------------------------------------------------------------------------


def test_a_folder_comes_back_with_its_names_and_sub_folders(
    run: Run, picture_folder: Path, few_photos: Images, tmp_path: Path
) -> None:
    figures = encode_pictures(run.folder, [picture_folder], tmp_path / "new" / "file.vqlb")
    assert figures["images"] == 50
    assert decode_pictures(run.folder, tmp_path / "new" / "file.vqlb", tmp_path / "out") == 50
    originals, decoded = (
        sorted(path.relative_to(root) for path in root.rglob("*.png"))
        for root in (picture_folder, tmp_path / "out")
    )
    assert decoded == originals
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name[0] == "."] == []
    for number in range(3):
        path = tmp_path / "out" / "train" / ("even", "odd")[number % 2] / f"{number:03}.png"
        expected = rounded(run, few_photos.train[number : number + 1])[0]
        assert (pixels(path).int() - expected.int()).abs().max() <= 1  # of another batch


def test_png_files_have_the_very_pixels_that_decode_gives(
    run: Run, few_photos: Images, tmp_path: Path
) -> None:
    content = encode(run, few_photos.test)
    (tmp_path / "file").write_bytes(content)
    decode_pictures(run.folder, tmp_path / "file", tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files[:2]] == ["00000.png", "00001.png"]
    assert torch.equal(torch.stack([pixels(path) for path in files]), decode(run, content))


def test_without_pictures_the_test_images_of_the_run_are_encoded(own: Run, tmp_path: Path) -> None:
    figures = encode_pictures(own.folder, [], tmp_path / "file")
    assert figures["images"] == own.environment["n_test"]
    assert figures["psnr"] == pytest.approx(own.evaluation["test_psnr"], abs=0.05)  # rounded


def test_pictures_of_any_size_are_fitted_and_counted(
    run: Run, tmp_path: Path, capsys: Output
) -> None:
    given = [
        photograph(tmp_path / "a.png"),
        photograph(tmp_path / "b.jpg", (60, 40)),
        photograph(tmp_path / "c.bmp", (8, 8)),
    ]
    assert encode_pictures(run.folder, given, tmp_path / "file")["images"] == 3
    assert "2 were centre-cropped and resized to 32×32" in capsys.readouterr().out
    decode_pictures(run.folder, tmp_path / "file", tmp_path / "out")
    files = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in files] == ["a.png", "b.png", "c.png"]
    assert {Image.open(path).size for path in files} == {(32, 32)}


def test_pictures_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    given = [photograph(tmp_path / name) for name in ("tom.png", "tom.bmp", "x/Tom.png", "y.z.png")]
    encode_pictures(run.folder, given, tmp_path / "file")
    decode_pictures(run.folder, tmp_path / "file", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["Tom-3.png", "tom-2.png", "tom.png", "y.z.png"]


def test_an_older_file_is_replaced(run: Run, tmp_path: Path) -> None:
    given = photograph(tmp_path / "a.png")
    (tmp_path / "file").write_text("old")
    encode_pictures(run.folder, [given], tmp_path / "file")
    assert decode_pictures(run.folder, tmp_path / "file", tmp_path / "out") == 1


# --- what is wrong ---------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("model", ["vae", "svae"])
def test_a_run_without_codes_is_refused(
    small_runs: dict[str, Run], tmp_path: Path, model: str
) -> None:
    run = small_runs[model]
    facts = (run.folder, run.model.title, "no codes", "VQ-VAE")
    refusal(lambda: encode_pictures(run.folder, [], tmp_path / "file"), *facts)
    assert not (tmp_path / "file").exists()


@pytest.mark.faults
def test_a_file_of_another_model_is_refused_with_the_run_that_it_needs(
    run: Run, own: Run, few_photos: Images
) -> None:
    content = encode(own, few_photos.test)
    digest = own.environment["sha256"]["weights.safetensors"][:8]
    refusal(lambda: decode(run, content, "x.vqlb"), "x.vqlb", own.folder.name, digest, run.folder)


@pytest.mark.faults
def test_codes_that_come_out_otherwise_than_they_were_written_are_told(
    run: Run, few_photos: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encode(run, few_photos.test)
    other = code_probabilities(run.model)[::-1].copy()  # as another version might compute them
    monkeypatch.setattr(coding, "code_probabilities", lambda _model: other)
    refusal(lambda: decode(run, content, "x.vqlb"), "x.vqlb", "codes", "versions of vqlib")


@pytest.mark.faults
def test_a_damaged_or_missing_file_leaves_no_pictures(
    run: Run, few_photos: Images, tmp_path: Path
) -> None:
    file, out = tmp_path / "file", tmp_path / "out"
    refusal(lambda: decode_pictures(run.folder, file, out), file, "cannot be read")
    file.write_bytes(encode(run, few_photos.test)[:-1])
    refusal(lambda: decode_pictures(run.folder, file, out), file, "truncated")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.faults
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
def test_no_picture_is_written_outside_of_the_folder(
    run: Run, few_photos: Images, tmp_path: Path, name: str
) -> None:
    coded = parse(encode(run, few_photos.test[:2]), "file")
    (tmp_path / "file").write_bytes(dump(replace(coded, names=("good", name))))
    refusal(lambda: decode_pictures(run.folder, tmp_path / "file", tmp_path / "out"), name)
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.faults
def test_a_folder_that_holds_something_is_not_written_to(
    run: Run, few_photos: Images, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(encode(run, few_photos.test[:2]))
    refusal(lambda: decode_pictures(run.folder, tmp_path / "file", tmp_path), "is not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.faults
def test_a_picture_is_never_overwritten_by_the_file(run: Run, tmp_path: Path) -> None:
    given = photograph(tmp_path / "a.png")
    before = given.read_bytes()
    refusal(lambda: encode_pictures(run.folder, [tmp_path], given), given, "would overwrite")
    assert given.read_bytes() == before


@pytest.mark.faults
def test_a_picture_that_cannot_be_encoded_is_named(run: Run, tmp_path: Path) -> None:
    good, bad = photograph(tmp_path / "in" / "good.png"), tmp_path / "in" / "z.png"
    bad.write_bytes(good.read_bytes()[:-30])
    refusal(lambda: encode_pictures(run.folder, [good.parent], tmp_path / "file"), bad)
    refusal(lambda: encode_pictures(run.folder, [bad], tmp_path / "file"), bad)
    assert not (tmp_path / "file").exists()


@pytest.mark.faults
def test_pictures_that_are_not_there_are_named(run: Run, tmp_path: Path) -> None:
    nothing, empty = tmp_path / "nothing", tmp_path / "empty"
    empty.mkdir()
    refusal(lambda: encode_pictures(run.folder, [nothing], tmp_path / "file"), nothing)
    refusal(lambda: encode_pictures(run.folder, [empty], tmp_path / "file"), empty, "no pictures")


@pytest.mark.faults
def test_a_name_for_each_image_or_none(run: Run, few_photos: Images) -> None:
    refusal(lambda: encode(run, few_photos.test, ["tom"]), "1 names for 40 images")
