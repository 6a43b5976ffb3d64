"""An iSCSI target daemon (Debian's ``tgt``) that serves one file, told so over its control socket.

That is what ``tgtadm`` does, too; but what a command is told, every list of processes shows, and here it is a password. The folder that
a daemon runs in says in ``target.json`` what it is to serve. All of this blocks.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import msgspec

from nova_async.errors import Error, Unavailable, plain

PROGRAM = "tgtd"
SOCKET, SETTINGS = "control.0", "target.json"
ENVIRONMENT = {"TGT_IPC_SOCKET": SOCKET.removesuffix(".0"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
ASK_SECONDS = 20.0
TARGET, LUN = 1, 1  # LUN 0 is the target itself
ALL = -1
THREADS = 8  # that read and write
REQUEST, ANSWER = struct.Struct("@II64sIiQQIIIIII"), struct.Struct("@II")  # usr/tgtadm.h
ADDRESS_TAKEN = "Address already in use"


class Mode(IntEnum):
    """About what a daemon is asked."""

    TARGET = 1
    DEVICE = 2
    PORTAL = 3
    ACCOUNT = 7


class Op(IntEnum):
    NEW = 0
    SHOW = 2
    BIND = 3
    UPDATE = 5


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What one daemon serves, and to whom. ``size`` in bytes: when it changes, the daemon is started anew and looks at the file again."""

    name: str  # as initiators ask for it (RFC 7143)
    port: int
    file: str
    size: int
    read_only: bool
    initiator: str  # the name of the one that it lets in
    user: str
    password: str


def arguments(address: str, port: int) -> list[str]:
    """How a daemon is run; nobody gets in before it is told who."""
    host = f"[{address}]" if ":" in address else address
    return [PROGRAM, "-f", "-C", "0", "-t", str(THREADS), "--iscsi", f"portal={host}:{port}"]


def settings(target: Target) -> dict[str, bytes]:
    """The file of the daemon's folder that says what it serves."""
    return {SETTINGS: msgspec.json.encode(target)}


def listener(folder: Path) -> int | None:
    """The id of the process that answers in this folder."""
    try:
        with _connected(folder) as connection:
            pid, _, _ = struct.unpack("@iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return int(pid)
    except OSError:
        return None


def serves(folder: Path) -> bool:
    """Whether it was told all that it is to serve: whom it lets in is the last that it is told."""
    try:
        target = _target(folder)
        return f"ACL information:\n        {target.initiator}\n" in ask(folder, Mode.TARGET, Op.SHOW, target=ALL)
    except (Error, FileNotFoundError):
        return False


def tell(folder: Path) -> None:
    """What it serves, to one that has just been started. Raises ``Unavailable``."""
    target = _target(folder)
    if f":{target.port}," not in ask(folder, Mode.PORTAL, Op.SHOW):  # it goes on elsewhere where its own place is taken
        raise Unavailable("The way to the volume cannot be opened now.", detail=ADDRESS_TAKEN)
    ask(folder, Mode.TARGET, Op.NEW, f"targetname={target.name}")
    ask(folder, Mode.DEVICE, Op.NEW, f"path={target.file},bstype=rdwr", lun=LUN)
    ask(folder, Mode.DEVICE, Op.UPDATE, f"thin_provisioning=1,readonly={int(target.read_only)}", lun=LUN)
    ask(folder, Mode.ACCOUNT, Op.NEW, f"user={target.user},password={target.password}")
    ask(folder, Mode.ACCOUNT, Op.BIND, f"user={target.user}")
    ask(folder, Mode.TARGET, Op.BIND, f"initiator-name={target.initiator}")


def ask(folder: Path, mode: Mode, op: Op, told: str = "", *, target: int = TARGET, lun: int = 0) -> str:
    """What it answers to one command. Raises ``Unavailable`` when it does not, or refuses; never with what it was told."""
    words = told.encode() + b"\0" if told else b""
    request = REQUEST.pack(mode, op, b"iscsi", REQUEST.size + len(words), target, 0, lun, 0, 0, 0, 0, 0, 0)
    try:
        with _connected(folder) as connection, connection.makefile("rb") as answers:
            connection.sendall(request + words)
            failed, size = ANSWER.unpack(answers.read(ANSWER.size))
            said = answers.read(size - ANSWER.size)
    except (OSError, struct.error) as error:
        raise Unavailable("A process that hands out a volume does not answer.", detail=plain(error)) from None
    if failed:
        raise Unavailable("The way to the volume cannot be opened now.", detail=f"{PROGRAM}: {mode.name} {op.name} failed ({failed})")
    return str(said.decode(errors="replace"))


def _target(folder: Path) -> Target:
    return msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Target)


@contextmanager
def _connected(folder: Path) -> Iterator[socket.socket]:
    """The name of a socket is short, however long its folder's is. Raises ``OSError`` where nobody answers."""
    handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ASK_SECONDS)
            connection.connect(f"/proc/self/fd/{handle}/{SOCKET}")
            yield connection
    finally:
        os.close(handle)
