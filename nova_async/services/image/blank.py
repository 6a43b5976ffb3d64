"""An empty disk as a qcow2 file of four clusters, for the fake driver: nothing in it boots."""

import struct

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
MIB_PER_TABLE = CLUSTER // 8 * CLUSTER // 2**20


def blank_qcow2(mib: int) -> bytes:
    """Header, refcount table, refcount block (four clusters in use), L1 table without entries."""
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        0,  # no backing file
        0,
        CLUSTER_BITS,
        mib * 2**20,
        0,  # not encrypted
        -(-mib // MIB_PER_TABLE),
        3 * CLUSTER,  # L1 table
        CLUSTER,  # refcount table
        1,
        0,  # no snapshots
        0,
        0,
        0,
        0,
        4,  # refcounts of 16 bits
        104,
    )
    clusters = (header, struct.pack(">Q", 2 * CLUSTER), struct.pack(">4H", 1, 1, 1, 1), b"")
    return b"".join(c.ljust(CLUSTER, b"\0") for c in clusters)
