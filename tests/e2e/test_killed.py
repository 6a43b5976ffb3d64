"""The all-in-one is killed at every step of creating and deleting, and at moments drawn by lot; the next start mends it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nova_async.virt.fake import FakeDriver
from nova_async.world import RealWorld

from .running import ADMIN, UNLIMITED, RunningCloud, User, real_cloud, running_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SETTLE_SECONDS = 30
QUICK = UNLIMITED | {"NOVA_ASYNC_CONDUCTOR_RECONCILE_SECONDS": "2"}

# Each point lies where the server of the run before does not come by again when it is taken up: the next death is the next one's.
# The quick last step is written together with the one before it: who died at it repeats both, so a healthy run comes between.
HEALTHY = ""
CREATE_BEFORE = ["create/announce/before", HEALTHY, "create/spawn/before", HEALTHY, "create/bind_ports/before", "create/claim_host/before"]
CREATE_AFTER = ["create/announce/after", HEALTHY, "create/spawn/after", HEALTHY, "create/bind_ports/after", "create/claim_host/after"]
UNDO = ["create/claim_host/undo-{}", "create/bind_ports/undo-{}", "create/spawn/undo-{}"]
DELETE_BEFORE = ["delete/bury/before", HEALTHY, "delete/unbind_ports/before", HEALTHY, "delete/destroy_guest/before"]
DELETE_AFTER = ["delete/bury/after", HEALTHY, "delete/unbind_ports/after", HEALTHY, "delete/destroy_guest/after"]


@pytest.mark.parametrize("points", [CREATE_BEFORE, CREATE_AFTER], ids=["before", "after"])
async def test_a_server_whose_creation_died_with_the_process_is_active_after_the_next_start(points: list[str]) -> None:
    async with mended_cloud() as cloud:
        created: list[str] = []
        for point in points:
            if not point:
                await runs_well(cloud, created, "ACTIVE")
                continue
            cloud.start(**dying_at(point))
            async with cloud.user() as user:
                await all_are(user, created, "ACTIVE")
                network = (await user.get("/network/v2.0/networks?name=private"))["networks"][0]["id"]
                created.append(await user.boot(point, networks=[{"uuid": network}]))
            cloud.died()
        cloud.start()
        async with cloud.user() as user:
            await all_are(user, created, "ACTIVE")
            ports = (await user.get("/network/v2.0/ports"))["ports"]
            assert sorted(p["device_id"] for p in ports) == sorted(created)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_failed_creation_whose_undoing_died_ends_in_error_with_a_reason(moment: str) -> None:
    async with mended_cloud() as cloud:
        created: list[str] = []
        for point in UNDO:
            cloud.start(**dying_at(point.format(moment), "create/spawn/after=fail"))
            async with cloud.user() as user:
                await all_are(user, created, "ERROR")
                created.append(await user.boot(point))
            cloud.died()
        cloud.start()
        async with cloud.user() as user:
            await all_are(user, created, "ERROR")
            for server in created:
                assert "Rehearsed failure" in (await user.get(f"/compute/v2.1/servers/{server}"))["server"]["fault"]["message"]
                await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
                await user.until(server, "GONE")


@pytest.mark.parametrize("points", [DELETE_BEFORE, DELETE_AFTER], ids=["before", "after"])
async def test_a_server_whose_deletion_died_with_the_process_is_gone_after_the_next_start(points: list[str]) -> None:
    async with mended_cloud() as cloud:
        deleted: list[str] = []
        for point in points:
            if not point:
                await runs_well(cloud, deleted, None)
                continue
            cloud.start(**dying_at(point))
            async with cloud.user() as user:
                await all_are(user, deleted, None)
                server = await user.boot(point, networks="auto")
                await user.until(server, "ACTIVE")
                answer = await user.try_to("DELETE", f"/compute/v2.1/servers/{server}")
                assert answer.status == 204
                deleted.append(server)
            cloud.died()
        cloud.start()
        async with cloud.user() as user:
            await all_are(user, deleted, None)
            assert (await user.get("/network/v2.0/ports"))["ports"] == []


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_was_accepted_before_a_death_at_any_moment_is_known_and_settles(seed: int) -> None:
    lots = random.Random(seed)
    async with mended_cloud() as cloud:
        cloud.start()
        async with cloud.user() as user:
            old = [await user.boot(f"old-{i}") for i in range(10)]
            await all_are(user, old, "ACTIVE")
            accepted, deleted = await killed_while_busy(cloud, user, old, lots.uniform(0.02, 0.5))
        cloud.start()
        async with cloud.user() as user:
            found = await user.settled(old + accepted, SETTLE_SECONDS)
            for server in accepted:
                row = found[server]
                assert row is not None, f"{server} was accepted and is not known"
                assert row["status"] == "ACTIVE" or (row["status"] == "ERROR" and row["fault"]["message"]), row
            assert [server for server in deleted if found[server]] == []
            assert all(found[s] is None or found[s]["status"] == "ACTIVE" for s in old)  # type: ignore[index]
            listed = (await user.get("/compute/v2.1/servers"))["servers"]
            assert {s["id"] for s in listed} == {server for server, row in found.items() if row} | unanswered(listed)
            await user.settled([s["id"] for s in listed], SETTLE_SECONDS)


async def killed_while_busy(cloud: RunningCloud, user: User, old: list[str], seconds: float) -> tuple[list[str], list[str]]:
    """Boot 20 and delete the old ones, all at once; the process dies after so many seconds. Who was accepted, and deleted."""
    accepted: list[str] = []
    deleted: list[str] = []
    image = (await user.get("/image/v2/images"))["images"][0]["id"]
    body = {"server": {"name": "new", "imageRef": image, "flavorRef": "1", "networks": "auto"}}

    async def boot() -> None:
        answer = await user.try_to("POST", "/compute/v2.1/servers", body)
        assert answer.status == 202
        accepted.append(answer.body["server"]["id"])

    async def delete(server: str) -> None:
        assert (await user.try_to("DELETE", f"/compute/v2.1/servers/{server}")).status == 204
        deleted.append(server)

    async def die() -> None:
        await asyncio.sleep(seconds)
        cloud.kill9()

    work = [boot() for _ in range(20)] + [delete(server) for server in old]
    ends = await asyncio.gather(die(), *work, return_exceptions=True)
    assert [e for e in ends if isinstance(e, AssertionError)] == []
    return accepted, deleted


def unanswered(listed: list[dict[str, str]]) -> set[str]:
    """Committed in the moment of death: nobody was told, and there they are."""
    return {s["id"] for s in listed if s["name"] == "new"}


async def remove_routers(admin: User) -> None:
    for router in (await admin.get("/network/v2.0/routers"))["routers"]:
        inside = f"/network/v2.0/ports?device_id={router['id']}&device_owner=network:router_interface"
        for port in (await admin.get(inside))["ports"]:
            await admin.ask("PUT", f"/network/v2.0/routers/{router['id']}/remove_router_interface", {"port_id": port["id"]})
        await admin.ask("DELETE", f"/network/v2.0/routers/{router['id']}")


@pytest.mark.libvirt
@pytest.mark.qemu
@pytest.mark.xdist_group("qemu")
async def test_real_guests_survive_deaths_of_the_cloud(real_guests_can_run: None, test_guest: Path) -> None:
    with real_cloud(test_guest, "--no-first-guest", **QUICK) as (cloud, host):
        cloud.start()
        async with cloud.user(ADMIN) as admin:
            image = await admin.ask(
                "POST", "/image/v2/images", {"name": "t", "disk_format": "qcow2", "container_format": "bare", "visibility": "public"}
            )
            data = (test_guest / "test.qcow2").read_bytes()
            octets = {"Content-Type": "application/octet-stream"}
            await admin.ask("PUT", f"/image/v2/images/{image['id']}/file", headers=octets, data=data)
        cloud.stop()
        created: list[str] = []
        for point in ("create/announce/before", HEALTHY, "create/spawn/after"):
            if not point:
                await runs_well(cloud, created, "ACTIVE")
                continue
            cloud.start(**dying_at(point))
            async with cloud.user() as user:
                await all_are(user, created, "ACTIVE")
                created.append(await user.boot(point, networks="auto", flavorRef="42"))
            cloud.died(60)
        cloud.start(**dying_at("delete/destroy_guest/before"))
        async with cloud.user() as user:
            await all_are(user, created, "ACTIVE")
            assert len(host.processes("qemu-system")) == 2
            await user.try_to("DELETE", f"/compute/v2.1/servers/{created[0]}")
        cloud.died(60)
        assert len(host.processes("qemu-system")) == 2
        cloud.start()
        async with cloud.user() as user:
            await user.until(created[0], "GONE", SETTLE_SECONDS)
            assert len(host.processes("qemu-system")) == 1
            assert {p.name for p in (cloud.state / "instances").iterdir()} == {created[1]}
            await user.ask("DELETE", f"/compute/v2.1/servers/{created[1]}")
            await user.until(created[1], "GONE", SETTLE_SECONDS)
        async with cloud.user(ADMIN) as admin:
            await remove_routers(admin)
        end = time.monotonic() + SETTLE_SECONDS
        while host.links() and time.monotonic() < end:  # its host is told by a message of its own
            await asyncio.sleep(0.2)
        assert (host.processes("qemu-system"), host.links()) == ([], [])
        assert list((cloud.state / "instances").iterdir()) == []
        cloud.is_consistent()
        cloud.has_a_clean_log()


async def runs_well(cloud: RunningCloud, servers: list[str], status: str | None) -> None:
    """Start it without a death in wait, until the servers are what they should be, and stop it."""
    cloud.start()
    async with cloud.user() as user:
        await all_are(user, servers, status)
    assert cloud.stop() == 0


@asynccontextmanager
async def mended_cloud() -> AsyncIterator[RunningCloud]:
    """A cloud, not running yet; at the end its books balance and its hosts have the guests of its live servers and no others."""
    with running_cloud(hosts=3, started=False, **QUICK) as cloud:
        yield cloud
        cloud.is_consistent()
        async with cloud.user(ADMIN) as admin:
            servers = (await admin.get("/compute/v2.1/servers/detail?all_tenants=1"))["servers"]
        assert cloud.stop() == 0
        live = {(s["OS-EXT-SRV-ATTR:host"], s["id"]) for s in servers if s["status"] != "ERROR"}
        assert await guests(cloud) == live
        cloud.has_a_clean_log()


async def guests(cloud: RunningCloud) -> set[tuple[str, str]]:
    """(host, server) of every guest that the stopped cloud's hosts keep."""
    found = set()
    for file in (cloud.state / "fake").glob("*.jsonl"):
        driver = FakeDriver(RealWorld(), file.stem, state_file=file)
        await driver.start()
        found |= {(file.stem, guest.instance_id) for guest in await driver.guests()}
        assert await driver.stray_files() == []
        await driver.close()
    return found


def dying_at(point: str, *others: str) -> dict[str, str]:
    return {"NOVA_ASYNC_CONDUCTOR_FAULT_POINTS": json.dumps([f"{point}=kill", *others])}


async def all_are(user: User, servers: list[str], status: str | None) -> None:
    """Wait until these have settled; each is now so (None: gone)."""
    found = await user.settled(servers, SETTLE_SECONDS)
    assert {s: row and row["status"] for s, row in found.items()} == dict.fromkeys(servers, status)
