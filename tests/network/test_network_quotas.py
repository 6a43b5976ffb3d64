"""How much of the network a project may have, as Neutron's clients see it."""

import asyncio
from typing import Any

import pytest

from nova_async.errors import QuotaExceeded
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from tests.network.test_network_http import CALLERS, Api, api, networks

__all__ = ["api", "networks"]
ALICE = CALLERS["alice"]


async def limit(api: Api, **limits: int) -> None:
    status, body = await api("admin", "PUT", "/v2.0/quotas/alice", {"quota": limits})
    assert status == 200, body


async def addressed(api: Api) -> str:
    """A network of Alice's that ports can be made on."""
    network = await api.make("alice", "/v2.0/networks")
    await api.make("alice", "/v2.0/subnets", network_id=network["id"], cidr="10.9.0.0/24", ip_version=4)
    return str(network["id"])


async def refused(api: Api, path: str, body: dict[str, Any], resource: str) -> None:
    status, answer = await api("alice", "POST", f"/v2.0/{path}", body)
    assert (status, answer["NeutronError"]["type"]) == (409, "OverQuota")
    assert answer["NeutronError"]["message"] == f"Quota exceeded for resources: ['{resource}']."


async def test_limits_are_set_seen_and_forgotten(api: Api) -> None:
    _, usual = await api("alice", "GET", "/v2.0/quotas/alice")
    assert (usual["quota"]["port"], usual["quota"]["security_group"], usual["quota"]["subnetpool"]) == (500, 10, 100)

    await limit(api, port=3, network=-1)

    own = {**usual["quota"], "port": 3, "network": -1}
    assert (await api("alice", "GET", "/v2.0/quotas/alice"))[1] == {"quota": own}
    assert (await api("alice", "GET", "/v2.0/quotas/alice/default"))[1] == usual
    assert (await api("bob", "GET", "/v2.0/quotas/bob"))[1] == usual
    assert (await api("admin", "GET", "/v2.0/quotas"))[1] == {"quotas": [{**own, "project_id": "alice", "tenant_id": "alice"}]}
    assert (await api("alice", "GET", "/v2.0/quotas/project"))[1] == {"project": {"project_id": "alice"}}
    assert (await api("admin", "DELETE", "/v2.0/quotas/alice"))[0] == 204
    assert (await api("alice", "GET", "/v2.0/quotas/alice"))[1] == usual
    assert (await api("admin", "DELETE", "/v2.0/quotas/alice"))[0] == 404


async def test_only_administrators_change_limits_or_see_those_of_others(api: Api) -> None:
    for method, path in (("PUT", "alice"), ("DELETE", "alice"), ("GET", "bob"), ("GET", "bob/details"), ("GET", "bob/default")):
        assert (await api("alice", method, f"/v2.0/quotas/{path}", {"quota": {"port": 9}}))[0] == 403
    assert (await api("alice", "GET", "/v2.0/quotas"))[0] == 403


@pytest.mark.parametrize("quota", [{"port": -2}, {"port": "many"}, {"port": True}, {"port": 2**31}, {"cores": 5}, [], None])
async def test_limits_that_make_no_sense_are_refused(api: Api, quota: Any) -> None:
    assert (await api("admin", "PUT", "/v2.0/quotas/alice", {"quota": quota}))[0] == 400


async def test_what_a_project_has_is_counted_and_a_limit_below_needs_force(api: Api) -> None:
    network = await addressed(api)
    for _ in range(2):
        await api.make("alice", "/v2.0/ports", network_id=network)
    details = (await api("alice", "GET", "/v2.0/quotas/alice/details"))[1]["quota"]
    assert (details["port"], details["subnet"]["used"]) == ({"limit": 500, "used": 2, "reserved": 0}, 1)

    status, body = await api("admin", "PUT", "/v2.0/quotas/alice", {"quota": {"port": 1}})

    assert (status, "already used 2" in body["NeutronError"]["message"]) == (400, True)
    await limit(api, port=1, force=True)
    assert (await api("alice", "GET", "/v2.0/quotas/alice"))[1]["quota"]["port"] == 1


async def test_whatever_is_limited_is_refused_beyond(api: Api) -> None:
    network = await addressed(api)
    group = await api.make("alice", "/v2.0/security-groups", name="web")
    outside = await api.make("admin", "/v2.0/networks", name="outside", **{"router:external": True})
    await api.make("admin", "/v2.0/subnets", network_id=outside["id"], cidr="203.0.113.0/24", ip_version=4)
    used = {name: row["used"] for name, row in (await api("alice", "GET", "/v2.0/quotas/alice/details"))[1]["quota"].items()}
    await limit(api, **{name: used[name] for name in used if name != "rbac_policy"})

    await refused(api, "networks", {"network": {}}, "network")
    await refused(api, "subnets", {"subnet": {"network_id": network, "cidr": "10.8.0.0/24", "ip_version": 4}}, "subnet")
    await refused(api, "subnetpools", {"subnetpool": {"prefixes": ["10.8.0.0/16"]}}, "subnetpool")
    await refused(api, "ports", {"port": {"network_id": network}}, "port")
    await refused(api, "routers", {"router": {}}, "router")
    await refused(api, "floatingips", {"floatingip": {"floating_network_id": outside["id"]}}, "floatingip")
    await refused(api, "security-groups", {"security_group": {"name": "db"}}, "security_group")
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"}
    await refused(api, "security-group-rules", {"security_group_rule": rule}, "security_group_rule")
    await limit(api, security_group=-1)
    await refused(api, "security-groups", {"security_group": {"name": "db"}}, "security_group_rule")
    assert (await api("bob", "POST", "/v2.0/networks", {"network": {}}))[0] == 201


async def test_those_who_ask_at_once_get_no_more_than_the_limit(api: Api) -> None:
    """SEC-060"""
    await limit(api, network=3)

    statuses = await asyncio.gather(*(api("alice", "POST", "/v2.0/networks", {"network": {}}) for _ in range(8)))

    assert sorted(status for status, _ in statuses) == [201] * 3 + [409] * 5


async def test_servers_whose_ports_would_be_too_many_are_refused_before_they_are_made(api: Api, networks: BuiltinNetworks) -> None:
    network = await addressed(api)
    await limit(api, port=2)
    cards = [NetworkRequest(network_id=network)]

    assert await networks.check(ALICE, cards, [], 2) == cards
    with pytest.raises(QuotaExceeded, match="Maximum number of ports exceeded"):
        await networks.check(ALICE, cards, [], 3)
    port = await api.make("alice", "/v2.0/ports", network_id=network)
    brought = [NetworkRequest(port_id=port["id"]), *cards]
    assert await networks.check(ALICE, brought, [], 1) == brought
