"""Moves of servers, from outside: listed, and, while a live migration is under way, aborted or forced to its end."""

import pytest

from nova_async.bus.messages import Done
from nova_async.bus.messages.compute import ForceLiveMigration
from nova_async.errors import Conflict
from tests.api.conftest import PROJECT
from tests.api.samples import samples, shape

CLAIMED = {
    **{"source": {"host": "host1", "node": "node1", "generation": 1}, "host": "host2", "node": "node2"},
    **{"address": "10.0.0.2", "generation": 2, "old_flavor_id": 1, "new_flavor_id": 2},
}


async def migrating(api, step="migrate", caller="manager"):
    """A server on its way from host1 to host2, and the number and the uuid of its migration."""
    server = await api.server()
    body = {"host": None, "block_migration": "auto"}
    assert (await api.act(server, "os-migrateLive", body, caller, "2.34")).status == 202
    async with api.database.connection() as conn:
        row = await conn.fetchrow(
            "UPDATE workflows SET step = $2, results = $3, task_state = 'migrating' WHERE subject_id = $1 AND kind = 'live-migration'"
            " RETURNING number, id",
            *(server, step, {"claim_destination": CLAIMED} if step != "claim_destination" else {}),
        )
    return server, row["number"], str(row["id"])


async def ended(api, server, kind="migrate", **columns):
    """A move that is over; returns its uuid."""
    uuid = api.parts.world.uuid()
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO workflows (id, kind, subject_id, state, step, results, context, request_id)"
            " VALUES ($1, $2, $3, 'done', 'switch', $4, $5, 'req-1')",
            *(uuid, kind, server, {"claim_destination": CLAIMED}, {"user_id": "admin-user", "project_id": PROJECT} | columns),
        )
    return uuid


async def listed(api, query="", caller="admin", version="2.80"):
    answer = await api.get(f"/os-migrations{query}", caller, version)
    assert answer.status == 200, answer
    return answer.body["migrations"]


async def test_moves_are_listed_newest_first_with_what_they_are(api) -> None:
    server, number, uuid = await migrating(api)
    resized = await ended(api, server, "resize")
    new, old = await listed(api)
    assert (new["uuid"], new["status"], new["migration_type"]) == (resized, "finished", "resize")
    assert "links" not in new
    assert (old["uuid"], old["id"], old["status"], old["migration_type"]) == (uuid, number, "running", "live-migration")
    assert (old["source_compute"], old["source_node"], old["dest_compute"]) == ("host1", "node1", "host2")
    assert (old["dest_host"], old["dest_node"], old["instance_uuid"]) == ("10.0.0.2", "node2", server)
    assert (old["user_id"], old["project_id"]) == ("manager-user", PROJECT)
    assert old["links"][0]["href"].endswith(f"/servers/{server}/migrations/{number}")
    assert [m["id"] for m in await listed(api, version="2.1")] == [old["id"], new["id"]]


@pytest.mark.parametrize(
    ("query", "version", "number"),
    [
        ("?status=running", "2.1", 1),
        ("?status=nonesuch", "2.80", 0),
        ("?migration_type=resize", "2.23", 1),
        ("?host=host2", "2.80", 2),
        ("?host=host3", "2.80", 0),
        ("?source_compute=host1", "2.80", 2),
        ("?source_compute=host2", "2.80", 0),
        ("?instance_uuid=no-uuid", "2.80", 0),
        ("?hidden=true", "2.80", 0),
        ("?user_id=admin-user", "2.80", 1),
        ("?user_id=admin-user", "2.58", 2),
        (f"?project_id={PROJECT}", "2.80", 2),
        ("?project_id=another", "2.80", 0),
        ("?changes-since=2000-01-01T00:00:00", "2.59", 2),
        ("?changes-since=2100-01-01T00:00:00", "2.58", 2),
        ("?changes-since=2100-01-01T00:00:00", "2.59", 0),
        ("?changes-before=2000-01-01T00:00:00Z", "2.66", 0),
    ],
)
async def test_lists_are_filtered(api, query, version, number) -> None:
    server, *_ = await migrating(api)
    await ended(api, server, "resize")
    assert len(await listed(api, query, version=version)) == number


