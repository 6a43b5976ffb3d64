"""Encrypted volumes that Cinder leaves to hosts to format, behind a real iSCSI target (tgt)."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libvirt")

from nova_async.errors import Conflict, Unavailable
from nova_async.processes import run
from nova_async.qemu_img import SECRET, Luks
from nova_async.virt.libvirt.blanks import Blanks
from nova_async.virt.libvirt.blanks import Target as Place
from nova_async.world import RealWorld
from tests.virt.test_iscsi import PASSWORD, PORT, TARGET, USER, Target

pytestmark = [
    *(pytest.mark.libvirt, pytest.mark.timeout(300), pytest.mark.xdist_group("qemu-volumes")),
    pytest.mark.skipif(shutil.which("tgtd") is None or os.geteuid() != 0, reason="no iSCSI target: Debian's tgt, and root"),
]
VOLUME, INITIATOR = "0b8a6a0e-5c1f-4d6c-9d0a-5f3f0f8b7a11", "iqn.2008-11.org.linux-kvm:host"
DATA: dict[str, Any] = {
    **{"target_portal": f"127.0.0.1:{PORT}", "target_iqn": TARGET, "target_lun": 1},
    **{"auth_method": "CHAP", "auth_username": USER, "auth_password": PASSWORD},
}
PLACE = Place(DATA, INITIATOR)
SESAME = Luks("sesame", 256)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    made = Target(tmp_path / "lun")
    try:
        await made.open(INITIATOR)
        yield made
    finally:
        await made.close()


@pytest.fixture
async def blanks(tmp_path: Path) -> AsyncIterator[Blanks]:
    made = Blanks(tmp_path / "blanks", RealWorld())
    await made.open()
    yield made
    made.close()
    assert not list((tmp_path / "blanks").glob("*")), "what formats a volume ends with it"


@pytest.mark.parametrize("bits", [256, 128])
async def test_a_volume_of_zeros_is_formatted_once(target: Target, blanks: Blanks, bits: int) -> None:
    size = target.file.stat().st_size
    await blanks.format(VOLUME, PLACE, Luks("sesame", bits))
    header = target.file.read_bytes()[:4096]
    assert (header[:8], target.file.stat().st_size) == (b"LUKS\xba\xbe\x00\x01", size)
    place = f"driver=luks,key-secret=key,file.driver=file,file.filename={target.file}"
    words = ("qemu-io", *SECRET, "--image-opts", "-c", "write -P 7 0 4k", "-c", "read -P 7 0 4k", place)
    assert b"verification failed" not in await run(*words, deadline=60, told=b"sesame")
    await blanks.format(VOLUME, PLACE, Luks("another", bits))
    assert target.file.read_bytes()[:4096] == header, "it is not formatted anew"


async def test_nothing_is_formatted_over_somebodys_data(target: Target, blanks: Blanks) -> None:
    with target.file.open("r+b") as file:
        file.seek(1080)
        file.write(b"\x53\xef")  # as a file system's
    before = target.file.read_bytes()
    with pytest.raises(Conflict, match="holds what is not LUKS"):
        await blanks.format(VOLUME, PLACE, SESAME)
    assert target.file.read_bytes() == before


@pytest.mark.parametrize("place", [Place(DATA | {"auth_password": "guessed-by-mallory"}, INITIATOR), Place(DATA, INITIATOR + "-2")])
async def test_whom_the_target_does_not_let_in_is_told_so(target: Target, blanks: Blanks, place: Place) -> None:
    with pytest.raises(Unavailable, match="does not let this host read it"):
        await blanks.format(VOLUME, place, SESAME)
    assert not target.file.read_bytes().strip(b"\0")


async def test_what_was_begun_before_a_death_is_done_anew(target: Target, blanks: Blanks, tmp_path: Path) -> None:
    """The keys are written first, and the header last."""
    with target.file.open("r+b") as file:
        file.seek(4096)
        file.write(b"half of a key")
    (tmp_path / "blanks" / VOLUME).mkdir(parents=True)
    await blanks.open()
    assert not list((tmp_path / "blanks").glob("*"))
    await blanks.format(VOLUME, PLACE, SESAME)
    assert target.file.read_bytes().startswith(b"LUKS")
