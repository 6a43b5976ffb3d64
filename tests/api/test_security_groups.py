"""The old proxy to security groups, in front of the built-in network service."""

from typing import Any

import pytest

from nova_async.services.network.builtin import BuiltinNetworks
from tests.api.conftest import CALLERS, OTHER_PROJECT, PROJECT, Api
from tests.api.proxied import proxied

__all__ = ["proxied"]

NOBODYS = "00000000-0000-4000-8000-000000000000"


async def group(api: Api, name: str = "web", caller: str = "member") -> str:
    answer = await api.post("/os-security-groups", {"security_group": {"name": name, "description": "d"}}, caller)
    assert answer.status == 200, answer
    return answer.body["security_group"]["id"]  # type: ignore[no-any-return]


async def rule(api: Api, parent: str, caller: str = "member", **fields: Any) -> Any:
    return await api.post("/os-security-group-rules", {"security_group_rule": {"parent_group_id": parent} | fields}, caller)


async def test_a_group_and_its_rules_come_and_go(proxied: Api) -> None:
    web, other = await group(proxied), await group(proxied, "other")
    shown = (await proxied.get(f"/os-security-groups/{web}")).body["security_group"]
    assert shown == {"id": web, "name": "web", "description": "d", "tenant_id": PROJECT, "rules": []}

    made = await rule(proxied, web, ip_protocol="tcp", from_port="22", to_port=22, cidr="10.0.0.7/24")
    assert made.status == 200, made
    ssh = made.body["security_group_rule"]
    expected = {"ip_protocol": "tcp", "from_port": 22, "to_port": 22, "ip_range": {"cidr": "10.0.0.7/24"}, "group": {}}
    assert ssh == {"id": ssh["id"], "parent_group_id": web, **expected}
    made = await rule(proxied, web, group_id=other, ip_protocol="UDP")
    from_other = made.body["security_group_rule"]
    assert (from_other["from_port"], from_other["to_port"], from_other["ip_range"]) == (1, 65535, {})
    assert from_other["group"] == {"name": "other", "tenant_id": PROJECT}

    changed = await proxied.put(f"/os-security-groups/{web}", {"security_group": {"name": "www", "description": ""}}, version="2.35")
    assert (changed.status, changed.body["security_group"]["name"]) == (200, "www")
    listed = {found["name"]: found for found in (await proxied.get("/os-security-groups")).body["security_groups"]}
    assert set(listed) == {"default", "other", "www"}
    assert sorted(found["id"] for found in listed["www"]["rules"]) == sorted([ssh["id"], from_other["id"]])

    assert (await proxied.delete(f"/os-security-group-rules/{ssh['id']}")).status == 202
    assert (await proxied.delete(f"/os-security-group-rules/{ssh['id']}")).status == 404
    assert (await proxied.delete(f"/os-security-groups/{web}")).status == 202
    assert (await proxied.get(f"/os-security-groups/{web}")).status == 404


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({"ip_protocol": "icmp", "from_port": -1, "to_port": -1}, ("icmp", -1, -1, "0.0.0.0/0")),
        ({"ip_protocol": "icmp", "from_port": 8, "to_port": 0}, ("icmp", 8, 0, "0.0.0.0/0")),
        ({"ip_protocol": "ICMP", "from_port": -1, "to_port": -1, "cidr": "fd00::/8"}, ("ipv6-icmp", -1, -1, "fd00::/8")),
        ({"ip_protocol": "udp", "from_port": 1, "to_port": 65535, "cidr": ""}, ("udp", 1, 65535, "0.0.0.0/0")),
        ({"ip_protocol": "tcp", "from_port": 5, "to_port": 6, "cidr": "10.0.0.0%2F8"}, ("tcp", 5, 6, "10.0.0.0/8")),
    ],
)
async def test_rules_in_all_shapes(proxied: Api, asked: dict[str, Any], shown: tuple[Any, ...]) -> None:
    made = await rule(proxied, await group(proxied), **asked)
    assert made.status == 200, made
    found = made.body["security_group_rule"]
    assert (found["ip_protocol"], found["from_port"], found["to_port"], found["ip_range"]["cidr"]) == shown


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "Not enough parameters to build a valid rule."),
        ({"ip_protocol": "tcp", "from_port": 1}, "Not enough parameters to build a valid rule."),
        ({"ip_protocol": "tcp", "from_port": 2, "to_port": 1}, "Invalid port range 2:1. Former value cannot be greater than the later"),
        ({"ip_protocol": "tcp", "from_port": 0, "to_port": 1}, "Invalid port range 0:1. Valid TCP ports should be between 1-65535"),
        ({"ip_protocol": "icmp", "from_port": 256, "to_port": 1}, "Invalid port range 256:1. For ICMP, the type:code must be valid"),
        ({"ip_protocol": "tcp", "from_port": "x", "to_port": 1}, "Invalid input received: To and From ports must be integers"),
        ({"ip_protocol": "tcp", "from_port": [], "to_port": 1}, "Invalid input received: To and From ports must be integers"),
        (
            {"ip_protocol": "icmp", "from_port": "x", "to_port": 1},
            "Invalid input received: Type and Code must be integers for ICMP protocol type",
        ),
        ({"ip_protocol": "gre", "from_port": 1, "to_port": 1}, "Invalid IP protocol gre."),
        ({"ip_protocol": {"a": 1}, "from_port": 1, "to_port": 1}, "Invalid IP protocol {'a': 1}."),
        ({"ip_protocol": "tcp", "from_port": 1, "to_port": 1, "cidr": "10.0.0.1"}, "Invalid cidr 10.0.0.1."),
        ({"ip_protocol": "tcp", "from_port": 1, "to_port": 1, "cidr": 7}, "Invalid cidr 7."),
        ({"ip_protocol": "tcp", "from_port": 1, "to_port": 1, "cidr": "10.0.0.0/0"}, "Bad prefix for network in cidr 10.0.0.0/0"),
        ({"parent_group_id": "x"}, "Invalid input for field/attribute parent_group_id. Value: 'x'. 'x' is not a 'uuid'"),
    ],
)
async def test_rules_that_make_no_sense_are_refused(proxied: Api, asked: dict[str, Any], words: str) -> None:
    answer = await rule(proxied, **{"parent": await group(proxied)} | asked)
    assert answer.status == 400, answer
    assert answer.message == words


