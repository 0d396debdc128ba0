"""Folders and archives of pictures: what is read, how it is split, and what is told."""

import errno
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from albums import (
    ALBUMS,
    UNREADABLE,
    encoded,
    fill,
    random_pixels,
    tarred,
    write,
    write_picture,
    zipped,
)
from conftest import SMALL, examples, outcome, refusal
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor

from vqlib import Images, load_images, load_run
from vqlib.cli import main

Output = pytest.CaptureFixture[str]


def rows(images: Tensor) -> list[bytes]:
    """Return the pixels of each image as bytes."""
    return [image.numpy().tobytes() for image in images.permute(0, 2, 3, 1).contiguous()]


def pixels_of(images: Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def counts(images: Images) -> tuple[int, int]:
    return len(images.train), len(images.test)


# --- what people have ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ALBUMS)
def test_a_folder_as_people_have_it_is_trained_on(
    tmp_path: Path, capsys: Output, name: str
) -> None:
    make, train, test, told = ALBUMS[name]
    folder = make(tmp_path)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL["vae"].items()]
    results = ("--epochs=1", "--batch-size=8", f"--results={tmp_path / 'runs'}")
    main(["train", "vae", f"--dataset={folder}", *options, *results])
    out = capsys.readouterr().out
    (run,) = map(load_run, (tmp_path / "runs").iterdir())
    assert (run.environment["n_train"], run.environment["n_test"]) == (train, test)
    for fact in told:
        assert fact in run.environment["about"]
        assert out.count(fact) == 1  # told once
    images = load_images(str(folder))
    assert images.digest == run.environment["data_md5"]
    assert not set(rows(images.train)) & set(rows(images.test))


