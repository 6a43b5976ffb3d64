"""Services, hypervisors and availability zones, from outside."""

import pytest

from nova_async.bus.messages.conductor import HostsChanged
from nova_async.db import hosts
from tests.api.samples import samples, shape

HOST = "11111111-1111-4111-8111-111111111111"
SERVICE = "22222222-2222-4222-8222-222222222222"
DOWN_HOST = "33333333-3333-4333-8333-333333333333"
DOWN_SERVICE = "44444444-4444-4444-8444-444444444444"
CONDUCTOR = "55555555-5555-4555-8555-555555555555"
SCHEDULER = "66666666-6666-4666-8666-666666666666"
SERVER = "77777777-7777-4777-8777-777777777777"
CPU = {"arch": "x86_64", "model": "Nehalem", "vendor": "Intel", "features": ["pge"], "topology": {"cores": 1, "threads": 1, "sockets": 4}}
FACTS = {
    "hypervisor_hostname": "host1.local",
    "hypervisor_type": "QEMU",
    "hypervisor_version": 9001000,
    "cpu_info": CPU,
    "uptime": "up 1 day",
}
INVENTORY = {"VCPU": (8, 1, 4.0), "MEMORY_MB": (8192, 512, 1.0), "DISK_GB": (100, 0, 1.0)}


@pytest.fixture(autouse=True)
async def cloud(api) -> None:
    """A process that lives, one that does not, host1 that lives with one server, host2 that does not."""
    async with api.database.transaction() as conn:
        await hosts.put_process(conn, SCHEDULER, "nova-scheduler", "control")
        await hosts.put_process(conn, CONDUCTOR, "nova-conductor", "control")
        await conn.execute("UPDATE processes SET seen_at = now() - interval '80 seconds' WHERE id = $1", SCHEDULER)
        for host_id, name, service in ((HOST, "host1", SERVICE), (DOWN_HOST, "host2", DOWN_SERVICE)):
            facts = FACTS | ({} if name == "host1" else {"hypervisor_hostname": "host2.local", "uptime": ""})
            await hosts.put(
                conn,
                **{"id": host_id, "name": name, "service_id": service, "address": "10.0.0.1", "zone": f"zone-{name}"},
                facts=facts,
                traits=[],
                inventory=INVENTORY,
            )
        await conn.execute("UPDATE inventories SET used = 2 WHERE host_id = $1 AND resource_class = 'VCPU'", HOST)
        await conn.execute(
            "INSERT INTO instances (uuid, project_id, user_id, reservation_id, display_name, hostname, vm_state, flavor, flavor_id,"
            " vcpus, memory_mb, host, node) VALUES ($1, 'p', 'u', 'r', 'n', 'n', 'active', '{}', 1, 2, 512, 'host1', 'host1')",
            SERVER,
        )


async def listed(api, version="2.53", query=""):
    return {(s["binary"], s["host"]): s for s in (await api.get(f"/os-services{query}", "admin", version)).body["services"]}


async def test_services_are_workers_and_processes_with_their_state(api) -> None:
    found = await listed(api)
    assert {key: (s["state"], s["status"], s["zone"], s["forced_down"]) for key, s in found.items()} == {
        ("nova-scheduler", "control"): ("down", "enabled", "internal", False),
        ("nova-conductor", "control"): ("up", "enabled", "internal", False),
        ("nova-compute", "host1"): ("up", "enabled", "zone-host1", False),
        ("nova-compute", "host2"): ("down", "enabled", "zone-host2", False),
    }
    assert found["nova-compute", "host1"]["id"] == SERVICE
    assert list(await listed(api, query="?host=host1")) == [("nova-compute", "host1")]
    assert list(await listed(api, query="?binary=nova-conductor&host=control")) == [("nova-conductor", "control")]
    assert await listed(api, query="?host=elsewhere") == {}
    old = (await listed(api, "2.1"))["nova-compute", "host1"]
    assert isinstance(old["id"], int)
    assert "forced_down" not in old
    assert (await api.get("/os-services?x=1", "admin", "2.75")).status == 400


async def test_a_worker_is_disabled_and_enabled_again(api) -> None:
    off = await api.put(f"/os-services/{SERVICE}", {"status": "disabled", "disabled_reason": "repair"}, "admin", "2.53")
    assert off.status == 200, off
    assert (off.body["service"]["status"], off.body["service"]["disabled_reason"]) == ("disabled", "repair")
    assert (await listed(api))["nova-compute", "host1"]["disabled_reason"] == "repair"
    assert api.bus.called == [("hosts", HostsChanged(hosts=("host1",)))]
    on = (await api.put(f"/os-services/{SERVICE.upper()}", {"status": "enabled"}, "admin", "2.53")).body["service"]
    assert (on["status"], on["disabled_reason"]) == ("enabled", None)


