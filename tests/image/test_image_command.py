"""What people type: the real ``openstack`` command against the service."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import QCOW2, Client, Service


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(QCOW2)
    return path


async def told(service: Service, *arguments: str, **kw: Any) -> Any:
    return json.loads(await service.openstack(*arguments, "-f", "json", **kw))


async def test_the_openstack_command_keeps_an_image(service: Service, disk: Path, tmp_path: Path) -> None:
    formats = ("--disk-format", "qcow2", "--container-format", "bare")
    marks = ("--property", "hw_disk_bus=scsi", "--tag", "t", "--min-disk", "1")
    created = await told(service, "image", "create", "--file", str(disk), *formats, *marks, "web", token="a")
    assert created["status"] == "active"
    listed = await told(service, "image", "list", "--tag", "t", "--status", "active", token="a")
    assert [(i["ID"], i["Name"], i["Status"]) for i in listed] == [(created["id"], "web", "active")]
    assert await told(service, "image", "list", token="b") == []

    await service.openstack("image", "set", "--property", "os_distro=debian", "--name", "www", "--protected", "--private", "web", token="a")
    shown = await told(service, "image", "show", "www", token="a")
    assert (shown["protected"], shown["visibility"], shown["min_disk"]) == (True, "private", 1)
    assert shown["properties"]["os_distro"] == "debian"
    assert shown["properties"]["os_hash_value"] == hashlib.sha512(QCOW2).hexdigest()
    assert "protected" in await service.openstack("image", "delete", "www", token="a", status=1)

    await service.openstack("image", "unset", "--property", "os_distro", "--tag", "t", "www", token="a")
    await service.openstack("image", "set", "--unprotected", created["id"], token="a")
    shown = await service.client("a").show(created["id"])
    assert (shown.get("os_distro"), shown["hw_disk_bus"], shown["tags"], shown["protected"]) == (None, "scsi", [], False)
    await service.openstack("image", "save", "--file", str(tmp_path / "copy"), "www", token="a")
    assert (tmp_path / "copy").read_bytes() == QCOW2
    await service.openstack("image", "delete", "www", token="a")
    assert service.files() == []


async def test_the_openstack_command_withholds_an_image(service: Service, admin: Client) -> None:
    image_id = await admin.active(name="golden", visibility="public")
    await service.openstack("image", "set", "--deactivate", image_id)
    assert (await admin.show(image_id))["status"] == "deactivated"


async def test_the_openstack_command_says_why_a_lie_is_refused(service: Service, disk: Path) -> None:
    create = ("image", "create", "--file", str(disk), "--disk-format", "raw", "--container-format", "bare", "lie")
    assert "declared disk_format raw" in await service.openstack(*create, token="a", status=1)
    assert service.files() == []


async def test_the_openstack_command_imports_what_it_staged(service: Service, disk: Path, anna: Client) -> None:
    created = await told(service, "image", "create", "--file", str(disk), "--disk-format", "qcow2", "--import", "staged", token="a")
    assert (await anna.show(created["id"]))["status"] == "active"
