"""Where a running cloud puts servers: filters of its own, groups under a rush, hints, forced hosts, zones, CPUs and devices."""

import asyncio
import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .running import ADMIN, UNLIMITED, RunningCloud, User, running_cloud

pytestmark = pytest.mark.slow
API = "/compute/v2.1"
SERVERS = f"{API}/servers"
PLUGIN = '''
    import numpy as np

    from nova_async.scheduler.filters import Filter


    class Quiet(Filter):
        """Servers with the hint quiet go to the host that they name."""

        def applies(self, request):
            return "quiet" in request.hints

        def reason(self, host, request):
            wanted = request.hints["quiet"]
            return None if host.name == wanted else f"the hint quiet names {wanted}, this is {host.name}"


    class Fails(Filter):
        def applies(self, request):
            return "fail" in request.hints

        def reason(self, host, request):
            raise RuntimeError("out of coffee")


    class LastByName:
        def __call__(self, table, request):
            return np.argsort(np.argsort([host.name for host in table.states])).astype(float)
'''
FILTERS = (
    *("ComputeFilter", "ComputeCapabilitiesFilter", "ImagePropertiesFilter", "ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter"),
    *("SameHostFilter", "DifferentHostFilter", "JsonFilter", "SimpleCIDRAffinityFilter", "my_cloud.Quiet", "my_cloud.Fails"),
)
OPTIONS = {
    "NOVA_ASYNC_SCHEDULER_FILTERS": json.dumps(FILTERS),
    "NOVA_ASYNC_SCHEDULER_WEIGHERS": json.dumps(["RAMWeigher", "CPUWeigher", "BuildFailureWeigher", "my_cloud.LastByName"]),
    "NOVA_ASYNC_SCHEDULER_MULTIPLIERS": '{"my_cloud.LastByName": 0.01}',
    "NOVA_ASYNC_QUOTA_SERVER_GROUP_MEMBERS": "-1",
    "NOVA_ASYNC_COMPUTE_CPU_DEDICATED_SET": "0-3,32-35",
    "NOVA_ASYNC_COMPUTE_CPU_SHARED_SET": "4-31,36-63",
    "NOVA_ASYNC_FAKE_CELLS": "2",
    "NOVA_ASYNC_FAKE_LARGE_PAGES": "1024",
    "NOVA_ASYNC_FAKE_DEVICES": json.dumps([{"vendor_id": "10de", "product_id": "1eb8", "count": 2}]),
    "NOVA_ASYNC_PCI_ALIAS": json.dumps([{"name": "gpu", "vendor_id": "10de", "product_id": "1eb8", "numa_policy": "required"}]),
    **UNLIMITED,
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "my_cloud.py").write_text(textwrap.dedent(PLUGIN))
    return folder


@pytest.fixture(scope="module")
def cloud(plugins: Path) -> Iterator[RunningCloud]:
    with running_cloud(hosts=4, PYTHONPATH=str(plugins), **OPTIONS) as made:
        yield made
        made.is_consistent()
        made.has_a_clean_log()


async def hosts(admin: User) -> list[str]:
    return sorted(service["host"] for service in (await admin.get(f"{API}/os-services?binary=nova-compute"))["services"])