async def test_a_worker_that_is_forced_down_is_down(api) -> None:
    forced = (await api.put(f"/os-services/{SERVICE}", {"forced_down": True}, "admin", "2.53")).body["service"]
    assert (forced["state"], forced["forced_down"], forced["status"]) == ("down", True, "enabled")
    shown = (await api.get(f"/os-hypervisors/{HOST}", "admin", "2.53")).body["hypervisor"]
    assert shown["state"] == "down"
    assert (await api.put(f"/os-services/{SERVICE}", {"forced_down": "false"}, "admin", "2.53")).body["service"]["state"] == "up"


async def test_before_2_53_services_are_changed_by_name(api) -> None:
    body = {"host": "host1", "binary": "nova-compute"}
    off = await api.put("/os-services/disable", body, "admin")
    assert off.body == {"service": {"host": "host1", "binary": "nova-compute", "status": "disabled"}}
    why = await api.put("/os-services/disable-log-reason", body | {"disabled_reason": "test2"}, "admin")
    assert why.body["service"]["disabled_reason"] == "test2"
    assert (await listed(api))["nova-compute", "host1"]["disabled_reason"] == "test2"
    assert (await api.put("/os-services/disable-log-reason", body, "admin")).message == "Missing disabled reason field"
    assert (await api.put("/os-services/enable", body, "admin")).body["service"]["status"] == "enabled"
    down = await api.put("/os-services/force-down", body | {"forced_down": True}, "admin", "2.11")
    assert down.body["service"]["forced_down"] is True
    assert (await listed(api))["nova-compute", "host1"]["state"] == "down"
    assert (await api.put("/os-services/force-down", body | {"forced_down": True}, "admin", "2.10")).status == 404
    assert (await api.put("/os-services/force-down", body, "admin", "2.11")).message == "Missing forced_down field"
    assert (await api.put("/os-services/enable", body, "admin", "2.53")).status == 404
    elsewhere = await api.put("/os-services/enable", body | {"host": "elsewhere"}, "admin")
    assert (elsewhere.status, elsewhere.message) == (404, "Could not find binary nova-compute on host elsewhere.")


async def test_wrong_changes_are_refused(api) -> None:
    for path, body, status in (
        (SERVICE, {}, 400),
        (SERVICE, {"disabled_reason": "x"}, 400),
        (SERVICE, {"status": "enabled", "disabled_reason": "x"}, 400),
        (SERVICE, {"status": "broken"}, 400),
        (SERVICE, {"status": "disabled", "disabled_reason": "x" * 256}, 400),
        (SERVICE, {"forced_down": "perhaps"}, 400),
        (CONDUCTOR, {"status": "disabled"}, 400),
        ("no-uuid", {"status": "disabled"}, 400),
        (HOST, {"status": "disabled"}, 404),
        (HOST.replace("-", ""), {"status": "disabled"}, 404),
    ):
        answer = await api.put(f"/os-services/{path}", body, "admin", "2.53")
        assert answer.status == status, answer


async def test_services_that_hold_nothing_are_forgotten(api) -> None:
    held = await api.delete(f"/os-services/{SERVICE}", "admin", "2.53")
    assert held.status == 409
    assert "hosting instances" in held.message
    async with api.database.connection() as conn:
        await conn.execute(
            "WITH a AS (INSERT INTO aggregates (uuid, name) VALUES ($1, 'a') RETURNING id) "
            "INSERT INTO aggregate_hosts SELECT id, 'host2' FROM a",
            HOST,
        )
    assert (await api.delete(f"/os-services/{DOWN_SERVICE}", "admin", "2.53")).status == 204
    async with api.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM aggregate_hosts") == 0
    assert (await api.delete(f"/os-services/{DOWN_SERVICE}", "admin", "2.53")).status == 404
    assert (await api.delete("/os-services/x", "admin", "2.53")).status == 400
    assert (await api.delete("/os-services/x", "admin", "2.52")).status == 400
    number = (await listed(api, "2.1"))["nova-scheduler", "control"]["id"]
    assert (await api.delete(f"/os-services/{number}", "admin", "2.52")).status == 204
    assert (await api.delete(f"/os-services/{number}", "admin", "2.52")).status == 404
    assert len(await listed(api)) == 2


