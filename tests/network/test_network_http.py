"""The network API as its clients see it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from nova_async.config import load
from nova_async.context import Context
from nova_async.db import Database
from nova_async.errors import Unauthorized
from nova_async.model.access_rules import Visit
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.http import application
from nova_async.world import RealWorld

CALLERS = {
    "alice": Context(request_id="", user_id="alice", project_id="alice", roles=("member", "reader")),
    "bob": Context(request_id="", user_id="bob", project_id="bob", roles=("member", "reader")),
    "looker": Context(request_id="", user_id="looker", project_id="alice", roles=("reader",)),
    "admin": Context(request_id="", user_id="admin", project_id="ops", roles=("admin", "member", "reader")),
}


class Words:
    """``Tokens`` where a caller's name is the token."""

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        if token not in CALLERS:
            raise Unauthorized()
        return CALLERS[token]


class Api:
    """One caller's requests: each answers with the status and the decoded body."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def __call__(self, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"X-Auth-Token": who} if who else {}
        async with self.session.request(method, f"{self.url}{path}", json=body, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def make(self, who: str, path: str, **values: Any) -> dict[str, Any]:
        name = path.removeprefix("/v2.0/").replace("-", "_").removesuffix("s")
        status, body = await self(who, "POST", path, {name: values})
        assert status == 201, body
        return body[name]  # type: ignore[no-any-return]


@pytest.fixture
async def networks(database: Database, world: RealWorld) -> BuiltinNetworks:
    return await BuiltinNetworks.open(database, load(None, {}, compute__driver="fake", network__external_cidr=""), world)


@pytest.fixture
async def api(networks: BuiltinNetworks, world: RealWorld) -> AsyncIterator[Api]:
    root = web.Application()
    root.add_subapp("/network", application(networks, Words(), world, networks.config))
    runner = web.AppRunner(root, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    networks.config.api.public_url = f"http://127.0.0.1:{port}"
    async with ClientSession() as session:
        yield Api(session, f"http://127.0.0.1:{port}/network")
    await runner.cleanup()


async def test_a_stranger_sees_the_versions_and_nothing_else(api: Api) -> None:
    status, body = await api("", "GET", "/")
    assert (status, body["versions"][0]["id"]) == (200, "v2.0")

    status, body = await api("", "GET", "/v2.0/networks")

    assert status == 401
    assert body["NeutronError"]["type"] == "Unauthorized"
    assert (await api("wrong", "GET", "/v2.0/ports"))[0] == 401


async def test_a_network_is_made_seen_changed_kept_while_in_use_and_deleted(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks", name="web", mtu=1400)
    assert (network["mtu"], network["subnets"], network["shared"]) == (1400, [], False)
    subnet = await api.make(
        "alice", "/v2.0/subnets", network_id=network["id"], cidr="10.9.0.0/29", ip_version=4, dns_nameservers=["9.9.9.9"]
    )
    assert (subnet["gateway_ip"], subnet["allocation_pools"]) == ("10.9.0.1", [{"start": "10.9.0.2", "end": "10.9.0.6"}])
    port = await api.make("alice", "/v2.0/ports", network_id=network["id"])
    assert port["fixed_ips"][0]["subnet_id"] == subnet["id"]

    for path in (f"/v2.0/networks/{network['id']}", f"/v2.0/subnets/{subnet['id']}"):
        status, body = await api("alice", "DELETE", path)
        assert (status, "in use" in body["NeutronError"]["message"] or "allocation" in body["NeutronError"]["message"]) == (409, True)
    status, body = await api("alice", "PUT", f"/v2.0/networks/{network['id']}", {"network": {"name": "www"}})
    assert (status, body["network"]["name"], body["network"]["revision_number"]) == (200, "www", 2)
    assert (await api("alice", "DELETE", f"/v2.0/ports/{port['id']}"))[0] == 204
    assert (await api("alice", "DELETE", f"/v2.0/networks/{network['id']}"))[0] == 204
    status, body = await api("alice", "GET", f"/v2.0/networks/{network['id']}")
    assert (status, body["NeutronError"]["type"]) == (404, "NetworkNotFound")


async def test_projects_do_not_see_each_other_and_an_administrator_sees_all(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks", name="hers")
    subnet = await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="10.9.0.0/24")
    port = await api.make("alice", "/v2.0/ports", network_id=network["id"])
    group = await api.make("alice", "/v2.0/security-groups", name="hers")
    rule = group["security_group_rules"][0]

    for path, thing in (
        ("networks", network),
        ("subnets", subnet),
        ("ports", port),
        ("security-groups", group),
        ("security-group-rules", rule),
    ):
        key = path.replace("-", "_")
        for method in ("GET", "PUT", "DELETE"):
            assert (await api("bob", method, f"/v2.0/{path}/{thing['id']}", {key[:-1]: {}}))[0] == 404, (method, path)
        assert (await api("bob", "PUT", f"/v2.0/{path}/{thing['id']}/tags/x"))[0] == 404
        for query in ("", "?project_id=alice", "?tenant_id=alice", f"?id={thing['id']}"):
            _, body = await api("bob", "GET", f"/v2.0/{path}{query}")
            assert thing["id"] not in {t["id"] for t in body[key]}
        _, body = await api("admin", "GET", f"/v2.0/{path}")
        assert thing["id"] in {t["id"] for t in body[key]}
    assert (await api("bob", "POST", "/v2.0/subnets", {"subnet": {"network_id": network["id"], "cidr": "10.8.0.0/24"}}))[0] == 404
    assert (await api("bob", "POST", "/v2.0/ports", {"port": {"network_id": network["id"]}}))[0] == 404
    assert (await api("bob", "POST", "/v2.0/networks", {"network": {"project_id": "alice"}}))[0] == 403


async def test_a_shared_network_can_be_used_but_not_changed_or_abused(api: Api) -> None:
    [private] = (await api("alice", "GET", "/v2.0/networks?name=private"))[1]["networks"]
    path = f"/v2.0/networks/{private['id']}"

    assert (await api("alice", "PUT", path, {"network": {"name": "mine"}}))[0] == 403
    assert (await api("alice", "DELETE", path))[0] == 403
    assert (await api("alice", "PUT", f"{path}/tags/mine"))[0] == 403
    assert (await api("alice", "POST", "/v2.0/subnets", {"subnet": {"network_id": private["id"], "cidr": "10.8.0.0/24"}}))[0] == 403
    for abuse in (
        {"port_security_enabled": False},
        {"mac_address": "fa:16:3e:00:00:01"},
        {"allowed_address_pairs": [{"ip_address": "10.77.0.1"}]},
        {"binding:host_id": "h1"},
    ):
        assert (await api("alice", "POST", "/v2.0/ports", {"port": {"network_id": private["id"], **abuse}}))[0] == 403, abuse
    await api.make("alice", "/v2.0/ports", network_id=private["id"])
    for wish in ({"shared": True}, {"router:external": True}):
        assert (await api("alice", "POST", "/v2.0/networks", {"network": wish}))[0] == 403


async def test_a_reader_changes_nothing(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks", name="web")

    assert (await api("looker", "GET", f"/v2.0/networks/{network['id']}"))[0] == 200
    assert (await api("looker", "POST", "/v2.0/networks", {"network": {}}))[0] == 403
    assert (await api("looker", "DELETE", f"/v2.0/networks/{network['id']}"))[0] == 403
    assert (await api("looker", "PUT", f"/v2.0/networks/{network['id']}/tags/x"))[0] == 403


async def test_ports_are_found_by_server_network_and_address(api: Api, networks: BuiltinNetworks, world: RealWorld) -> None:
    [private] = (await api("alice", "GET", "/v2.0/networks?name=private"))[1]["networks"]
    server = world.uuid()
    ctx = CALLERS["alice"]
    [bound] = await networks.bind(
        ctx,
        instance_id=server,
        hostname="web",
        host="h1",
        availability_zone="nova",
        requests=[NetworkRequest(network_id=private["id"], fixed_ip="10.77.0.99")],
        security_groups=["default"],
    )
    await api.make("alice", "/v2.0/ports", network_id=private["id"], name="other")

    for query in (f"device_id={server}", "fixed_ips=ip_address%3D10.77.0.99", "fixed_ips=ip_address_substr%3D77.0.99", "status=ACTIVE"):
        _, body = await api("alice", "GET", f"/v2.0/ports?{query}")
        assert [p["id"] for p in body["ports"]] == [bound.id], query
    _, body = await api("alice", "GET", f"/v2.0/ports?network_id={private['id']}&fields=id&fields=name&name=other")
    assert [set(p) for p in body["ports"]] == [{"id", "name"}]
    _, body = await api("admin", "GET", f"/v2.0/ports/{bound.id}")
    assert (body["port"]["binding:host_id"], body["port"]["device_owner"]) == ("h1", "compute:nova")
    assert (await api("alice", "GET", "/v2.0/ports?colour=red"))[0] == 400


async def test_claiming_another_servers_id_does_not_put_a_port_on_it(api: Api, networks: BuiltinNetworks, world: RealWorld) -> None:
    [private] = (await api("bob", "GET", "/v2.0/networks?name=private"))[1]["networks"]
    server = world.uuid()

    await api.make("bob", "/v2.0/ports", network_id=private["id"], device_id=server, device_owner="compute:nova")

    assert await networks.ports(CALLERS["alice"], instance_id=server) == []


async def test_pages_follow_each_other_without_loss(api: Api) -> None:
    made = {(await api.make("alice", "/v2.0/security-groups", name=f"g{n}"))["id"] for n in range(5)}
    seen: list[str] = []
    path = "/v2.0/security-groups?limit=2"

    while path:
        _, body = await api("alice", "GET", path)
        seen += [g["id"] for g in body["security_groups"]]
        links = body.get("security_groups_links", [])
        path = links[0]["href"].partition("/network")[2] if links else ""

    assert len(seen) == len(set(seen)) == 6
    assert made <= set(seen)
    _, body = await api("alice", "GET", "/v2.0/security-groups?sort_key=name&sort_dir=desc&limit=2")
    assert [g["name"] for g in body["security_groups"]] == ["g4", "g3"]
    assert (await api("alice", "GET", "/v2.0/security-groups?limit=-1"))[0] == 400


async def test_a_projects_default_group_appears_by_itself_and_only_an_administrator_removes_it(api: Api) -> None:
    _, body = await api("alice", "GET", "/v2.0/security-groups")

    [group] = body["security_groups"]
    assert (group["name"], len(group["security_group_rules"])) == ("default", 4)
    assert (await api("alice", "DELETE", f"/v2.0/security-groups/{group['id']}"))[0] == 409
    assert (await api("alice", "POST", "/v2.0/security-groups", {"security_group": {"name": "default"}}))[0] == 409
    assert (await api("admin", "DELETE", f"/v2.0/security-groups/{group['id']}"))[0] == 204
    _, body = await api("alice", "GET", "/v2.0/security-groups")
    assert [g["name"] for g in body["security_groups"]] == ["default"]


async def test_rules_are_made_once_and_only_when_they_make_sense(api: Api) -> None:
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
    made = await api.make("alice", "/v2.0/security-group-rules", **rule)
    assert (made["ethertype"], made["remote_ip_prefix"]) == ("IPv4", None)

    assert (await api("alice", "POST", "/v2.0/security-group-rules", {"security_group_rule": rule}))[0] == 409
    for wrong in (
        {"port_range_min": 90, "port_range_max": 80},
        {"protocol": None},
        {"protocol": "nonsense"},
        {"protocol": "icmp", "port_range_min": 300},
        {"direction": "sideways"},
        {"remote_ip_prefix": "::/0"},
        {"protocol": "icmpv6", "port_range_min": None, "port_range_max": None},
        {"remote_ip_prefix": "10.0.0.0/33"},
        {"colour": "red"},
    ):
        assert (await api("alice", "POST", "/v2.0/security-group-rules", {"security_group_rule": {**rule, **wrong}}))[0] == 400, wrong
    assert (await api("alice", "DELETE", f"/v2.0/security-group-rules/{made['id']}"))[0] == 204
    assert (await api("alice", "DELETE", f"/v2.0/security-groups/{group['id']}"))[0] == 204


@pytest.mark.parametrize(
    ("field", "word"), [("protocol", "tcp"), ("protocol", "ipv6-icmp"), ("direction", "ingress"), ("ethertype", "IPv6")]
)
async def test_the_words_of_rules_are_kept_as_they_are_compared(api: Api, field: str, word: str) -> None:
    """SEC-059"""
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress", "ethertype": "IPv6"}
    alike = word.translate(str.maketrans("cips", "\u0441\u0456\u0440\u0455"))
    for number, written in enumerate((word.upper(), word.title(), word.swapcase(), f" {word}", f"{word}\n", f"{word}\u200b", alike)):
        asked = {**rule, field: written, "remote_ip_prefix": f"2001:db8:{number}::/48"}
        status, body = await api("alice", "POST", "/v2.0/security-group-rules", {"security_group_rule": asked})
        assert status in (201, 400), (written, body)
        if status == 201:
            assert (body["security_group_rule"][field], written.lower()) == (word, word.lower())


async def test_rules_that_cannot_be_say_what_is_wrong(api: Api) -> None:
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress"}
    for protocol, low, high, words in (
        ("tcp", -16, 80, "Invalid value for port -16"),
        ("tcp", 80, 65536, "Invalid value for port 65536"),
        ("tcp", None, 6, "port_range_min must be <= port_range_max"),
        ("icmp", 1, 256, "Invalid value for ICMP code"),
        ("icmp", 300, 1, "Invalid value for ICMP type"),
        ("icmp", None, 6, "ICMP type (port-range-min) is missing"),
    ):
        asked = {**rule, "protocol": protocol, "port_range_min": low, "port_range_max": high}
        status, body = await api("alice", "POST", "/v2.0/security-group-rules", {"security_group_rule": asked})
        assert (status, words in body["NeutronError"]["message"]) == (400, True), body
    asked = {"security_group_rule": {**rule, "remote_group_id": "nobody"}}
    assert (await api("alice", "POST", "/v2.0/security-group-rules", asked))[0] == 404
    renamed = {"security_group": {"name": "default"}}
    assert (await api("alice", "PUT", f"/v2.0/security-groups/{group['id']}", renamed))[0] == 409


async def test_several_things_are_made_at_once_or_none(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks", name="net")
    status, body = await api("alice", "POST", "/v2.0/ports", {"ports": [{"network_id": network["id"], "name": n} for n in "ab"]})
    assert (status, [port["name"] for port in body["ports"]]) == (201, ["a", "b"])
    shown = await api("alice", "GET", f"/v2.0/ports/{body['ports'][0]['id']}?fields=id&fields=name,status")
    assert shown == (200, {"port": {"id": body["ports"][0]["id"], "name": "a", "status": "DOWN"}})

    half = {"ports": [{"network_id": network["id"], "name": "c"}, {"network_id": network["id"], "colour": "red"}]}
    assert (await api("alice", "POST", "/v2.0/ports", half))[0] == 400
    for wrong in ({"ports": []}, {"ports": "x"}, {"ports": [{}] * 101}):
        assert (await api("alice", "POST", "/v2.0/ports", wrong))[0] == 400, wrong
    _, body = await api("alice", "GET", f"/v2.0/ports?network_id={network['id']}")
    assert sorted(port["name"] for port in body["ports"]) == ["a", "b"]


async def test_a_rules_prefix_is_shown_as_it_was_written_and_compared_without_host_bits(api: Api) -> None:
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress"}
    made = await api.make("alice", "/v2.0/security-group-rules", **rule, remote_ip_prefix="10.2.3.124/24")
    assert (made["remote_ip_prefix"], made["normalized_cidr"]) == ("10.2.3.124/24", "10.2.3.0/24")
    assert made in (await api("alice", "GET", f"/v2.0/security-groups/{group['id']}"))[1]["security_group"]["security_group_rules"]

    again = {"security_group_rule": {**rule, "remote_ip_prefix": "10.2.3.0/24"}}
    assert (await api("alice", "POST", "/v2.0/security-group-rules", again))[0] == 409
    alone = await api.make("alice", "/v2.0/security-group-rules", **rule, remote_ip_prefix="10.2.3.9")
    assert (alone["remote_ip_prefix"], alone["normalized_cidr"]) == ("10.2.3.9/32", "10.2.3.9/32")


async def test_a_group_in_use_stays_until_its_ports_are_gone(api: Api) -> None:
    [private] = (await api("alice", "GET", "/v2.0/networks?name=private"))[1]["networks"]
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    port = await api.make("alice", "/v2.0/ports", network_id=private["id"], security_groups=[group["id"]])

    assert (await api("alice", "DELETE", f"/v2.0/security-groups/{group['id']}"))[0] == 409
    status, body = await api("alice", "PUT", f"/v2.0/ports/{port['id']}", {"port": {"security_groups": []}})

    assert (status, body["port"]["security_groups"]) == (200, [])
    assert (await api("alice", "DELETE", f"/v2.0/security-groups/{group['id']}"))[0] == 204


async def test_ports_that_nothing_guards_are_in_no_group(api: Api, networks: BuiltinNetworks, world: RealWorld) -> None:
    network = await api.make("alice", "/v2.0/networks", port_security_enabled=False)
    await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="10.9.0.0/24")
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    server = world.uuid()

    port = await api.make("alice", "/v2.0/ports", network_id=network["id"])
    await networks.bind(
        CALLERS["alice"],
        instance_id=server,
        hostname="w",
        host="h1",
        availability_zone="",
        requests=[NetworkRequest(network_id=network["id"])],
        security_groups=["default"],
    )
    [made] = (await api("alice", "GET", f"/v2.0/ports?device_id={server}"))[1]["ports"]

    for found in (port, made):
        assert (found["port_security_enabled"], found["security_groups"]) == (False, [])
    assert await networks.security_groups(CALLERS["alice"], instance_id=server) == []
    named = {"network_id": network["id"], "security_groups": [group["id"]]}
    status, body = await api("alice", "POST", "/v2.0/ports", {"port": named})
    assert (status, "Port security must be enabled" in body["NeutronError"]["message"]) == (400, True)
    assert (await api("alice", "PUT", f"/v2.0/ports/{made['id']}", {"port": {"security_groups": [group["id"]]}}))[0] == 400
    guarded = await api.make("alice", "/v2.0/ports", **named, port_security_enabled=True)
    assert guarded["security_groups"] == [group["id"]]


async def test_a_port_leaves_its_groups_before_it_does_without_protection(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks")
    port = await api.make("alice", "/v2.0/ports", network_id=network["id"])
    path = f"/v2.0/ports/{port['id']}"

    status, body = await api("alice", "PUT", path, {"port": {"port_security_enabled": False}})
    assert (status, "has security group associated" in body["NeutronError"]["message"]) == (409, True)
    _, body = await api("alice", "PUT", path, {"port": {"port_security_enabled": False, "security_groups": []}})
    assert (body["port"]["port_security_enabled"], body["port"]["security_groups"]) == (False, [])
    _, body = await api("alice", "PUT", path, {"port": {"port_security_enabled": True}})
    assert (body["port"]["port_security_enabled"], body["port"]["security_groups"]) == (True, [])


async def test_servers_hear_of_changed_rules(api: Api, networks: BuiltinNetworks, world: RealWorld) -> None:
    told: list[str] = []

    async def listen(servers: list[str]) -> None:
        told.extend(servers)

    networks.on_change = listen
    requests = await networks.check(CALLERS["alice"], None, [], 1)
    server = world.uuid()
    await networks.bind(
        CALLERS["alice"], instance_id=server, hostname="w", host="h1", availability_zone="", requests=requests, security_groups=[]
    )
    _, body = await api("alice", "GET", "/v2.0/security-groups?name=default")

    await api.make(
        "alice", "/v2.0/security-group-rules", security_group_id=body["security_groups"][0]["id"], direction="ingress", protocol="icmp"
    )

    assert told == [server]
    [port] = await networks.ports(CALLERS["alice"], instance_id=server)
    assert any(rule.get("protocol") == "icmp" for rule in port.security_rules)


async def test_addresses_of_a_port_can_be_exchanged(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks")
    pool = [{"start": "10.9.0.100", "end": "10.9.0.200"}]
    subnet = await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="10.9.0.0/24", allocation_pools=pool)
    port = await api.make("alice", "/v2.0/ports", network_id=network["id"], fixed_ips=[{"ip_address": "10.9.0.7"}])

    status, body = await api(
        "alice", "PUT", f"/v2.0/ports/{port['id']}", {"port": {"fixed_ips": [{"ip_address": "10.9.0.8"}, {"subnet_id": subnet["id"]}]}}
    )

    addresses = [ip["ip_address"] for ip in body["port"]["fixed_ips"]]
    assert (status, len(addresses), "10.9.0.8" in addresses, "10.9.0.7" in addresses) == (200, 2, True, False)
    status, body = await api(
        "alice", "POST", "/v2.0/ports", {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.9.0.8"}]}}
    )
    assert (status, "already in use" in body["NeutronError"]["message"]) == (409, True)
    status, _ = await api(
        "alice", "POST", "/v2.0/ports", {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.1.0.8"}]}}
    )
    assert status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"cidr": "10.9.0.0/24", "ip_version": 6},
        {"cidr": "127.0.0.0/24"},
        {"cidr": "0.0.0.0/0"},
        {"cidr": "169.254.0.0/16"},
        {"cidr": "10.9.0.0/24\ndhcp-script=/x"},
        {"cidr": "10.9.0.0/24", "gateway_ip": "10.8.0.1"},
        {"cidr": "10.9.0.0/24", "dns_nameservers": ["9.9.9.9,1"]},
        {"cidr": "10.9.0.0/24", "host_routes": [{"destination": "10.0.0.0/8"}]},
        {"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.5", "end": "10.9.1.5"}]},
        {"cidr": "10.9.0.0/24", "allocation_pools": [{"start": "10.9.0.5", "end": "10.9.0.9"}, {"start": "10.9.0.9", "end": "10.9.0.10"}]},
        {},
    ],
)
async def test_subnets_that_make_no_sense_are_refused(api: Api, wrong: dict[str, Any]) -> None:
    network = await api.make("alice", "/v2.0/networks")

    status, body = await api("alice", "POST", "/v2.0/subnets", {"subnet": {"network_id": network["id"], **wrong}})

    assert (status, body["NeutronError"]["type"]) == (400, "BadRequest")


async def test_two_subnets_of_a_network_do_not_overlap_even_when_made_at_once(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks")
    body = {"subnet": {"network_id": network["id"], "cidr": "10.9.0.0/24"}}

    statuses = sorted([s for s, _ in await asyncio.gather(*(api("alice", "POST", "/v2.0/subnets", body) for _ in range(4)))])

    assert statuses == [201, 400, 400, 400]


async def test_things_this_service_does_not_have_are_empty_or_refused(api: Api) -> None:
    for path, key in (("address-scopes", "address_scopes"), ("agents", "agents"), ("rbac-policies", "rbac_policies")):
        assert (await api("alice", "GET", f"/v2.0/{path}")) == (200, {key: []})
    assert (await api("alice", "POST", "/v2.0/address-scopes", {"address_scope": {}}))[0] == 501
    assert (await api("alice", "GET", "/v2.0/address-scopes/x"))[0] == 404
    assert (await api("alice", "GET", "/v2.0/nonsense"))[0] == 404


@pytest.mark.parametrize("body", [b"", b"[]", b'{"network": 5}', b'{"network": {"name": 7}}', b'{"network": {"name": "\\u0000"}}', b"\xff"])
async def test_nonsense_is_answered_with_400(api: Api, body: bytes) -> None:
    async with api.session.post(f"{api.url}/v2.0/networks", data=body, headers={"X-Auth-Token": "alice"}) as response:
        assert response.status == 400


async def openstack(api: Api, who: str, commands: str) -> list[Any]:
    """Run the real client against our endpoint, one command a line; returns what those that print JSON printed."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "openstack",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "OS_AUTH_TYPE": "admin_token", "OS_ENDPOINT": api.url, "OS_TOKEN": who},
    )
    out, err = await asyncio.wait_for(process.communicate(commands.encode()), 100)
    assert not err.strip(), err.decode()
    text, found = out.decode().replace("(openstack) ", ""), []
    while text.strip():
        value, end = json.JSONDecoder().raw_decode(text.strip())
        text = text.strip()[end:]
        found.append(value)
    return found


