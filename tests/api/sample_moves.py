"""Nova's samples of moves, consoles, usage and the proxies to the network service: what they are of, and what has to be there."""

from datetime import UTC, datetime, timedelta
from typing import Any

from nova_async.api.versions import V
from nova_async.bus.messages import Done, Message
from nova_async.bus.messages.compute import Console, ForceLiveMigration, GetConsole, GetLiveProgress, LiveProgressTold
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import LiveProgress
from tests.api.conftest import CALLERS, NETWORK, PORTS, PROJECT, Api
from tests.api.sample_case import Case, Names
from tests.api.test_floating_ips import PUBLIC, Routed
from tests.api.test_migrations import ended, migrating
from tests.api.test_server_topology import given_cells
from tests.api.test_usage import audited, ran

SUBNET = PORTS[0]["fixed_ips"][0]["subnet_id"]


async def over(api: Api, names: Names) -> None:
    names["server"] = await api.server()
    names["newest"] = await ended(api, names["server"], "resize")


async def running(api: Api, names: Names) -> None:
    """A live migration, and a host that tells how far it is and hurries it on."""
    names["server"], number, names["migration"] = await migrating(api)
    names["migration_number"] = str(number)

    async def call(target: str, message: Message, *, timeout: float) -> Message:
        assert isinstance(message, ForceLiveMigration | GetLiveProgress)
        return Done() if isinstance(message, ForceLiveMigration) else LiveProgressTold(progress=LiveProgress(memory_total=1))

    api.bus.call = call  # type: ignore[method-assign]


async def used(api: Api, names: Names) -> None:
    """One server that has run for an hour, and another."""
    for hours in (1, 2):
        await ran(api, launched=datetime.now(UTC) - timedelta(hours=hours), ended=False)


async def consoles(api: Api, names: Names) -> None:
    """Of every kind."""
    names["server"] = await api.server()

    def console(message: GetConsole) -> Console:
        return Console(address=ConsoleAddress(host="192.0.2.1", port=5900, tls_port=5901))

    api.bus.console = console  # type: ignore[method-assign]


async def routed(api: Api, names: Names) -> None:
    """A network service with an external network, and a server whose port has two addresses."""
    network = api.parts.networks = Routed()
    network.pools = [PUBLIC | {"tenant_id": PROJECT, "shared": False}]
    names["server"] = await api.server()
    fixed = [PORTS[0]["fixed_ips"][0] | {"address": address} for address in ("10.0.0.4", "192.168.1.30")]
    await api.settle(names["server"], ports=[PORTS[0] | {"fixed_ips": fixed}])
    port = {"id": PORTS[0]["id"], "network_id": NETWORK, "device_id": names["server"]}
    port["fixed_ips"] = [{"ip_address": one["address"], "subnet_id": SUBNET} for one in fixed]
    network.kept["ports"] = {PORTS[0]["id"]: port}
    names["network"] = PUBLIC["id"]


async def floating(api: Api, names: Names) -> None:
    """Two floating IPs, one of them on the server."""
    await routed(api, names)
    network: Any = api.parts.networks
    for address, port in (("10.10.10.10", None), ("172.16.10.7", PORTS[0]["id"])):
        fields = {"floating_network_id": PUBLIC["id"], "floating_ip_address": address, "tenant_id": PROJECT, "port_id": port}
        names["floating_ip"] = (await network.make(CALLERS["member"], "floatingips", fields))["id"]


MOVES = Case("GET", "/os-migrations", (running, over))
USAGE = "/os-simple-tenant-usage"
NETWORK_ACTION = Case("POST", "/servers/{server}/action", (routed,), "member")
CONSOLE = Case("POST", {V.BASE: "/servers/{server}/action", V.REMOTE_CONSOLES: "/servers/{server}/remote-consoles"}, (consoles,))

CASES: dict[str, Case] = {
    "os-floating-ip-pools/floatingippools-list": Case("GET", "/os-floating-ip-pools", (routed,)),
    "os-floating-ips/floating-ips-create": Case("POST", "/os-floating-ips", (routed,), "member"),
    "os-floating-ips/floating-ips-get": Case("GET", "/os-floating-ips/{floating_ip}", (floating,)),
    "os-floating-ips/floating-ips-list": Case("GET", "/os-floating-ips", (floating,), "member"),
    "os-floating-ips/floating-ips-list-empty": Case("GET", "/os-floating-ips", (routed,), "member"),
    "os-instance-usage-audit-log/inst-usage-audit-log-index-get": Case("GET", "/os-instance_usage_audit_log", (audited,)),
    "os-instance-usage-audit-log/inst-usage-audit-log-show-get": Case(
        "GET", "/os-instance_usage_audit_log/2100-01-01 00:00:00", (audited,)
    ),
    "os-migrations/migrations-get": MOVES,
    "os-migrations/migrations-get-with-changes-before": Case("GET", "/os-migrations?changes-before=2100-01-01", (running,)),
    "os-migrations/migrations-get-with-changes-since": Case("GET", "/os-migrations?changes-since=2020-01-01", (over,)),
    "os-migrations/migrations-get-with-limit": MOVES,
    "os-migrations/migrations-get-with-marker": MOVES._replace(path="/os-migrations?marker={newest}"),
    "os-migrations/migrations-get-with-user-or-project-id": MOVES._replace(path="/os-migrations?project_id={project}"),
    "os-multinic/multinic-add-fixed-ip": NETWORK_ACTION,
    "os-multinic/multinic-remove-fixed-ip": NETWORK_ACTION,
    "os-networks/network-show": Case("GET", "/os-networks/{network}", (routed,)),
    "os-networks/networks-list": Case("GET", "/os-networks", (routed,)),
    "os-remote-consoles/create-spice-direct-console": CONSOLE,
    "os-remote-consoles/create-vnc-console": CONSOLE,
    "os-remote-consoles/get-serial-console-post": CONSOLE,
    "os-remote-consoles/get-spice-console-post": CONSOLE,
    "os-remote-consoles/get-vnc-console-post": CONSOLE,
    "os-server-external-events/event-create": Case("POST", "/os-server-external-events", (consoles,)),
    "os-server-topology/servers-topology": Case("GET", "/servers/{server}/topology", (given_cells,)),
    "os-server-topology/servers-topology-user": Case("GET", "/servers/{server}/topology", (given_cells,), "member"),
    "os-simple-tenant-usage/simple-tenant-usage-get": Case("GET", USAGE, (used,)),
    "os-simple-tenant-usage/simple-tenant-usage-get-all": Case("GET", f"{USAGE}?detailed=1", (used,)),
    "os-simple-tenant-usage/simple-tenant-usage-get-detail": Case("GET", f"{USAGE}?detailed=1", (used,)),
    "os-simple-tenant-usage/simple-tenant-usage-get-specific": Case("GET", f"{USAGE}/{{project}}", (used,)),
    "server-migrations/force_complete": Case("POST", "/servers/{server}/migrations/{migration_number}/action", (running,)),
    "server-migrations/migrations-get": Case("GET", "/servers/{server}/migrations/{migration_number}", (running,)),
    "server-migrations/migrations-index": Case("GET", "/servers/{server}/migrations", (running,)),
    "servers/server-action-addfloatingip": NETWORK_ACTION._replace(scenes=(floating,)),
    "servers/server-action-removefloatingip": NETWORK_ACTION._replace(scenes=(floating,)),
}
