"""Guests on two hosts and one network: who reaches whom, before and after they change hosts."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.lab.cluster import COMPUTE, HOSTS, Cluster

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("qemu"),
]


async def pings(cluster: Cluster, server: str, address: str, *options: str) -> bool:
    printed = await cluster.inside(server, f"ping -c 2 -W 1 {' '.join(options)} {address}; echo done")
    return " 0% packet loss" in printed


async def address_of(cluster: Cluster, server: str) -> str:
    return str(next(iter((await cluster.server(server))["addresses"].values()))[0]["addr"])


async def until(look: Callable[[], Awaitable[bool]], wanted: bool) -> None:
    for _ in range(40):
        if await look() is wanted:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"it stays {not wanted}")


async def move(cluster: Cluster, server: str, host: str) -> None:
    await cluster.act(server, **{"os-migrateLive": {"host": host, "block_migration": "auto"}})
    await cluster.reaches(server, "ACTIVE")
    assert await cluster.host_of(server) == host


async def test_guests_of_one_network_reach_each_other_from_host_to_host_as_their_rules_say(cluster: Cluster, test_guest: Path) -> None:
    image, flavor = await cluster.test_image(test_guest), await cluster.flavor("lab.net")
    here, there = HOSTS
    one, two = await cluster.boot(image, flavor, host=here), await cluster.boot(image, flavor, host=there)
    body = {"name": "foreign", "imageRef": image, "flavorRef": flavor, "networks": "auto"}
    foreign = str((await cluster.ask("POST", f"{COMPUTE}/servers", {"server": body}, admin=False))["server"]["id"])
    for server in (one, two, foreign):
        await cluster.reaches(server, "ACTIVE")
        await cluster.booted(server, 1)
    first, second = await address_of(cluster, one), await address_of(cluster, two)

    assert await pings(cluster, one, second)
    assert await pings(cluster, two, first)
    assert not await pings(cluster, foreign, first)
    assert not await pings(cluster, foreign, second)

    rule = {"security_group_id": await _group(cluster), "direction": "ingress", "protocol": "icmp"}
    made = (await cluster.ask("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule}))["security_group_rule"]["id"]
    await until(lambda: pings(cluster, foreign, first), True)
    await until(lambda: pings(cluster, foreign, second), True)
    await cluster.ask("DELETE", f"/network/v2.0/security-group-rules/{made}")
    await until(lambda: pings(cluster, foreign, first), False)
    await until(lambda: pings(cluster, foreign, second), False)

    await cluster.inside(two, "ip addr add 10.77.0.250/32 dev eth0")
    assert not await pings(cluster, two, first, "-I 10.77.0.250")
    assert await pings(cluster, two, first)

    await cluster.inside(two, "(sleep 1000 | nc -l -p 9000 > /tmp/heard) > /dev/null 2>&1 < /dev/null & echo")
    await cluster.inside(one, f"(while :; do echo said; sleep 1; done | nc {second} 9000) > /dev/null 2>&1 < /dev/null & echo")
    await until(lambda: _hears(cluster, two), True)
    await move(cluster, one, there)
    assert await pings(cluster, one, second)
    await move(cluster, two, here)
    assert await pings(cluster, one, second)
    assert await pings(cluster, two, first)
    assert not await pings(cluster, foreign, first)
    assert not await pings(cluster, foreign, second)
    await until(lambda: _hears(cluster, two), True)

    for server in (one, two, foreign):
        await cluster.delete(server)
    await cluster.all_is_well()


async def _hears(cluster: Cluster, server: str) -> bool:
    """Whether the connection that was made at first still brings something."""
    words = await cluster.inside(server, "a=$(wc -l < /tmp/heard); sleep 3; b=$(wc -l < /tmp/heard); echo $a $b")
    before, after = map(int, words.split())
    return after > before


async def _group(cluster: Cluster) -> str:
    """The id of the administrator's own default group."""
    [server] = [s for s in (await cluster.ask("GET", f"{COMPUTE}/servers/detail"))["servers"] if s["name"] == "one"][:1]
    found = await cluster.ask("GET", f"/network/v2.0/security-groups?name=default&project_id={server['tenant_id']}")
    return str(found["security_groups"][0]["id"])