async def test_the_openstack_command_makes_lists_changes_and_deletes(api: Api) -> None:
    network, subnet, port, _, rule, listed, shown, rules, ports, changed, left = await openstack(
        api,
        "admin",
        """\
network create web --mtu 1400 --tag blue -f json
subnet create --network web --subnet-range 10.9.0.0/24 web-v4 -f json
port create --network web --fixed-ip subnet=web-v4,ip-address=10.9.0.9 p1 -f json
security group create sg1 -f json
security group rule create --protocol tcp --dst-port 22 sg1 -f json
network list -f json
network show web -f json
security group rule list sg1 -f json
port set --security-group sg1 p1
port list --network web -f json
subnet set --dns-nameserver 9.9.9.9 web-v4
subnet show web-v4 -f json
port delete p1
security group delete sg1
subnet delete web-v4
network delete web
network list -f json
""",
    )

    assert (network["mtu"], subnet["gateway_ip"], rule["port_range_max"]) == (1400, "10.9.0.1", 22)
    assert port["fixed_ips"][0]["ip_address"] == "10.9.0.9"
    assert {n["Name"] for n in listed} == {"private", "web"}
    assert (shown["tags"], len(rules), [p["Name"] for p in ports]) == (["blue"], 3, ["p1"])
    assert changed["dns_nameservers"] == ["9.9.9.9"]
    assert [n["Name"] for n in left] == ["private"]


