"""The one back end: what it says of itself, types that it does not serve, and an administrator who closes it."""

from typing import Any

import pytest

from nova_async.db import Database
from nova_async.services.volume.backend import Backend
from nova_async.services.volume.store import VolumeStore
from tests.volume.conftest import Client, Service


async def back_end(admin: Client) -> str:
    [service] = (await admin("GET", "/os-services?binary=cinder-volume", 200))["services"]
    return str(service["host"])


async def fails(client: Client, **fields: Any) -> str:
    """Why a volume could not be made: its owner's message says it."""
    made = (await client("POST", "/volumes", 202, {"volume": {"size": 1} | fields}))["volume"]
    await client.service.idle()
    assert (await client.show(made["id"]))["status"] == "error"
    assert made["id"] not in client.service.files()
    await client("DELETE", f"/volumes/{made['id']}", 202)
    await client.service.idle()
    [message] = (await client("GET", f"/messages?resource_uuid={made['id']}", 200))["messages"]
    return str(message["user_message"])


async def test_a_back_end_tells_one_story(admin: Client, anna: Client) -> None:
    await anna.snapshot(await anna.volume(2))
    await admin.volume(1)
    [pool] = (await admin("GET", "/scheduler-stats/get_pools?detail=true", 200))["pools"]
    host = await back_end(admin)
    assert pool["name"] == f"{host}#file"
    told = await admin("GET", f"/capabilities/{host}", 200)
    shared = ("vendor_name", "volume_backend_name", "storage_protocol")
    assert [told[name] for name in shared] == [pool["capabilities"][name] for name in shared]
    hosts = {each["service"]: each for each in (await admin("GET", "/os-hosts", 200))["hosts"]}
    assert set(hosts) == {"cinder-scheduler", "cinder-volume"}
    assert hosts["cinder-volume"]["host_name"] == host
    total, *each = [entry["resource"] for entry in (await admin("GET", f"/os-hosts/{host}", 200))["host"]]
    assert (total["project"], total["volume_count"], total["total_volume_gb"], total["total_snapshot_gb"]) == ("(total)", "2", "3", "2")
    assert sorted(entry["total_volume_gb"] for entry in each) == ["1", "2"]
    for path in ("/capabilities/nowhere@x", "/os-hosts/nowhere"):
        await admin.refused("GET", path, 404)
    for path in (f"/capabilities/{host}", "/os-hosts", f"/os-hosts/{host}", "/os-services"):
        await anna.refused("GET", path, 403)
    assert "os-hosts" in [e["alias"] for e in (await anna("GET", "/extensions", 200))["extensions"]]


async def test_a_back_end_that_is_closed_makes_no_volumes_and_keeps_those_it_has(admin: Client, anna: Client) -> None:
    host, old = await back_end(admin), await anna.volume()
    where = {"host": host, "binary": "cinder-volume"}
    told = await admin("PUT", "/os-services/disable-log-reason", 200, where | {"disabled_reason": "full soon"})
    assert (told["status"], told["disabled_reason"]) == ("disabled", "full soon")
    [service] = (await admin("GET", f"/os-services?host={host}", 200))["services"]
    assert (service["status"], service["disabled_reason"], service["state"]) == ("disabled", "full soon", "up")
    assert f"{host} is disabled (full soon)" in await fails(anna)
    assert "disabled" in await fails(anna, source_volid=old)
    await admin("PUT", "/os-services/enable", 200, where)
    await anna.volume()
    await admin("PUT", "/os-services/freeze", 202, {"host": host})
    assert "disabled (frozen)" in await fails(anna)
    await anna("DELETE", f"/volumes/{old}", 202)
    await admin("PUT", "/os-services/thaw", 202, {"host": host})
    await anna.volume()


@pytest.mark.parametrize(
    ("action", "body", "status"),
    [
        ("enable", {"host": "invalid_host", "binary": "cinder-volume"}, 404),
        ("disable", {"host": "", "binary": "cinder-volume"}, 400),
        ("disable", {"binary": "invalid"}, 404),
        ("disable-log-reason", {"binary": "cinder-volume", "disabled_reason": None}, 400),
        ("freeze", {"host": "invalid_host"}, 400),
        ("failover_host", {}, 404),
    ],
)
async def test_services_that_there_are_not_cannot_be_closed(
    admin: Client, anna: Client, action: str, body: dict[str, Any], status: int
) -> None:
    body = {"host": await back_end(admin)} | body
    await admin.refused("PUT", f"/os-services/{action}", status, body)
    if status != 400 and action != "failover_host":
        await anna.refused("PUT", f"/os-services/{action}", 403, body)
    assert {service["status"] for service in (await admin("GET", "/os-services", 200))["services"]} == {"enabled"}


async def test_a_type_that_no_back_end_serves_makes_no_volume(admin: Client, anna: Client) -> None:
    kind = {"name": "ceph", "extra_specs": {"volume_backend_name": "ceph"}}
    ceph = (await admin("POST", "/types", 200, {"volume_type": kind}))["volume_type"]["id"]
    assert "asks for volume_backend_name = ceph, and there is volume_backend_name = file" in await fails(anna, volume_type="ceph")
    plain = await anna.volume()
    answer = await anna.act(plain, "os-retype", {"new_type": ceph, "migration_policy": "never"}, 400)
    assert "asks for volume_backend_name" in next(iter(answer.values()))["message"]


@pytest.mark.parametrize(
    ("specs", "served"),
    [
        ({}, True),
        ({"multiattach": "<is> True", "capabilities:storage_protocol": "file"}, True),
        ({"volume_backend_name": "<in> fil", "RESKEY:availability_zones": "nova", "quota:x": "1"}, True),
        ({"replication_enabled": "<is> False"}, True),
        ({"replication_enabled": "<is> True"}, False),
        ({"vendor_name": ""}, False),
        ({"compression": "<is> True"}, False),
        ({"volume_backend_name": "s!= file"}, False),
    ],
)
def test_what_types_ask_for(database: Database, specs: dict[str, str], served: bool) -> None:
    assert (Backend(database, "here", VolumeStore.traits).unserved(specs) is None) is served


async def test_a_host_tells_how_far_a_snapshot_is(service: Service, admin: Client, anna: Client) -> None:
    snapshot = await anna.snapshot(await anna.volume())
    path = f"/snapshots/{snapshot}"
    told = {"os-update_snapshot_status": {"status": "error", "progress": "80%"}}
    assert "cannot become error" in await anna.refused("POST", f"{path}/action", 400, told)
    await admin("POST", f"{path}/action", 202, {"os-reset_status": {"status": "creating"}})
    wrong = {"os-update_snapshot_status": {"status": "error", "progress": "most"}}
    assert "percentage" in await anna.refused("POST", f"{path}/action", 400, wrong)
    await anna("POST", f"{path}/action", 202, told)
    shown = (await anna("GET", path, 200))["snapshot"]
    assert (shown["status"], shown["os-extended-snapshot-attributes:progress"]) == ("error", "80%")
