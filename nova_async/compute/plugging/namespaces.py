"""Network namespaces of this host, as `ip netns` keeps them. All functions block: run them in a thread of their own."""

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from nova_async.errors import Unavailable

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
IP_SECONDS = 10
_libc = ctypes.CDLL(None, use_errno=True)


def exists(namespace: str) -> bool:
    """Whether it is there, and was not lost with a reboot that left the file."""
    try:
        with inside(namespace):
            return True
    except OSError:
        return False


def make(namespace: str, settings: Mapping[str, str]) -> None:
    """A namespace with these settings of the kernel's (below ``/proc/sys/net``). Safe to repeat. Raises ``Unavailable``."""
    if not exists(namespace):
        _ip("netns", "delete", namespace, check=False)
        _ip("netns", "add", namespace)
    with inside(namespace):
        for name, value in settings.items():
            with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/net/{name}", "w") as file:
                file.write(value)


def remove(namespace: str) -> None:
    """With all that is in it. Safe to repeat."""
    if (NAMESPACES / namespace).exists():
        _ip("netns", "delete", namespace)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, in the namespace; empty: where it is. Raises ``OSError``."""
    if not namespace:
        yield
        return
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        with opened(namespace) as target:
            _enter(target)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


@contextlib.contextmanager
def opened(namespace: str) -> Iterator[int]:
    """A descriptor of the namespace. Raises ``OSError``."""
    descriptor = os.open(NAMESPACES / namespace, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def entering(namespace: str) -> tuple[str, ...]:
    """The words before a command that is to run in the namespace; none for the one that we run in."""
    return ("nsenter", f"--net={NAMESPACES / namespace}") if namespace else ()


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "The namespace cannot be entered.")


def _ip(*words: str, check: bool = True) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=IP_SECONDS)
    if check and done.returncode != 0:
        raise Unavailable("A network namespace could not be changed.", detail=done.stderr[:500])
