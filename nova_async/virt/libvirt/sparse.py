"""Files with holes: read and written piece by piece, hashed by what they hold and where. Everything here blocks."""

import errno
import hashlib
import os
import struct
from pathlib import Path

CHUNK = 2**20
PLACE = struct.Struct(">QI")  # offset, length


class Reader:
    """The data of a file in order, in pieces of at most 1 MiB, without its holes."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        self._digest = hashlib.sha256()
        self._at = self._end = 0  # of the piece of data that is being read
        self.size = os.fstat(self._descriptor).st_size

    def next(self) -> tuple[int, bytes] | None:
        """Where a piece begins, and its bytes; None at the end."""
        if self._at >= self._end and not self._find():
            return None
        data = os.pread(self._descriptor, min(CHUNK, self._end - self._at), self._at)
        if not data:
            return None  # it was cut off meanwhile
        offset, self._at = self._at, self._at + len(data)
        note(self._digest, offset, data)
        return offset, data

    def digest(self) -> str:
        """SHA-256 of the pieces read so far and their places: equal only for equal contents."""
        return self._digest.hexdigest()

    def close(self) -> None:
        os.close(self._descriptor)

    def _find(self) -> bool:
        try:
            self._at = os.lseek(self._descriptor, self._end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return False
        self._end = os.lseek(self._descriptor, self._at, os.SEEK_HOLE)
        return True


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
    """How much of the file is not a hole."""
    total = end = 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        while True:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            total += end - start
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return total
    finally:
        os.close(descriptor)