async def test_a_rule_is_made_once(proxied: Api) -> None:
    web = await group(proxied)
    ssh = {"ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    assert (await rule(proxied, web, **ssh)).status == 200
    again = await rule(proxied, web, **ssh)
    assert (again.status, again.message) == (400, f"This rule already exists in group {web}")


async def test_rules_need_groups_that_the_caller_sees(proxied: Api) -> None:
    web, theirs = await group(proxied), await group(proxied, "theirs", "stranger")
    for parent, fields in ((NOBODYS, {}), (theirs, {}), (web, {"group_id": theirs}), (web, {"group_id": NOBODYS})):
        answer = await rule(proxied, parent, ip_protocol="tcp", from_port=1, to_port=1, **fields)
        assert answer.status == 404, (parent, fields, answer)


async def test_what_is_anothers_stays_theirs(proxied: Api) -> None:
    theirs = await group(proxied, "theirs", "stranger")
    their_rule = (await rule(proxied, theirs, "stranger", ip_protocol="tcp", from_port=1, to_port=1)).body["security_group_rule"]["id"]
    change = {"security_group": {"name": "x", "description": "x"}}

    assert (await proxied.get(f"/os-security-groups/{theirs}")).status == 404
    assert (await proxied.put(f"/os-security-groups/{theirs}", change)).status == 404
    assert (await proxied.delete(f"/os-security-groups/{theirs}")).status == 404
    assert (await proxied.delete(f"/os-security-group-rules/{their_rule}")).status == 404
    for caller in ("member", "admin"):
        listed = (await proxied.get("/os-security-groups", caller)).body["security_groups"]
        assert {found["tenant_id"] for found in listed} == {PROJECT}, caller
    listed = (await proxied.get("/os-security-groups?all_tenants=1", "admin")).body["security_groups"]
    assert {found["tenant_id"] for found in listed} == {PROJECT, OTHER_PROJECT}
    listed = (await proxied.get("/os-security-groups?all_tenants=1")).body["security_groups"]
    assert {found["tenant_id"] for found in listed} == {PROJECT}
    assert (await proxied.get(f"/os-security-groups/{theirs}", "stranger")).body["security_group"]["rules"][0]["id"] == their_rule


async def test_lists_are_cut_into_slices(proxied: Api) -> None:
    for name in ("a", "b", "c"):
        await group(proxied, name)

    async def count(query: str) -> int:
        return len((await proxied.get(f"/os-security-groups?{query}")).body["security_groups"])

    assert [await count(query) for query in ("", "limit=2", "limit=0", "offset=3", "limit=1&offset=1", "offset=9")] == [4, 2, 4, 1, 1, 0]
    assert (await proxied.get("/os-security-groups?limit=x")).status == 400


async def test_ids_that_are_none_and_groups_that_must_stay(proxied: Api) -> None:
    for path in ("/os-security-groups/x", "/os-security-group-rules/x"):
        answer = await proxied.delete(path)
        assert (answer.status, answer.message) == (400, "Security group id should be uuid")
    [default] = (await proxied.get("/os-security-groups")).body["security_groups"]
    assert (await proxied.delete(f"/os-security-groups/{default['id']}")).status == 400
    renamed = await proxied.put(f"/os-security-groups/{default['id']}", {"security_group": {"name": "x", "description": ""}})
    assert renamed.status == 400
    second = await proxied.post("/os-security-groups", {"security_group": {"name": "default", "description": ""}})
    assert second.status == 403
    assert (await proxied.post("/os-security-groups", {"security_group": {"name": "x"}})).status == 400


async def test_a_server_shows_the_groups_on_its_ports(api: Api) -> None:
    server = await api.server()
    api.parts.networks = await BuiltinNetworks.open(api.database, api.parts.config, api.parts.world)
    web = await group(api)
    network = await api.parts.networks.make(CALLERS["member"], "networks", {"name": "mine"})
    fields = {"network_id": network["id"], "device_id": server, "security_groups": [web]}
    await api.parts.networks.make(CALLERS["member"], "ports", fields)
    await rule(api, web, ip_protocol="tcp", from_port=1, to_port=2)

    [shown] = (await api.get(f"/servers/{server}/os-security-groups", version="2.104")).body["security_groups"]

    assert (shown["id"], [found["to_port"] for found in shown["rules"]]) == (web, [2])


async def test_the_proxy_ends_where_it_ended(proxied: Api) -> None:
    web = await group(proxied)
    body = {"security_group": {"name": "x", "description": "x"}}
    for method, path, sent in (
        ("GET", "/os-security-groups", None),
        ("POST", "/os-security-groups", body),
        ("GET", f"/os-security-groups/{web}", None),
        ("PUT", f"/os-security-groups/{web}", body),
        ("DELETE", f"/os-security-groups/{web}", None),
        ("POST", "/os-security-group-rules", {"security_group_rule": {"parent_group_id": web}}),
        ("DELETE", f"/os-security-group-rules/{NOBODYS}", None),
    ):
        answer = await proxied.ask(method, path, "member", "2.36", sent)
        assert (answer.status, answer.message) == (404, "The resource could not be found."), (method, path)
