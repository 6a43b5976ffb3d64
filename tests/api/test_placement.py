"""Placement's API, to be read: hosts as providers of resources, what servers hold of them, and who may see it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from nova_async.db import Database, aggregates, hosts
from nova_async.services.placement import application
from nova_async.world import RealWorld
from tests.api.conftest import PROJECT, TableOfTokens

HOST, SMALL = "11111111-1111-4111-8111-111111111111", "33333333-3333-4333-8333-333333333333"
SERVER, GONE = "77777777-7777-4777-8777-777777777777", "88888888-8888-4888-8888-888888888888"
AGGREGATE = "99999999-9999-4999-8999-999999999999"
INVENTORY = {"VCPU": (8, 1, 4.0), "MEMORY_MB": (8192, 512, 1.0), "DISK_GB": (100, 0, 1.0)}


class Asker:
    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client

    async def __call__(self, path: str, status: int = 200, *, who: str = "admin", version: str = "1.39", method: str = "GET") -> Any:
        headers = {"X-Auth-Token": who, "OpenStack-API-Version": f"placement {version}"}
        async with self.client.request(method, path, headers=headers) as response:
            assert response.status == status, await response.text()
            if status < 400:
                assert response.headers["OpenStack-API-Version"] == f"placement {version}"
            return await response.json() if response.content_type == "application/json" else None

    async def names(self, query: str) -> list[str]:
        return [p["name"] for p in (await self(f"/resource_providers?{query}"))["resource_providers"]]

    async def refused(self, path: str, status: int, **more: Any) -> str:
        [error] = (await self(path, status, **more))["errors"]
        assert error["status"] == status
        return str(error["detail"])


@pytest.fixture
async def ask(database: Database) -> AsyncIterator[Asker]:
    """host1, of which a server holds something, and the smaller host2, which is disabled."""
    async with database.transaction() as conn:
        for id, name, inventory in ((HOST, "host1", INVENTORY), (SMALL, "host2", {"VCPU": (1, 0, 1.0), "MEMORY_MB": (512, 0, 1.5)})):
            facts = {"hypervisor_hostname": f"{name}.local"}
            known = {"id": id, "name": name, "service_id": id, "address": "10.0.0.1", "zone": "nova", "facts": facts}
            await hosts.put(conn, **known, traits=["HW_CPU_X86_AVX2"] if name == "host1" else [], inventory=inventory)
        await hosts.set_service(conn, SMALL, disabled=True, reason="small")
        group = await aggregates.insert(conn, AGGREGATE, "group", {})
        assert group is not None
        await aggregates.add_host(conn, group, "host1")
        await conn.execute(
            "INSERT INTO instances (uuid, project_id, user_id, reservation_id, display_name, hostname, vm_state, flavor, flavor_id,"
            " vcpus, memory_mb, host, node) VALUES ($1, $2, 'u', 'r', 'n', 'n', 'active', '{}', 1, 2, 512, 'host1', 'host1')",
            *(SERVER, PROJECT),
        )
        assert await conn.fetchval(
            "SELECT claim($1, 1, ARRAY[$2::uuid], ARRAY['VCPU', 'MEMORY_MB'], ARRAY[2, 512]::bigint[])", SERVER, HOST
        )
    async with TestClient(TestServer(application(database, TableOfTokens(), RealWorld()))) as client:
        yield Asker(client)


async def test_hosts_are_providers(ask: Asker) -> None:
    first, second = (await ask("/resource_providers"))["resource_providers"]
    assert (first["uuid"], first["name"], first["root_provider_uuid"], first["parent_provider_uuid"]) == (HOST, "host1.local", HOST, None)
    assert second["name"] == "host2.local"
    assert first == await ask(f"/resource_providers/{HOST}")
    assert {link["rel"] for link in first["links"]} == {"self", "inventories", "usages", "aggregates", "traits", "allocations"}
    old = await ask(f"/resource_providers/{HOST}", version="1.0")
    assert (set(old), len(old["links"])) == ({"uuid", "name", "generation", "links"}, 3)


async def test_what_a_host_has_and_what_is_held_of_it(ask: Asker) -> None:
    base = f"/resource_providers/{HOST}"
    told = (await ask(f"{base}/inventories"))["inventories"]
    assert told["VCPU"] == {"total": 8, "reserved": 1, "min_unit": 1, "max_unit": 8, "step_size": 1, "allocation_ratio": 4.0}
    assert (await ask(f"{base}/inventories/MEMORY_MB"))["reserved"] == 512
    assert (await ask(f"{base}/usages"))["usages"] == {"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 0}
    assert (await ask(f"{base}/aggregates"))["aggregates"] == [AGGREGATE]
    assert (await ask(f"{base}/traits"))["traits"] == ["HW_CPU_X86_AVX2"]
    assert (await ask(f"/resource_providers/{SMALL}/traits"))["traits"] == ["COMPUTE_STATUS_DISABLED"]
    [(consumer, held)] = (await ask(f"{base}/allocations"))["allocations"].items()
    assert (consumer, held["resources"]) == (SERVER, {"VCPU": 2, "MEMORY_MB": 512})


async def test_what_a_server_and_a_project_hold(ask: Asker) -> None:
    held = await ask(f"/allocations/{SERVER}")
    assert held["allocations"][HOST]["resources"] == {"VCPU": 2, "MEMORY_MB": 512}
    assert (held["project_id"], held["user_id"], held["consumer_type"]) == (PROJECT, "u", "INSTANCE")
    assert await ask(f"/allocations/{GONE}") == {"allocations": {}}
    assert (await ask(f"/usages?project_id={PROJECT}", who="reader", version="1.9"))["usages"] == {"VCPU": 2, "MEMORY_MB": 512}
    told = (await ask(f"/usages?project_id={PROJECT}&user_id=u"))["usages"]
    assert told == {"INSTANCE": {"VCPU": 2, "MEMORY_MB": 512, "consumer_count": 1}}
    assert (await ask(f"/usages?project_id={PROJECT}&user_id=other"))["usages"] == {}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=host2.local", ["host2.local"]),
        (f"uuid={HOST}", ["host1.local"]),
        (f"in_tree={HOST}", ["host1.local"]),
        (f"member_of=in:{AGGREGATE},{GONE}", ["host1.local"]),
        (f"member_of=!{AGGREGATE}", ["host2.local"]),
        ("required=HW_CPU_X86_AVX2", ["host1.local"]),
        ("required=!HW_CPU_X86_AVX2", ["host2.local"]),
        ("resources=VCPU:1,MEMORY_MB:512", ["host1.local", "host2.local"]),
        ("resources=MEMORY_MB:7169", []),  # 8192 less 512 reserved and 512 held
        ("resources=MEMORY_MB:7168", ["host1.local"]),
        ("resources=MEMORY_MB:600", ["host1.local"]),  # more than host2 has in all, whatever its ratio
        ("resources=DISK_GB:1", ["host1.local"]),
    ],
)
async def test_providers_by_what_is_asked_of_them(ask: Asker, query: str, found: list[str]) -> None:
    assert await ask.names(query) == found


async def test_candidates_have_room_for_all_groups_together(ask: Asker) -> None:
    told = await ask("/allocation_candidates?resources=VCPU:1&resources_a=MEMORY_MB:256&required_a=HW_CPU_X86_AVX2")
    assert told["allocation_requests"] == [
        {"allocations": {HOST: {"resources": {"VCPU": 1, "MEMORY_MB": 256}}}, "mappings": {"": [HOST], "_a": [HOST]}}
    ]
    summary = told["provider_summaries"][HOST]
    assert summary["resources"]["VCPU"] == {"capacity": 28, "used": 2}
    assert (summary["traits"], summary["root_provider_uuid"]) == (["HW_CPU_X86_AVX2"], HOST)
    assert len((await ask("/allocation_candidates?resources=VCPU:1&limit=1"))["allocation_requests"]) == 1
    apart = "/allocation_candidates?resources1=VCPU:1&resources2=VCPU:1&group_policy=isolate"
    assert (await ask(apart))["allocation_requests"] == []


async def test_names_of_classes_and_traits(ask: Asker) -> None:
    assert {"VCPU", "MEMORY_MB", "DISK_GB", "PCPU"} <= {c["name"] for c in (await ask("/resource_classes"))["resource_classes"]}
    assert (await ask("/resource_classes/VCPU"))["name"] == "VCPU"
    assert (await ask("/traits?name=startswith:HW_"))["traits"] == ["HW_CPU_X86_AVX2"]
    assert (await ask("/traits?name=in:HW_CPU_X86_AVX2,CUSTOM_NOT"))["traits"] == ["HW_CPU_X86_AVX2"]
    await ask("/traits/HW_CPU_X86_AVX2", 204)
    await ask("/traits/CUSTOM_NOT", 404)


async def test_it_tells_everybody_its_versions(ask: Asker) -> None:
    for path in ("", "/"):
        async with ask.client.get(path) as response:
            [version] = (await response.json())["versions"]
            assert (version["min_version"], version["max_version"]) == ("1.0", "1.39")


@pytest.mark.parametrize(
    ("path", "status", "more", "words"),
    [
        ("/resource_providers", 403, {"who": "member"}, "administrators and services"),
        (f"/allocations/{SERVER}", 403, {"who": "member"}, "administrators and services"),
        (f"/usages?project_id={PROJECT}", 403, {"who": "stranger"}, "administrators and services"),
        ("/resource_providers", 401, {"who": "somebody"}, "requires authentication"),
        (f"/resource_providers/{GONE}", 404, {}, f"No resource provider with uuid {GONE} found"),
        ("/resource_providers/none", 404, {}, "No resource provider with uuid none found"),
        (f"/resource_providers/{HOST}/inventories/PCPU", 404, {}, "No inventory of class PCPU"),
        (f"/resource_providers/{HOST}/traits", 404, {"version": "1.5"}, "could not be found"),
        ("/resource_providers?uuid=x", 400, {}, "Expected a UUID, and not 'x'."),
        ("/resource_providers?color=red", 400, {}, "Unknown query parameter 'color'."),
        ("/resource_providers?resources=VCPU", 400, {}, "CLASS:AMOUNT"),
        ("/allocation_candidates", 400, {}, "resources is missing"),
        ("/allocation_candidates?resources=VCPU:1&limit=0", 400, {}, "limit must be a number above 0"),
        ("/allocation_candidates?resources=VCPU:1&root_required=HW_CPU_X86_AVX2", 400, {}, "Unknown query parameter 'root_required'."),
        ("/usages", 400, {}, "project_id is missing"),
        ("/traits?name=x", 400, {}, "in:NAME,NAME or startswith:PREFIX"),
        ("/resource_providers", 406, {"version": "1.40"}, "maximum is 1.39"),
        ("/resource_providers", 400, {"version": "2"}, "invalid version string"),
        ("/resource_providers", 405, {"method": "POST"}, "nothing is changed here by hand"),
        (f"/allocations/{SERVER}", 405, {"method": "DELETE"}, "nothing is changed here by hand"),
        ("/elsewhere", 404, {}, "Not Found"),
    ],
)
async def test_a_refusal_says_why(ask: Asker, path: str, status: int, more: dict[str, Any], words: str) -> None:
    assert words in await ask.refused(path, status, **more)