async def test_ports_have_names_in_the_domain_of_their_network(api: Api) -> None:
    """As with Neutron's extension dns-integration; its domain is openstacklocal unless the network has one."""
    network = await api.make("alice", "/v2.0/networks")
    await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="10.9.0.0/29", ip_version=4)
    bare = await api.make("alice", "/v2.0/ports", network_id=network["id"])
    address = bare["fixed_ips"][0]["ip_address"]
    host = f"host-{address.replace('.', '-')}"
    assert bare["dns_assignment"] == [{"ip_address": address, "hostname": host, "fqdn": f"{host}.openstacklocal."}]

    await api("alice", "PUT", f"/v2.0/networks/{network['id']}", {"network": {"dns_domain": "example.org."}})
    named = (await api("alice", "PUT", f"/v2.0/ports/{bare['id']}", {"port": {"dns_name": "web"}}))[1]["port"]
    full = (await api("alice", "PUT", f"/v2.0/ports/{bare['id']}", {"port": {"dns_name": "WWW.Example.org."}}))[1]["port"]
    for wrong in ("web\n", "web.example.net.", "example.org.", "1.notexample.org.", ".".join(["a" * 62] * 4)):
        assert (await api("alice", "PUT", f"/v2.0/ports/{bare['id']}", {"port": {"dns_name": wrong}}))[0] == 400
        assert (await api("alice", "POST", "/v2.0/ports", {"port": {"network_id": network["id"], "dns_name": wrong}}))[0] == 400
    await api("alice", "PUT", f"/v2.0/networks/{network['id']}", {"network": {"dns_domain": "example.com."}})
    left = (await api("alice", "GET", f"/v2.0/ports/{bare['id']}"))[1]["port"]

    assert named["dns_assignment"] == [{"ip_address": address, "hostname": "web", "fqdn": "web.example.org."}]
    assert full["dns_assignment"] == [{"ip_address": address, "hostname": "WWW", "fqdn": "WWW.Example.org."}]
    assert left["dns_assignment"] == [{"ip_address": address, "hostname": host, "fqdn": f"{host}.example.com."}]


