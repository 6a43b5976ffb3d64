"""Files of keys and certificates: written whole or not at all, keys readable by their owner alone. All of this blocks."""

import os
from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the file at once, so that a reader, and a crash, meet the old one or the new one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(descriptor, mode)
        out.write(data)
        out.flush()
        os.fsync(descriptor)
    os.replace(fresh, path)


def write_key(path: Path, data: bytes) -> None:
    write(path, data, 0o600)


def folder(path: Path) -> Path:
    """Make a directory for its owner alone."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path