@pytest.mark.faults
def test_unreadable_pictures_are_all_refused_by_name_or_left_out_if_asked(
    tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = UNREADABLE(tmp_path)
    facts = (folder / "bad.png", folder / "cut.jpg", "2 pictures", "--skip-unreadable")
    refusal(lambda: load_images(str(folder)), *facts)

    results = ["--epochs=1", "--batch-size=8", "--latent-dim=4", f"--results={tmp_path / 'runs'}"]
    command = ["train", "vae", f"--dataset={folder}", *results]
    with pytest.raises(SystemExit):
        main(command)
    assert capsys.readouterr().err.count("\n") == 1
    main([*command, "--skip-unreadable"])
    (folder_of_run,) = (tmp_path / "runs").iterdir()
    run = load_run(folder_of_run)
    assert run.environment["n_train"] + run.environment["n_test"] == 12
    for fact in ("2 that cannot be read", "`bad.png`", "`cut.jpg`"):
        assert fact in run.environment["about"]
    main(["evaluate", str(folder_of_run)])  # it leaves out what the run left out
    main(command)  # the finished run does not need the option

    monkeypatch.setenv("VQLIB_SKIP_UNREADABLE", "1")
    assert load_images(str(folder)).n_unreadable == 2


@pytest.mark.faults
def test_a_folder_of_nothing_readable_is_refused(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", b"no picture")
    refusal(
        lambda: load_images(str(tmp_path)), "3 pictures", *(tmp_path / f"{n}.png" for n in (0, 2))
    )
    refusal(lambda: load_images(str(tmp_path), skip_unreadable=True), tmp_path, "no picture can")


# --- folders that were read before ---------------------------------------------------------


@pytest.mark.parametrize("classes", [(), ("cats", "dogs", "eels")])
@pytest.mark.parametrize("size", [(32, 32), (53, 40)])
def test_plain_folders_give_the_same_images_as_ever(
    tmp_path: Path, size: tuple[int, int], classes: tuple[str, ...]
) -> None:
    # runs are recognised by these pixels: every tenth picture, from the second on, is for testing
    pictures = {}
    for number in range(37):
        name = f"{number:02}.png"
        path = tmp_path / classes[number % 3] / name if classes else tmp_path / name
        pictures[path] = write_picture(path, number, size)
    expected = np.array(
        [
            np.asarray(ImageOps.fit(Image.fromarray(pixels), (32, 32), Image.Resampling.BOX))
            for _, pixels in sorted(pictures.items())
        ]
    )
    is_test = np.arange(37) % 10 == 1
    images = load_images(str(tmp_path))
    np.testing.assert_array_equal(pixels_of(images.train), expected[~is_test])
    np.testing.assert_array_equal(pixels_of(images.test), expected[is_test])


def test_a_folder_in_torchvision_s_layout_is_read_in_its_order(picture_folder: Path) -> None:
    from torchvision.datasets import ImageFolder

    images = load_images(str(picture_folder))
    assert images.labels is not None
    assert images.test_labels is not None
    for split, pixels, labels in (
        ("train", images.train, images.labels),
        ("test", images.test, images.test_labels),
    ):
        theirs = ImageFolder(picture_folder / split)
        expected = [np.asarray(picture) for picture, _ in theirs]
        np.testing.assert_array_equal(pixels_of(pixels), expected)
        assert labels.tolist() == theirs.targets
        assert list(images.classes) == theirs.classes


# --- splits and classes --------------------------------------------------------------------


def test_each_class_has_pictures_for_testing(tmp_path: Path) -> None:
    for number in range(9):
        fill(tmp_path / f"class {number}", 4, start=10 * number)
    images = load_images(str(tmp_path))
    assert images.test_labels is not None
    assert set(images.test_labels.tolist()) == set(range(9))
    assert images.classes == tuple(f"class {number}" for number in range(9))


@pytest.mark.parametrize("limit", [3, 4, 7, 100])
def test_a_limit_is_spread_over_the_classes(tmp_path: Path, limit: int) -> None:
    for place, (name, count) in enumerate({"few": 20, "many": 60, "more": 60}.items()):
        fill(tmp_path / name, count, start=100 * place)
    whole, some = load_images(str(tmp_path)), load_images(str(tmp_path), limit)
    assert some.labels is not None
    numbers = np.bincount(some.labels, minlength=3)
    assert numbers.sum() == limit
    assert numbers.max() - numbers[1:].min() <= 1
    assert numbers[0] == min(numbers.max(), 18) or numbers.max() - numbers[0] <= 1
    assert set(rows(some.train)) <= set(rows(whole.train))
    assert set(rows(some.test)) <= set(rows(whole.test))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        *(("train", "test"), ("Train", "TEST"), ("training", "testing"), ("train", "val")),
        *(("seg_train", "seg_test"), ("train_images", "test-images"), ("train2017", "val2017")),
        *(("TrainSet", "TestSet"), ("x_train", "x_valid"), ("training", "validation")),
        *(("data/train", "data/test"), ("a/b/train", "a/b/test")),
    ],
)
def test_common_names_of_splits_are_known(tmp_path: Path, train: str, test: str) -> None:
    fill(tmp_path / train / "cats", 5)
    fill(tmp_path / test / "cats", 3, start=10)
    if train == "TrainSet":  # one word, and no split
        assert counts(load_images(str(tmp_path))) == (5, 3)
        return
    images = load_images(str(tmp_path))
    assert counts(images) == (5, 3)
    assert rows(images.test) == [random_pixels(n).tobytes() for n in (10, 11, 12)]
    assert images.classes == ("cats",)


@pytest.mark.parametrize("others", [("bus", "car"), ("steam_train", "bus"), ("trainers", "socks")])
def test_a_class_may_be_called_train(tmp_path: Path, others: tuple[str, ...]) -> None:
    for place, name in enumerate(("train", *others)):
        fill(tmp_path / name, 10, start=10 * place)
    images = load_images(str(tmp_path))
    assert counts(images) == (27, 3)
    assert images.classes == tuple(sorted(("train", *others)))


def test_a_class_may_be_called_valid(tmp_path: Path) -> None:
    fill(tmp_path / "valid", 10)
    fill(tmp_path / "invalid", 10, start=10)
    assert load_images(str(tmp_path)).classes == ("invalid", "valid")


def test_a_lone_folder_train_is_split(tmp_path: Path) -> None:
    fill(tmp_path / "train", 20)
    assert counts(load_images(str(tmp_path))) == (18, 2)


@pytest.mark.faults
@pytest.mark.parametrize("name", ["test", "Val"])
def test_a_folder_for_testing_alone_is_refused(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "cats", 3)
    fill(tmp_path / name, 3, start=3)
    refusal(lambda: load_images(str(tmp_path)), name, "none for training")


@pytest.mark.faults
@pytest.mark.parametrize("empty", ["train", "test"])
def test_a_split_without_pictures_is_refused(tmp_path: Path, empty: str) -> None:
    for split in {"train", "test"} - {empty}:
        write_picture(tmp_path / split / "a.png")
    (tmp_path / empty).mkdir()
    refusal(lambda: load_images(str(tmp_path)), tmp_path / empty, "no pictures")