async def asked(user: User, hints: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The body of a request for a server."""
    image = (await user.get("/image/v2/images"))["images"][0]["id"]
    body = {"server": {"name": "placed", "imageRef": image, "flavorRef": "1", "networks": "none"} | fields}
    return body | ({"os:scheduler_hints": hints} if hints else {})


async def placed(user: User, hints: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A server once nothing is done with it any more, as its owner (an administrator) sees it."""
    server = (await user.ask("POST", SERVERS, await asked(user, hints, **fields)))["server"]["id"]
    found = (await user.settled([server]))[server]
    assert found is not None
    return found


async def refused(user: User, hints: dict[str, Any] | None = None, **fields: Any) -> tuple[int, str]:
    answer = await user.try_to("POST", SERVERS, await asked(user, hints, **fields))
    (inner,) = answer.body.values()
    return answer.status, inner["message"]


async def gone(user: User, *servers: dict[str, Any] | str) -> None:
    ids = [server if isinstance(server, str) else server["id"] for server in servers]
    for server in ids:
        await user.ask("DELETE", f"{SERVERS}/{server}")
    await asyncio.gather(*(user.until(server, "GONE") for server in ids))


def host_of(server: dict[str, Any]) -> str:
    assert server["status"] == "ACTIVE", server.get("fault")
    return str(server["OS-EXT-SRV-ATTR:host"])


async def flavor(admin: User, name: str, specs: dict[str, str], vcpus: int = 2, ram: int = 512) -> None:
    await admin.ask("POST", f"{API}/flavors", {"flavor": {"id": name, "name": name, "ram": ram, "vcpus": vcpus, "disk": 1}})
    await admin.ask("POST", f"{API}/flavors/{name}/os-extra_specs", {"extra_specs": specs})


async def test_a_filter_of_the_operators_own_decides_and_one_that_fails_refuses(cloud: RunningCloud) -> None:
    async with cloud.user(ADMIN) as admin:
        *_, last = await hosts(admin)
        quiet = await placed(admin, {"quiet": last})
        assert host_of(quiet) == last
        (decision,) = (await admin.get(f"{SERVERS}/{quiet['id']}/scheduling"))["scheduling"]
        assert decision["refused_by"] == {"Quiet": 3}
        assert decision["refusals"][0]["reason"].startswith(f"the hint quiet names {last}, this is ")
        nowhere = await placed(admin, {"fail": "yes"})
        assert "Fails refused 4" in nowhere["fault"]["message"]
        assert "the filter failed (RuntimeError)" in nowhere["fault"]["message"]
        assert quiet["scheduler_hints"] == {"quiet": [last]}
        await gone(admin, quiet, nowhere)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"NOVA_ASYNC_SCHEDULER_FILTERS": '["ComputeFilter", "no.such.Filter"]'}, "scheduler.filters: 'no.such.Filter' cannot be imported"),
        ({"NOVA_ASYNC_SCHEDULER_WEIGHERS": '["my_cloud.Loud"]'}, "scheduler.weighers: the module 'my_cloud' has no 'Loud'"),
        ({"NOVA_ASYNC_PCI_ALIAS": '[{"name": "gpu"}]'}, "configuration: Object missing required field"),
    ],
)
def test_what_cannot_be_loaded_ends_the_start_with_one_sentence(plugins: Path, options: dict[str, str], words: str) -> None:
    with running_cloud(hosts=1, started=False, PYTHONPATH=str(plugins), **options) as cloud:
        cloud.launch()
        assert cloud.process is not None
        assert cloud.process.wait(60) == 1
        [line] = [line for line in cloud.output.read_text().splitlines() if line.startswith("nova-async: ")]
        assert words in line
        assert "Traceback" not in cloud.output.read_text()


async def test_a_weigher_of_the_operators_own_ranks_what_is_otherwise_alike(cloud: RunningCloud) -> None:
    async with cloud.user(ADMIN) as admin:
        server = await placed(admin)
        assert host_of(server) == (await hosts(admin))[-1]
        await gone(admin, server)


