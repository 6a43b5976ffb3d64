"""The old proxies to floating IPs, and the actions that give them to servers, in front of a network service that has routers."""

import itertools
from typing import Any

import pytest

from nova_async.context import Context
from nova_async.errors import Conflict, Invalid, NotFound, QuotaExceeded
from tests.api.conftest import NETWORK, PORTS, PROJECT, Api, OneNetwork
from tests.api.proxied import proxied
from tests.api.samples import samples

__all__ = ["proxied"]

PUBLIC = {"id": "11111111-1111-4111-8111-111111111111", "name": "public", "router:external": True}
NOBODYS = "00000000-0000-4000-8000-000000000000"
PORT, FIXED = PORTS[0]["id"], "10.0.0.5"


class Routed(OneNetwork):
    """Floating IPs and the ports of servers in Neutron's fields; ``fault`` is raised by the next change."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, dict[str, dict[str, Any]]] = {"floatingips": {}, "ports": {}}
        self.pools = [PUBLIC]
        self.numbers = itertools.count(1)
        self.fault: Exception | None = None

    @property
    def pools(self) -> list[dict[str, Any]]:
        return list(self.kept["networks"].values())

    @pools.setter
    def pools(self, networks: list[dict[str, Any]]) -> None:
        self.kept["networks"] = {network["id"]: network for network in networks}

    async def things(self, ctx: Context, kind: str, **filters: list[str]) -> list[dict[str, Any]]:
        rows = list(self.kept.get(kind, {}).values())
        wanted = {name: values for name, values in filters.items() if name != "router:external"}
        return [dict(row) for row in rows if all(row[name] in values for name, values in wanted.items())]

    async def thing(self, ctx: Context, kind: str, id: str) -> dict[str, Any]:
        if id not in self.kept[kind]:
            raise NotFound()
        return dict(self.kept[kind][id])

    async def make(self, ctx: Context, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        self._fail()
        number = next(self.numbers)
        row = {"id": f"22222222-2222-4222-8222-{number:012}", "floating_ip_address": f"172.24.4.{number}", "tenant_id": ctx.project_id}
        self.kept[kind][row["id"]] = row | {"port_id": None, "fixed_ip_address": None} | fields
        return dict(self.kept[kind][row["id"]])

    async def change(self, ctx: Context, kind: str, id: str, fields: dict[str, Any]) -> dict[str, Any]:
        self._fail()
        self.kept[kind][id] |= {"port_id": None, "fixed_ip_address": None} if fields == {"port_id": None} else fields
        return dict(self.kept[kind][id])

    async def remove(self, ctx: Context, kind: str, id: str) -> None:
        del self.kept[kind][id]

    def _fail(self) -> None:
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault


@pytest.fixture
def routed(api: Api) -> Routed:
    api.parts.networks = Routed()
    return api.parts.networks


async def server_on(api: Api, routed: Routed, port: str = PORT, address: str = FIXED) -> str:
    server = await api.server()
    ports = [PORTS[0] | {"id": port, "fixed_ips": [PORTS[0]["fixed_ips"][0] | {"address": address}]}]
    await api.settle(server, ports=ports)
    routed.kept["ports"][port] = {"id": port, "device_id": server}
    return server


async def test_a_floating_ip_is_taken_given_to_a_server_and_given_back(api: Api, routed: Routed) -> None:
    server = await server_on(api, routed)
    taken = await api.post("/os-floating-ips", {"pool": "public"})
    assert taken.status == 200, taken
    address = taken.body["floating_ip"]
    assert address == {"id": address["id"], "ip": "172.24.4.1", "fixed_ip": None, "instance_id": None, "pool": "public"}

    added = await api.act(server, "addFloatingIp", {"address": address["ip"]}, version="2.43")
    assert (added.status, added.raw) == (202, b"")
    held = address | {"fixed_ip": FIXED, "instance_id": server}
    assert (await api.get(f"/os-floating-ips/{address['id']}")).body == {"floating_ip": held}
    assert (await api.get("/os-floating-ips", "reader", "2.35")).body == {"floating_ips": [held]}
    assert [message.instance_id for _, message in api.bus.called if hasattr(message, "ports")] == [server]

    assert (await api.act(server, "removeFloatingIp", {"address": address["ip"]})).status == 202
    assert (await api.get(f"/os-floating-ips/{address['id']}")).body == {"floating_ip": address}
    again = await api.act(server, "removeFloatingIp", {"address": address["ip"]})
    assert (again.status, again.message) == (409, f"Floating IP {address['ip']} is not associated with instance {server}.")

    gone = await api.delete(f"/os-floating-ips/{address['id']}")
    assert (gone.status, gone.raw) == (202, b"")
    missing = await api.delete(f"/os-floating-ips/{address['id']}")
    assert (missing.status, missing.message) == (404, f"Floating IP not found for ID {address['id']}")


async def test_another_server_takes_it_over_and_both_are_told_of_it(api: Api, routed: Routed) -> None:
    first, second = await server_on(api, routed), await server_on(api, routed, NETWORK, "10.0.0.6")
    address = (await api.post("/os-floating-ips", {"pool": PUBLIC["id"]})).body["floating_ip"]["ip"]
    await api.act(first, "addFloatingIp", {"address": address})
    api.bus.called.clear()
    assert (await api.act(second, "addFloatingIp", {"address": address, "fixed_address": "10.0.0.6"})).status == 202
    assert {message.instance_id for _, message in api.bus.called} == {first, second}
    assert (await api.act(first, "removeFloatingIp", {"address": address})).status == 409
    (held,) = (await api.get("/os-floating-ips")).body["floating_ips"]
    assert (held["instance_id"], held["fixed_ip"]) == (second, "10.0.0.6")


async def test_of_pools_that_are_not_named_the_only_one_is_taken(api: Api, routed: Routed) -> None:
    assert (await api.post("/os-floating-ips", None)).body["floating_ip"]["pool"] == "public"
    assert (await api.post("/os-floating-ips", {})).status == 200
    routed.pools = [PUBLIC, PUBLIC | {"id": NETWORK, "name": "nova"}]
    assert (await api.post("/os-floating-ips", {"pool": None})).body["floating_ip"]["pool"] == "nova"
    routed.pools = [PUBLIC, PUBLIC | {"id": NETWORK}]
    assert (await api.post("/os-floating-ips", {"pool": "public"})).status == 400
    unknown = await api.post("/os-floating-ips", {"pool": "other"})
    assert (unknown.status, unknown.message) == (404, "Floating IP pool not found.")
    assert (await api.post("/os-floating-ips", {"pool": 7})).status == 400
    assert (await api.post("/os-floating-ips", [])).message == "Malformed request body"


async def test_refusals_of_the_network_service_are_told_in_novas_words(api: Api, routed: Routed) -> None:
    for fault, status, message in (
        (QuotaExceeded("no"), 403, "IP allocation over quota in pool public."),
        (Conflict("full"), 404, "No more floating IPs in pool public."),
    ):
        routed.fault = fault
        answer = await api.post("/os-floating-ips", {"pool": "public"})
        assert (answer.status, answer.message) == (status, message)
    server = await server_on(api, routed)
    address = (await api.post("/os-floating-ips", {"pool": "public"})).body["floating_ip"]["ip"]
    routed.fault = Conflict("taken")
    assert (await api.act(server, "addFloatingIp", {"address": address})).message == f"Floating IP {address} association has failed."
    routed.fault = Invalid("no router")
    refused = await api.act(server, "addFloatingIp", {"address": address})
    assert refused.status == 400
    assert refused.message.startswith(f"Unable to associate floating IP {address} to fixed IP {FIXED}")


async def test_a_server_needs_the_address_that_it_is_given_to(api: Api, routed: Routed) -> None:
    server = await server_on(api, routed)
    address = (await api.post("/os-floating-ips", {"pool": "public"})).body["floating_ip"]["ip"]
    for asked, status, message in (
        ({"address": "172.24.4.99"}, 404, "floating IP not found"),
        ({"address": address, "fixed_address": "10.0.0.9"}, 400, "Specified fixed address not assigned to instance"),
    ):
        answer = await api.act(server, "addFloatingIp", asked)
        assert (answer.status, answer.message) == (status, message)
    for fixed_ips, message in (([], "No fixed IPs associated to instance"), ([{"address": "fd00::5", "version": 6}], "no fixed IPv4")):
        await api.settle(server, ports=[PORTS[0] | {"fixed_ips": fixed_ips}])
        answer = await api.act(server, "addFloatingIp", {"address": address})
        assert answer.status == 400
        assert message in answer.message
    await api.settle(server, ports=[])
    assert (await api.act(server, "addFloatingIp", {"address": address})).message == "Instance network is not ready yet"
    unknown = await api.act(server, "removeFloatingIp", {"address": "172.24.4.99"})
    assert (unknown.status, unknown.message) == (404, "Floating IP not found for address 172.24.4.99.")


async def test_a_project_begins_with_none(proxied: Api) -> None:
    assert (await proxied.get("/os-floating-ips")).body == {"floating_ips": []}
    assert (await proxied.get(f"/os-floating-ips/{NOBODYS}")).status == 404
    assert (await proxied.post("/os-floating-ips", {"pool": "elsewhere"})).message == "Floating IP pool not found."


@pytest.mark.parametrize(("version", "sample"), samples("floating-ips-create-resp", "os-floating-ips"))
async def test_a_floating_ip_has_the_fields_of_nova(api: Api, routed: Routed, version: str, sample: dict[str, Any]) -> None:
    made = (await api.post("/os-floating-ips", {"pool": "public"}, version=version)).body
    assert set(made["floating_ip"]) == set(sample["floating_ip"])
    assert routed.kept["floatingips"][made["floating_ip"]["id"]]["tenant_id"] == PROJECT
