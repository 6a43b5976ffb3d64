"""What was done to a server, from outside."""

from datetime import UTC, datetime, timedelta

import pytest

from nova_async.api.views.instance_actions import ACTIONS, WHOLE
from nova_async.conductor.workflows import DEFINITIONS
from tests.api.conftest import PROJECT
from tests.api.samples import samples, shape

EVENTS = [
    {
        **{"event": "conductor_claim_host", "result": "Success"},
        **{"start_time": "2026-01-02T03:04:05.600000+00:00", "finish_time": "2026-01-02T03:04:06+00:00"},
    },
    {
        **{"event": "compute_stop", "result": "Error", "host": "host1", "message": "The guest does not stop.", "traceback": "secret"},
        **{"start_time": "2026-01-02T03:04:06.000001+00:00", "finish_time": "2026-01-02T03:04:07+00:00"},
    },
]


async def stopped(api) -> tuple[str, str]:
    """A server that failed to stop, and the request that asked for it."""
    server = await api.server()
    asked = await api.act(server, "os-stop")
    assert asked.status == 202, asked
    async with api.database.connection() as conn:
        await conn.execute("UPDATE workflows SET history = $2, state = 'failed' WHERE subject_id = $1 AND kind = 'stop'", server, EVENTS)
    return server, asked.headers["x-openstack-request-id"]


NOVAS = {
    *("create", "delete", "evacuate", "restore", "stop", "start", "reboot", "rebuild", "revertResize", "confirmResize"),
    *("resize", "migrate", "pause", "unpause", "suspend", "resume", "rescue", "unrescue", "changePassword", "shelve"),
    *("shelveOffload", "unshelve", "live-migration", "live_migration_cancel", "live_migration_force_complete"),
    *("trigger_crash_dump", "extend_volume", "attach_interface", "detach_interface", "attach_volume", "detach_volume"),
    *("attach_share", "detach_share", "swap_volume", "lock", "unlock", "createBackup", "createImage", "resetState"),
}

UNRECORDED = {"create_volume_snapshot", "delete_volume_snapshot"}


def test_operations_have_the_names_that_nova_gives_their_actions() -> None:
    assert {ACTIONS.get(kind, kind) for kind in (definition.kind for definition in DEFINITIONS)} - UNRECORDED <= NOVAS


def test_every_workflow_has_the_name_that_nova_gives_to_its_work() -> None:
    assert set(WHOLE) == {definition.kind for definition in DEFINITIONS} - UNRECORDED


@pytest.mark.parametrize(("state", "result"), [("running", None), ("done", "Success"), ("failed", "Error"), ("cancelled", "Error")])
async def test_an_action_is_one_event_more_under_novas_name(api, state: str, result: str | None) -> None:
    """Tempest waits for the success of ``compute_detach_interface``."""
    server, request_id = await stopped(api)
    async with api.database.connection() as conn:
        await conn.execute("UPDATE workflows SET state = $2 WHERE subject_id = $1 AND kind = 'stop'", server, state)
    shown = (await api.get(f"/servers/{server}/os-instance-actions/{request_id}", "admin", "2.84")).body["instanceAction"]
    whole, *parts = shown["events"]
    assert [event["event"] for event in parts] == ["compute_stop", "conductor_claim_host"]
    assert (whole["event"], whole["result"], whole["host"]) == ("compute_stop_instance", result, "host1")
    assert (whole["start_time"], whole["finish_time"]) == (shown["start_time"], shown["updated_at"] if result else None)
    assert whole["traceback"] == ("secret" if state == "failed" else None)


async def test_actions_are_listed_newest_first(api) -> None:
    server, request_id = await stopped(api)
    stop, create = (await api.get(f"/servers/{server}/os-instance-actions", "reader")).body["instanceActions"]
    assert (stop["action"], create["action"]) == ("stop", "create")
    assert stop["request_id"] == request_id
    assert (stop["instance_uuid"], stop["user_id"], stop["project_id"]) == (server, "member-user", PROJECT)
    assert (stop["message"], create["message"]) == ("Error", None)
    assert "events" not in stop


async def test_what_nova_does_not_record_is_not_listed(api) -> None:
    server, request_id = await stopped(api)
    async with api.database.connection() as conn:
        await conn.execute("UPDATE workflows SET kind = 'create_volume_snapshot' WHERE subject_id = $1 AND kind = 'stop'", server)
    listed = (await api.get(f"/servers/{server}/os-instance-actions", "reader")).body["instanceActions"]
    assert [action["action"] for action in listed] == ["create"]
    assert (await api.get(f"/servers/{server}/os-instance-actions/{request_id}", "reader")).status == 404


