"""Changes to things that are no servers leave their notifications in the same transaction."""

from collections.abc import Iterator

import pytest

from nova_async.config import Config
from nova_async.db import Database


@pytest.fixture(autouse=True)
def enabled(config: Config) -> Iterator[None]:
    config.notifications.enabled = True
    yield
    config.notifications.enabled = False


async def waiting(database: Database) -> list[str]:
    async with database.connection() as conn:
        return [row[0] for row in await conn.fetch("SELECT event_type FROM notifications ORDER BY number")]


async def test_flavors(api, database):
    body = {"flavor": {"name": "told", "ram": 1, "vcpus": 1, "disk": 1, "id": "told", "os-flavor-access:is_public": False}}
    assert (await api.post("/flavors", body, "admin")).status == 200
    assert (await api.put("/flavors/told", {"flavor": {"description": "d"}}, "admin", "2.55")).status == 200
    assert (await api.post("/flavors/told/os-extra_specs", {"extra_specs": {"a": "b"}}, "admin")).status == 200
    assert (await api.delete("/flavors/told/os-extra_specs/a", "admin")).status == 200
    assert (await api.post("/flavors/told/action", {"addTenantAccess": {"tenant": "f" * 32}}, "admin")).status == 200
    assert (await api.delete("/flavors/told", "admin")).status == 202
    assert await waiting(database) == ["flavor.create", *["flavor.update"] * 4, "flavor.delete"]


async def test_what_is_refused_is_not_told(api, database):
    assert (await api.delete("/flavors/none", "admin")).status == 404
    assert (await api.delete("/os-keypairs/none")).status == 404
    assert await waiting(database) == []


async def test_key_pairs(api, database):
    assert (await api.post("/os-keypairs", {"keypair": {"name": "k"}})).status == 200
    assert (await api.delete("/os-keypairs/k")).status == 202
    assert await waiting(database) == [f"keypair.{verb}.{phase}" for verb in ("create", "delete") for phase in ("start", "end")]
    async with database.connection() as conn:
        facts = await conn.fetchval("SELECT facts FROM notifications LIMIT 1")
    assert "PRIVATE" not in repr(facts)


async def test_server_groups_and_aggregates(api, database):
    group = (await api.post("/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}})).body["server_group"]["id"]
    assert (await api.delete(f"/os-server-groups/{group}")).status == 204
    made = (await api.post("/os-aggregates", {"aggregate": {"name": "a"}}, "admin")).body["aggregate"]["id"]
    assert (await api.post(f"/os-aggregates/{made}/action", {"set_metadata": {"metadata": {"k": "v"}}}, "admin")).status == 200
    assert (await api.delete(f"/os-aggregates/{made}", "admin")).status == 200
    aggregate = [f"aggregate.{verb}.{phase}" for verb in ("create", "update_metadata", "delete") for phase in ("start", "end")]
    assert await waiting(database) == ["server_group.create", "server_group.delete", *aggregate]


async def test_a_renamed_server_is_told_with_its_old_name(api, database):
    server = await api.server(name="before")
    async with database.connection() as conn:
        await conn.execute("DELETE FROM notifications")
    assert (await api.put(f"/servers/{server}", {"server": {"name": "after"}})).status == 200
    async with database.connection() as conn:
        [(event, facts)] = await conn.fetch("SELECT event_type, facts FROM notifications")
    assert (event, facts["old_display_name"], facts["instance"]["display_name"]) == ("instance.update", "before", "after")
