"""Just enough of the qcow2 format to make an empty image and to read a header, without a child process.

Everything else about images is QEMU's (``qemu_img.py``). Format: QEMU's docs/interop/qcow2.txt.
"""

import os
import struct
from pathlib import Path

import msgspec

from nova_async.errors import Invalid

MAGIC = b"QFI\xfb"
CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
HEADER = struct.Struct(">4sIQIIQIIQQIIQ")  # magic .. snapshots_offset: the fields of version 2
HEADER_3 = struct.Struct(">QQQII")  # incompatible, compatible, autoclear features, refcount order, header length
HEADER_LENGTH = HEADER.size + HEADER_3.size
BACKING_FORMAT = 0xE2792ACA
DATA_FILE_BIT = 1 << 2  # incompatible feature: the clusters are in another file
KNOWN_INCOMPATIBLE = (1 << 3) | (1 << 4)  # compression type, extended L2 entries


class Header(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    virtual_size: int  # bytes
    backing_file: str
    encryption: int
    incompatible: int


def read_header(path: Path) -> Header:
    """Raises ``Invalid`` when the file is no qcow2 image."""
    with path.open("rb") as file:
        start = file.read(HEADER_LENGTH)
        if len(start) < HEADER.size or start[:4] != MAGIC:
            raise Invalid("The image is not a qcow2 image.")
        _, version, name_offset, name_length, _, size, encryption, *_ = HEADER.unpack_from(start)
        incompatible = HEADER_3.unpack_from(start, HEADER.size)[0] if version >= 3 and len(start) >= HEADER_LENGTH else 0
        name = b""
        if name_offset:
            file.seek(name_offset)
            name = file.read(min(name_length, 1023))
    return Header(
        version=version,
        virtual_size=size,
        backing_file=name.decode(errors="surrogateescape"),
        encryption=encryption,
        incompatible=incompatible,
    )


def check_stands_alone(path: Path) -> int:
    """The virtual size in bytes of an image that reads no other file. Raises ``Invalid`` when it would."""
    header = read_header(path)
    if header.backing_file:
        raise Invalid("The image refers to a backing file; upload it flattened.")
    check_plain(header)
    return header.virtual_size


def check_plain(header: Header) -> None:
    """Raises ``Invalid`` for an image that is damaged, encrypted, or holds its data in another file."""
    if header.version not in (2, 3):
        raise Invalid("The image has an unknown qcow2 version.")
    if header.incompatible & DATA_FILE_BIT:
        raise Invalid("The image refers to an external data file; upload it as one file.")
    if header.incompatible & ~KNOWN_INCOMPATIBLE:
        raise Invalid("The image is damaged or uses features that are not supported.")
    if header.encryption:
        raise Invalid("The image is encrypted.")


def create(path: Path, size: int, backing: Path | None = None, backing_format: str = "") -> None:
    """Write an image of ``size`` bytes that holds nothing yet and shows ``backing`` where it is empty.

    Layout: header, refcount table, one refcount block, L1 table; a cluster each, the last one perhaps more.
    """
    name = str(backing).encode() if backing else b""
    extensions = _extension(BACKING_FORMAT, backing_format.encode()) if backing else b""
    extensions += _extension(0, b"")
    entries = max(1, -(-size // (CLUSTER * (CLUSTER // 8))))
    table_clusters = -(-entries * 8 // CLUSTER)
    used = 3 + table_clusters
    if used > CLUSTER // 2 or len(name) > 1023:
        raise Invalid("The disk is too large or its path too long.")
    start = HEADER.pack(
        MAGIC,
        3,
        HEADER_LENGTH + len(extensions) if name else 0,
        len(name),
        CLUSTER_BITS,
        size,
        0,
        entries,
        3 * CLUSTER,
        CLUSTER,
        1,
        0,
        0,
    )
    start += HEADER_3.pack(0, 0, 0, 4, HEADER_LENGTH) + extensions + name
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.pwrite(descriptor, start, 0)
        os.pwrite(descriptor, struct.pack(">Q", 2 * CLUSTER), CLUSTER)
        os.pwrite(descriptor, struct.pack(">H", 1) * used, 2 * CLUSTER)
        os.ftruncate(descriptor, used * CLUSTER)
    finally:
        os.close(descriptor)


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")
