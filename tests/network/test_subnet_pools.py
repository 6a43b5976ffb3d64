"""Subnet pools as their users see them, and the ranges that come from them."""

import asyncio
import ipaddress
from typing import Any

import pytest

from nova_async.services.network.subnet_pools import free_range
from tests.network.test_network_http import Api, api, networks, openstack

__all__ = ["api", "networks"]


async def pool_of(api: Api, who: str = "alice", **fields: Any) -> dict[str, Any]:
    return await api.make(who, "/v2.0/subnetpools", **{"prefixes": ["10.8.0.0/16"], "default_prefixlen": 24} | fields)


async def subnet_of(api: Api, pool: str, who: str = "alice", **fields: Any) -> tuple[int, dict[str, Any]]:
    """A subnet on a network of its own: the status, and it, or the error."""
    network = await api.make(who, "/v2.0/networks")
    body = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool} | fields
    status, answer = await api(who, "POST", "/v2.0/subnets", {"subnet": body})
    return status, answer.get("subnet") or answer["NeutronError"]


async def refused(api: Api, status: int, words: str, method: str, path: str, **body: Any) -> None:
    found, answer = await api("alice", method, f"/v2.0/{path}", body)
    assert (found, words in answer["NeutronError"]["message"]) == (status, True), answer


async def test_a_pool_from_its_making_to_its_end(api: Api) -> None:
    pool = await pool_of(api, name="p", description="mine", prefixes=["10.9.0.0/16", "10.8.0.0/16"])
    assert (pool["prefixes"], pool["ip_version"], pool["address_scope_id"]) == (["10.8.0.0/15"], 4, None)
    assert [pool[f"{kind}_prefixlen"] for kind in ("min", "default", "max")] == [8, 24, 32]
    assert (pool["default_quota"], pool["shared"], pool["is_default"], pool["project_id"]) == (None, False, False, "alice")
    path = f"/v2.0/subnetpools/{pool['id']}"

    changes = {"name": "p2", "prefixes": ["10.8.0.0/15", "10.20.0.0/16"], "default_prefixlen": 26, "default_quota": 512}
    changed = (await api("alice", "PUT", path, {"subnetpool": changes}))[1]["subnetpool"]
    assert {name: changed[name] for name in changes} == changes
    assert changed["revision_number"] == pool["revision_number"] + 1

    assert (await api("alice", "PUT", f"{path}/tags", {"tags": ["red"]}))[1] == {"tags": ["red"]}
    assert [p["id"] for p in (await api("alice", "GET", "/v2.0/subnetpools?name=p2&tags=red"))[1]["subnetpools"]] == [pool["id"]]
    assert (await api("bob", "GET", "/v2.0/subnetpools"))[1] == {"subnetpools": []}
    for who, status in (("bob", 404), ("looker", 403)):
        assert (await api(who, "PUT", path, {"subnetpool": {"name": "x"}}))[0] == status
    assert (await api("alice", "DELETE", path))[0] == 204
    status, body = await api("alice", "GET", path)
    assert (status, body["NeutronError"]["type"]) == (404, "SubnetPoolNotFound")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prefixes": []}, "Empty subnet pool prefix list"),
        ({"prefixes": ["10.8.0.0/16", "fd00::/48"]}, "Cannot mix"),
        ({"prefixes": ["nonsense"]}, "prefixes"),
        ({"min_prefixlen": 28}, "default_prefixlen=24 is not between"),
        ({"min_prefixlen": 28, "max_prefixlen": 26}, "Illegal prefix bounds"),
        ({"max_prefixlen": 33}, "at most 32"),
        ({"default_quota": -1}, "default_quota"),
        ({"address_scope_id": "7e3f1c1e-6d7c-4a08-b50b-6dd1b1f6b222"}, "address_scope_id"),
    ],
)
async def test_pools_that_make_no_sense(api: Api, fields: dict[str, Any], words: str) -> None:
    body = {"prefixes": ["10.8.0.0/16"], "default_prefixlen": 24} | fields
    await refused(api, 400, words, "POST", "subnetpools", subnetpool=body)


async def test_prefixes_can_only_be_added(api: Api) -> None:
    path = f"subnetpools/{(await pool_of(api))['id']}"
    await refused(api, 400, "Illegal update to prefixes", "PUT", path, subnetpool={"prefixes": ["10.8.0.0/17"]})
    await refused(api, 400, "Cannot mix", "PUT", path, subnetpool={"prefixes": ["fd00::/48"]})
    await refused(api, 400, "shared", "PUT", path, subnetpool={"shared": True})


