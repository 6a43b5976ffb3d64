"""The folders that a process keeps its files in: closed to all other users of the machine before anything is read or put there."""

import os
import pwd
import stat
from pathlib import Path

from nova_async.config import Config
from nova_async.errors import Unavailable

# Files for their owner alone. Folders may be passed through but not listed: PostgreSQL and QEMU may run as users of their own.
UMASK = 0o066
FOLDER_MODE, OWN_MODE = 0o7711, 0o7700
OWN = {"libvirt", "plugging"}  # folders that nobody else passes through: the programs that we start there leave files open
DATABASE_ACCOUNTS = ("postgres", "nobody")  # who the embedded PostgreSQL may run as


def close(config: Config) -> None:
    """Make what is missing, and close what stands open.

    What somebody else put there (a folder, a file, a link to elsewhere) is not made ours by closing it: such a one may hold it open, or
    have it lead to files of others. Raises ``Unavailable``, which names it.
    """
    os.umask(UMASK)
    ours = {0, os.geteuid()}
    folders = {config.state, config.files, *(Path(p).absolute() for p in (config.image.store_dir, config.volume.store_dir) if p)}
    for folder in sorted(folders):
        _refuse_others(folder, ours)
        folder.mkdir(mode=FOLDER_MODE & 0o777, parents=True, exist_ok=True)
        _refuse_others(folder.resolve(), ours)
        _close(folder.resolve())
    accounts = ours | {account.pw_uid for account in map(_account, DATABASE_ACCOUNTS) if account}
    for entry in config.state.iterdir():
        _refuse_others(entry, accounts if entry.name == "postgres" else ours)
        _close(entry)


def _refuse_others(path: Path, ours: set[int]) -> None:
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable(f"{path} cannot be looked at.", detail=str(error)) from None
    if owner not in ours:
        raise Unavailable(
            f"{path} belongs to another user ({owner}): remove it, give it to the user that runs this, or choose another folder."
        )


def _close(path: Path) -> None:
    """Links and sockets have no mode that counts; what is root's when we are not is root's to close."""
    about = path.lstat()
    mode = stat.S_IMODE(about.st_mode)
    if about.st_uid != os.geteuid() or not (stat.S_ISDIR(about.st_mode) or stat.S_ISREG(about.st_mode)):
        return
    closed = mode & (FOLDER_MODE if stat.S_ISDIR(about.st_mode) and path.name not in OWN else OWN_MODE)
    if closed != mode:
        path.chmod(closed)


def _account(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None
