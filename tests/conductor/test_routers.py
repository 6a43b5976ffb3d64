"""Which host carries routers: they leave one that is away for long, and it has them no more when it is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nova_async.bus.local import LocalBus
from nova_async.bus.messages import Message
from nova_async.bus.messages.conductor import HostReport
from nova_async.conductor.reconcilers import routers as reconciler
from nova_async.context import Context
from nova_async.db import Database, hosts
from nova_async.errors import Conflict, NotFound, Unavailable
from nova_async.model.routers import RouterSpec
from nova_async.services.network.router_interfaces import RouterInterfaces
from nova_async.world import RealWorld
from tests.cloud import Cloud, cloud, stop

ADMIN = Context(request_id="req-admin", user_id="admin", project_id="admin", roles=("admin", "member"))
HOSTS = ("host1", "host2", "host3")
Start = Callable[..., Awaitable[Cloud]]


class CuttingBus(LocalBus):
    """Neither reports nor answers come from hosts that are cut off."""

    def __init__(self, world: RealWorld) -> None:
        super().__init__(world)
        self.cut: set[str] = set()

    async def publish(self, topic: str, message: Message) -> None:
        if not (isinstance(message, HostReport) and message.host in self.cut):
            await super().publish(topic, message)

    async def call(self, target: str, message: Message, *, timeout: float) -> Message:
        if target.removeprefix("compute.") in self.cut:
            raise Unavailable(f"{target} is cut off.")
        return await super().call(target, message, timeout=timeout)


class Carried:
    """``RouterPlugs`` that only remember. ``told``: what happened, in order."""

    def __init__(self, outside: str = "own") -> None:
        self.kind, self.routers = outside, dict[str, RouterSpec]()
        self.told: list[str] = []
        self.refuses = False
        self.goes_on = asyncio.Event()  # a host that hangs waits for it
        self.goes_on.set()

    async def outside(self) -> str:
        return self.kind

    async def put(self, router: RouterSpec, *, announce: bool = False) -> None:
        await self.goes_on.wait()
        if self.refuses:
            raise Conflict("The range is in use on the host.")
        self.routers[router.id] = router
        self.told.append("announced" if announce else "put")

    async def remove(self, router_id: str) -> None:
        if self.routers.pop(router_id, None) is not None:
            self.told.append("removed")

    async def known(self) -> dict[str, str]:
        return {router.id: router.digest for router in self.routers.values()}


class Routers:
    """The cloud, its hosts' routers, and its bus."""

    def __init__(self, made: Cloud, bus: CuttingBus, outside: str) -> None:
        self.cloud, self.bus = made, bus
        self.on = {host: Carried(outside) for host in HOSTS}

    async def start(self, *names: str) -> None:
        for host in names:
            await self.cloud.start_host(host, routers=self.on[host])
        await self.cloud.until(lambda: all(self.cloud.conductor.table.is_up(host) for host in names))

    async def make(self) -> str:
        """The id of a new router that a host carries."""
        router = await self.cloud.networks.make(ADMIN, "routers", {"name": "r"})
        await self.cloud.until(lambda: self.homes_of(router["id"]))
        return str(router["id"])

    def homes_of(self, router_id: str) -> list[str]:
        return [host for host, carried in self.on.items() if router_id in carried.routers]

    async def is_on(self, router_id: str, *homes: str) -> None:
        await self.cloud.until(lambda: self.homes_of(router_id) == list(homes))

    async def row(self, router_id: str) -> str:
        async with self.cloud.database.connection() as conn:
            return str(await conn.fetchval("SELECT host FROM api.routers WHERE id = $1", router_id))

    async def watched(self, rounds: int = 3) -> None:
        """Wait until the conductor has looked so many times whether routers are to leave, with time between for all that counts."""
        seen: list[None] = []
        hosts, look = self.cloud.conductor.routers.hosts, self.cloud.conductor.routers.hosts.look

        def counting(away: Any) -> None:
            seen.append(None)
            look(away)

        hosts.look = counting  # type: ignore[method-assign]
        await self.cloud.until(lambda: len(seen) >= rounds)
        hosts.look = look  # type: ignore[method-assign]


