"""Who holds a volume: the attachments API as the compute service uses it, and the older actions."""

import asyncio
from typing import Any

import pytest

from nova_async.services.volume import rules
from tests.volume.conftest import SERVER, UNKNOWN, Client, Service

OTHER = "22222222-2222-4333-8444-555555555555"


def asked(volume: str, server: str = SERVER, **more: Any) -> dict[str, Any]:
    return {"attachment": {"volume_uuid": volume, "instance_uuid": server} | more}


async def test_a_volume_is_reserved_reached_and_had(service: Service, anna: Client) -> None:
    volume, nova = await anna.volume(), service.client("nova")
    made = (await nova("POST", "/attachments", 200, asked(volume)))["attachment"]
    assert (made["status"], (await anna.show(volume))["status"]) == ("reserved", "reserved")
    connector = {"host": service.volumes.host, "ip": "127.0.0.1", "mountpoint": "/dev/vdb"}
    told = (await nova("PUT", f"/attachments/{made['id']}", 200, {"attachment": {"connector": connector}}))["attachment"]
    assert told["connection_info"]["device_path"] == str(service.path(volume))
    assert (await anna.show(volume))["status"] == "attaching"
    await nova("POST", f"/attachments/{made['id']}/action", 204, {"os-complete": None})
    shown = await anna.show(volume)
    assert (shown["status"], shown["attachments"][0]["server_id"], shown["attachments"][0]["device"]) == ("in-use", SERVER, "/dev/vdb")
    assert (await anna("GET", f"/attachments/{made['id']}", 200))["attachment"]["connection_info"] == {}, "it is for services only"
    left = await nova("DELETE", f"/attachments/{made['id']}", 200)
    assert (left, (await anna.show(volume))["status"]) == ({"attachments": []}, "available")


async def test_what_a_server_has_is_taken_from_it_by_the_compute_service_only(service: Service, anna: Client) -> None:
    """SEC-034."""
    volume, nova = await anna.volume(), service.client("nova")
    made = (await nova("POST", "/attachments", 200, asked(volume, connector={"host": service.volumes.host})))["attachment"]
    await nova("POST", f"/attachments/{made['id']}/action", 204, {"os-complete": None})
    assert "using the Compute API" in await anna.refused("DELETE", f"/attachments/{made['id']}", 409)
    assert "using the Compute API" in await anna.refused("POST", f"/volumes/{volume}/action", 409, {"os-detach": {}})
    await anna.refused("DELETE", f"/volumes/{volume}", 400)
    await anna.refused("POST", f"/volumes/{volume}/action", 403, {"os-initialize_connection": {"connector": {"host": "x"}}})
    assert (await anna.show(volume))["status"] == "in-use"


async def taken_at_once(client: Client, volume: str, count: int) -> int:
    """How many servers of so many get an attachment of the volume."""

    async def one(number: int) -> bool:
        try:
            await client("POST", "/attachments", 200, asked(volume, f"{number:08x}-2222-4333-8444-555555555555"))
        except AssertionError:
            return False
        return True

    return sum(await asyncio.gather(*(one(n) for n in range(count))))


async def test_one_server_has_a_volume_however_many_ask_at_once(service: Service, anna: Client) -> None:
    """INV-24."""
    volume = await anna.volume()

    assert await taken_at_once(anna, volume, 10) == 1
    assert "status must be available" in await anna.refused("POST", "/attachments", 400, asked(volume, OTHER))


