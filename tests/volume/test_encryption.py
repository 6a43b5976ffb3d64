"""Encrypted volumes: what types say of them, that their bytes are ciphertext wherever they lie, and that nobody learns what opens them."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nova_async import qemu_img
from nova_async.db import volumes as rows
from nova_async.errors import Error
from nova_async.services.volume.keys import Keys
from nova_async.storage_daemons import PROGRAM
from tests.volume.conftest import GIB, SERVER, UNKNOWN, Client, Service, noise

LUKS = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end"}


async def encrypted_type(admin: Client, name: str = "secret", **changes: Any) -> str:
    made = (await admin("POST", "/types", 200, {"volume_type": {"name": name}}))["volume_type"]["id"]
    await admin("POST", f"/types/{made}/encryption", 200, {"encryption": LUKS | changes})
    return str(made)


async def passphrase(service: Service, volume: str) -> str:
    async with service.volumes.database.connection() as conn:
        sealed = await rows.sealed_key(conn, volume)
    assert sealed is not None
    return await service.volumes.keys.open(sealed, volume)


async def opened(path: Path, secret: str, *commands: str) -> str:
    """What ``qemu-io`` says of an encrypted volume's own bytes."""
    place = f"driver=luks,key-secret=key,file.driver=file,file.filename={path}"
    asked = [word for command in commands for word in ("-c", command)]
    words = ["qemu-io", "--object", "secret,id=key,file=/dev/stdin", *asked, "--image-opts", place]
    done = await asyncio.to_thread(subprocess.run, words, input=secret, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


def begins(path: Path, octets: int) -> bytes:
    with path.open("rb") as file:
        return file.read(octets)


async def test_types_say_how_their_volumes_are_encrypted_in_cinders_words(anna: Client, admin: Client) -> None:
    made = (await admin("POST", "/types", 200, {"volume_type": {"name": "t"}}))["volume_type"]["id"]
    one = f"/types/{made}/encryption"
    assert await admin("GET", one, 200) == {}
    for wrong in ({}, LUKS | {"control_location": "middle"}, LUKS | {"provider": None}, LUKS | {"key_size": "big"}, LUKS | {"more": 1}):
        await admin.refused("POST", one, 400, {"encryption": wrong})
    told = (await admin("POST", one, 200, {"encryption": LUKS}))["encryption"]
    assert told == LUKS | {"volume_type_id": made, "encryption_id": told["encryption_id"]}
    assert "already exists" in await admin.refused("POST", one, 400, {"encryption": LUKS})
    shown = await admin("GET", one, 200)
    assert (shown["deleted"], shown["updated_at"], {key: shown[key] for key in told}) == (False, None, told)
    assert await admin("GET", one + "/cipher", 200) == {"cipher": "aes-xts-plain64"}
    await admin.refused("GET", one + "/colour", 404)
    changes = {"key_size": 128, "provider": "SomeProvider", "control_location": "back-end"}
    assert (await admin("PUT", f"{one}/{told['encryption_id']}", 200, {"encryption": changes}))["encryption"] == changes
    assert (await admin("GET", one, 200))["provider"] == "SomeProvider"
    for method, path, body in (("GET", one, None), ("POST", one, {"encryption": LUKS}), ("DELETE", one + "/x", None)):
        await anna.refused(method, path, 403, body)
    assert "SomeProvider" in await anna.refused("POST", "/volumes", 400, {"volume": {"size": 1, "volume_type": "t"}})
    await admin("DELETE", f"{one}/{told['encryption_id']}", 202)
    assert await admin("GET", one, 200) == {}
    await admin.refused("DELETE", f"{one}/provider", 404)
    await admin.refused("GET", f"/types/{UNKNOWN}/encryption", 404)


async def test_what_hosts_cannot_open_is_refused_by_name(anna: Client, admin: Client) -> None:
    for number, (change, named) in enumerate(
        (
            ({"provider": "plain"}, "plain"),
            ({"control_location": "back-end"}, "back-end"),
            ({"cipher": "rot13"}, "rot13"),
            ({"key_size": 64}, "64"),
        )
    ):
        await encrypted_type(admin, f"t{number}", **change)
        assert named in await anna.refused("POST", "/volumes", 400, {"volume": {"size": 1, "volume_type": f"t{number}"}})
    both = await encrypted_type(admin, "both")
    await admin("POST", f"/types/{both}/extra_specs", 200, {"extra_specs": {"multiattach": "<is> True"}})
    assert "multi-attach" in await anna.refused("POST", "/volumes", 400, {"volume": {"size": 1, "volume_type": "both"}})


async def test_an_encrypted_volume_is_luks_on_disk_and_so_are_its_copies(service: Service, anna: Client, admin: Client) -> None:
    """Copies open with the key of the first, and hold the same bytes; all are as large as they say."""
    kind = await encrypted_type(admin)
    volume = await anna.volume(volume_type="secret")
    shown = await anna.show(volume)
    assert (shown["encrypted"], shown["encryption_key_id"]) == (True, volume)
    assert "encryption_key_id" not in (await anna("GET", f"/volumes/{volume}", 200, version="3.63"))["volume"]
    told = await anna("GET", f"/volumes/{volume}/encryption", 200)
    assert told == {"encryption_key_id": volume} | LUKS
    assert await anna("GET", f"/volumes/{volume}/encryption/provider", 200) == "luks"
    path, secret, header = service.path(volume), await passphrase(service, volume), await service.volumes.store.header(volume)
    assert begins(path, 8) == b"LUKS\xba\xbe\x00\x01"
    assert (path.stat().st_size, path.stat().st_mode & 0o777) == (GIB + header, 0o600)
    assert "Invalid password" in await opened(path, "guess", "length")
    await opened(path, secret, "write -P 0x5a 4096 65536")
    assert "in use" in await admin.refused("DELETE", f"/types/{kind}/encryption/x", 400)
    assert "in use" in await admin.refused("PUT", f"/types/{kind}/encryption/x", 400, {"encryption": {"key_size": 128}})
    snapshot, plain = await anna.snapshot(volume), await anna.volume()
    assert begins(service.path(snapshot), 4) == b"LUKS"
    for source in ({"snapshot_id": snapshot}, {"source_volid": volume}):
        copy = await anna.volume(2, **source)
        assert (await anna.show(copy))["encrypted"]
        said = await opened(service.path(copy), await passphrase(service, copy), "read -P 0x5a 4096 65536", "length")
        assert "Pattern verification failed" not in said
        assert said.split()[-2:] == ["2", "GiB"]
        await anna("DELETE", f"/volumes/{copy}", 202)
        assert "not compatible" in await anna.refused("POST", "/volumes", 400, {"volume": {"size": 1, "volume_type": "files"} | source})
    body = {"volume": {"size": 1, "volume_type": "secret", "source_volid": plain}}
    assert "not compatible" in await anna.refused("POST", "/volumes", 400, body)
    for one, other in ((plain, "secret"), (volume, "files")):
        assert "encrypted" in await anna.refused("POST", f"/volumes/{one}/action", 400, {"os-retype": {"new_type": other}})
    upload = {"os-volume_upload_image": {"image_name": "x"}}
    assert "encrypted" in await anna.refused("POST", f"/volumes/{volume}/action", 400, upload)
    await anna.act(volume, "os-extend", {"new_size": 3})
    await service.idle()
    assert path.stat().st_size == 3 * GIB + header
    for one in (f"/snapshots/{snapshot}", f"/volumes/{volume}", f"/volumes/{plain}"):
        await anna("DELETE", one, 202)
        await service.idle()
    assert service.files() == []
    await admin("DELETE", f"/types/{kind}/encryption/x", 202)


async def test_an_image_is_encrypted_on_its_way_into_a_volume(service: Service, anna: Client, admin: Client) -> None:
    await encrypted_type(admin, "secret", key_size=128)
    data = noise(1000) + b"\x5a" * 4096 + noise(2_000_000)
    volume = await anna.volume(1, imageRef=await service.image(data), volume_type="secret")
    shown = await anna.show(volume)
    assert (shown["encrypted"], shown["bootable"]) == (True, "true")
    path, secret = service.path(volume), await passphrase(service, volume)
    assert b"\x5a" * 512 not in begins(path, 8 * 2**20)
    said = await opened(path, secret, "read -P 0x5a 1000 4096", "length")
    assert "Pattern verification failed" not in said
    assert said.split()[-2:] == ["1", "GiB"]
    assert path.stat().st_size == GIB + await service.volumes.store.header(volume)
    assert b"aes" in begins(path, 40)


@pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"needs {PROGRAM}")
async def test_what_opens_a_volume_is_told_to_services_alone(service: Service, anna: Client, admin: Client, caplog: Any) -> None:
    """The process that hands it out to another host knows nothing of it, and shows the header and the ciphertext."""
    await encrypted_type(admin)
    volume, nova = await anna.volume(volume_type="secret"), service.client("nova")
    secret = await passphrase(service, volume)
    body = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": "elsewhere"}}}
    made = (await nova("POST", "/attachments", 200, body))["attachment"]
    told = made["connection_info"]
    assert (told["driver_volume_type"], told["encrypted"], told["passphrase"]) == ("nbd", True, secret)
    for client in (anna, admin):
        assert secret not in str(await client("GET", f"/attachments/{made['id']}", 200))
    folder = service.volumes.exports.daemons.folder / made["id"]
    assert f"size={GIB + await service.volumes.store.header(volume)}" in (folder / "run.json").read_text()
    assert all(secret.encode() not in file.read_bytes() for file in folder.iterdir() if file.is_file())
    here = {"attachment": {"connector": {"host": service.volumes.host}}}
    told = (await nova("PUT", f"/attachments/{made['id']}", 200, here))["attachment"]["connection_info"]
    assert (told["driver_volume_type"], told["passphrase"]) == ("file", secret)
    async with service.volumes.database.connection() as conn:
        sealed = await rows.sealed_key(conn, volume)
    assert sealed is not None
    assert secret.encode() not in sealed
    assert len(secret) == 64
    assert secret not in caplog.text