@asynccontextmanager
async def routers_of(database: Database, folder: Path, world: RealWorld, outside: str = "own", **options: Any) -> AsyncIterator[Routers]:
    told = {"network__mode": "bridge", "network__external_cidr": "", "network__router_failover_seconds": 1.0, "compute__down_seconds": 1.5}
    bus = CuttingBus(world)
    async with cloud(database, folder, hosts=0, bus=bus, **(told | options)) as made:
        made.networks.on_router_change = made.conductor.routers.changed
        made.networks.router_desk = made.conductor.routers
        yield Routers(made, bus, outside)


@pytest.fixture
async def three(database: Database, tmp_path: Path, world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Routers]:
    monkeypatch.setattr(reconciler, "RETRY_SECONDS", 0.1)
    async with routers_of(database, tmp_path, world) as made:
        await made.start(*HOSTS)
        yield made


async def test_a_router_leaves_a_host_that_is_away_once_and_is_taken_from_it_when_it_is_back(three: Routers) -> None:
    router = await three.make()
    await three.is_on(router, "host1")
    three.bus.cut.add("host1")
    await three.is_on(router, "host1", "host2")  # nobody can tell the first
    await three.watched()
    assert (three.homes_of(router), await three.row(router)) == (["host1", "host2"], "host2")
    three.bus.cut.clear()
    await three.is_on(router, "host2")
    await three.cloud.until(lambda: three.on["host2"].told == ["put", "announced"])
    await three.watched()
    assert (three.homes_of(router), three.on["host3"].told) == (["host2"], [])


async def test_two_processes_that_see_the_host_away_give_its_router_to_one_host(three: Routers) -> None:
    router, first = await three.make(), three.cloud.conductor
    second = await three.cloud.start_conductor("second")
    try:
        await three.cloud.until(lambda: all(three.cloud.conductor.table.is_up(host) for host in HOSTS))
        three.bus.cut.add("host1")
        await three.is_on(router, "host1", "host2")
        for process in (first, three.cloud.conductor):
            await three.cloud.until(lambda process=process: not process.table.is_up("host1"))
        await three.watched()
        three.bus.cut.clear()
        await three.is_on(router, "host2")
        await three.watched()
        assert (three.homes_of(router), await three.row(router), three.on["host3"].told) == (["host2"], "host2", [])
    finally:
        await stop(second)
        three.cloud.conductor = first


async def test_what_changes_while_the_host_is_away_is_done_by_the_other_and_holds_up_no_other_router(three: Routers) -> None:
    router = await three.make()
    three.bus.cut.add("host1")
    await three.cloud.until(lambda: not three.cloud.conductor.table.is_up("host1"))
    await three.cloud.networks.change(ADMIN, "routers", router, {"admin_state_up": False})
    other = await three.make()
    assert three.homes_of(other) == ["host2"]
    await three.cloud.until(lambda: [r.enabled for r in three.on["host2"].routers.values() if r.id == router] == [False])


async def test_a_worker_that_was_started_anew_has_what_it_lost_taken_from_it(three: Routers) -> None:
    router = await three.make()
    await three.cloud.stop_host("host1")
    await three.is_on(router, "host1", "host2")
    await three.start("host1")
    await three.is_on(router, "host2")


async def test_a_host_that_lost_its_routers_by_a_reboot_gets_them_again_when_it_is_back(three: Routers) -> None:
    router = await three.make()
    await three.cloud.stop_host("host1")
    three.on["host1"].routers.clear()
    await three.start("host1")
    await three.is_on(router, "host1")
    assert await three.row(router) == "host1"


async def test_no_router_moves_while_all_hosts_are_away_nor_when_they_come_back(
    database: Database, tmp_path: Path, world: RealWorld
) -> None:
    async with routers_of(database, tmp_path, world, network__router_failover_seconds=3.0) as made:
        await made.start(*HOSTS)
        router = await made.make()
        made.bus.cut.update(HOSTS)
        await made.cloud.until(lambda: not any(made.cloud.conductor.table.is_up(host) for host in HOSTS))
        await made.watched(9)  # longer than a host may be away
        made.bus.cut.clear()
        await made.cloud.until(lambda: all(made.cloud.conductor.table.is_up(host) for host in HOSTS))
        await made.watched()
        assert (made.homes_of(router), await made.row(router)) == (["host1"], "host1")


