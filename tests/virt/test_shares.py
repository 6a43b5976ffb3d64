"""Volumes that are files on NFS shares: where they are found, and what is mounted how."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from nova_async import processes
from nova_async.errors import Invalid
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.shares import Shares

SHARE = "filer:/vol/one"
PLACE = hashlib.md5(SHARE.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that mounted something."""
    commands: list[tuple[str, ...]] = []

    async def run(*command: str, deadline: float) -> bytes:
        commands.append(command)
        return b""

    monkeypatch.setattr(processes, "run", run)
    monkeypatch.setattr(os.path, "ismount", lambda path: any(command[-1] == str(path) for command in commands))
    return commands


def told(**fields: Any) -> dict[str, Any]:
    return {"export": SHARE, "name": "volume-1", "format": "raw"} | fields


async def test_a_share_is_mounted_once_where_its_first_volume_is_wanted(tmp_path: Path, mounted: list[tuple[str, ...]]) -> None:
    shares = Shares(tmp_path / "mnt", FileThreads())
    folder = tmp_path / "mnt" / PLACE
    assert await shares.file(told(options="-o vers=4.1,soft")) == folder / "volume-1"
    assert await shares.file(told(name="volume-2")) == folder / "volume-2"
    assert mounted == [("mount", "-t", "nfs", "-o", "vers=4.1,soft,nosuid,nodev,noexec", SHARE, str(folder))]
    assert folder.is_dir()


@pytest.mark.parametrize(
    "fields",
    [
        {"export": "-o suid"},
        {"export": "/etc"},
        {"export": "filer:relative"},
        {"export": None},
        {"name": "../other"},
        {"name": "a/b"},
        {"name": ""},
        {"name": "-x"},
        {"options": "-o suid"},
        {"options": "--bind"},
        {"options": "-o vers=4;reboot"},
    ],
    ids=str,
)
async def test_what_is_no_file_on_a_share_is_refused(tmp_path: Path, mounted: list[tuple[str, ...]], fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await Shares(tmp_path, FileThreads()).file(told(**fields))
    assert mounted == []