async def test_a_host_that_a_move_holds_is_not_forgotten(api) -> None:
    async with api.database.connection() as conn:
        await conn.execute("INSERT INTO allocations VALUES ($1, $2, 'VCPU', 1, 1)", SERVER, DOWN_HOST)
    held = await api.delete(f"/os-services/{DOWN_SERVICE}", "admin", "2.53")
    assert held.status == 409
    assert "in-progress migrations" in held.message


async def test_only_operators_see_hosts(api) -> None:
    for path in (
        "/os-services",
        "/os-hypervisors",
        "/os-hypervisors/detail",
        "/os-hypervisors/1",
        "/os-hypervisors/statistics",
    ):
        answer = await api.get(path, "manager")
        assert answer.status == 403


async def test_hypervisors_tell_what_they_have_and_use(api) -> None:
    shown = (await api.get(f"/os-hypervisors/{HOST}", "admin", "2.87")).body["hypervisor"]
    assert shown == {
        **{"id": HOST, "hypervisor_hostname": "host1.local", "state": "up", "status": "enabled", "host_ip": "10.0.0.1"},
        **{"hypervisor_type": "QEMU", "hypervisor_version": 9001000, "cpu_info": CPU},
        "service": {"id": SERVICE, "host": "host1", "disabled_reason": None},
        **{"vcpus": 8, "vcpus_used": 3, "memory_mb": 8192, "memory_mb_used": 512, "free_ram_mb": 7680},
        **{"local_gb": 100, "local_gb_used": 0, "free_disk_gb": 100, "disk_available_least": 100},
        **{"running_vms": 1, "current_workload": 0},
    }
    number = (await api.get("/os-hypervisors", "admin")).body["hypervisors"][0]["id"]
    old = (await api.get(f"/os-hypervisors/{number}", "admin", "2.27")).body["hypervisor"]
    assert isinstance(old["cpu_info"], str)
    assert old["service"]["id"] == number
    new = (await api.get(f"/os-hypervisors/{HOST}", "admin", "2.88")).body["hypervisor"]
    assert new["uptime"] == "up 1 day"
    assert not {"vcpus", "cpu_info", "running_vms"} & set(new)


async def test_hypervisors_are_paged_and_searched(api) -> None:
    first = (await api.get("/os-hypervisors?limit=1", "admin", "2.53")).body
    assert [h["id"] for h in first["hypervisors"]] == [HOST]
    assert first["hypervisors_links"][0]["href"].endswith(f"/os-hypervisors?limit=1&marker={HOST}")
    second = (await api.get(f"/os-hypervisors/detail?limit=5&marker={HOST}", "admin", "2.53")).body
    assert [h["id"] for h in second["hypervisors"]] == [DOWN_HOST]
    assert "hypervisors_links" not in second
    assert (await api.get("/os-hypervisors?marker=1", "admin", "2.53")).status == 400
    assert len((await api.get("/os-hypervisors?limit=1", "admin", "2.32")).body["hypervisors"]) == 2
    number = (await api.get("/os-hypervisors", "admin", "2.33")).body["hypervisors"][0]["id"]
    assert len((await api.get(f"/os-hypervisors?marker={number}", "admin", "2.33")).body["hypervisors"]) == 1

    found = (await api.get("/os-hypervisors?hypervisor_hostname_pattern=T1", "admin", "2.53")).body
    assert [h["hypervisor_hostname"] for h in found["hypervisors"]] == ["host1.local"]
    assert (await api.get("/os-hypervisors?hypervisor_hostname_pattern=zz", "admin", "2.53")).status == 404
    assert (await api.get("/os-hypervisors?hypervisor_hostname_pattern=h&limit=1", "admin", "2.53")).status == 400
    assert [h["hypervisor_hostname"] for h in (await api.get("/os-hypervisors/st2/search", "admin")).body["hypervisors"]] == ["host2.local"]
    assert (await api.get("/os-hypervisors/%25/search", "admin")).status == 404
    assert (await api.get("/os-hypervisors/st2/search", "admin", "2.53")).status == 404