async def test_routers_of_a_host_that_was_forgotten_leave_it(three: Routers) -> None:
    router = await three.make()
    await three.cloud.stop_host("host1")
    async with three.cloud.database.transaction() as conn:
        [service] = await hosts.services(conn, "host1")
        assert await hosts.delete(conn, service.service_id)
    await three.cloud.conductor.desk.refresh()
    await three.is_on(router, "host1", "host2")
    assert await three.row(router) == "host2"


async def test_the_next_host_carries_a_router_that_the_first_refuses(three: Routers) -> None:
    router = await three.make()
    three.on["host2"].refuses = True
    three.bus.cut.add("host1")
    await three.is_on(router, "host1", "host3")
    assert await three.row(router) == "host3"


async def test_a_router_that_is_gone_is_taken_from_its_host_by_a_process_that_never_told_it(three: Routers) -> None:
    router = await three.make()
    three.cloud.conductor.routers._homes.clear()
    await three.cloud.networks.remove(ADMIN, "routers", router)
    await three.is_on(router)


async def test_an_operator_gives_a_router_to_a_host_that_can_carry_it(three: Routers) -> None:
    desk, router = three.cloud.conductor.routers, await three.make()
    await desk.move(router, "host2")
    assert (three.homes_of(router), await three.row(router), three.on["host1"].told) == (["host2"], "host2", ["put", "removed"])
    assert [(carrier.name, carrier.up) for carrier in desk.carriers()] == [(host, True) for host in HOSTS]

    three.on["host3"].refuses = True
    with pytest.raises(Conflict, match="host3 refuses"):
        await desk.move(router, "host3")
    assert (three.homes_of(router), await three.row(router)) == (["host2"], "host2")
    for wrong in ("host4", ""):
        with pytest.raises(Conflict, match="is away"):
            await desk.move(router, wrong)
    with pytest.raises(NotFound):
        await desk.move(three.cloud.world.uuid(), "host1")


async def test_routers_spread_over_hosts_with_a_bridge_to_the_outside(database: Database, tmp_path: Path, world: RealWorld) -> None:
    async with routers_of(database, tmp_path, world, "bridge") as made:
        made.on["host3"].kind = "own"  # it could not reach the same outside
        await made.start(*HOSTS)
        routers = [await made.make() for _ in range(4)]
        assert [made.homes_of(router) for router in routers] == [["host1"], ["host2"], ["host1"], ["host2"]]
        await made.cloud.stop_host("host2")
        for router in routers:
            await made.cloud.until(lambda router=router: "host1" in made.homes_of(router))
        assert made.on["host3"].told == []


async def test_a_gateway_host_has_the_routers_while_it_is_up(
    database: Database, tmp_path: Path, world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "RETRY_SECONDS", 0.1)
    async with routers_of(database, tmp_path, world, network__gateway_host="host3") as made:
        await made.start(*HOSTS)
        router = await made.make()
        await made.is_on(router, "host3")
        made.bus.cut.add("host3")
        await made.is_on(router, "host1", "host3")
        made.bus.cut.clear()
        await made.is_on(router, "host3")
        await made.watched()
        assert (made.homes_of(router), made.on["host1"].told[-1]) == (["host3"], "removed")
        with pytest.raises(Conflict, match="gateway_host"):
            await made.cloud.conductor.routers.move(router, "host1")


async def test_no_router_leaves_where_that_is_switched_off(database: Database, tmp_path: Path, world: RealWorld) -> None:
    async with routers_of(database, tmp_path, world, network__router_failover_seconds=0.0) as made:
        await made.start(*HOSTS)
        router = await made.make()
        made.bus.cut.add("host1")
        await made.cloud.until(lambda: not made.cloud.conductor.table.is_up("host1"))
        await made.watched(6)
        assert (made.homes_of(router), await made.row(router)) == (["host1"], "host1")


