"""The file that `vqlib encode` writes, part by part; its numbers are little-endian.

prefix      4 bytes VQLB; 1 byte, the version; 4 bytes and 4 bytes, the lengths of header and codes
header      what `CodedImages` holds apart from the codes: JSON, compressed by zlib
codes       as `vqlib.rates.pack` writes them
checksum    32 bytes: SHA-256 of everything before
"""

import hashlib
import json
import struct
import zlib
from dataclasses import asdict, dataclass

from vqlib.errors import UserError

MAGIC = b"VQLB"
VERSION = 1
PREFIX = struct.Struct("<4sBII")
CHECKSUM = 32  # bytes


@dataclass(frozen=True)
class CodedImages:
    """What a file of coded images holds.

    Attributes:
        run: name of the run whose model encoded the images.
        weights: SHA-256 of this run's weights, in hexadecimal.
        shape: of all codes: images, then places, such as (N, 8, 8).
        crc32: CRC-32 of the codes as `<i4`; shows whether they were decoded as they were.
        names: of the images, without suffix, in the manner of `cats/tom`; empty if they have none.
        codes: the codes as bytes.
        prior: SHA-256 of the weights of the prior that they were coded with; empty without one.
    """

    run: str
    weights: str
    shape: tuple[int, ...]
    crc32: int
    names: tuple[str, ...]
    codes: bytes
    prior: str = ""


def dump(coded: CodedImages) -> bytes:
    """Return the content of the file."""
    told = asdict(coded)
    codes = told.pop("codes")
    if not coded.prior:
        del told["prior"]
    header = zlib.compress(json.dumps(told).encode(), 9)
    content = PREFIX.pack(MAGIC, VERSION, len(header), len(codes)) + header + codes
    return content + hashlib.sha256(content).digest()


def parse(content: bytes, name: str) -> CodedImages:
    """Return what a file holds.

    Args:
        content: all of the file.
        name: what messages call it.

    Raises:
        UserError: if the file is foreign, of another version, truncated or damaged.
    """
    if not content.startswith(MAGIC[: len(content)]):
        raise UserError(f"{name} is not a file of coded images: give one that `vqlib encode` wrote")
    if len(content) < PREFIX.size:
        raise UserError(f"{name} is truncated: encode the pictures again")
    _, version, header_size, codes_size = PREFIX.unpack_from(content)
    if version != VERSION:
        raise UserError(
            f"{name} has version {version} of the format, but this vqlib reads version {VERSION}: "
            "use the vqlib that wrote it"
        )
    header_end = PREFIX.size + header_size
    whole = header_end + codes_size + CHECKSUM
    if len(content) < whole:
        raise UserError(
            f"{name} is truncated: it has {len(content):,} of {whole:,} bytes. Encode the "
            "pictures again"
        )
    body, checksum = content[:-CHECKSUM], content[-CHECKSUM:]
    if len(content) > whole or hashlib.sha256(body).digest() != checksum:
        raise UserError(
            f"{name} is damaged: its content does not match its checksum. Encode the pictures again"
        )
    told = json.loads(zlib.decompress(body[PREFIX.size : header_end]))
    shape, names = tuple(told.pop("shape")), tuple(told.pop("names"))
    return CodedImages(**told, shape=shape, names=names, codes=body[header_end:])