async def test_subnets_get_ranges_of_their_pool_one_beside_the_other(api: Api) -> None:
    pool = await pool_of(api, prefixes=["10.8.0.0/22"])
    found = [
        await subnet_of(api, pool["id"], **wanted) for wanted in ({}, {"prefixlen": 25}, {"cidr": "10.8.2.0/24"}, {}, {"prefixlen": 25})
    ]
    assert [subnet["cidr"] for _, subnet in found] == ["10.8.0.0/24", "10.8.1.0/25", "10.8.2.0/24", "10.8.3.0/24", "10.8.1.128/25"]
    assert {(status, subnet["subnetpool_id"]) for status, subnet in found} == {(201, pool["id"])}
    assert [subnet["gateway_ip"] for _, subnet in found[:2]] == ["10.8.0.1", "10.8.1.1"]

    for wanted in ({}, {"cidr": "10.8.2.0/25"}, {"cidr": "10.9.0.0/24"}):
        status, error = await subnet_of(api, pool["id"], **wanted)
        assert (status, "Failed to allocate subnet" in error["message"]) == (409, True)
    assert (await api("alice", "GET", f"/v2.0/subnets?subnetpool_id={pool['id']}"))[1]["subnets"][4:]
    await refused(api, 400, "existing allocations", "DELETE", f"subnetpools/{pool['id']}")

    assert (await api("alice", "DELETE", f"/v2.0/subnets/{found[1][1]['id']}"))[0] == 204
    assert (await subnet_of(api, pool["id"], prefixlen=26))[1]["cidr"] == "10.8.1.0/26"


async def test_subnets_made_at_once_have_ranges_of_their_own(api: Api) -> None:
    pool = await pool_of(api, prefixes=["10.8.0.0/22"])
    found = await asyncio.gather(*(subnet_of(api, pool["id"]) for _ in range(6)))
    assert sorted(status for status, _ in found) == [201, 201, 201, 201, 409, 409]
    assert len({subnet["cidr"] for status, subnet in found if status == 201}) == 4


async def test_what_a_subnet_cannot_ask_of_a_pool(api: Api) -> None:
    pool = await pool_of(api, min_prefixlen=20, max_prefixlen=28)
    for wanted, words in (
        ({"prefixlen": 19}, "minimum allowed prefix is 20"),
        ({"prefixlen": 29}, "maximum allowed prefix is 28"),
        ({"cidr": "10.8.0.0/24", "prefixlen": 24}, "must not be supplied together"),
        ({"allocation_pools": [{"start": "10.8.0.5", "end": "10.8.0.9"}]}, "allowed only for specific subnet requests"),
        ({"ip_version": 6}, "Cannot allocate IPv6 subnet from IPv4 subnet pool"),
        ({"use_default_subnetpool": True}, "cannot both be specified"),
        ({"subnetpool_id": None}, "a subnetpool must be specified in the absence of a cidr"),
        ({"subnetpool_id": None, "use_default_subnetpool": True}, "No default subnetpool found for IPv4"),
    ):
        status, error = await subnet_of(api, pool["id"], **wanted)
        assert (status, words in error["message"]) == (400, True), (wanted, error)
    status, error = await subnet_of(api, pool["id"], who="bob")
    assert (status, error["type"]) == (404, "SubnetPoolNotFound")


async def test_subnets_of_one_network_come_from_one_pool(api: Api) -> None:
    pool = await pool_of(api)
    six = await pool_of(api, prefixes=["fd00:8::/48"], default_prefixlen=64)
    network = await api.make("alice", "/v2.0/networks")
    first = await api.make("alice", "/v2.0/subnets", network_id=network["id"], subnetpool_id=pool["id"])
    body = {"network_id": network["id"], "cidr": "10.99.0.0/24"}
    await refused(api, 400, "must be allocated from the same subnet pool", "POST", "subnets", subnet=body)
    second = await api.make("alice", "/v2.0/subnets", network_id=network["id"], subnetpool_id=pool["id"])
    third = await api.make("alice", "/v2.0/subnets", network_id=network["id"], subnetpool_id=six["id"], ip_version=6)
    assert [subnet["cidr"] for subnet in (first, second, third)] == ["10.8.0.0/24", "10.8.1.0/24", "fd00:8::/64"]