@pytest.mark.parametrize(("policy", "rules", "held"), [("anti-affinity", {"max_server_per_host": 12}, [12] * 4), ("affinity", None, [50])])
async def test_a_group_holds_while_fifty_are_made_at_once(cloud: RunningCloud, policy: str, rules: Any, held: list[int]) -> None:
    async with cloud.user(ADMIN) as admin:
        wish = {"name": "g", "policy": policy} | ({"rules": rules} if rules else {})
        group = (await admin.ask("POST", f"{API}/os-server-groups", {"server_group": wish}))["server_group"]["id"]
        body = await asked(admin, {"group": group})
        made = [answer["server"]["id"] for answer in await asyncio.gather(*(admin.ask("POST", SERVERS, body) for _ in range(50)))]
        rows = [row for row in (await admin.settled(made, 60.0)).values() if row]
        where = Counter(row["OS-EXT-SRV-ATTR:host"] for row in rows if row["status"] == "ACTIVE")
        assert sorted(where.values()) == held
        lost = [row for row in rows if row["status"] == "ERROR"]
        assert len(lost) == 50 - sum(held)
        assert all("ServerGroupAntiAffinityFilter refused 4" in row["fault"]["message"] for row in lost)
        await gone(admin, *made)
        await admin.ask("DELETE", f"{API}/os-server-groups/{group}")


async def test_hints(cloud: RunningCloud) -> None:
    async with cloud.user(ADMIN) as admin:
        names = await hosts(admin)
        first = await placed(admin)
        here = host_of(first)
        others = [
            await placed(admin, {"same_host": first["id"]}),
            await placed(admin, {"different_host": [first["id"]]}),
            await placed(admin, {"query": json.dumps(["and", ["=", "$host", names[2]], [">=", "$free_ram_mb", 1024]])}),
            await placed(admin, {"query": ["in", "$hypervisor_hostname", names[0], names[1]]}),
            await placed(admin, {"build_near_host_ip": "127.0.0.9", "cidr": "/8"}),
            await placed(admin, {"target_cell": "cell1", "different_cell": ["cell2"], "reservation": first["id"]}),
        ]
        assert host_of(others[0]) == here
        assert host_of(others[1]) != here
        assert host_of(others[2]) == names[2]
        assert host_of(others[3]) in names[:2]
        assert [server["status"] for server in others[4:]] == ["ACTIVE", "ACTIVE"]
        far = await placed(admin, {"build_near_host_ip": "192.0.2.1"})
        assert "its address 127.0.0.1 is not in 192.0.2.0/24" in far["fault"]["message"]
        await gone(admin, first, far, *others)


@pytest.mark.parametrize(
    "hints",
    [
        {"query": "["},
        {"query": ["xor", 1]},
        {"cidr": "/24"},
        {"build_near_host_ip": "192.0.2.1", "cidr": "24"},
        {"build_near_host_ip": "next door"},
        {"same_host": "the one"},
        {"different_host": ["x"]},
        {"group": "mine"},
        {"group": "11111111-2222-4333-8444-555555555555"},
    ],
)
async def test_hints_that_cannot_be_followed_are_refused(cloud: RunningCloud, hints: dict[str, Any]) -> None:
    async with cloud.user() as user:
        status, message = await refused(user, hints)
        assert (status, any(name in message for name in hints)) == (400, True), message


async def test_forced_and_requested_hosts(cloud: RunningCloud) -> None:
    async with cloud.user(ADMIN) as admin, cloud.user() as user:
        names = await hosts(admin)
        service = next(s["id"] for s in (await admin.get(f"{API}/os-services"))["services"] if s["host"] == names[3])
        await admin.ask("PUT", f"{API}/os-services/{service}", {"status": "disabled"})
        forced = [
            await placed(admin, availability_zone=zone) for zone in (f"nova:{names[3]}", f"nova:{names[3]}:{names[3]}", f"nova::{names[1]}")
        ]
        assert [host_of(server) for server in forced] == [names[3], names[3], names[1]]
        requested = [await placed(admin, host=names[2]), await placed(admin, hypervisor_hostname=names[0])]
        assert [host_of(server) for server in requested] == [names[2], names[0]]
        unlucky = await placed(admin, host=names[3])
        assert "ComputeFilter refused 1" in unlucky["fault"]["message"]
        assert (await refused(user, availability_zone=f"nova:{names[0]}"))[0] == 403
        assert (await refused(user, host=names[0]))[0] == 403
        assert await refused(admin, host="mars") == (400, "Compute host mars could not be found.")
        assert (await refused(admin, availability_zone="nova:mars"))[0] == 400
        assert (await refused(admin, availability_zone="a:b:c:d"))[0] == 400
        assert (await refused(admin, availability_zone=f"nova:{names[0]}", host=names[0]))[0] == 400
        await admin.ask("PUT", f"{API}/os-services/{service}", {"status": "enabled"})
        await gone(admin, unlucky, *forced, *requested)


