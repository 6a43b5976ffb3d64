"""The end of a guest's console log, read as data from a stranger: bounded, and following no links."""

import os
import stat
from pathlib import Path

KEPT_BYTES = 100 * 1024


def tail(path: Path, lines: int | None) -> str:
    """The last ``lines`` lines (None: all that is kept), at most 100 KiB; empty when there is no log yet. Blocks.

    virtlogd begins a new file when one is full and keeps the old one beside it as ``.0``.
    """
    text = _end(path, KEPT_BYTES)
    if len(text) < KEPT_BYTES:
        text = _end(path.with_name(path.name + ".0"), KEPT_BYTES - len(text)) + text
    shown = text.decode(errors="replace")
    return shown if lines is None else "".join(shown.splitlines(keepends=True)[-lines:] if lines > 0 else [])


def _end(path: Path, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        facts = os.fstat(descriptor)
        return os.pread(descriptor, limit, max(0, facts.st_size - limit)) if stat.S_ISREG(facts.st_mode) else b""
    finally:
        os.close(descriptor)