async def test_a_quota_of_a_pool_counts_what_each_project_took(api: Api) -> None:
    pool = await pool_of(api, who="admin", shared=True, default_quota=256)
    assert (await subnet_of(api, pool["id"], prefixlen=25))[0] == 201
    assert (await subnet_of(api, pool["id"], prefixlen=25))[0] == 201
    status, error = await subnet_of(api, pool["id"], prefixlen=28)
    assert (status, error["message"]) == (409, "Per-tenant subnet pool prefix quota exceeded.")
    assert (await subnet_of(api, pool["id"], who="bob", prefixlen=24))[0] == 201


async def test_administrators_share_pools_and_choose_the_default_one(api: Api) -> None:
    for field in ("shared", "is_default"):
        await refused(api, 403, field, "POST", "subnetpools", subnetpool={"prefixes": ["10.8.0.0/16"], field: True})
    pool = await pool_of(api, who="admin", shared=True, is_default=True)
    assert [p["id"] for p in (await api("alice", "GET", "/v2.0/subnetpools?is_default=true"))[1]["subnetpools"]] == [pool["id"]]
    await refused(api, 403, "admin_or_owner", "PUT", f"subnetpools/{pool['id']}", subnetpool={"name": "x"})
    status, subnet = await subnet_of(api, "", subnetpool_id=None, use_default_subnetpool=True)
    assert (status, subnet["subnetpool_id"], subnet["cidr"]) == (201, pool["id"], "10.8.0.0/24")

    status, body = await api("admin", "POST", "/v2.0/subnetpools", {"subnetpool": {"prefixes": ["10.9.0.0/16"], "is_default": True}})
    assert (status, "Only one default may exist" in body["NeutronError"]["message"]) == (400, True)
    await pool_of(api, who="admin", prefixes=["fd00:8::/48"], default_prefixlen=64, is_default=True)


def test_a_free_range_is_the_first_that_nothing_overlaps() -> None:
    def found(taken: list[str], length: int, *prefixes: str) -> str:
        used = [ipaddress.ip_network(text) for text in taken]
        return str(free_range([ipaddress.ip_network(p) for p in prefixes or ("10.0.0.0/24", "10.1.0.0/23")], used, length))

    assert found([], 24) == "10.0.0.0/24"
    assert found([], 23) == "10.1.0.0/23"
    assert found([], 22) == "None"
    assert found(["10.0.0.4/30"], 26) == "10.0.0.64/26"
    assert found(["10.0.0.64/30"], 26) == "10.0.0.0/26"
    assert found(["10.0.0.0/25", "10.0.0.192/32"], 26) == "10.0.0.128/26"
    assert found(["10.0.0.0/25", "10.0.0.128/26", "10.0.0.255/32"], 26) == "10.1.0.0/26"
    assert found(["10.0.0.0/23", "10.1.0.0/24"], 24) == "10.1.1.0/24"
    assert found(["10.0.0.0/8"], 32) == "None"
    assert found(["fd00::/64", "fd00:0:0:1::/64"], 64, "fd00::/48") == "fd00:0:0:2::/64"


STORY = """\
subnet pool create --pool-prefix 10.8.0.0/16 --default-prefix-length 26 --min-prefix-length 20 --description mine --tag red pool -f json
subnet pool set --pool-prefix 10.9.0.0/16 --default-quota 4096 --name larger pool
subnet pool show larger -f json
network create net -f json
subnet create --network net --subnet-pool larger one -f json
subnet create --network net --subnet-pool larger --prefix-length 24 two -f json
subnet create --network net --subnet-pool larger --subnet-range 10.9.7.0/24 three -f json
subnet list --subnet-pool larger -f json
subnet pool list --long -f json
subnet delete one two three
subnet pool unset --tag red larger
subnet pool delete larger
subnet pool list -f json
"""


async def test_the_real_client(api: Api) -> None:
    made, shown, _, one, two, three, subnets, pools, none = await openstack(api, "alice", STORY)
    assert (made["default_prefixlen"], made["min_prefixlen"], made["tags"]) == (26, 20, ["red"])
    assert (shown["prefixes"], shown["default_quota"]) == (["10.8.0.0/15"], 4096)
    assert [subnet["cidr"] for subnet in (one, two, three)] == ["10.8.0.0/26", "10.8.1.0/24", "10.9.7.0/24"]
    assert len(subnets) == 3
    assert [pool["Name"] for pool in pools] == ["larger"]
    assert none == []