async def test_a_server_stays_in_the_zone_it_is_pinned_to(cloud: RunningCloud) -> None:
    async with cloud.user(ADMIN) as admin:
        names = await hosts(admin)
        aggregate = (await admin.ask("POST", f"{API}/os-aggregates", {"aggregate": {"name": "rack", "availability_zone": "east"}}))[
            "aggregate"
        ]
        for name in names[:2]:
            await admin.ask("POST", f"{API}/os-aggregates/{aggregate['id']}/action", {"add_host": {"host": name}})
        pinned, free = await placed(admin, availability_zone="east"), await placed(admin, host=names[0])
        assert (host_of(pinned) in names[:2], pinned["pinned_availability_zone"]) == (True, "east")
        assert free["pinned_availability_zone"] is None
        for _ in range(2):
            await admin.act(pinned["id"], "os-migrateLive", {"host": None, "block_migration": "auto"})
            assert host_of(await admin.until(pinned["id"], "ACTIVE")) in names[:2]
        await admin.act(pinned["id"], "os-migrateLive", {"host": names[3], "block_migration": "auto"})
        assert host_of(await admin.until(pinned["id"], "ACTIVE")) in names[:2]
        await admin.act(free["id"], "os-migrateLive", {"host": names[3], "block_migration": "auto"})
        assert host_of(await admin.until(free["id"], "ACTIVE")) == names[3]
        assert (await refused(admin, availability_zone="west"))[0] == 400
        await gone(admin, pinned, free)
        for name in names[:2]:
            await admin.ask("POST", f"{API}/os-aggregates/{aggregate['id']}/action", {"remove_host": {"host": name}})
        await admin.ask("DELETE", f"{API}/os-aggregates/{aggregate['id']}")


async def test_cpus_cells_pages_and_devices(cloud: RunningCloud) -> None:
    specs = {"hw:cpu_policy": "dedicated", "hw:numa_nodes": "2", "hw:mem_page_size": "large", "pci_passthrough:alias": "gpu:1"}
    async with cloud.user(ADMIN) as admin, cloud.user() as user:
        await flavor(admin, "pinned", specs)
        made = await asyncio.gather(*(placed(admin, flavorRef="pinned") for _ in range(9)))
        active = [server for server in made if server["status"] == "ACTIVE"]
        assert len(active) == 8, [server.get("fault") for server in made]
        assert set(Counter(host_of(server) for server in active).values()) == {2}
        [lost] = [server for server in made if server["status"] == "ERROR"]
        assert "PciPassthroughFilter refused 4" in lost["fault"]["message"]
        taken: set[tuple[str, int]] = set()
        for server in active:
            shown = await admin.get(f"{SERVERS}/{server['id']}/topology")
            assert (shown["pagesize_kb"], [node["memory_mb"] for node in shown["nodes"]]) == (2048, [256, 256])
            assert {node["host_node"] for node in shown["nodes"]} == {0, 1}
            pins = {(host_of(server), cpu) for node in shown["nodes"] for cpu in node["cpu_pinning"].values()}
            assert (len(pins), taken & pins) == (2, set())
            taken |= pins
        plain = await user.boot("plain")
        await user.until(plain, "ACTIVE")
        assert await user.get(f"{SERVERS}/{plain}/topology") == {"nodes": [], "pagesize_kb": None}
        await gone(user, plain)
        await gone(admin, *made)
        await admin.ask("DELETE", f"{API}/flavors/pinned")