def test_a_folder_in_neither_split_is_told(tmp_path: Path) -> None:
    for place, name in enumerate(("train", "test", "unlabelled")):
        fill(tmp_path / name, 4, start=10 * place)
    write(tmp_path / "unlabelled" / "bad.png", b"no picture")  # which nobody needs
    images = load_images(str(tmp_path))
    assert counts(images) == (4, 4)
    assert "5 in `unlabelled`" in images.about


@pytest.mark.parametrize("size", [16, 32, 48, 64])
def test_pictures_get_the_size_that_is_asked_for(tmp_path: Path, size: int) -> None:
    for number in range(4):
        write_picture(tmp_path / f"{number}.png", number, (size, size))
    images = load_images(str(tmp_path), image_size=size)
    assert images.size == size
    np.testing.assert_array_equal(pixels_of(images.test)[0], random_pixels(1, (size, size)))
    assert "resized" not in images.about


@pytest.mark.faults
@pytest.mark.parametrize("size", [0, -16, 8, 33])
def test_a_size_that_is_none_is_refused(picture_folder: Path, size: int) -> None:
    refusal(lambda: load_images(str(picture_folder), image_size=size), "image_size", "16", size)


# --- links and copies ----------------------------------------------------------------------


def test_a_picture_is_on_one_side_whatever_file_it_is_in(tmp_path: Path) -> None:
    for number in range(30):  # the same pixels in files of other formats
        pixels = Image.fromarray(random_pixels(number // 2))
        pixels.save(tmp_path / f"{number:02}.{('png', 'bmp')[number % 2]}")
    images = load_images(str(tmp_path))
    assert sum(counts(images)) == 30
    assert not set(rows(images.train)) & set(rows(images.test))


def test_training_pictures_that_look_like_test_pictures_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path / "train", 8)
    fill(tmp_path / "test", 2, start=20)
    Image.fromarray(random_pixels(3)).save(tmp_path / "test" / "again.bmp")
    images = load_images(str(tmp_path))
    assert counts(images) == (7, 3)
    assert "1 training pictures that look like a test picture" in images.about


@pytest.mark.faults
def test_training_and_test_pictures_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train", 3)
    fill(tmp_path / "test", 3)
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "every training picture is in")


@pytest.mark.faults
def test_pictures_in_a_linked_folder_count(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", 3)
    (tmp_path / "pictures").mkdir()
    for link in ("link", "another link"):
        (tmp_path / "pictures" / link).symlink_to(tmp_path / "elsewhere")
    images = load_images(str(tmp_path / "pictures"))
    assert sum(counts(images)) == 3
    assert "1 links" in images.about


@pytest.mark.faults
def test_links_in_circles_end(tmp_path: Path) -> None:
    for place, (name, other) in enumerate((("a", "b"), ("b", "a"))):
        fill(tmp_path / "pics" / name, 3, start=10 * place)
        (tmp_path / "pics" / name / "other").symlink_to(tmp_path / "pics" / other)
    (tmp_path / "pics" / "x").symlink_to("y")
    (tmp_path / "pics" / "y").symlink_to("x")
    images = load_images(str(tmp_path / "pics"))
    assert sum(counts(images)) == 6
    assert images.classes == ("a", "b")


@pytest.mark.faults
def test_a_link_to_a_picture_that_is_gone_is_refused_by_name(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    refusal(lambda: load_images(str(tmp_path)), tmp_path / "b.png", "cannot be read")


@pytest.mark.faults
def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    fill(tmp_path, 3)
    os.mkfifo(tmp_path / "pipe.png")
    images = load_images(str(tmp_path))
    assert "1 pipe.png" in images.about


# --- archives ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pack",
    [
        *(zipped, tarred, partial(tarred, mode="w")),
        *(partial(tarred, mode="w:xz"), partial(tarred, mode="w:bz2")),
    ],
    ids=["zip", "tar.gz", "tar", "tar.xz", "tar.bz2"],
)
def test_an_archive_is_read_like_its_folder(
    tmp_path: Path, picture_folder: Path, pack: Callable[[Path, Path], Path]
) -> None:
    write(tmp_path / "pictures" / "__MACOSX" / "._a.png", b"not a picture")
    write(tmp_path / "pictures" / "notes.txt", b"notes")
    shutil.copytree(picture_folder, tmp_path / "pictures", dirs_exist_ok=True)
    folder, archive = picture_folder, pack(tmp_path / "pictures", tmp_path / "any name")
    one, other = load_images(str(folder)), load_images(str(archive))
    assert one.digest == other.digest
    assert one.classes == other.classes
    assert "1 .txt" in other.about


@pytest.mark.faults
def test_an_archive_is_never_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "pics.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for number in range(3):
            packed.writestr(f"../../{number}.png", encoded("PNG", seed=number))
        packed.writestr("bomb.png", bytes(600 * 2**20))  # shrinks to half a megabyte
    refusal(lambda: load_images(str(archive)), archive / "bomb.png", "larger than 512 MiB")
    assert sum(counts(load_images(str(archive), skip_unreadable=True))) == 3
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.faults
def test_of_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "pics.tar", "w") as archive:
        for number in (0, 1, 2, 3):
            write_picture(tmp_path / "a.png", number)
            archive.add(tmp_path / "a.png", f"{number % 3}.png")
    images = load_images(str(tmp_path / "pics.tar"))
    assert sum(counts(images)) == 3
    assert random_pixels(3).tobytes() in rows(images.train) + rows(images.test)
    assert random_pixels(0).tobytes() not in rows(images.train) + rows(images.test)
    assert "1 links and names" in images.about


