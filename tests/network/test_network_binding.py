"""Ports and addresses as rows: given once, to one server, however many ask."""

import asyncio
import ipaddress

import pytest

from nova_async.config import load
from nova_async.context import Context
from nova_async.db import Database, query
from nova_async.errors import Conflict, Forbidden, Invalid
from nova_async.model.guests import PortSpec
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.world import RealWorld

ALICE = Context(request_id="req-1", project_id="alice", roles=("member",))
BOB = Context(request_id="req-2", project_id="bob", roles=("member",))
ADMIN = Context(request_id="req-3", project_id="admin", roles=("admin",))


@pytest.fixture
async def networks(database: Database, world: RealWorld) -> BuiltinNetworks:
    return await BuiltinNetworks.open(database, load(None, {}, compute__driver="fake", network__external_cidr=""), world)


async def bind(
    networks: BuiltinNetworks, instance_id: str, requests: list[NetworkRequest], ctx: Context = ALICE, host: str = "h1"
) -> list[PortSpec]:
    return await networks.bind(
        ctx, instance_id=instance_id, hostname="web", host=host, availability_zone="nova", requests=requests, security_groups=[]
    )


async def the_network(networks: BuiltinNetworks) -> NetworkRequest:
    return (await networks.check(ALICE, None, [], 1))[0]


async def resized(networks: BuiltinNetworks, cidr: str, start: str, end: str) -> None:
    async with networks.db.connection() as conn:
        await conn.execute("UPDATE subnets SET cidr = $1::text::cidr, gateway = NULL, pools = $2", cidr, [{"start": start, "end": end}])


async def test_a_new_deployment_has_one_shared_network_and_a_second_start_makes_no_other(networks: BuiltinNetworks) -> None:
    await networks.bootstrap()

    found = await networks.check(BOB, None, [], 1)

    assert len(found) == 1
    assert found == await networks.check(ALICE, None, ["default"], 5)


async def test_a_bound_port_tells_its_host_everything(networks: BuiltinNetworks, world: RealWorld) -> None:
    server = world.uuid()

    [port] = await bind(networks, server, [NetworkRequest(network_id=(await the_network(networks)).network_id, tag="nic0")])

    assert port.mac.startswith("fa:16:3e:")
    assert len(port.mac) == 17
    assert ipaddress.ip_address(port.fixed_ips[0].address) in ipaddress.ip_network("10.77.0.0/24")
    assert port.gateway == "10.77.0.1"
    assert (port.dhcp, port.mtu, port.tag, port.network_label, port.plug) == (True, 1450, "nic0", "private", False)
    assert len(port.bridge) <= 15
    assert port.device == f"tap{port.id[:11]}"
    assert {(r["direction"], r["ethertype"]) for r in port.security_rules} == {
        (d, e) for d in ("egress", "ingress") for e in ("IPv4", "IPv6")
    }
    assert [port] == await networks.ports(ALICE, instance_id=server)
    assert await networks.security_groups(ALICE, instance_id=server) == ["default"]


async def test_binding_costs_one_statement_and_unbinding_one(networks: BuiltinNetworks, world: RealWorld) -> None:
    server, request = world.uuid(), await the_network(networks)
    before = query.statements_run

    await bind(networks, server, [request, request])
    assert query.statements_run == before + 1
    await networks.unbind(ALICE, instance_id=server)
    assert query.statements_run == before + 2
    assert await networks.ports(ALICE, instance_id=server) == []


async def test_binding_twice_gives_the_same_ports_on_the_newer_host(networks: BuiltinNetworks, world: RealWorld) -> None:
    server, request = world.uuid(), await the_network(networks)

    first = await bind(networks, server, [request, request], host="h1")
    second = await bind(networks, server, [request, request], host="h2")

    assert first == second
    async with networks.db.connection() as conn:
        assert {r["host"] for r in await conn.fetch("SELECT host FROM ports")} == {"h2"}
    await networks.unbind(ALICE, instance_id=server)
    await networks.unbind(ALICE, instance_id=server)


async def test_thirty_two_at_once_share_a_small_subnet_to_its_last_address(networks: BuiltinNetworks, world: RealWorld) -> None:
    await resized(networks, "10.77.0.0/24", "10.77.0.2", "10.77.0.33")
    request = await the_network(networks)

    bound = await asyncio.gather(*(bind(networks, world.uuid(), [request]) for _ in range(32)))

    assert len({ports[0].fixed_ips[0].address for ports in bound}) == 32
    assert len({ports[0].mac for ports in bound}) == 32
    with pytest.raises(Conflict, match="No more IP addresses"):
        await bind(networks, world.uuid(), [request])


async def test_a_full_subnet_gives_an_address_again_once_one_is_free(networks: BuiltinNetworks, world: RealWorld) -> None:
    await resized(networks, "10.77.0.0/24", "10.77.0.2", "10.77.0.129")
    request = await the_network(networks)
    servers = [world.uuid() for _ in range(128)]
    await asyncio.gather(*(bind(networks, server, [request]) for server in servers))

    [freed] = await networks.ports(ALICE, instance_id=servers[77])
    await networks.unbind(ALICE, instance_id=servers[77])
    [again] = await bind(networks, world.uuid(), [request])

    assert again.fixed_ips[0].address == freed.fixed_ips[0].address


async def test_servers_with_several_cards_do_not_deadlock(networks: BuiltinNetworks, world: RealWorld) -> None:
    request = await the_network(networks)

    bound = await asyncio.gather(*(bind(networks, world.uuid(), [request] * 4) for _ in range(32)))

    assert len({port.fixed_ips[0].address for ports in bound for port in ports}) == 128