async def test_a_router_goes_where_its_networks_are(three: Routers) -> None:
    """Of the hosts that are left, one has the wires."""
    router = await three.make()
    async with three.cloud.database.transaction() as conn:
        await conn.execute("UPDATE hosts SET facts = facts || '{\"wires\": [\"flat:lan\"]}' WHERE name <> 'host2'")
    await three.cloud.conductor.desk.refresh()
    fields = {"name": "office", "provider:network_type": "flat", "provider:physical_network": "lan"}
    network = await three.cloud.networks.make(ADMIN, "networks", fields)
    subnet = await three.cloud.networks.make(
        ADMIN, "subnets", {"network_id": network["id"], "cidr": "192.0.2.0/24", "ip_version": 4, "gateway_ip": None}
    )
    assert subnet["cidr"] == "192.0.2.0/24"
    port = await three.cloud.networks.make(ADMIN, "ports", {"network_id": network["id"]})
    await join(three, router, port["id"])
    three.bus.cut.add("host1")
    await three.is_on(router, "host1", "host3")


async def test_whoever_changes_a_router_does_not_wait_for_a_host_that_is_away(three: Routers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "SETTLE_SECONDS", 30.0)
    monkeypatch.setattr(reconciler, "RETRY_SECONDS", 60.0)
    monkeypatch.setattr(three.cloud.conductor.routers.hosts, "leave", lambda host: False)
    router, desk = await three.make(), three.cloud.conductor.routers
    three.bus.cut.add("host1")
    await three.cloud.until(lambda: not three.cloud.conductor.table.is_heard("host1"))
    async with asyncio.timeout(5.0):
        for _ in range(2):
            await desk.changed([router])
            await desk.settled([router])
    three.bus.cut.clear()
    await three.cloud.until(lambda: three.cloud.conductor.table.is_heard("host1"))
    told = len(three.on["host1"].told)
    await desk.changed([router])
    await desk.settled([router])
    assert len(three.on["host1"].told) > told


async def test_whoever_is_told_of_a_floating_ip_finds_it_where_it_leads_unless_the_host_hangs(
    three: Routers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "SETTLE_SECONDS", 0.2)
    make, carried = three.cloud.networks.make, three.on["host1"]
    outside = await make(ADMIN, "networks", {"router:external": True})
    await make(ADMIN, "subnets", {"network_id": outside["id"], "cidr": "203.0.113.0/24", "ip_version": 4})
    network = await make(ADMIN, "networks", {})
    subnet = await make(ADMIN, "subnets", {"network_id": network["id"], "cidr": "10.5.0.0/24", "ip_version": 4})
    router = await make(ADMIN, "routers", {"external_gateway_info": {"network_id": outside["id"]}})
    interfaces = RouterInterfaces(three.cloud.networks)
    await interfaces.add(ADMIN, await interfaces.routers.get(ADMIN, router["id"]), {"subnet_id": subnet["id"]})
    one, two = [await make(ADMIN, "ports", {"network_id": network["id"]}) for _ in range(2)]
    await three.is_on(router["id"], "host1")

    floating = await make(ADMIN, "floatingips", {"floating_network_id": outside["id"], "port_id": one["id"]})
    for port in (two, one):
        moved = await three.cloud.networks.change(ADMIN, "floatingips", floating["id"], {"port_id": port["id"]})
        [led] = carried.routers[router["id"]].floating_ips
        assert (moved["status"], led.fixed_address) == ("ACTIVE", port["fixed_ips"][0]["ip_address"])

    carried.goes_on.clear()
    moved = await three.cloud.networks.change(ADMIN, "floatingips", floating["id"], {"port_id": two["id"]})
    assert moved["status"] == "DOWN"
    carried.goes_on.set()
    await three.cloud.until(lambda: carried.routers[router["id"]].floating_ips[0].fixed_address == two["fixed_ips"][0]["ip_address"])


async def join(made: Routers, router: str, port: str) -> None:
    interfaces = RouterInterfaces(made.cloud.networks)
    await interfaces.add(ADMIN, await interfaces.routers.get(ADMIN, router), {"port_id": port})
