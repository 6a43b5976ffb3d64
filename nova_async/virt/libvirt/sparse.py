"""Files with holes: read and written piece by piece, hashed by what they hold and where. Everything here blocks.

Where a file has room that was never written, the kernel calls it a hole or not as it happens to have read it before (ext4); what is read
here is therefore told by the bytes alone: whole blocks, without those that are zero.
"""

import errno
import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path

CHUNK = 2**20
BLOCK = 2**16  # a part of CHUNK
ZEROS = bytes(BLOCK)
PLACE = struct.Struct(">QI")  # offset, length


class Reader:
    """The data of a file in order, in pieces of at most 1 MiB, without blocks that are holes or zero."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        self._digest = hashlib.sha256()
        self._chunks = self._read()
        self._pieces: Iterator[tuple[int, bytes]] = iter(())

    def next(self) -> tuple[int, bytes] | None:
        """Where a piece begins, and its bytes; None at the end."""
        while (piece := next(self._pieces, None)) is None:
            if (chunk := next(self._chunks, None)) is None:
                return None
            self._pieces = _pieces(*chunk)
        note(self._digest, *piece)
        return piece

    def digest(self) -> str:
        """SHA-256 of the pieces read so far and their places: equal only for equal contents."""
        return self._digest.hexdigest()

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(self) -> Iterator[tuple[int, bytes]]:
        """The chunks that are not one hole."""
        at = 0
        while (start := _seek(self._descriptor, at, os.SEEK_DATA)) is not None:
            begin = start - start % CHUNK
            at = begin + CHUNK
            yield begin, os.pread(self._descriptor, CHUNK, begin)


def _pieces(at: int, chunk: bytes) -> Iterator[tuple[int, bytes]]:
    """Of a chunk, the longest parts of blocks that are not zero."""
    begin = None
    for offset in range(0, len(chunk), BLOCK):
        block = chunk[offset : offset + BLOCK]
        if block != ZEROS[: len(block)]:
            begin = offset if begin is None else begin
        elif begin is not None:
            yield at + begin, chunk[begin:offset]
            begin = None
    if begin is not None:
        yield at + begin, chunk[begin:]


def _seek(descriptor: int, at: int, what: int) -> int | None:
    """The next data or hole from there on; None where there is none any more."""
    try:
        return os.lseek(descriptor, at, what)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return None


class Writer:
    """A new file of ``size`` bytes, holes but for what is written into it."""

    def __init__(self, path: Path, size: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        self._digest = hashlib.sha256()
        os.ftruncate(self._descriptor, size)

    def write(self, offset: int, data: bytes) -> None:
        note(self._digest, offset, data)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written

    def finish(self) -> str:
        """The digest, as ``Reader`` has it of the same pieces. The data are on the disk."""
        os.fsync(self._descriptor)
        return self._digest.hexdigest()

    def close(self) -> None:
        os.close(self._descriptor)


def note(digest: "hashlib._Hash", offset: int, data: bytes) -> None:
    digest.update(PLACE.pack(offset, len(data)))
    digest.update(data)


def digest_of(path: Path) -> str:
    reader = Reader(path)
    try:
        while reader.next() is not None:
            pass
        return reader.digest()
    finally:
        reader.close()


def data_bytes(path: Path) -> int:
    """How much of the file is not a hole, in whole blocks: ``Reader`` gives no more than that."""
    total = end = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        size = os.fstat(descriptor).st_size
        while (start := _seek(descriptor, end, os.SEEK_DATA)) is not None:
            stop = _seek(descriptor, start, os.SEEK_HOLE) or size
            first = max(end, start - start % BLOCK)
            end = min(size, -(-stop // BLOCK) * BLOCK)
            total += max(0, end - first)
        return total
    finally:
        os.close(descriptor)