async def test_addresses_of_ipv6_follow_from_the_mac_where_guests_make_them(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks")
    early = await api.make("alice", "/v2.0/ports", network_id=network["id"], mac_address="fa:16:3e:0a:0b:0c")
    modes = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
    subnet = await api.make("alice", "/v2.0/subnets", network_id=network["id"], ip_version=6, cidr="fd55::/64", **modes)
    late = await api.make("alice", "/v2.0/ports", network_id=network["id"], mac_address="00:16:3e:00:00:01")

    assert (subnet["ipv6_ra_mode"], subnet["ipv6_address_mode"], subnet["gateway_ip"]) == ("slaac", "slaac", "fd55::1")
    assert late["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "fd55::216:3eff:fe00:1"}]
    shown = (await api("alice", "GET", f"/v2.0/ports/{early['id']}"))[1]["port"]
    assert [ip["ip_address"] for ip in shown["fixed_ips"]] == ["fd55::f816:3eff:fe0a:b0c"]
    wish = {"network_id": network["id"], "fixed_ips": [{"ip_address": "fd55::7"}]}
    assert (await api("alice", "POST", "/v2.0/ports", {"port": wish}))[0] == 400
    assert (await api("alice", "PUT", f"/v2.0/subnets/{subnet['id']}", {"subnet": {"ipv6_ra_mode": None}}))[0] == 400
    assert (await api("alice", "DELETE", f"/v2.0/subnets/{subnet['id']}"))[0] == 204


@pytest.mark.parametrize(
    "wrong",
    [
        {"cidr": "10.55.0.0/24", "ipv6_ra_mode": "slaac"},
        {"cidr": "fd55::/64", "ip_version": 6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"},
        {"cidr": "fd55::/64", "ip_version": 6, "ipv6_address_mode": "slaac", "enable_dhcp": False},
        {"cidr": "fd55::/80", "ip_version": 6, "ipv6_address_mode": "slaac"},
        {"cidr": "fd55::/64", "ip_version": 6, "ipv6_address_mode": "magic"},
    ],
)
async def test_ipv6_modes_that_make_no_sense_are_refused(api: Api, wrong: dict[str, Any]) -> None:
    network = await api.make("alice", "/v2.0/networks")

    status, body = await api("alice", "POST", "/v2.0/subnets", {"subnet": {"network_id": network["id"], **wrong}})

    assert status == 400, body


async def test_allowed_address_pairs_are_kept_shown_and_checked(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks")
    pairs = [{"ip_address": "10.3.0.0/24"}, {"ip_address": "10.4.0.1", "mac_address": "00:00:5E:00:01:01"}]

    port = await api.make("alice", "/v2.0/ports", network_id=network["id"], allowed_address_pairs=pairs)

    assert port["allowed_address_pairs"] == [
        {"mac_address": port["mac_address"], "ip_address": "10.3.0.0/24"},
        {"mac_address": "00:00:5e:00:01:01", "ip_address": "10.4.0.1"},
    ]
    path = f"/v2.0/ports/{port['id']}"
    for wrong, status in (
        ({"allowed_address_pairs": [{"mac_address": "00:00:5e:00:01:01"}]}, 400),
        ({"allowed_address_pairs": [{"ip_address": "10.4.0.1"}, {"ip_address": "10.4.0.1"}]}, 400),
        ({"allowed_address_pairs": [{"ip_address": "somewhere"}]}, 400),
        ({"port_security_enabled": False, "security_groups": []}, 409),
    ):
        assert (await api("alice", "PUT", path, {"port": wrong}))[0] == status, wrong
    assert (await api("alice", "PUT", path, {"port": {"allowed_address_pairs": []}}))[1]["port"]["allowed_address_pairs"] == []


async def test_an_administrator_chooses_among_the_kinds_of_network_that_hosts_can_make(api: Api) -> None:
    kind, segment = "provider:network_type", "provider:segmentation_id"
    one = await api.make("admin", "/v2.0/networks", **{kind: "vxlan"})
    two = await api.make("admin", "/v2.0/networks")

    assert (one[kind], two[kind]) == ("vxlan", "vxlan")
    assert one[segment] != two[segment]
    lan = {"provider:physical_network": "lan"}
    for wish, told in (
        ({kind: "gre"}, "use vxlan, flat or vlan"),
        ({segment: 7}, "the service numbers it"),
        (lan, "on no physical network"),
        ({kind: "flat"}, "a name of letters"),
        ({kind: "flat", "provider:physical_network": "l n"}, "a name of letters"),
        ({kind: "flat", **lan, segment: 7}, "prohibited for a flat network"),
        ({kind: "vlan", **lan}, "is required, 1 to 4094"),
        ({kind: "vlan", **lan, segment: 4095}, "is required, 1 to 4094"),
        ({kind: "vlan", **lan, segment: 7, "router:external": True}, "Put that on the VLAN"),
    ):
        status, body = await api("admin", "POST", "/v2.0/networks", {"network": wish})
        assert (status, told in body["NeutronError"]["message"]) == (400, True), (wish, body)
    assert (await api("alice", "POST", "/v2.0/networks", {"network": {kind: "vxlan"}}))[0] == 403


async def test_a_network_on_wires_shows_them_and_has_them_alone(api: Api) -> None:
    lan = {"provider:network_type": "flat", "provider:physical_network": "lan"}
    flat = await api.make("admin", "/v2.0/networks", **lan)
    vlan = lan | {"provider:network_type": "vlan", "provider:segmentation_id": 12}
    tagged = await api.make("admin", "/v2.0/networks", **vlan)
    assert {name: flat[name] for name in vlan} == lan | {"provider:segmentation_id": None}
    assert {name: tagged[name] for name in vlan} == vlan
    for again in (lan, vlan):
        assert (await api("admin", "POST", "/v2.0/networks", {"network": again}))[0] == 409
    await api.make("admin", "/v2.0/networks", **vlan | {"provider:segmentation_id": 13})
    assert (await api("admin", "PUT", f"/v2.0/networks/{flat['id']}", {"network": {"router:external": True}}))[0] == 409


async def test_hosts_serve_a_network_on_wires_by_an_address_of_their_own(api: Api) -> None:
    lan = {"provider:network_type": "flat", "provider:physical_network": "lan"}
    flat = await api.make("admin", "/v2.0/networks", **lan)
    subnet = await api.make("admin", "/v2.0/subnets", network_id=flat["id"], ip_version=4, cidr="192.0.2.0/24")
    path = f"/v2.0/ports?network_id={flat['id']}&device_owner=network:dhcp"
    [port] = (await api("admin", "GET", path))[1]["ports"]
    assert (subnet["gateway_ip"], port["fixed_ips"][0]["ip_address"] != "192.0.2.1") == ("192.0.2.1", True)
    assert (await api("admin", "PUT", f"/v2.0/subnets/{subnet['id']}", {"subnet": {"enable_dhcp": False}}))[0] == 200
    assert (await api("admin", "GET", path))[1]["ports"] == []
    assert (await api("admin", "DELETE", f"/v2.0/subnets/{subnet['id']}"))[0] == 204
    assert (await api("admin", "DELETE", f"/v2.0/networks/{flat['id']}"))[0] == 204


@pytest.mark.parametrize(
    ("path", "attribute", "wish"),
    [
        ("/v2.0/networks", "qos_policy_id", "11111111-2222-4333-8444-555555555555"),
        ("/v2.0/networks", "vlan_transparent", True),
        ("/v2.0/networks", "availability_zone_hints", ["mars"]),
        ("/v2.0/subnets", "service_types", ["compute:nova"]),
        ("/v2.0/subnets", "dns_publish_fixed_ip", True),
        ("/v2.0/ports", "extra_dhcp_opts", [{"opt_name": "mtu", "opt_value": "1400"}]),
        ("/v2.0/ports", "qos_policy_id", "11111111-2222-4333-8444-555555555555"),
        ("/v2.0/routers", "availability_zone_hints", ["mars"]),
        ("/v2.0/security-group-rules", "remote_address_group_id", "11111111-2222-4333-8444-555555555555"),
    ],
)
async def test_what_is_not_there_is_refused_and_not_left_aside(api: Api, path: str, attribute: str, wish: Any) -> None:
    network = await api.make("alice", "/v2.0/networks", name="mine")
    group = await api.make("alice", "/v2.0/security-groups", name="mine")
    needed: dict[str, dict[str, Any]] = {
        "/v2.0/subnets": {"network_id": network["id"], "cidr": "10.60.0.0/24"},
        "/v2.0/ports": {"network_id": network["id"]},
        "/v2.0/security-group-rules": {"security_group_id": group["id"], "direction": "ingress"},
    }
    name, values = path.removeprefix("/v2.0/").replace("-", "_").removesuffix("s"), needed.get(path, {})

    status, body = await api("alice", "POST", path, {name: values | {attribute: wish}})

    assert (status, attribute in body["NeutronError"]["message"]) == (400, True)
    await api.make("alice", path, **values, **{attribute: [] if isinstance(wish, list) else None})


async def test_a_refusal_does_not_repeat_a_long_protocol(api: Api) -> None:
    group = await api.make("alice", "/v2.0/security-groups", name="mine")
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "x" * 70_000}

    status, body = await api("alice", "POST", "/v2.0/security-group-rules", {"security_group_rule": rule})

    assert (status, len(body["NeutronError"]["message"]) < 2000) == (400, True)


async def test_lists_are_sorted_by_numbers_as_numbers(api: Api) -> None:
    for mtu in (9000, 1400, 1500):
        await api.make("alice", "/v2.0/networks", name="sized", mtu=mtu)

    _, body = await api("alice", "GET", "/v2.0/networks?name=sized&sort_key=mtu&sort_dir=asc")

    assert [n["mtu"] for n in body["networks"]] == [1400, 1500, 9000]
    assert (await api("alice", "GET", "/v2.0/networks?sort_key=mtu&sort_dir=sideways"))[0] == 400


async def test_administrators_see_how_many_addresses_are_taken(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks", name="mine")
    pools = [{"start": "10.60.0.10", "end": "10.60.0.19"}, {"start": "10.60.0.30", "end": "10.60.0.30"}]
    subnet = await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="10.60.0.0/24", allocation_pools=pools)
    await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="fd00:60::/64", ip_version=6)
    await api.make("alice", "/v2.0/ports", network_id=network["id"], fixed_ips=[{"subnet_id": subnet["id"]}])
    bare = await api.make("alice", "/v2.0/networks", name="bare")

    _, body = await api("admin", "GET", "/v2.0/network-ip-availabilities?ip_version=4&project_id=alice")

    found = {each["network_id"]: each for each in body["network_ip_availabilities"]}
    assert set(found) == {network["id"], bare["id"]}
    assert (found[bare["id"]]["total_ips"], found[bare["id"]]["subnet_ip_availability"]) == (0, [])
    assert (found[network["id"]]["total_ips"], found[network["id"]]["used_ips"]) == (11, 1)
    [shown] = found[network["id"]]["subnet_ip_availability"]
    assert shown == {
        "subnet_id": subnet["id"], "subnet_name": "", "cidr": "10.60.0.0/24", "ip_version": 4, "total_ips": 11, "used_ips": 1,
    }  # fmt: skip
    _, body = await api("admin", "GET", f"/v2.0/network-ip-availabilities/{network['id']}")
    assert [each["ip_version"] for each in body["network_ip_availability"]["subnet_ip_availability"]] == [4, 6]
    assert (await api("admin", "GET", "/v2.0/network-ip-availabilities/nosuch"))[0] == 404
    assert (await api("admin", "GET", "/v2.0/network-ip-availabilities?ip_version=5"))[0] == 400
    assert (await api("alice", "GET", "/v2.0/network-ip-availabilities"))[1] == {"network_ip_availabilities": []}
    assert (await api("alice", "GET", f"/v2.0/network-ip-availabilities/{network['id']}"))[0] == 404


async def test_what_the_service_does_not_have_is_refused_without_an_error_in_the_log(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    status, body = await api("alice", "POST", "/v2.0/trunks", {"trunk": {"port_id": "x"}})

    assert (status, 'services.network = "neutron"' in body["NeutronError"]["message"]) == (501, True)
    assert "request.failed" not in capsys.readouterr().out


async def test_the_versions_are_where_the_catalog_says_too(api: Api) -> None:
    assert await api("", "GET", "") == await api("", "GET", "/")
    assert (await api("", "GET", ""))[0] == 200


async def test_a_method_that_there_is_not_is_refused_with_those_that_there_are(api: Api) -> None:
    async with api.session.delete(f"{api.url}/v2.0/networks", headers={"X-Auth-Token": "alice"}) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD,POST")


async def test_tags_that_are_added_at_once_are_all_there(api: Api) -> None:
    network = await api.make("alice", "/v2.0/networks", name="mine")
    path = f"/v2.0/networks/{network['id']}"

    one_by_one = [api("alice", "PUT", f"{path}/tags/a{n}") for n in range(8)]
    answers = await asyncio.gather(*one_by_one, *(api("alice", "POST", f"{path}/tags", {"tags": [f"b{n}"]}) for n in range(8)))

    assert {status for status, _ in answers} == {200, 201}
    assert len((await api("alice", "GET", path))[1]["network"]["tags"]) == 16


async def test_names_and_descriptions_of_a_group_that_are_changed_at_once_are_both_kept(api: Api) -> None:
    group = await api.make("alice", "/v2.0/security-groups", name="old")
    path = f"/v2.0/security-groups/{group['id']}"

    changes = [{"name": "new"}, {"description": "new"}] * 4
    await asyncio.gather(*(api("alice", "PUT", path, {"security_group": change}) for change in changes))

    shown = (await api("alice", "GET", path))[1]["security_group"]
    assert (shown["name"], shown["description"]) == ("new", "new")
