"""Volumes that are files on NFS shares: where they are found, and what is mounted how."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from nova_async import processes
from nova_async.errors import Invalid
from nova_async.virt.libvirt import shares as module
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.shares import Shares, mounted

SHARE = "filer:/vol/one"
PLACE = hashlib.md5(SHARE.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Those that mounted something, as the kernel lists it."""
    told, listed = list[tuple[str, ...]](), tmp_path / "mounts"
    listed.write_text("proc /proc proc rw 0 0\n")

    async def run(*command: str, deadline: float) -> bytes:
        told.append(command)
        with listed.open("a") as file:
            file.write(f"{command[-2]} {command[-1]} nfs4 rw 0 0\n")
        return b""

    monkeypatch.setattr(processes, "run", run)
    monkeypatch.setattr(module, "MOUNTS", listed)
    return told


def told(**fields: Any) -> dict[str, Any]:
    return {"export": SHARE, "name": "volume-1", "format": "raw"} | fields


async def test_a_share_is_mounted_once_where_its_first_volume_is_wanted(tmp_path: Path, commands: list[tuple[str, ...]]) -> None:
    shares = Shares(tmp_path / "mnt", FileThreads())
    folder = tmp_path / "mnt" / PLACE
    assert await shares.file(told(options="-o vers=4.1,soft")) == folder / "volume-1"
    assert await shares.file(told(name="volume-2")) == folder / "volume-2"
    assert commands == [("mount", "-t", "nfs", "-o", "vers=4.1,soft,nosuid,nodev,noexec", SHARE, str(folder))]
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
async def test_what_is_no_file_on_a_share_is_refused(tmp_path: Path, commands: list[tuple[str, ...]], fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        await Shares(tmp_path, FileThreads()).file(told(**fields))
    assert commands == []


def test_what_is_mounted_is_read_as_the_kernel_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mounted(Path("/proc"))
    listed = tmp_path / "mounts"
    listed.write_text("filer:/a /mnt/with\\040blank nfs4 rw 0 0\nfiler:/b /mnt/plain nfs4 rw 0 0\n")
    monkeypatch.setattr(module, "MOUNTS", listed)
    assert [mounted(Path(path)) for path in ("/mnt/with blank", "/mnt/plain", "/mnt", "/mnt/plai")] == [True, True, False, False]
