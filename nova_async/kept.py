"""Small secrets and identities that are made once and kept in ``<state_dir>/secrets.json``, readable by the owner alone."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec


async def kept(state: Path, section: str, name: str, make: Callable[[], str]) -> str:
    """The value under ``section`` and ``name``, made now when there is none. Safe for several processes."""
    return (await asyncio.to_thread(keep, state, section, [name], make))[name]


def keep(state: Path, section: str, names: list[str], make: Callable[[], str]) -> dict[str, str]:
    """As ``kept`` for several names. Blocks. Other sections of the file stay as they are."""
    state.mkdir(parents=True, exist_ok=True)
    path = state / "secrets.json"
    with open(state / "secrets.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = _read(path)
        values = tree.setdefault(section, {})
        missing = [n for n in names if n not in values]
        values.update({n: make() for n in missing})
        if missing:
            _write(path, tree)
        return {n: values[n] for n in names}


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}


def _write(path: Path, tree: dict[str, Any]) -> None:
    """Replace the file at once, so that a crash leaves the old one or the new one."""
    fresh = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(tree)) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(fresh, path)