async def test_hypervisors_tell_their_servers_when_asked(api) -> None:
    with_servers = (await api.get("/os-hypervisors?with_servers=true", "admin", "2.53")).body["hypervisors"]
    assert with_servers[0]["servers"] == [{"name": "instance-00000001", "uuid": SERVER}]
    assert "servers" not in with_servers[1]
    assert (await api.get("/os-hypervisors?with_servers=true", "admin", "2.75")).body["hypervisors"][1]["servers"] == []
    assert "servers" not in (await api.get("/os-hypervisors", "admin", "2.75")).body["hypervisors"][1]
    old = (await api.get("/os-hypervisors/host/servers", "admin", "2.52")).body["hypervisors"]
    assert ("servers" in old[0], "servers" in old[1]) == (True, False)
    shown = (await api.get(f"/os-hypervisors/{HOST}?with_servers=1", "admin", "2.53")).body["hypervisor"]
    assert [s["uuid"] for s in shown["servers"]] == [SERVER]
    assert (await api.get("/os-hypervisors?with_servers=perhaps", "admin", "2.53")).status == 400


async def test_statistics_and_uptime_end_with_2_87(api) -> None:
    await api.put(f"/os-services/{DOWN_SERVICE}", {"status": "disabled"}, "admin", "2.53")
    sums = (await api.get("/os-hypervisors/statistics", "admin")).body["hypervisor_statistics"]
    assert (sums["count"], sums["vcpus"], sums["vcpus_used"], sums["running_vms"]) == (1, 8, 3, 1)
    assert (await api.get("/os-hypervisors/statistics", "admin", "2.88")).status == 404
    up = (await api.get(f"/os-hypervisors/{HOST}/uptime", "admin", "2.53")).body["hypervisor"]
    assert up == {"id": HOST, "hypervisor_hostname": "host1.local", "state": "up", "status": "enabled", "uptime": "up 1 day"}
    down = await api.get(f"/os-hypervisors/{DOWN_HOST}/uptime", "admin", "2.53")
    assert (down.status, down.message) == (400, "Compute service of host2 is unavailable at this time.")
    api.hosts.up.add("host2")
    assert (await api.get(f"/os-hypervisors/{DOWN_HOST}/uptime", "admin", "2.53")).status == 501
    assert (await api.get(f"/os-hypervisors/{HOST}/uptime", "admin", "2.88")).status == 404


async def test_hypervisors_that_do_not_exist(api) -> None:
    for hypervisor, version, status in (
        ("x", "2.52", 404),
        ("x", "2.53", 400),
        (SERVER, "2.53", 404),
        ("9" * 40, "2.52", 404),
        ("%FF", "2.53", 400),
        ("0", "2.52", 404),
    ):
        assert (await api.get(f"/os-hypervisors/{hypervisor}", "admin", version)).status == status
        assert (await api.get(f"/os-hypervisors/{hypervisor}/uptime", "admin", version)).status == status


async def test_zones_are_available_while_something_in_them_is_enabled(api) -> None:
    await api.put(f"/os-services/{DOWN_SERVICE}", {"status": "disabled"}, "admin", "2.53")
    assert (await api.get("/os-availability-zone", "nobody")).body == {
        "availabilityZoneInfo": [
            {"zoneName": "zone-host1", "zoneState": {"available": True}, "hosts": None},
            {"zoneName": "zone-host2", "zoneState": {"available": False}, "hosts": None},
        ]
    }
    assert (await api.get("/os-availability-zone/detail", "manager")).status == 403
    zones = (await api.get("/os-availability-zone/detail", "admin")).body["availabilityZoneInfo"]
    assert [z["zoneName"] for z in zones] == ["internal", "zone-host1", "zone-host2"]
    assert zones[0]["hosts"]["control"]["nova-scheduler"]["available"] is False
    assert zones[0]["hosts"]["control"]["nova-conductor"]["available"] is True
    worker = zones[1]["hosts"]["host1"]["nova-compute"]
    assert (worker["available"], worker["active"]) == (True, True)
    assert zones[2]["hosts"] is None


