"""A file of coded images is read back as it was written, or refused."""

import pytest
from conftest import examples, refusal
from hypothesis import given
from hypothesis import strategies as st

from vqlib import UserError
from vqlib.rates.container import MAGIC, VERSION, CodedImages, dump, parse

CODED = CodedImages("vqvae-s0", "0a" * 32, (2, 8, 8), 7, ("cats/tom", "Mäuse"), b"0123456789ab")
CONTENT = dump(CODED)


@given(
    st.builds(
        CodedImages,
        run=st.text(max_size=20),
        weights=st.text("0123456789abcdef", min_size=64, max_size=64),
        shape=st.tuples(st.integers(1, 99), st.integers(1, 16), st.integers(1, 16)),
        crc32=st.integers(0, 2**32 - 1),
        names=st.lists(st.text(max_size=20), max_size=5).map(tuple),
        codes=st.binary(max_size=200),
    )
)
@examples(50)
def test_what_is_written_is_read(coded: CodedImages) -> None:
    assert parse(dump(coded), "file") == coded


def test_names_that_are_not_unicode_are_kept() -> None:
    names = (b"\xff.png".decode("utf-8", "surrogateescape"),)  # as Python reads such a file's name
    coded = CodedImages("run", "00", (1, 8, 8), 0, names, b"")
    assert parse(dump(coded), "file").names == names


def test_the_file_begins_as_documented() -> None:
    assert CONTENT[:5] == MAGIC + bytes([VERSION]) == b"VQLB\x01"
    assert int.from_bytes(CONTENT[9:13], "little") == len(CODED.codes)
    assert CONTENT[-32 - len(CODED.codes) : -32] == CODED.codes


@pytest.mark.faults
@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"vqlb" + CONTENT[4:], b"VQ" + bytes(99)])
def test_a_foreign_file_is_refused(content: bytes) -> None:
    refusal(lambda: parse(content, "a.png"), "a.png", "not a file of coded images", "vqlib encode")


@pytest.mark.faults
def test_another_version_is_refused_with_both() -> None:
    content = MAGIC + bytes([9]) + CONTENT[5:]
    refusal(lambda: parse(content, "x"), "x has version 9", f"reads version {VERSION}")


@pytest.mark.faults
def test_a_truncated_file_is_refused_wherever_it_ends() -> None:
    for length in range(len(CONTENT)):
        refusal(lambda end=length: parse(CONTENT[:end], "cut.vqlb"), "cut.vqlb is truncated")


@pytest.mark.faults
def test_a_file_with_something_at_its_end_is_refused() -> None:
    refusal(lambda: parse(CONTENT + b"\0", "long.vqlb"), "long.vqlb is damaged")


@pytest.mark.faults
@given(place=st.integers(0, len(CONTENT) - 1), change=st.integers(1, 255))
@examples(300)
def test_any_changed_byte_is_noticed(place: int, change: int) -> None:
    content = bytearray(CONTENT)
    content[place] ^= change
    with pytest.raises(UserError, match="bad"):
        parse(bytes(content), "bad")


@pytest.mark.faults
def test_damage_to_the_codes_is_told() -> None:
    content = CONTENT[:-40] + b"?" + CONTENT[-39:]
    refusal(lambda: parse(content, "bad.vqlb"), "bad.vqlb is damaged", "checksum")
