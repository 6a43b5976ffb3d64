"""Servers that are whole machines: a cloud whose hosts are the nodes of a real Ironic."""

import asyncio
import base64
import contextlib
import gzip
import io
import json
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import pycdlib
import pytest
import pytest_asyncio

from tests.e2e.running import ADMIN, UNLIMITED, RunningCloud, User, free_port, state_folder
from tests.metal.ironic import BIN, RealIronic

pytestmark = [
    pytest.mark.skipif(not (BIN / "ironic").exists(), reason="make test-metal installs Ironic"),
    pytest.mark.xdist_group("metal"),
    pytest.mark.asyncio(loop_scope="module"),
]
SPECS = {"resources:CUSTOM_BAREMETAL_GOLD": "1", "resources:VCPU": "0", "resources:MEMORY_MB": "0", "resources:DISK_GB": "0"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cloud() -> AsyncIterator[RunningCloud]:
    """It starts although there is no Ironic yet."""
    own = {"NOVA_ASYNC_IRONIC_URL": f"http://127.0.0.1:{free_port()}", "NOVA_ASYNC_IRONIC_LOOK_SECONDS": "0.5"}
    with state_folder() as state:
        made = RunningCloud(state, "--virt", "ironic", "--no-first-guest", **own, **UNLIMITED, NOVA_ASYNC_NETWORK_MODE="none")
        try:
            made.start()
            async with made.user(ADMIN) as admin:
                flavor = {"name": "gold", "id": "gold", "ram": 16384, "vcpus": 8, "disk": 100}
                await admin.ask("POST", "/compute/v2.1/flavors", {"flavor": flavor})
                await admin.ask("POST", "/compute/v2.1/flavors/gold/os-extra_specs", {"extra_specs": SPECS})
            yield made
            made.is_consistent()
            made.has_a_clean_log()
        finally:
            made.remove()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ironic(cloud: RunningCloud, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealIronic]:
    made = RealIronic(tmp_path_factory.mktemp("ironic"), int(cloud.environment["NOVA_ASYNC_IRONIC_URL"].rpartition(":")[2]))
    try:
        await made.start(cloud)
        async with cloud.user(ADMIN) as admin:
            nodes = {await made.enrol("metal-1"), await made.enrol("metal-2")}
            async with asyncio.timeout(60):
                while nodes - {h["hypervisor_hostname"] for h in (await admin.get("/compute/v2.1/os-hypervisors"))["hypervisors"]}:
                    await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # until they are known to be available, too
        yield made
    finally:
        made.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def user(cloud: RunningCloud) -> AsyncIterator[User]:
    async with cloud.user(ADMIN) as logged_in:
        yield logged_in


async def gone(user: User, ironic: RealIronic, server: str, node: str) -> None:
    await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
    await user.until(server, "GONE", 60)
    await ironic.until(node, provision_state="available", instance_uuid=None)


def drive_of(ironic: RealIronic, server: str) -> dict[str, bytes]:
    """The files of the config drive that Ironic was given: documents by path. Its API does not show the drive, its database does."""
    with contextlib.closing(sqlite3.connect(ironic.state / "ironic.sqlite")) as database:
        [[info]] = database.execute("SELECT instance_info FROM nodes WHERE instance_uuid = ?", [server]).fetchall()
    disc = pycdlib.PyCdlib()
    disc.open_fp(io.BytesIO(gzip.decompress(base64.b64decode(json.loads(info)["configdrive"]))))
    found = {}
    for folder, _, files in disc.walk(joliet_path="/"):
        for name in files:
            content = io.BytesIO()
            disc.get_file_from_iso_fp(content, joliet_path=f"{folder.rstrip('/')}/{name}")
            found[f"{folder.rstrip('/')}/{name}"] = content.getvalue()
    return found


async def test_each_node_is_a_hypervisor_that_runs_one_server(cloud: RunningCloud, user: User, ironic: RealIronic) -> None:
    nodes = {(await ironic.node(name))["uuid"] for name in ("metal-1", "metal-2")}
    hypervisors = (await user.get("/compute/v2.1/os-hypervisors/detail"))["hypervisors"]
    assert {h["hypervisor_hostname"] for h in hypervisors} == nodes
    assert {(h["hypervisor_type"], h["state"]) for h in hypervisors} == {("ironic", "up")}
    with cloud.openstack(ADMIN) as openstack:
        assert {row["Hypervisor Hostname"] for row in openstack.show("hypervisor list")} == nodes


async def test_a_machine_is_deployed_powered_rebuilt_and_given_back(user: User, ironic: RealIronic) -> None:
    server = await user.boot("iron", flavorRef="gold", config_drive=True, user_data=base64.b64encode(b"#!/bin/sh\n").decode())
    shown = await user.until(server, "ACTIVE", 60)
    node = await ironic.node(shown["OS-EXT-SRV-ATTR:hypervisor_hostname"])
    name = node["name"]
    assert (node["instance_uuid"], node["provision_state"], node["power_state"]) == (server, "active", "power on")
    info = node["instance_info"]
    assert (info["display_name"], info["image_source"], info["root_gb"]) == ("iron", shown["image"]["id"], "100")
    documents = drive_of(ironic, server)
    assert server.encode() in documents["/openstack/latest/meta_data.json"]
    assert documents["/openstack/latest/user_data"] == b"#!/bin/sh\n"
    assert shown["OS-EXT-SRV-ATTR:host"] == node["uuid"]

    for action, status, state in (("os-stop", "SHUTOFF", "power off"), ("os-start", "ACTIVE", "power on")):
        await user.act(server, action)
        await user.until(server, status, 60)
        assert (await ironic.node(name))["power_state"] == state
    for kind in ("SOFT", "HARD"):
        await user.act(server, "reboot", {"type": kind})
        await user.until(server, "ACTIVE", 60)
        assert (await ironic.node(name))["power_state"] == "power on"

    await user.act(server, "rebuild", {"imageRef": shown["image"]["id"], "name": "iron again"})
    assert (await user.until(server, "ACTIVE", 60))["name"] == "iron again"
    node = await ironic.node(name)
    assert (node["provision_state"], node["instance_info"]["display_name"]) == ("active", "iron again")

    await gone(user, ironic, server, name)
    assert (await ironic.node(name))["instance_info"] == {}


async def test_what_metal_cannot_do_is_refused_by_name_and_changes_nothing(user: User, ironic: RealIronic) -> None:
    server = await user.boot("plain", flavorRef="gold")
    shown = await user.until(server, "ACTIVE", 60)
    await user.act(server, "pause")
    await user.until(server, "ACTIVE", 30)
    [pause] = [
        a for a in (await user.get(f"/compute/v2.1/servers/{server}/os-instance-actions"))["instanceActions"] if a["action"] == "pause"
    ]
    told = await user.get(f"/compute/v2.1/servers/{server}/os-instance-actions/{pause['request_id']}")
    assert "Bare metal servers cannot be paused." in str(told)
    await gone(user, ironic, server, shown["OS-EXT-SRV-ATTR:hypervisor_hostname"])


async def test_power_cut_at_the_machine_is_seen(user: User, ironic: RealIronic) -> None:
    server = await user.boot("cut", flavorRef="gold")
    node = (await user.until(server, "ACTIVE", 60))["OS-EXT-SRV-ATTR:hypervisor_hostname"]
    await ironic.ask("PUT", f"/v1/nodes/{node}/states/power", {"target": "power off"})
    await user.until(server, "SHUTOFF", 30)
    await gone(user, ironic, server, node)


async def test_no_more_servers_than_machines_and_none_twice(user: User, ironic: RealIronic) -> None:
    """Three at once for two machines: two run on different ones, the third says why it does not."""
    servers = [await user.boot(f"n{n}", flavorRef="gold") for n in range(3)]
    found = await user.settled(servers, 90)
    active = [s for s in found.values() if s and s["status"] == "ACTIVE"]
    refused = [s for s in found.values() if s and s["status"] == "ERROR"]
    assert (len(active), len(refused)) == (2, 1)
    assert len({s["OS-EXT-SRV-ATTR:hypervisor_hostname"] for s in active}) == 2
    assert "CUSTOM_BAREMETAL_GOLD" in str(refused[0]["fault"]) or "No valid host" in str(refused[0]["fault"])
    for server in servers:
        await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
        await user.until(server, "GONE", 60)
    for name in ("metal-1", "metal-2"):
        await ironic.until(name, provision_state="available", instance_uuid=None)


async def test_a_worker_killed_while_it_deploys_goes_on_where_ironic_is(cloud: RunningCloud, user: User, ironic: RealIronic) -> None:
    server = await user.boot("killed", flavorRef="gold")
    taken = None
    while taken is None:
        nodes = (await ironic.ask("GET", "/v1/nodes?fields=uuid,instance_uuid"))["nodes"]
        taken = next((node["uuid"] for node in nodes if node["instance_uuid"] == server), None)
    cloud.kill9()
    cloud.start()
    async with cloud.user(ADMIN) as again:
        shown = await again.until(server, "ACTIVE", 90)
        assert shown["OS-EXT-SRV-ATTR:hypervisor_hostname"] == taken
        await gone(again, ironic, server, taken)


async def test_nodes_come_and_go(user: User, ironic: RealIronic) -> None:
    uuid = await ironic.enrol("metal-3", "baremetal.silver")
    async with asyncio.timeout(30):
        while uuid not in {h["hypervisor_hostname"] for h in (await user.get("/compute/v2.1/os-hypervisors"))["hypervisors"]}:
            await asyncio.sleep(0.2)
    flavor = {"name": "silver", "id": "silver", "ram": 1, "vcpus": 1, "disk": 1}
    await user.ask("POST", "/compute/v2.1/flavors", {"flavor": flavor})
    specs = {key.replace("GOLD", "SILVER"): value for key, value in SPECS.items()}
    await user.ask("POST", "/compute/v2.1/flavors/silver/os-extra_specs", {"extra_specs": specs})
    server = await _booted(user, "ACTIVE")
    await gone(user, ironic, server, "metal-3")

    await ironic.ask("PUT", "/v1/nodes/metal-3/maintenance", {"reason": "a fan"})
    server = await _booted(user, "ERROR")
    await user.ask("DELETE", f"/compute/v2.1/servers/{server}")

    await ironic.ask("DELETE", "/v1/nodes/metal-3")
    async with asyncio.timeout(60):
        while (await _hypervisor(user, uuid))["state"] != "down":
            await asyncio.sleep(0.5)


async def _hypervisor(user: User, hostname: str) -> Any:
    found = (await user.get("/compute/v2.1/os-hypervisors"))["hypervisors"]
    return next(h for h in found if h["hypervisor_hostname"] == hostname)


async def _booted(user: User, status: str) -> str:
    """A silver server that ends up so; others are tried and removed until what was told of the node has reached the scheduler."""
    async with asyncio.timeout(60):
        while True:
            server = await user.boot("silver", flavorRef="silver")
            [found] = (await user.settled([server], 60)).values()
            if found and found["status"] == status:
                return server
            await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
            await user.until(server, "GONE", 60)