@pytest.mark.parametrize(("version", "sample"), samples("services-list-get-resp", "os-services"))
async def test_services_have_the_keys_of_the_sample(api, version, sample) -> None:
    if version == "2.69":
        return  # shows services of cells that do not answer
    assert shape((await api.get("/os-services", "admin", version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("service-disable-log-put-resp", "os-services"))
async def test_a_change_has_the_keys_of_the_sample(api, version, sample) -> None:
    if version == "2.53":
        answer = await api.put(f"/os-services/{SERVICE}", {"status": "disabled", "disabled_reason": "m"}, "admin", version)
    else:
        body = {"host": "host1", "binary": "nova-compute", "disabled_reason": "m"}
        answer = await api.put("/os-services/disable-log-reason", body, "admin", version)
    assert shape(answer.body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("hypervisors-detail-resp", "os-hypervisors"))
async def test_hypervisors_have_the_keys_of_the_sample(api, version, sample) -> None:
    limit = "?limit=1" if "hypervisors_links" in sample else ""
    assert shape((await api.get(f"/os-hypervisors/detail{limit}", "admin", version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("hypervisors-show-with-servers-resp", "os-hypervisors"))
async def test_a_hypervisor_with_servers_has_the_keys_of_the_sample(api, version, sample) -> None:
    assert shape((await api.get(f"/os-hypervisors/{HOST}?with_servers=1", "admin", version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("hypervisors-statistics-resp", "os-hypervisors"))
async def test_statistics_have_the_keys_of_the_sample(api, version, sample) -> None:
    assert shape((await api.get("/os-hypervisors/statistics", "admin", version)).body) == shape(sample)


# -- hosts, as versions before 2.43 know them


async def test_hosts_are_the_enabled_services(api) -> None:
    listed = (await api.get("/os-hosts", "admin")).body["hosts"]
    assert {(h["host_name"], h["service"], h["zone"]) for h in listed} == {
        *(("control", "scheduler", "internal"), ("control", "conductor", "internal")),
        *(("host1", "compute", "zone-host1"), ("host2", "compute", "zone-host2")),
    }
    assert [h["host_name"] for h in (await api.get("/os-hosts?zone=zone-host2&x=1", "admin", "2.42")).body["hosts"]] == ["host2"]
    assert (await api.get("/os-hosts", "admin", "2.43")).status == 404
    assert (await api.get("/os-hosts", "manager")).status == 403


async def test_a_host_shows_what_it_has_and_who_uses_it(api) -> None:
    rows = [r["resource"] for r in (await api.get("/os-hosts/host1", "admin")).body["host"]]
    assert [(r["project"], r["cpu"], r["memory_mb"], r["disk_gb"]) for r in rows] == [
        *(("(total)", 8, 8192, 100), ("(used_now)", 3, 512, 0), ("(used_max)", 2, 512, 0), ("p", 2, 512, 0)),
    ]
    assert {r["host"] for r in rows} == {"host1"}
    missing = await api.get("/os-hosts/nowhere", "admin")
    assert (missing.status, missing.message) == (404, "Compute host nowhere could not be found.")


async def test_a_host_is_disabled_and_enabled(api) -> None:
    off = await api.put("/os-hosts/host1", {"status": "Disable"}, "admin")
    assert (off.status, off.body) == (200, {"host": "host1", "status": "disabled"})
    assert (await listed(api))["nova-compute", "host1"]["status"] == "disabled"
    assert api.bus.called == [("hosts", HostsChanged(hosts=("host1",)))]
    assert "host1" not in {h["host_name"] for h in (await api.get("/os-hosts", "admin")).body["hosts"]}
    assert (await api.put("/os-hosts/host1", {"status": "enable"}, "admin")).body["status"] == "enabled"


async def test_what_no_driver_does_is_not_begun(api) -> None:
    for path in ("reboot", "shutdown", "startup"):
        answer = await api.get(f"/os-hosts/host1/{path}", "admin")
        assert (answer.status, answer.message) == (501, "The requested functionality is not supported.")
        assert (await api.get(f"/os-hosts/nowhere/{path}", "admin")).status == 404
    half = await api.put("/os-hosts/host1", {"status": "disable", "maintenance_mode": "enable"}, "admin")
    assert half.status == 501
    assert (await listed(api))["nova-compute", "host1"]["status"] == "enabled"
    assert (await api.put("/os-hosts/nowhere", {"maintenance_mode": "enable"}, "admin")).status == 404
    for body in ({}, {"status": "off"}, {"status": "enable", "x": 1}):
        assert (await api.put("/os-hosts/host1", body, "admin")).status == 400


async def test_there_are_no_bare_metal_nodes(api) -> None:
    assert (await api.get("/os-baremetal-nodes", "admin")).status == 501
    assert (await api.get("/os-baremetal-nodes/1", "admin")).status == 501
    assert (await api.get("/os-baremetal-nodes", "manager")).status == 403
    assert (await api.get("/os-baremetal-nodes", "admin", "2.36")).status == 404
    refused = await api.post("/os-baremetal-nodes", {"node": {}}, "admin")
    assert (refused.status, refused.message) == (
        400,
        "Command not supported. Please use Ironic command node-create to perform this action.",
    )
    assert "node-delete" in (await api.delete("/os-baremetal-nodes/1", "admin")).message
    for action, command in (("add_interface", "port-create"), ("remove_interface", "port-delete")):
        assert command in (await api.post("/os-baremetal-nodes/1/action", {action: {"address": "x"}}, "admin")).message