async def test_users_see_less_of_events_than_operators(api) -> None:
    server, request_id = await stopped(api)
    path = f"/servers/{server}/os-instance-actions/{request_id}"
    assert "events" not in (await api.get(path, "reader", "2.50")).body["instanceAction"]
    _, stop, claim = (await api.get(path, "reader", "2.51")).body["instanceAction"]["events"]
    assert stop == {
        "event": "compute_stop",
        "start_time": "2026-01-02T03:04:06.000001",
        "finish_time": "2026-01-02T03:04:07.000000",
        "result": "Error",
    }
    assert claim["event"] == "conductor_claim_host"
    hidden = (await api.get(path, "reader", "2.84")).body["instanceAction"]["events"][1]
    assert set(hidden) == {*stop, "hostId"}
    assert len(hidden["hostId"]) == 56
    shown = (await api.get(path, "admin", "2.84")).body["instanceAction"]["events"][1:]
    assert (shown[0]["host"], shown[0]["traceback"], shown[0]["details"]) == ("host1", "secret", "The guest does not stop.")
    assert (shown[1]["host"], shown[1]["hostId"], shown[1]["details"]) == ("", "", None)
    assert (await api.get(path, "admin", "2.1")).body["instanceAction"]["events"][1]["traceback"] == "secret"


async def test_what_was_done_to_deleted_servers_is_told_since_2_21(api) -> None:
    server = await api.server()
    await api.settle(server, "deleted", deleted=True)
    path = f"/servers/{server}/os-instance-actions"
    assert (await api.get(path, "reader", "2.20")).status == 404
    (create,) = (await api.get(path, "reader", "2.21")).body["instanceActions"]
    assert (await api.get(f"{path}/{create['request_id']}", "reader", "2.21")).status == 200


async def test_actions_of_others_are_not_found(api) -> None:
    server, request_id = await stopped(api)
    path = f"/servers/{server}/os-instance-actions"
    assert (await api.get(path, "stranger")).status == 404
    assert (await api.get(f"{path}/{request_id}", "stranger")).status == 404
    assert (await api.get(path, "nobody")).status == 403
    missing = await api.get(f"{path}/req-none", "reader")
    assert (missing.status, missing.message) == (404, "Action req-none not found")
    for wrong in ("x", "%FF", "00000000-0000-0000-0000-000000000000"):
        assert (await api.get(f"/servers/{wrong}/os-instance-actions")).status == 404


async def test_lists_are_paged_since_2_58(api) -> None:
    server, request_id = await stopped(api)
    path = f"/servers/{server}/os-instance-actions"
    first = (await api.get(f"{path}?limit=1", version="2.58")).body
    assert [a["action"] for a in first["instanceActions"]] == ["stop"]
    assert first["links"][0]["href"].endswith(f"{path}?limit=1&marker={request_id}")
    second = (await api.get(f"{path}?limit=5&marker={request_id}", version="2.58")).body
    assert [a["action"] for a in second["instanceActions"]] == ["create"]
    assert "links" not in second
    assert (await api.get(f"{path}?limit=0", version="2.58")).body == {"instanceActions": []}
    assert (await api.get(f"{path}?marker=req-none", version="2.58")).message == "marker [req-none] not found"
    assert len((await api.get(f"{path}?limit=1", version="2.57")).body["instanceActions"]) == 2


async def test_lists_are_filtered_by_the_last_change(api) -> None:
    server, _ = await stopped(api)
    path = f"/servers/{server}/os-instance-actions"
    async with api.database.connection() as conn:
        await conn.execute("UPDATE workflows SET updated_at = now() - interval '1 hour' WHERE subject_id = $1 AND kind = 'create'", server)
    then = (datetime.now(UTC) - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert [a["action"] for a in (await api.get(f"{path}?changes-since={then}", version="2.58")).body["instanceActions"]] == ["stop"]
    assert [a["action"] for a in (await api.get(f"{path}?changes-before={then}", version="2.66")).body["instanceActions"]] == ["create"]
    both = f"{path}?changes-since={then}&changes-before=2020-01-01"
    assert "must be less than or equal to" in (await api.get(both, version="2.66")).message
    assert (await api.get(f"{path}?changes-before={then}", version="2.65")).status == 400


async def test_strange_queries_are_refused(api) -> None:
    server = await api.server()
    for query in (
        "limit=x",
        "limit=-1",
        "x=1",
        "limit=1&limit=2",
        "changes-since=soon",
        "changes-since=0001-01-01T00:00:00%2B14:00",
        "marker=%00",
    ):
        answer = await api.get(f"/servers/{server}/os-instance-actions?{query}", version="2.66")
        assert answer.status == 400, answer


@pytest.mark.parametrize(("version", "sample"), samples("instance-actions-list-resp", "os-instance-actions"))
async def test_a_list_has_the_keys_of_the_sample(api, version, sample) -> None:
    server, _ = await stopped(api)
    assert shape((await api.get(f"/servers/{server}/os-instance-actions", version=version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("instance-action-get-resp", "os-instance-actions"))
async def test_an_action_has_the_keys_of_the_sample(api, version, sample) -> None:
    server, request_id = await stopped(api)
    assert shape((await api.get(f"/servers/{server}/os-instance-actions/{request_id}", "admin", version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("instance-action-get-non-admin-resp", "os-instance-actions"))
async def test_an_action_has_the_keys_that_users_see_in_the_sample(api, version, sample) -> None:
    server, request_id = await stopped(api)
    assert shape((await api.get(f"/servers/{server}/os-instance-actions/{request_id}", "reader", version)).body) == shape(sample)
