"""Files are those that Pillow writes, and only what all of them share is taken off."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqlib import Images
from vqlib.rates.codecs import (
    CODECS,
    Codec,
    available_codecs,
    codec_points,
    decode,
    shared_bytes,
)

each_codec = pytest.mark.parametrize("codec", CODECS, ids=[codec.name for codec in CODECS])
JPEG, WEBP = CODECS[:2]


def skip_if_missing(codec: Codec) -> None:
    if not codec.is_available:
        pytest.skip(f"Pillow has no {codec.name} here")


@each_codec
def test_a_file_is_that_which_pillow_writes_to_disk(
    codec: Codec, few_photos: Images, tmp_path: Path
) -> None:
    skip_if_missing(codec)
    path = tmp_path / f"picture.{codec.format.lower()}"
    for image in few_photos.test[:3]:
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture.save(path, codec.format, quality=30, **codec.options)
        assert codec.encode(image, 30) == path.read_bytes()
        with Image.open(path) as read:
            assert (decode(path.read_bytes()).permute(1, 2, 0).numpy() == np.asarray(read)).all()


@each_codec
def test_a_higher_quality_costs_more_bits_and_leaves_a_smaller_error(
    codec: Codec, few_photos: Images
) -> None:
    skip_if_missing(codec)
    points = [p for p in codec_points(codec, few_photos) if p["rate"] == "whole file"]
    assert [p["setting"] for p in points] == [f"quality {q}" for q in codec.qualities]
    rates, errors = ([p[name] for p in points] for name in ("bits", "nmse"))
    assert rates == sorted(rates)
    assert errors == sorted(errors, reverse=True)


def test_both_rates_of_a_quality_are_those_of_its_files(few_photos: Images) -> None:
    points = {(p["setting"], p["rate"]): p for p in codec_points(JPEG, few_photos)}
    files = [JPEG.encode(image, 20) for image in few_photos.test]
    whole, stripped = (points["quality 20", rate] for rate in ("whole file", "without header"))
    assert whole["bits"] == 8 * sum(map(len, files)) / len(files)
    assert whole["bits"] - stripped["bits"] == 8 * shared_bytes(files)
    decoded = torch.stack([decode(file) for file in files])
    mse = (decoded.double() / 255 - few_photos.test.double() / 255).square().mean().item()
    assert whole["nmse"] == stripped["nmse"] == pytest.approx(mse / few_photos.variance)


@pytest.mark.parametrize(
    ("files", "shared"),
    [
        ([b"head-one-end", b"head-three-end"], len(b"head-") + len(b"-end") + len(b"e")),
        ([b"abcd", b"abcd"], 4),
        ([b"abcd", b"wxyz"], 0),
        ([b"aXbYc", b"aZbWc"], 3),  # between bytes that differ, too
        ([b"aa", b"aaa", b"aaaa"], 2),  # no byte counts twice
        ([b"\x00\x01", b"\x00\x02", b"\x00\x01"], 1),
    ],
)
def test_bytes_are_shared_if_all_files_have_them_in_one_place(
    files: list[bytes], shared: int
) -> None:
    assert shared_bytes(files) == shared


def test_files_can_be_put_together_again_from_what_is_not_shared(photos: Images) -> None:
    files = [WEBP.encode(image, 20) for image in photos.test[:200]]
    shortest = min(map(len, files))
    shared = [place for place in range(shortest) if len({file[place] for file in files}) == 1]
    heads = {place: files[0][place] for place in shared}
    kept = [bytes(b for i, b in enumerate(file) if i not in heads) for file in files]
    for file, rest in zip(files, kept, strict=True):
        remaining = iter(rest)
        again = bytes(heads[i] if i in heads else next(remaining) for i in range(len(file)))
        assert again == file


def test_the_header_of_a_jpeg_is_625_bytes(photos: Images) -> None:
    files = [JPEG.encode(image, 20) for image in photos.test]
    assert shared_bytes(files) == 625


@pytest.mark.faults
def test_a_codec_that_pillow_lacks_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = available_codecs()
    capsys.readouterr()
    monkeypatch.delitem(Image.SAVE, WEBP.format)
    assert available_codecs() == [codec for codec in there if codec is not WEBP]
    lines = [line for line in capsys.readouterr().out.splitlines() if "WebP" in line]
    assert len(lines) == 1
    assert WEBP.provider in lines[0]
