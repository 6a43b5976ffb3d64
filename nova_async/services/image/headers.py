"""What the headers of a complete file must not say: other files, encryption, parents, tables that are not there.

Each check takes the open file, its size in bytes and oslo.utils' inspector, returns the virtual size
that the format's readers would use, and raises ``Unsafe``.
"""

import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

QCOW2_LIMIT = 32 * 2**20  # bytes of L1 table; QEMU opens no larger one
QCOW2_FEATURES = 0b1001  # dirty, compression type; never an external data file, a corrupt image, the unknown
QCOW2_DATA_FILE = 0x44415441
QCOW2_BACKING = 0xE2792ACA
OFFSET = 0x00FFFFFFFFFFFE00
VHD_DYNAMIC = 3
VDI_PLAIN = (1, 2)  # dynamic, static
VHDX_PARAMETERS = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B"
VMDK_FOOTER = 2**64 - 1


class Unsafe(Exception):
    """Why, as the uploader may read it."""


def qcow2(file: int, size: int, _: Any) -> int:
    """https://www.qemu.org/docs/master/interop/qcow2.html"""
    head = _read(file, 0, 104)
    version, backing, _, bits, virtual_size, crypt = struct.unpack(">IQIIQI", head[4:36])
    l1_size, l1_offset, refs_offset, refs_clusters, snapshots, snapshots_offset = struct.unpack(">IQQIIQ", head[36:72])
    if version not in (2, 3) or not 9 <= bits <= 21:
        raise Unsafe("its qcow2 header is of an unknown kind")
    if backing or crypt:
        raise Unsafe("it has a backing file" if backing else "it is encrypted")
    _qcow2_extensions(file, head, version, 1 << bits)
    cluster = 1 << bits
    covered = l1_size * cluster * (cluster // 8)
    if l1_size * 8 > QCOW2_LIMIT or covered < virtual_size:
        raise Unsafe("its L1 table does not fit its virtual size")
    if l1_offset % cluster or refs_offset % cluster or not refs_clusters:
        raise Unsafe("its tables are misplaced")
    if l1_size:
        _inside(size, l1_offset, l1_size * 8)
    _inside(size, refs_offset, refs_clusters * cluster)
    if snapshots:
        _inside(size, snapshots_offset, snapshots * 40)
    l1 = np.frombuffer(_read(file, l1_offset, l1_size * 8), dtype=">u8") & OFFSET
    if l1.size and int(l1.max()) and int(l1.max()) + cluster > size:
        raise Unsafe("it is cut short: a table lies outside the file")
    return int(virtual_size)


def _qcow2_extensions(file: int, head: bytes, version: int, cluster: int) -> None:
    start = 72
    if version == 3:
        features, start = struct.unpack(">Q", head[72:80])[0], struct.unpack(">I", head[100:104])[0]
        if features & ~QCOW2_FEATURES:
            raise Unsafe("it uses qcow2 features that are not accepted")
        if start < 104 or start > cluster or start % 8:
            raise Unsafe("its qcow2 header has a false length")
    area = os.pread(file, cluster, 0)
    while start + 8 <= len(area):
        kind, length = struct.unpack(">II", area[start : start + 8])
        if kind == 0:
            return
        if kind in (QCOW2_DATA_FILE, QCOW2_BACKING):
            raise Unsafe("it names another file")
        start += 8 + (length + 7) // 8 * 8
        if start > len(area):
            raise Unsafe("a header extension is longer than the header")


def vmdk(file: int, size: int, inspector: Any) -> int:
    """https://github.com/libyal/libvmdk/blob/main/documentation/VMWare%20Virtual%20Disk%20Format%20(VMDK).asciidoc"""
    head = _read(file, 0, 512)
    capacity, directory = struct.unpack("<Q", head[12:20])[0], struct.unpack("<Q", head[56:64])[0]
    if not capacity:
        raise Unsafe("its VMDK header has no capacity")
    if directory == VMDK_FOOTER and _read(file, size - 1024, 56)[4:] != head[4:56]:
        raise Unsafe("its VMDK footer differs from the header")
    _vmdk_descriptor(inspector.desc_text)
    return int(capacity) * 512


def _vmdk_descriptor(text: str) -> None:
    lines = [line.strip() for line in text.splitlines()]
    extents = [line for line in lines if line.split(" ")[0] in ("rw", "rdonly", "noaccess")]
    if len(extents) != 1 or " sparse " not in extents[0] or any(c in extents[0] for c in "/\\:"):
        raise Unsafe("its VMDK descriptor must name one sparse extent, itself")
    parents = [line for line in lines if line.startswith("parentcid")]
    if "parentfilenamehint" in text or not all(line.replace(" ", "") == "parentcid=ffffffff" for line in parents):
        raise Unsafe("its VMDK descriptor names a parent")
    if text.count("createtype") != 1:
        raise Unsafe("its VMDK descriptor is ambiguous")


def vdi(file: int, size: int, _: Any) -> int:
    """https://github.com/qemu/qemu/blob/master/block/vdi.c"""
    head = _read(file, 0, 512)
    kind = struct.unpack("<I", head[0x4C:0x50])[0]
    table, blocks = struct.unpack("<I", head[0x154:0x158])[0], struct.unpack("<I", head[0x180:0x184])[0]
    virtual_size, block_size = struct.unpack("<QI", head[0x170:0x17C])
    if kind not in VDI_PLAIN or any(head[0x1A8:0x1C8]):
        raise Unsafe("its VDI header names a parent")
    if not block_size or blocks * block_size < virtual_size:
        raise Unsafe("its VDI header contradicts itself")
    _inside(size, table, blocks * 4)
    return int(virtual_size)


def vhd(file: int, _size: int, __: Any) -> int:
    """The Virtual Hard Disk Image Format Specification, Microsoft, 2006."""
    footer = _read(file, 0, 512)
    if struct.unpack(">I", footer[60:64])[0] != VHD_DYNAMIC:
        raise Unsafe("only dynamic VHD files without a parent are accepted")
    if struct.unpack(">I", footer[64:68])[0] != _vhd_checksum(footer):
        raise Unsafe("the checksum of its VHD header is wrong")
    return int(struct.unpack(">Q", footer[48:56])[0])


def _vhd_checksum(footer: bytes) -> int:
    return ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF


def vhdx(file: int, size: int, inspector: Any) -> int:
    """[MS-VHDX] 2.6.2.1: the flag HasParent of the file parameters."""
    metadata = inspector.region("metadata")
    count = struct.unpack("<H", metadata.data[10:12])[0]
    for start in range(32, 32 + 32 * count, 32):
        entry = bytes(metadata.data[start : start + 32])
        if inspector._guid(entry[:16]) == VHDX_PARAMETERS:
            offset = metadata.offset + struct.unpack("<I", entry[16:20])[0]
            if struct.unpack("<I", _read(file, offset + 4, 4))[0] & 0b10:
                raise Unsafe("its VHDX header names a parent")
            if not inspector.virtual_size:
                raise Unsafe("its VHDX header has no size")
            return 0
    raise Unsafe("its VHDX header has no file parameters")


def _read(file: int, offset: int, length: int) -> bytes:
    if offset < 0 or length < 0:
        raise Unsafe("it is cut short")
    data = os.pread(file, length, offset)
    if len(data) != length:
        raise Unsafe("it is cut short")
    return data


def _inside(size: int, offset: int, length: int) -> None:
    if not 0 < offset <= size - length:
        raise Unsafe("it is cut short: a table lies outside the file")


CHECKS: dict[str, Callable[[int, int, Any], int]] = {"qcow2": qcow2, "vmdk": vmdk, "vdi": vdi, "vhd": vhd, "vhdx": vhdx}
