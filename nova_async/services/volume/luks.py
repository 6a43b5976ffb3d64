"""The beginning of an encrypted volume, as LUKS 1 has it; it tells where the volume's own bytes begin. All functions block."""

from pathlib import Path

from nova_async.errors import Error

HEADER_BYTES = 4 * 2**20  # of one that is made here: an object of Ceph's, an extent of LVM's; keys take 2 MiB
LONGEST_BYTES = 2**30
BEGINS = b"LUKS\xba\xbe\x00\x01"
WHERE = 104  # in four bytes, by sectors
SECTOR_BYTES = 512


def header_bytes(path: Path) -> int:
    """What stands before the volume's own bytes. Raises ``Error`` for what is not LUKS."""
    with path.open("rb") as file:
        begin = file.read(WHERE + 4)
    length = int.from_bytes(begin[WHERE:], "big") * SECTOR_BYTES
    if not begin.startswith(BEGINS) or not 0 < length <= LONGEST_BYTES:
        raise Error("The volume is damaged.", detail=f"{path} does not begin as LUKS does")
    return length


def lengthen(path: Path, octets: int) -> None:
    """Let the volume's own bytes, of which there are none yet, begin later: at a border of whatever they are kept in."""
    assert header_bytes(path) <= octets
    with path.open("r+b") as file:
        file.seek(WHERE)
        file.write((octets // SECTOR_BYTES).to_bytes(4, "big"))
        file.truncate(octets)