@pytest.mark.faults
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_damaged_archive_is_refused_by_name(
    tmp_path: Path, pack: Callable[[Path, Path], Path]
) -> None:
    fill(tmp_path / "pics", 20)
    content = pack(tmp_path / "pics", tmp_path / "whole").read_bytes()
    for number, cut in enumerate((len(content) // 2, 100, 0)):
        damaged = tmp_path / f"{number}.zip"
        damaged.write_bytes(
            content[:cut] if cut else b"PK\3\4" + content[4:] + b"PK\5\6" + bytes(18)
        )
        images, refused = outcome(lambda path=damaged: load_images(str(path)))
        assert images is None
        assert str(damaged) in refused


@pytest.mark.faults
def test_a_flipped_bit_in_an_archive_is_told(tmp_path: Path) -> None:
    fill(tmp_path / "pics", 5)
    archive = zipped(tmp_path / "pics", tmp_path / "pics.zip")
    content = bytearray(archive.read_bytes())
    place = content.index(encoded("PNG", seed=2)[40:80])
    content[place] ^= 1
    archive.write_bytes(content)
    refusal(lambda: load_images(str(archive)), archive / "pics" / "002.png", "CRC")


@pytest.mark.faults
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "one.png")
    refusal(lambda: load_images(str(tmp_path / "one.png")), tmp_path / "one.png", ".zip")


# --- files ---------------------------------------------------------------------------------


@pytest.mark.faults
def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "no pictures", ".png")


@pytest.mark.faults
def test_a_single_picture_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "one picture")
    shutil.copy(tmp_path / "a.png", tmp_path / "b.png")
    refusal(lambda: load_images(str(tmp_path)), tmp_path, "one picture")