async def test_an_address_that_was_asked_for_is_given_to_one_only(networks: BuiltinNetworks, world: RealWorld) -> None:
    plain = await the_network(networks)
    wish = NetworkRequest(network_id=plain.network_id, fixed_ip="10.77.0.50")
    await networks.check(ALICE, [wish], [], 1)

    results = await asyncio.gather(*(bind(networks, world.uuid(), [wish]) for _ in range(8)), return_exceptions=True)

    given = [r for r in results if isinstance(r, list)]
    assert [p[0].fixed_ips[0].address for p in given] == ["10.77.0.50"]
    assert all(isinstance(r, Conflict) for r in results if not isinstance(r, list))
    with pytest.raises(Invalid, match="already in use"):
        await networks.check(ALICE, [wish], [], 1)


@pytest.mark.parametrize("address", ["10.78.0.5", "10.77.0.0", "10.77.0.255", "10.77.0.1", "fe80::1", "10.77.0.300", ""])
async def test_addresses_that_cannot_be_given_are_refused_before_anything_changes(networks: BuiltinNetworks, address: str) -> None:
    plain = await the_network(networks)

    with pytest.raises(Invalid):
        await networks.check(ALICE, [NetworkRequest(network_id=plain.network_id, fixed_ip=address)], [], 1)


async def test_unknown_networks_ports_and_groups_are_refused(networks: BuiltinNetworks, world: RealWorld) -> None:
    for request in (
        NetworkRequest(network_id=world.uuid()),
        NetworkRequest(port_id=world.uuid()),
        NetworkRequest(network_id="private"),
        NetworkRequest(),
    ):
        with pytest.raises(Invalid):
            await networks.check(ALICE, [request], [], 1)
    with pytest.raises(Invalid, match="Security group web not found"):
        await networks.check(ALICE, [], ["web"], 1)


async def test_a_foreign_network_is_unknown_and_an_external_one_forbidden(networks: BuiltinNetworks, world: RealWorld) -> None:
    theirs, outside = world.uuid(), world.uuid()
    async with networks.db.connection() as conn:
        await conn.execute("INSERT INTO networks (id, project_id, name, mtu) VALUES ($1, 'bob', 'theirs', 1500)", theirs)
        await conn.execute("INSERT INTO networks (id, project_id, name, mtu, external) VALUES ($1, 'admin', 'out', 1500, true)", outside)

    with pytest.raises(Invalid, match="could not be found"):
        await networks.check(ALICE, [NetworkRequest(network_id=theirs)], [], 1)
    with pytest.raises(Forbidden):
        await networks.check(ALICE, [NetworkRequest(network_id=outside)], [], 1)


async def test_two_possible_networks_are_ambiguous(networks: BuiltinNetworks, world: RealWorld) -> None:
    own = world.uuid()
    async with networks.db.connection() as conn:
        await conn.execute("INSERT INTO networks (id, project_id, name, mtu) VALUES ($1, 'alice', 'own', 1500)", own)
        await conn.execute(
            "INSERT INTO subnets (id, network_id, project_id, cidr, pools) VALUES ($1, $2, 'alice', '10.5.0.0/24', '[]')", world.uuid(), own
        )

    with pytest.raises(Conflict, match="Multiple possible networks"):
        await networks.check(ALICE, None, [], 1)
    assert len(await networks.check(BOB, None, [], 1)) == 1


async def test_a_port_the_user_brought_outlives_the_server(networks: BuiltinNetworks, world: RealWorld) -> None:
    plain, server, brought = await the_network(networks), world.uuid(), world.uuid()
    async with networks.db.connection() as conn:
        await conn.execute(
            "INSERT INTO ports (id, network_id, project_id, mac) VALUES ($1, $2, 'alice', 'fa:16:3e:00:00:01')", brought, plain.network_id
        )
        await conn.execute("SELECT take_addresses($1, $2, NULL, 7)", brought, plain.network_id)
    request = NetworkRequest(port_id=brought)
    await networks.check(ALICE, [request], [], 1)

    first, second = await bind(networks, server, [request, plain])
    assert first.id == brought
    with pytest.raises(Conflict, match="still in use"):
        await networks.check(ALICE, [request], [], 1)
    with pytest.raises(Conflict):
        await bind(networks, world.uuid(), [request])
    await networks.unbind(ALICE, instance_id=server)

    async with networks.db.connection() as conn:
        assert [(r["id"], r["device_id"]) for r in await conn.fetch("SELECT id, device_id FROM ports")] == [(brought, "")]
    with pytest.raises(Invalid):
        await networks.check(BOB, [request], [], 1)
    with pytest.raises(Invalid, match="one by one"):
        await networks.check(ALICE, [request], [], 2)
    assert second.id != brought


async def test_a_server_without_networks_gets_no_ports_and_costs_no_statement(networks: BuiltinNetworks, world: RealWorld) -> None:
    assert await networks.check(ALICE, [], [], 3) == []
    before = query.statements_run

    assert await bind(networks, world.uuid(), []) == []

    assert query.statements_run == before


async def test_a_large_network_gives_addresses_at_once(networks: BuiltinNetworks, world: RealWorld) -> None:
    await resized(networks, "10.0.0.0/8", "10.0.0.2", "10.255.255.254")
    request = await the_network(networks)

    bound = await asyncio.gather(*(bind(networks, world.uuid(), [request]) for _ in range(64)))

    assert len({p[0].fixed_ips[0].address for p in bound}) == 64