async def test_keys_open_with_the_file_that_sealed_them_only(tmp_path: Path) -> None:
    """SEC-037: nor is one volume's key another's, and none is kept opened."""
    one, other = Keys(tmp_path / "one" / "volume.key"), Keys(tmp_path / "other" / "volume.key")
    with pytest.raises(Error, match="cannot be opened"):
        await one.make("a", first=False)
    sealed = await one.make("a", first=True)
    assert os.stat(tmp_path / "one" / "volume.key").st_mode & 0o777 == 0o600
    assert len(os.listdir(tmp_path / "one")) == 1
    secret = await one.open(sealed, "a")
    assert await one.open(await one.copy(sealed, "a", "b"), "b") == secret
    await other.make("x", first=True)
    for keys, volume in ((one, "b"), (other, "a")):
        with pytest.raises(Error, match="cannot be opened"):
            await keys.open(sealed, volume)
    assert vars(one).keys() == {"_file"}
    assert vars(one._file).keys() == {"_path", "_what"}


async def test_a_key_is_made_though_the_kernel_counts_no_time_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU measures how fast it is; a busy machine whose kernel counts time by ticks may count none for it."""
    real, tried = qemu_img.run, list[str]()

    async def run(*command: str, **more: Any) -> bytes:
        tried.append(command[1])
        if len(tried) <= count:
            raise Error("qemu-img failed.", detail=f"qemu-img: {tmp_path}/v: {qemu_img.UNMEASURED}")
        return await real(*command, **more)

    monkeypatch.setattr(qemu_img, "run", run)
    count = 2
    await qemu_img.make_luks(tmp_path / "v", 2**20, qemu_img.Luks("secret", 256))
    assert (len(tried) > count, (tmp_path / "v").read_bytes()[:4]) == (True, b"LUKS"), "once more than it failed, or oftener"
    count = 1000
    with pytest.raises(Error, match="qemu-img failed"):
        await qemu_img.make_luks(tmp_path / "w", 2**20, qemu_img.Luks("secret", 256))
