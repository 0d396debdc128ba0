"""Many pictures: a bar, a cache that is used only if nothing has changed, and little memory."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from albums import encoded, fill, random_pixels, write, write_picture, zipped

from vqlib import Images, load_images
from vqlib.system import reading
from vqlib.system.progress import counting


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache's folder; what is read is kept, however fast it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "WORTHWHILE", 0.0)
    return tmp_path / "cache" / "vqlib"


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    """Return a folder of twelve pictures."""
    fill(tmp_path / "pics", 12)
    return tmp_path / "pics"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an item for each picture that is decoded."""
    seen: list[int] = []
    decode = reading.decode

    def counted(content: bytes, side: int) -> object:
        seen.append(side)
        return decode(content, side)

    monkeypatch.setattr(reading, "decode", counted)
    return seen


def same(one: Images, other: Images) -> bool:
    return (one.digest, one.about, one.classes) == (other.digest, other.about, other.classes)


def test_what_has_not_changed_is_not_decoded_again(
    cache: Path, pics: Path, decoded: list[int]
) -> None:
    first = load_images(str(pics))
    assert len(decoded) == 12
    assert same(load_images(str(pics)), first)
    assert same(load_images(str(pics) + "/"), first)
    limited = load_images(str(pics), limit=3)
    assert len(decoded) == 12
    np.testing.assert_array_equal(limited.train, first.train[:3])
    load_images(str(pics), image_size=16)
    assert decoded == 12 * [32] + 12 * [16]


def replace_in_place(path: Path) -> None:
    """Replace a picture by another one of the same length and age."""
    before = path.stat()
    content = encoded("BMP", seed=99)
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "another picture": lambda pics: write_picture(pics / "new.png", 50),
    "one less": lambda pics: (pics / "003.png").unlink(),
    "another name": lambda pics: (pics / "003.png").rename(pics / "x.png"),
    "other pixels": lambda pics: write_picture(pics / "003.png", 50),
    "other pixels, as long and as old": lambda pics: replace_in_place(pics / "a.bmp"),
    "two exchanged": lambda pics: (
        (pics / "003.png").rename(pics / "t"),
        (pics / "004.png").rename(pics / "003.png"),
        (pics / "t").rename(pics / "004.png"),
    ),
    "a link that leads elsewhere": lambda pics: (
        (pics / "linked").unlink(),
        fill(pics.parent / "other", 3, start=70),
        (pics / "linked").symlink_to(pics.parent / "other"),
    ),
}


@pytest.mark.faults
@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_is_read_again(
    cache: Path, pics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write(pics / "a.bmp", encoded("BMP", seed=60))
    fill(tmp_path / "elsewhere", 3, start=40)
    (pics / "linked").symlink_to(tmp_path / "elsewhere")
    before = load_images(str(pics))
    CHANGES[change](pics)
    after = load_images(str(pics))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    assert same(after, load_images(str(pics)))
    assert after.digest != before.digest


@pytest.mark.faults
def test_an_archive_that_has_changed_is_read_again(
    cache: Path, pics: Path, decoded: list[int]
) -> None:
    archive = zipped(pics, pics.parent / "pics.zip")
    first = load_images(str(archive))
    assert same(load_images(str(archive)), first)
    assert len(decoded) == 12
    write_picture(pics / "003.png", 50)
    zipped(pics, archive)
    assert load_images(str(archive)).digest != first.digest


@pytest.mark.faults
def test_a_bad_picture_that_was_repaired_is_read(cache: Path, pics: Path) -> None:
    write(pics / "003.png", b"no picture")
    for _ in range(2):
        assert load_images(str(pics), skip_unreadable=True).n_unreadable == 1
    write_picture(pics / "003.png", 3)
    assert load_images(str(pics)).n_unreadable == 0


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "folder"])
def test_a_damaged_cache_is_done_without(
    cache: Path, pics: Path, decoded: list[int], damage: str
) -> None:
    first = load_images(str(pics))
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    kept.unlink()
    if damage == "folder":
        kept.mkdir()
    else:
        wrong = {"cut": content[: len(content) // 2], "garbage": bytes(2000), "empty": b""}
        kept.write_bytes(wrong[damage])
    assert same(load_images(str(pics)), first)
    assert len(decoded) == 24


@pytest.mark.faults
@pytest.mark.parametrize("place", ["a file", "no home"])
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, pics: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(reading, "WORTHWHILE", 0.0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    if place == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/proc/nohome")
    first = load_images(str(pics))
    assert same(load_images(str(pics)), first)


def test_small_folders_leave_nothing_in_the_cache(
    cache: Path, pics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WORTHWHILE", 60.0)
    load_images(str(pics))
    assert not cache.exists()


def test_the_longest_unused_is_removed_from_a_full_cache(
    cache: Path, pics: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [pics.parent / name for name in ("b", "c", "d")]
    for place in others:
        shutil.copytree(pics, place)
    size = 12 * 32 * 32 * 3
    monkeypatch.setattr(reading, "MOST_KEPT", int(3.5 * size))
    for number, place in enumerate([pics, *others[:2]]):
        load_images(str(place))
        newest = max(cache.iterdir(), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (number, number))
    load_images(str(pics))  # used again
    load_images(str(others[2]))
    assert 2 <= len(list(cache.iterdir())) <= 3
    monkeypatch.setattr(reading, "decode", lambda *_: pytest.fail("read again"))
    load_images(str(pics))


def test_every_picture_is_in_its_place_whatever_order_they_are_read_in(tmp_path: Path) -> None:
    count = 300
    for number in range(count):
        write_picture(tmp_path / f"{number:03}.png", number)
    images = load_images(str(tmp_path))
    expected = np.array([random_pixels(n) for n in range(count)])
    is_test = np.arange(count) % 10 == 1
    np.testing.assert_array_equal(images.train.permute(0, 2, 3, 1), expected[~is_test])
    np.testing.assert_array_equal(images.test.permute(0, 2, 3, 1), expected[is_test])


def test_counting_shows_how_many_there_were_once_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vqlib.system import progress

    shown: list[str] = []

    class Line:
        def show(self, done: int, line: str) -> None:
            shown.append(line)

        def close(self, last: str) -> None:
            shown.append(last)

    monkeypatch.setattr(progress, "_display", lambda *_: Line())
    assert list(counting(iter([2, 3]), 5, "pictures read")) == [2, 3]
    assert shown == []
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    list(counting(iter([2000, 3000]), 5000, "pictures read"))
    assert shown == [
        "2,000 of 5,000 pictures read",
        "5,000 of 5,000 pictures read",
        "5,000 pictures read",
    ]
