"""What projects used in a time, and whether it was audited, from outside."""

from datetime import UTC, datetime, timedelta

import pytest

from nova_async.conductor.reconcilers.usage_audits import UsageAuditor
from nova_async.db import hosts
from nova_async.errors import Invalid
from nova_async.model.periods import last_completed
from tests.api.conftest import OTHER_PROJECT, PROJECT
from tests.api.samples import samples, shape

NOON = datetime(2026, 3, 10, 12, 0, 0, tzinfo=UTC)
DAY = "start=2026-03-10T00:00:00&end=2026-03-11T00:00:00"
FLAVOR = {"name": "m1.tiny", "root_gb": 2, "ephemeral_gb": 1}
HOST, SERVICE = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


async def ran(api, hours=2.0, project=PROJECT, launched=NOON, ended=True, host="host1"):
    uuid = api.parts.world.uuid()
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO instances (uuid, project_id, user_id, reservation_id, display_name, hostname, vm_state, flavor, flavor_id,"
            " vcpus, memory_mb, launched_at, terminated_at, deleted, host)"
            " VALUES ($1, $2, 'u', 'r', 'web', 'web', 'active', $3, 1, 2, 512, $4, $5, $6, $7)",
            *(uuid, project, FLAVOR, launched, launched + timedelta(hours=hours) if ended else None, ended, host),
        )
    return uuid


async def test_hours_are_those_within_the_time(api) -> None:
    server = await ran(api)
    await ran(api, launched=NOON - timedelta(hours=13))  # one hour of it is in the day
    await ran(api, launched=NOON - timedelta(days=3))
    await ran(api, launched=None, ended=False)
    usage = (await api.get(f"/os-simple-tenant-usage/{PROJECT}?{DAY}", "reader")).body["tenant_usage"]
    assert {key: usage[key] for key in ("total_hours", "total_vcpus_usage", "total_memory_mb_usage", "total_local_gb_usage")} == {
        **{"total_hours": 3.0, "total_vcpus_usage": 6.0, "total_memory_mb_usage": 1536.0, "total_local_gb_usage": 9.0}
    }
    assert (usage["start"], usage["stop"]) == ("2026-03-10T00:00:00.000000", "2026-03-11T00:00:00.000000")
    (shown,) = [s for s in usage["server_usages"] if s["instance_id"] == server]
    assert shown == {
        **{"instance_id": server, "name": "web", "tenant_id": PROJECT, "flavor": "m1.tiny", "hours": 2.0, "uptime": 7200},
        **{"local_gb": 3, "memory_mb": 512, "vcpus": 2, "state": "terminated"},
        **{"started_at": "2026-03-10T12:00:00.000000", "ended_at": "2026-03-10T14:00:00.000000"},
    }


