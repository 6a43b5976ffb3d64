"""Encrypted volumes of a real Cinder, whose keys a real Barbican keeps."""

import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openstack.connection import Connection

from tests.openstack.guests import ACTIVE_SECONDS, WATCH, booted, said
from tests.openstack.volumes import until_backends_are_known, until_migrated

if TYPE_CHECKING:
    from tests.openstack.conftest import Site

HOW = {"provider": "luks", "cipher": "aes-xts-plain64", "control_location": "front-end"}
TYPES = {"secret": ("nfs", 256), "elsewhere": ("other", 128)}  # each with its back end, and its key's size in bits


def encrypted_volumes_are_opened(place: "Site", user: Connection, image: str) -> None:
    """Written by one guest, read by another, also where Cinder brings it and after a hard reboot; nobody else hears the keys."""
    admin = place.connect("admin", "admin")
    until_backends_are_known(admin)
    for name, (backend, bits) in TYPES.items():
        kind = admin.block_storage.create_type(name=name, extra_specs={"volume_backend_name": backend})
        admin.block_storage.create_type_encryption(kind, **HOW, key_size=bits)
    volume = user.block_storage.create_volume(size=1, name="secret", volume_type="secret")
    _until(user, volume.id, "available")
    writer = booted(user, "writer", image, config_drive=False, user_data=WATCH)
    said(user, writer, "USERDATA watching")

    user.compute.create_volume_attachment(writer, volume_id=volume.id)
    _until_it_is_said(place, f"the key of volume {volume.id}: the user of nova_async needs a role in its project")
    _until_it_is_said(place, "workflow.failed")
    _until(user, volume.id, "available")
    nova, demo, member = admin.identity.find_user("nova"), admin.identity.find_project("demo"), admin.identity.find_role("member")
    admin.identity.assign_project_role_to_user(demo, nova, member)
    user.compute.create_volume_attachment(writer, volume_id=volume.id)
    assert "USERDATA volume holds nothing" in said(user, writer, "USERDATA volume written")
    user.compute.delete_volume_attachment(writer, volume.id)
    said(user, writer, "USERDATA volume gone")
    _until(user, volume.id, "available")

    data = {"uuid": volume.id, "source_type": "volume", "destination_type": "volume", "boot_index": -1}
    root = {"uuid": image, "source_type": "image", "destination_type": "local", "boot_index": 0}
    reader = booted(user, "reader", image, config_drive=False, user_data=WATCH, block_device_mapping=[root, data])
    assert "USERDATA volume holds from the writer" in said(user, reader, "USERDATA volume written")
    _is_ciphertext(place)
    passphrases = [_passphrase(admin, user, volume.id)]
    user.block_storage.retype_volume(volume, "elsewhere", migration_policy="on-demand")
    until_migrated(admin, volume.id)
    _is_ciphertext(place)
    passphrases.append(_passphrase(admin, user, volume.id))
    assert [len(each) for each in passphrases] == [bits // 4 for _, bits in TYPES.values()], "a key of its own for each type"
    user.compute.reboot_server(reader, "HARD")
    user.compute.wait_for_server(reader, interval=0.5, wait=ACTIVE_SECONDS)
    assert said(user, reader, "USERDATA volume holds from the reader")
    _is_told_to_nobody(place, *passphrases)

    for server in (writer, reader):
        user.compute.delete_server(server)
    for server in (writer, reader):
        user.compute.wait_for_delete(server, interval=0.5, wait=ACTIVE_SECONDS)
    _until(user, volume.id, "available")
    user.block_storage.delete_volume(volume)
    user.block_storage.wait_for_delete(volume, interval=0.5, wait=ACTIVE_SECONDS)


def _until(user: Connection, volume_id: str, status: str) -> None:
    user.block_storage.wait_for_status(user.block_storage.get_volume(volume_id), status, interval=0.5, wait=ACTIVE_SECONDS)


def _until_it_is_said(place: "Site", words: str) -> None:
    end = time.monotonic() + ACTIVE_SECONDS
    while words not in place.cloud.log_text():
        assert time.monotonic() < end, place.cloud.log_text()[-3000:]
        time.sleep(1)


def _is_ciphertext(place: "Site") -> None:
    """The only volume is as Cinder made it, LUKS within qcow2, and holds nothing that the guests wrote."""
    [path] = place.services.mounts.rglob("volume-*")
    words = ("qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(path))
    facts: dict[str, Any] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert (facts["encrypted"], facts["format-specific"]["data"]["encrypt"]["format"]) == (True, "luks")
    assert b"from the" not in path.read_bytes()


def _passphrase(admin: Connection, user: Connection, volume_id: str) -> str:
    """In hexadecimal, as hosts hear it."""
    key = admin.block_storage.get(f"/volumes/{volume_id}/encryption").json()["encryption_key_id"]
    return str(user.key_manager.get(f"/secrets/{key}/payload", headers={"Accept": "application/octet-stream"}).content.hex())


def _is_told_to_nobody(place: "Site", *passphrases: str) -> None:
    """In no log, file of the cloud's or command line."""
    state = place.cloud.state
    files = [path for path in state.rglob("*") if path.is_file() and path.suffix in (".log", ".xml", ".json", ".jsonl", ".toml", ".yaml")]
    assert files
    for path in (*files, *Path("/proc").glob("[0-9]*/cmdline")):
        try:
            text = path.read_bytes()
            assert not [each for each in passphrases if each.encode() in text], path
        except (FileNotFoundError, ProcessLookupError):
            continue