async def test_a_shared_volume_has_several_servers(service: Service, anna: Client, admin: Client) -> None:
    await admin("POST", "/types", 200, {"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}})
    volume, nova = await anna.volume(volume_type="shared"), service.client("nova")
    made = [
        (await nova("POST", "/attachments", 200, asked(volume, s, connector={"host": service.volumes.host})))["attachment"]["id"]
        for s in (SERVER, OTHER)
    ]
    for attachment in made:
        await nova("POST", f"/attachments/{attachment}/action", 204, {"os-complete": None})
    await nova("DELETE", f"/attachments/{made[0]}", 200)
    assert (await anna.show(volume))["status"] == "in-use"
    await nova("DELETE", f"/attachments/{made[1]}", 200)
    assert (await anna.show(volume))["status"] == "available"


async def test_a_shared_volume_has_no_more_attachments_than_the_limit(anna: Client, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-060"""
    monkeypatch.setattr(rules, "MAX_ATTACHMENTS", 3)
    await admin("POST", "/types", 200, {"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}})
    volume = await anna.volume(volume_type="shared")

    assert await taken_at_once(anna, volume, 8) == 3
    assert "has 3 attachments already" in await anna.refused("POST", "/attachments", 413, {"attachment": {"volume_uuid": volume}})


async def test_the_older_actions_do_as_they_did(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    await anna.act(volume, "os-reserve")
    assert (await anna.show(volume))["status"] == "attaching"
    await anna.refused("POST", f"/volumes/{volume}/action", 400, {"os-reserve": None})
    await anna.act(volume, "os-unreserve")
    await anna.act(volume, "os-attach", {"host_name": "box", "mountpoint": "/mnt"})
    await anna.act(volume, "os-begin_detaching")
    assert (await anna.show(volume))["status"] == "detaching"
    await anna.act(volume, "os-roll_detaching")
    await anna.act(volume, "os-detach", {})
    assert (await anna.show(volume))["status"] == "available"
    await anna.act(volume, "os-detach", None)
    await anna.refused("POST", f"/volumes/{volume}/action", 400, {"os-attach": {}})
    await anna.refused("POST", f"/volumes/{volume}/action", 400, {"os-dance": {}})
    await anna.refused("POST", f"/volumes/{volume}/action", 400, {})


async def test_an_administrator_takes_off_what_was_attached_by_hand_and_failed(service: Service, anna: Client, admin: Client) -> None:
    """As Tempest's test_force_detach_volume does."""
    volume = await anna.volume()
    await anna.act(volume, "os-attach", {"instance_uuid": SERVER, "mountpoint": "/dev/vdb"})
    (held,) = (await anna.show(volume))["attachments"]
    await admin.act(volume, "os-reset_status", {"status": "error"})
    await anna.refused("POST", f"/volumes/{volume}/action", 400, {"os-detach": {}})
    forced = {"os-force_detach": {"attachment_id": held["attachment_id"], "connector": None}}
    await anna.refused("POST", f"/volumes/{volume}/action", 403, forced)
    await service.client("ben").refused("POST", f"/volumes/{volume}/action", 404, forced)
    await admin.refused("POST", f"/volumes/{volume}/action", 400, {"os-force_detach": None})
    await admin("POST", f"/volumes/{volume}/action", 202, forced)
    shown = await anna.show(volume)
    assert (shown["status"], shown["attachments"]) == ("available", [])


async def test_nobody_but_the_compute_service_takes_what_a_host_has(service: Service, anna: Client, admin: Client) -> None:
    """SEC-034: an administrator neither, nor while the host is only about to have it."""
    volume, nova = await anna.volume(), service.client("nova")
    made = (await nova("POST", "/attachments", 200, asked(volume, connector={"host": service.volumes.host})))["attachment"]
    for _ in range(2):
        await admin.refused("DELETE", f"/attachments/{made['id']}", 409)
        await anna.refused("DELETE", f"/attachments/{made['id']}", 409)
        await admin.refused("POST", f"/volumes/{volume}/action", 409, {"os-force_detach": {}})
        await nova("POST", f"/attachments/{made['id']}/action", 204, {"os-complete": None})
    await nova("DELETE", f"/attachments/{made['id']}", 200)
    assert (await anna.show(volume))["status"] == "available"


async def test_what_is_not_there(service: Service, anna: Client) -> None:
    await anna.refused("GET", f"/attachments/{UNKNOWN}", 404)
    await anna.refused("GET", "/attachments/nonsense", 404)
    await anna.refused("POST", "/attachments", 404, asked(UNKNOWN))
    await anna.refused("POST", "/attachments", 400, {"attachment": {}})