def test_two_pictures_are_enough_for_a_flat_folder(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    assert counts(load_images(str(tmp_path))) == (1, 1)


@pytest.mark.faults
def test_one_class_is_enough(picture_folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(picture_folder / split / "odd", tmp_path / split / "odd")
    images = load_images(str(tmp_path))
    assert counts(images) == (20, 5)
    assert images.classes == ("odd",)


@pytest.mark.faults
def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, 3)
    (tmp_path / "b").mkdir()
    scandir = os.scandir

    def denied(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    refusal(lambda: load_images(str(tmp_path)), tmp_path / "b", "Permission denied")
    assert load_images(str(tmp_path), skip_unreadable=True).n_unreadable == 1


@pytest.mark.faults
def test_files_that_are_left_out_are_told(tmp_path: Path, capsys: Output) -> None:
    fill(tmp_path, 2)
    for name in ("c.heic", "notes.txt", "more.TXT", "Makefile"):
        (tmp_path / name).write_bytes(encoded("PNG"))
    load_images(str(tmp_path))
    (line,) = capsys.readouterr().out.splitlines()
    for fact in (str(tmp_path), "`1 .heic`", "`2 .txt`", "`1 Makefile`"):
        assert fact in line
    assert ".png" not in line


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    fill(tmp_path, 2)
    for hidden in (".0.png", ".cache/1.png"):
        write(tmp_path / hidden, b"another program's")
    images = load_images(str(tmp_path))
    assert counts(images) == (1, 1)
    assert "Left out" not in images.about


def test_a_folder_named_like_a_picture_is_no_picture(tmp_path: Path) -> None:
    fill(tmp_path / "icons.png", 2)
    assert counts(load_images(str(tmp_path))) == (1, 1)


@pytest.mark.faults
def test_names_that_no_terminal_can_show_are_told_in_one_line(
    tmp_path: Path, capsys: Output
) -> None:
    for name in ("two\nlines", os.fsdecode(b"k\xe4tzchen"), "`code`"):
        for place in range(2):
            fill(tmp_path / name, 4, start=10 * len(name) + 4 * place)
        write(tmp_path / name / "bad.png", b"no picture")
    refusal(lambda: load_images(str(tmp_path)), "3 pictures", "lines")
    images = load_images(str(tmp_path), skip_unreadable=True)
    assert len(capsys.readouterr().out.splitlines()) == 1
    (images.about + "".join(images.classes)).encode()
    assert len(images.classes) == 3


@pytest.mark.faults
@examples(30)
@given(st.sampled_from(["PNG", "BMP", "JPEG", "WEBP", "GIF", "TIFF"]), st.data())
def test_any_damage_to_a_picture_is_read_or_refused_by_name(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    for number, name in enumerate(("a.png", "b.png")):
        content = bytearray(encoded(kind, seed=number))
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (tmp_path / name).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    images, refused = outcome(lambda: load_images(str(tmp_path)))
    if refused:
        assert str(tmp_path) in refused
    else:
        assert images.train.shape == (1, 3, 32, 32)


# --- any folder ----------------------------------------------------------------------------

NAMES = ("a.png", "b.PNG", "c.jpg", "d.webp", "e.gif", "f.tif", "notes.txt", ".hidden.png")
PLACES = (
    *("", "cats", "dogs", "train", "Train/cats", "seg_train/dogs", "test", "val/cats"),
    *("data/train", "data/test", "x/y/z"),
)
CONTENTS: dict[str, Callable[[int], bytes]] = {
    "rgb": lambda n: encoded("PNG", seed=n),
    "grey": lambda n: encoded("JPEG", "L", seed=n),
    "palette": lambda n: encoded("GIF", "P", seed=n),
    "alpha": lambda n: encoded("WEBP", "RGBA", seed=n),
    "cmyk": lambda n: encoded("TIFF", "CMYK", seed=n),
    "cut": lambda n: encoded("PNG", seed=n)[:200],
    "empty": lambda _n: b"",
}
FILES = st.tuples(
    st.sampled_from(PLACES), st.sampled_from(NAMES), st.sampled_from(list(CONTENTS)),
    st.integers(0, 9),
)  # fmt: skip
LINKS = st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES))


def make_any(root: Path, files: list[tuple[str, str, str, int]], links: list) -> set[Path]:
    """Make a folder; return the pictures in it."""
    root.mkdir()
    for place, name, kind, seed in files:
        write(root / place / name, CONTENTS[kind](seed))
    for place, target in links:
        link = root / place / "link"
        if (root / target).is_dir() and (root / place).is_dir() and not link.is_symlink():
            link.symlink_to(root / target)
    found = (path for path in root.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path for path in found if path.suffix != ".txt"}


@pytest.mark.faults
@examples(100)
@given(
    st.lists(FILES, max_size=30),
    st.lists(LINKS, max_size=3),
    st.booleans(),
    st.none() | st.integers(1, 5),
)
def test_any_folder_is_read_with_every_picture_accounted_for_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[str, str, str, int]],
    links: list,
    skip: bool,
    limit: int | None,
) -> None:
    root = tmp_path_factory.mktemp("any") / "pics"
    there = make_any(root, files, links)
    images, refused = outcome(lambda: load_images(str(root), limit, skip_unreadable=skip))
    if refused:
        assert str(root) in refused or "none for training" in refused
    else:
        assert not set(rows(images.train)) & set(rows(images.test))
        numbers = re.findall(r"(\d+) (?:pictures of|exact|training|in `|that cannot)", images.about)
        assert sum(map(int, numbers)) == len(there)
        if limit is None:
            assert int(numbers[0]) == sum(counts(images))
        else:
            assert max(counts(images)) <= limit
        if not skip:
            assert images.n_unreadable == 0
    shutil.rmtree(root.parent)