async def test_a_server_that_runs_is_counted_until_now(api) -> None:
    now = datetime.now(UTC)
    await ran(api, launched=now - timedelta(hours=1), ended=False)
    start = (now - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S")
    usage = (await api.get(f"/os-simple-tenant-usage/{PROJECT}?start={start}&end=2100-01-01T00:00:00", "reader")).body["tenant_usage"]
    (server,) = usage["server_usages"]
    assert (server["state"], server["ended_at"], round(server["hours"], 1)) == ("active", None, 1.0)
    assert server["uptime"] >= 3600
    assert usage["stop"] < "2100"


async def test_all_projects_are_listed_with_details_where_they_are_wanted(api) -> None:
    await ran(api)
    await ran(api, project=OTHER_PROJECT)
    both = (await api.get(f"/os-simple-tenant-usage?{DAY}", "admin")).body
    assert {u["tenant_id"]: u["total_hours"] for u in both["tenant_usages"]} == {PROJECT: 2.0, OTHER_PROJECT: 2.0}
    assert "server_usages" not in both["tenant_usages"][0]
    detailed = (await api.get(f"/os-simple-tenant-usage?detailed=1&{DAY}", "admin")).body["tenant_usages"]
    assert [len(u["server_usages"]) for u in detailed] == [1, 1]
    assert (await api.get("/os-simple-tenant-usage", "admin")).body == {"tenant_usages": []}


async def test_usage_is_paged_by_servers(api) -> None:
    servers = sorted([await ran(api) for _ in range(3)])
    path = f"/os-simple-tenant-usage/{PROJECT}"
    first = (await api.get(f"{path}?{DAY}&limit=2", "reader", "2.40")).body
    assert [s["instance_id"] for s in first["tenant_usage"]["server_usages"]] == servers[:2]
    assert f"limit=2&marker={servers[1]}" in first["tenant_usage_links"][0]["href"]
    rest = (await api.get(f"{path}?{DAY}&limit=2&marker={servers[1]}", "reader", "2.40")).body
    assert [s["instance_id"] for s in rest["tenant_usage"]["server_usages"]] == servers[2:]
    assert "tenant_usage_links" not in rest
    assert len((await api.get(f"{path}?{DAY}&limit=2", "reader", "2.39")).body["tenant_usage"]["server_usages"]) == 3
    assert (await api.get(f"{path}?{DAY}&marker=x", "reader", "2.40")).status == 400
    assert (await api.get(f"{path}?{DAY}&marker={HOST}", "reader", "2.40")).message == f"Marker {HOST} could not be found."
    listed = (await api.get(f"/os-simple-tenant-usage?{DAY}&limit=2", "admin", "2.40")).body
    assert f"marker={servers[1]}" in listed["tenant_usages_links"][0]["href"]


@pytest.mark.parametrize(
    ("query", "version", "status"),
    [
        ("start=2026-03-10", "2.1", 400),
        ("start=2026-03-10T00:00:00Z", "2.1", 400),
        ("start=2026-03-10 00:00:00.5&end=2026-03-10T00:00:01.5", "2.1", 200),
        ("start=2026-03-10T00:00:00&end=2026-03-10T00:00:00", "2.1", 400),
        ("start=2100-01-01T00:00:00", "2.1", 400),
        ("x=1", "2.74", 200),
        ("x=1", "2.75", 400),
        ("start=0001-01-01T00:00:00", "2.75", 200),
    ],
)
async def test_times_are_checked(api, query, version, status) -> None:
    assert (await api.get(f"/os-simple-tenant-usage/{PROJECT}?{query}", "reader", version)).status == status
    assert (await api.get(f"/os-simple-tenant-usage?{query}", "admin", version)).status == status


async def test_who_may_see_usage(api) -> None:
    assert (await api.get(f"/os-simple-tenant-usage/{PROJECT}", "stranger")).status == 403
    assert (await api.get(f"/os-simple-tenant-usage/{PROJECT}", "nobody")).status == 403
    assert (await api.get("/os-simple-tenant-usage", "manager")).status == 403
    assert (await api.get(f"/os-simple-tenant-usage/{PROJECT}", "reader")).body == {"tenant_usage": {}}


@pytest.mark.parametrize(("version", "sample"), samples("simple-tenant-usage-get-specific", "os-simple-tenant-usage"))
async def test_usage_of_one_has_the_keys_of_the_sample(api, version, sample) -> None:
    await ran(api)
    assert shape((await api.get(f"/os-simple-tenant-usage/{PROJECT}?{DAY}&limit=1", "reader", version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("simple-tenant-usage-get-detail", "os-simple-tenant-usage"))
async def test_usage_of_all_has_the_keys_of_the_sample(api, version, sample) -> None:
    await ran(api)
    assert shape((await api.get(f"/os-simple-tenant-usage?{DAY}&detailed=1&limit=1", "admin", version)).body) == shape(sample)


# -- audits


async def audited(api, names) -> None:
    """The audit of the last period, of one host with a server and one that was not looked at."""
    begin, _ = last_completed("month", datetime.now(UTC))
    await ran(api, launched=begin)
    await UsageAuditor(api.parts.config, api.database, api.parts.world)()
    await host(api, "late", "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444")


async def host(api, name="host1", host_id=HOST, service=SERVICE):
    async with api.database.transaction() as conn:
        named = {"id": host_id, "name": name, "service_id": service, "address": "10.0.0.1", "zone": "nova"}
        await hosts.put(conn, **named, facts={}, traits=[], inventory={})


async def test_an_audit_counts_the_servers_of_each_host(api) -> None:
    await host(api)
    begin, _ = last_completed("month", datetime.now(UTC))
    await ran(api, launched=begin)
    await ran(api, launched=begin - timedelta(days=40))
    before = (await api.get("/os-instance_usage_audit_log", "admin")).body["instance_usage_audit_logs"]
    assert (before["num_hosts"], before["hosts_not_run"], before["overall_status"]) == (1, ["host1"], "0 of 1 hosts done. 0 errors.")
    for _ in range(2):
        await UsageAuditor(api.parts.config, api.database, api.parts.world)()
    told = (await api.get("/os-instance_usage_audit_log", "admin")).body["instance_usage_audit_logs"]
    assert (told["num_hosts_done"], told["num_hosts_not_run"], told["total_instances"]) == (1, 0, 1)
    assert (told["overall_status"], told["period_beginning"]) == ("ALL hosts done. 0 errors.", str(begin.replace(tzinfo=None)))
    assert (told["log"]["host1"]["state"], told["log"]["host1"]["instances"]) == ("DONE", 1)
    await host(api, "host2", "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444")
    later = (await api.get("/os-instance_usage_audit_log", "admin")).body["instance_usage_audit_logs"]
    assert later["overall_status"] == "1 of 2 hosts done. 0 errors."


@pytest.mark.parametrize(
    ("before", "status"),
    [
        *(("2026-03-10 12:00:00", 200), ("2026-03-10 12:00:00.5", 200), ("2026-03-10", 400), ("yesterday", 400)),
        *(("0001-01-01 00:00:00", 400), ("9999-12-31 23:59:59", 200)),
    ],
)
async def test_an_audit_of_an_earlier_period_is_asked_for_by_a_time(api, before, status) -> None:
    answer = await api.get(f"/os-instance_usage_audit_log/{before}", "admin")
    assert answer.status == status, answer
    if before.startswith("2026") and status == 200:
        assert answer.body["instance_usage_audit_log"]["period_ending"] == "2026-03-01 00:00:00"
    assert (await api.get(f"/os-instance_usage_audit_log/{before}", "manager")).status == 403


@pytest.mark.parametrize(("version", "sample"), samples("inst-usage-audit-log-index-get-resp", "os-instance-usage-audit-log"))
async def test_an_audit_has_the_keys_of_the_sample(api, version, sample) -> None:
    shown = (await api.get("/os-instance_usage_audit_log", "admin", version)).body["instance_usage_audit_logs"]
    assert shown.keys() == sample["instance_usage_audit_logs"].keys()


def test_an_unknown_period_is_refused_at_start(database, world, config) -> None:
    config.compute.instance_usage_audit_period = "fortnight"
    with pytest.raises(Invalid, match="instance_usage_audit_period"):
        UsageAuditor(config, database, world)