@pytest.mark.parametrize(
    ("query", "version"),
    [
        ("?x=1", "2.59"),
        ("?limit=-1", "2.59"),
        ("?limit=1&limit=2", "2.59"),
        ("?marker=nobody", "2.59"),
        ("?marker=b1c7b1f8-31ac-4f4e-9b1b-0b0e9a4c6e2a", "2.59"),
        ("?changes-since=yesterday", "2.59"),
        ("?changes-before=2000-01-01T00:00:00", "2.65"),
        ("?changes-since=2001-01-01T00:00:00&changes-before=2000-01-01T00:00:00", "2.66"),
        ("?user_id=u", "2.79"),
    ],
)
async def test_queries_that_make_no_sense_are_refused(api, query, version) -> None:
    assert (await api.get(f"/os-migrations{query}", "admin", version)).status == 400


async def test_lists_are_paged(api) -> None:
    server = await api.server()
    made = [await ended(api, server) for _ in range(3)]
    first = (await api.get("/os-migrations?limit=2", "admin", "2.59")).body
    assert [m["uuid"] for m in first["migrations"]] == made[:0:-1]
    assert first["migrations_links"][0]["href"].endswith(f"/os-migrations?limit=2&marker={made[1]}")
    last = (await api.get(f"/os-migrations?limit=2&marker={made[1]}", "admin", "2.59")).body
    assert [m["uuid"] for m in last["migrations"]] == made[:1]
    assert "migrations_links" not in last


async def test_managers_see_what_their_project_began_without_hosts(api) -> None:
    server, number, _ = await migrating(api)
    await ended(api, server, project_id="another")
    assert (await api.get("/os-migrations", "manager", "2.80")).status == 403
    assert (await api.get("/os-migrations?project_id=another", "manager", "2.80")).status == 403
    assert (await api.get(f"/os-migrations?project_id={PROJECT}", "member", "2.80")).status == 403
    assert (await api.get(f"/os-migrations?project_id={PROJECT}", "manager", "2.79")).status == 400
    (mine,) = await listed(api, f"?project_id={PROJECT}", "manager")
    assert mine["id"] == number
    assert {mine[key] for key in ("source_compute", "source_node", "dest_compute", "dest_host", "dest_node")} == {None}
    (shown,) = (await api.get(f"/servers/{server}/migrations", "manager", "2.80")).body["migrations"]
    assert (shown["id"], shown["source_compute"]) == (number, None)
    assert (await api.get(f"/servers/{server}/migrations/{number}", "manager", "2.80")).status == 403


async def test_a_server_shows_the_live_migration_that_is_under_way(api) -> None:
    server, number, uuid = await migrating(api)
    (listed_,) = (await api.get(f"/servers/{server}/migrations", "admin", "2.80")).body["migrations"]
    shown = (await api.get(f"/servers/{server}/migrations/{number}", "admin", "2.80")).body["migration"]
    assert shown == listed_
    assert (shown["uuid"], shown["server_uuid"], shown["memory_total_bytes"]) == (uuid, server, 512 * 2**20)
    assert shown["disk_processed_bytes"] is None
    missing = await api.get(f"/servers/{server}/migrations/9999", "admin", "2.80")
    assert (missing.status, missing.message) == (404, f"In-progress live migration 9999 is not found for server {server}.")
    assert (await api.get(f"/servers/{server}/migrations/{'9' * 30}", "admin", "2.80")).status == 404
    await api.starter.finish(server)
    assert (await api.get(f"/servers/{server}/migrations", "admin", "2.80")).body == {"migrations": []}
    over = await api.get(f"/servers/{server}/migrations/{number}", "admin", "2.80")
    assert over.message == f"Live migration {number} for server {server} is not in progress."
    await ended(api, server, "resize")
    other = max(m["id"] for m in await listed(api))
    assert "is not live-migration" in (await api.get(f"/servers/{server}/migrations/{other}", "admin", "2.80")).message


@pytest.mark.parametrize(
    ("step", "version", "status"),
    [("migrate", "2.24", 202), ("prepare", "2.64", 400), ("prepare", "2.65", 202), ("claim_destination", "2.65", 202)],
)
async def test_a_live_migration_is_aborted(api, step, version, status) -> None:
    server, number, uuid = await migrating(api, step)
    answer = await api.delete(f"/servers/{server}/migrations/{number}", "manager", version)
    assert answer.status == status, answer
    async with api.database.connection() as conn:
        signal = await conn.fetchval("SELECT signal FROM workflows WHERE id = $1", uuid)
    if status == 202:
        assert (signal, api.starter.recorded[-1][0], api.starter.gone[-1]) == ("abort", "live_migration_cancel", uuid)
    else:
        assert signal is None
        assert answer.message == (
            f"Migration {number} state of instance {server} is preparing. Cannot abort live migration while the migration is in this state."
        )


async def test_what_is_not_under_way_cannot_be_aborted(api) -> None:
    server, number, _ = await migrating(api)
    assert (await api.delete(f"/servers/{server}/migrations/77", "manager", "2.65")).status == 404
    assert (await api.delete(f"/servers/{server}/migrations/{number}", "member", "2.65")).status == 403
    assert (await api.delete(f"/servers/{server}/migrations/{number}", "manager", "2.23")).status == 404
    await api.starter.finish(server)
    idle = await api.delete(f"/servers/{server}/migrations/{number}", "manager", "2.65")
    assert (idle.status, idle.message) == (409, f"Cannot 'abort live migration' instance {server} while it is in task_state None")


async def test_a_live_migration_is_told_to_end_now(api, monkeypatch) -> None:
    server, number, _ = await migrating(api)
    path, asked = f"/servers/{server}/migrations/{number}/action", []

    async def call(target, message, *, timeout):
        asked.append((target, message))
        return Done()

    silent = await api.post(path, {"force_complete": None}, "manager", "2.22")
    assert (silent.status, api.starter.recorded) == (409, [])
    monkeypatch.setattr(api.bus, "call", call)
    assert (await api.post(path, {"force_complete": None}, "manager", "2.22")).status == 202
    assert asked == [("compute.host1", ForceLiveMigration(instance_id=server))]
    assert api.starter.recorded[-1][0] == "live_migration_force_complete"
    assert (await api.post(path, {"force_complete": 1}, "manager", "2.22")).status == 400
    assert (await api.post(f"/servers/{server}/migrations/77/action", {"force_complete": None}, "manager", "2.22")).status == 400


async def test_what_is_not_on_its_way_is_not_forced(api, monkeypatch) -> None:
    async def refuse(target, message, *, timeout):
        raise Conflict("It is not being migrated.")

    server, number, _ = await migrating(api, "prepare")
    path = f"/servers/{server}/migrations/{number}/action"
    early = await api.post(path, {"force_complete": None}, "manager", "2.22")
    assert (early.status, "is preparing. Cannot force complete" in early.message) == (400, True)
    async with api.database.connection() as conn:
        await conn.execute("UPDATE workflows SET step = 'migrate' WHERE subject_id = $1", server)
    monkeypatch.setattr(api.bus, "call", refuse)
    assert (await api.post(path, {"force_complete": None}, "manager", "2.22")).status == 400
    await api.starter.finish(server)
    assert (await api.post(path, {"force_complete": None}, "manager", "2.22")).status == 409


@pytest.mark.parametrize(("version", "sample"), samples("migrations-get", "os-migrations"))
async def test_a_move_has_the_keys_of_the_sample(api, version, sample) -> None:
    await migrating(api)
    shown = (await api.get("/os-migrations", "admin", version)).body["migrations"][0]
    with_links = next((m for m in sample["migrations"] if "links" in m), sample["migrations"][0])
    assert shape(shown) == shape(with_links)


@pytest.mark.parametrize(("version", "sample"), samples("migrations-get", "server-migrations"))
async def test_a_live_migration_has_the_keys_of_the_sample(api, version, sample) -> None:
    server, number, _ = await migrating(api)
    assert shape((await api.get(f"/servers/{server}/migrations/{number}", "admin", version)).body) == shape(sample)
