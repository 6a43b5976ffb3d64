"""Host aggregates and the availability zones that they make, from outside."""

import pytest

from nova_async.bus.messages.conductor import HostsChanged
from nova_async.db import hosts

INVENTORY = {"VCPU": (8, 0, 4.0), "MEMORY_MB": (8192, 512, 1.0), "DISK_GB": (100, 0, 1.0)}


@pytest.fixture(autouse=True)
async def three_hosts(api) -> None:
    async with api.database.transaction() as conn:
        for number in (1, 2, 3):
            await put(conn, number)


async def put(conn, number: int, zone: str = "nova") -> None:
    ids = {"id": f"{number}" * 8 + "-1111-4111-8111-111111111111", "service_id": f"{number}" * 8 + "-2222-4222-8222-222222222222"}
    await hosts.put(conn, **ids, name=f"host{number}", address="", zone=zone, facts={}, traits=[], inventory=INVENTORY)


async def made(api, name: str = "rack", *members: str, **fields) -> int:
    answer = await api.post("/os-aggregates", {"aggregate": {"name": name, **fields}}, "admin")
    assert answer.status == 200, answer
    for host in members:
        assert (await act(api, answer.body["aggregate"]["id"], add_host={"host": host})).status == 200
    return answer.body["aggregate"]["id"]


async def act(api, id: int, caller: str = "admin", **action):
    return await api.post(f"/os-aggregates/{id}/action", action, caller)


async def zones(api) -> dict[str, set[str]]:
    answer = await api.get("/os-availability-zone/detail", "admin")
    return {zone["zoneName"]: set(zone["hosts"] or {}) for zone in answer.body["availabilityZoneInfo"] if zone["zoneName"] != "internal"}


async def test_an_aggregate_lives_from_create_to_delete(api) -> None:
    created = await api.post("/os-aggregates", {"aggregate": {"name": "rack", "availability_zone": "east"}}, "admin", "2.41")
    assert created.status == 200
    aggregate = created.body["aggregate"]
    assert set(aggregate) == {"id", "uuid", "name", "availability_zone", "created_at", "updated_at", "deleted_at", "deleted"}
    id = aggregate["id"]
    shown = (await api.get(f"/os-aggregates/{id}", "admin", "2.41")).body["aggregate"]
    assert shown == aggregate | {"hosts": [], "metadata": {"availability_zone": "east"}}
    renamed = (await api.put(f"/os-aggregates/{id}", {"aggregate": {"name": "row"}}, "admin")).body["aggregate"]
    assert (renamed["name"], renamed["availability_zone"]) == ("row", "east")
    assert renamed["updated_at"] is not None
    assert [a["name"] for a in (await api.get("/os-aggregates", "admin")).body["aggregates"]] == ["row"]
    gone = await api.delete(f"/os-aggregates/{id}", "admin")
    assert (gone.status, gone.raw) == (200, b"")
    assert (await api.get(f"/os-aggregates/{id}", "admin")).message == f"Aggregate {id} could not be found."


async def test_the_uuid_is_shown_since_2_41(api) -> None:
    id = await made(api)
    assert "uuid" not in (await api.get(f"/os-aggregates/{id}", "admin", "2.40")).body["aggregate"]
    assert len((await api.get("/os-aggregates", "admin", "2.41")).body["aggregates"][0]["uuid"]) == 36


async def test_hosts_join_and_leave(api) -> None:
    id = await made(api)
    joined = await act(api, id, add_host={"host": "host1"})
    assert (joined.status, joined.body["aggregate"]["hosts"]) == (200, ["host1"])
    again = await act(api, id, add_host={"host": "host1"})
    assert (again.status, again.message) == (409, f"Aggregate {id} already has host host1.")
    assert (await act(api, id, add_host={"host": "mars"})).message == "Compute host mars could not be found."
    full = await api.delete(f"/os-aggregates/{id}", "admin")
    assert (full.status, full.message) == (400, f"Cannot delete aggregate {id}. Reason: Host aggregate is not empty.")
    left = await act(api, id, remove_host={"host": "host1"})
    assert (left.status, left.body["aggregate"]["hosts"]) == (200, [])
    assert (await act(api, id, remove_host={"host": "host1"})).status == 404


async def test_metadata_is_added_and_removed(api) -> None:
    id = await made(api)
    await act(api, id, set_metadata={"metadata": {"ssd": "true", "gone": "soon"}})
    shown = (await act(api, id, set_metadata={"metadata": {"gone": None, "cpu": "fast"}})).body["aggregate"]
    assert shown["metadata"] == {"ssd": "true", "cpu": "fast"}


async def test_every_change_is_told_to_the_conductors(api) -> None:
    id = await made(api, "rack", "host1")
    await act(api, id, set_metadata={"metadata": {"ssd": "true"}})
    assert [message for topic, message in api.bus.called if topic == "hosts"] == [HostsChanged(hosts=("host1",))] * 2


async def test_the_zone_of_an_aggregate_is_the_zone_of_its_hosts(api) -> None:
    id = await made(api, "rack", "host1", availability_zone="east")
    assert await zones(api) == {"east": {"host1"}, "nova": {"host2", "host3"}}
    await act(api, id, add_host={"host": "host2"})
    await act(api, id, set_metadata={"metadata": {"availability_zone": "west"}})
    assert await zones(api) == {"west": {"host1", "host2"}, "nova": {"host3"}}
    await api.put(f"/os-aggregates/{id}", {"aggregate": {"availability_zone": "north"}}, "admin")
    await act(api, id, remove_host={"host": "host1"})
    assert await zones(api) == {"north": {"host2"}, "nova": {"host1", "host3"}}


async def test_a_host_that_reports_again_stays_in_the_zone_of_its_aggregate(api) -> None:
    id = await made(api, "rack", "host1", availability_zone="east")
    async with api.database.transaction() as conn:
        await put(conn, 1, "cellar")
    assert (await zones(api))["east"] == {"host1"}
    await act(api, id, remove_host={"host": "host1"})
    assert (await zones(api))["cellar"] == {"host1"}


async def test_a_server_may_ask_for_the_new_zone(api) -> None:
    await api.flavor("1")
    await made(api, "rack", "host1", availability_zone="east")
    await api.server(availability_zone="east", state=None)
    nowhere = await api.post(
        "/servers",
        {"server": {"name": "a", "imageRef": "70a599e0-31e7-49b7-b260-868f441e862b", "flavorRef": "1", "availability_zone": "west"}},
    )
    assert nowhere.message == "The requested availability zone is not available"


async def test_a_host_is_in_one_zone(api) -> None:
    await made(api, "rack", "host1", availability_zone="east")
    other = await made(api, "row", availability_zone="west")
    refused = await act(api, other, add_host={"host": "host1"})
    assert refused.status == 409
    assert refused.message == f"Cannot add host to aggregate {other}. Reason: One or more hosts already in availability zone(s) ['east']."
    plain = await made(api, "fast", "host1")
    changed = await act(api, plain, set_metadata={"metadata": {"availability_zone": "west"}})
    assert (changed.status, "already in availability zone(s) ['east']" in changed.message) == (400, True)
    same = await made(api, "also-east", "host1", availability_zone="east")
    assert (await act(api, same, remove_host={"host": "host1"})).status == 200
    assert "east" in await zones(api)


async def test_a_host_with_servers_stays_in_its_zone(api) -> None:
    await api.server()
    east = await made(api, "rack", availability_zone="east")
    refused = await act(api, east, add_host={"host": "host1"})
    assert refused.status == 409
    assert "the host holds 1 server and would move from availability zone nova to east" in refused.message
    plain = await made(api, "fast", "host1")
    for answer in (
        await act(api, plain, set_metadata={"metadata": {"availability_zone": "east"}}),
        await api.put(f"/os-aggregates/{plain}", {"aggregate": {"availability_zone": "east"}}, "admin"),
    ):
        assert (answer.status, "One or more hosts contain instances in this zone" in answer.message) == (400, True)
    assert (await act(api, plain, remove_host={"host": "host1"})).status == 200
    assert await zones(api) == {"nova": {"host1", "host2", "host3"}}


async def test_a_host_with_servers_does_not_leave_its_zone(api) -> None:
    east = await made(api, "rack", "host1", availability_zone="east")
    await api.server()
    refused = await act(api, east, remove_host={"host": "host1"})
    assert (refused.status, "from availability zone east to nova" in refused.message) == (409, True)


async def test_images_are_asked_for_since_2_81(api) -> None:
    id, image = await made(api), {"id": "70a599e0-31e7-49b7-b260-868f441e862b"}
    asked = await api.post(f"/os-aggregates/{id}/images", {"cache": [image]}, "admin", "2.81")
    assert (asked.status, asked.raw) == (202, b"")
    assert (await api.post(f"/os-aggregates/{id}/images", {"cache": [image]}, "admin", "2.80")).status == 404
    twice = await api.post(f"/os-aggregates/{id}/images", {"cache": [image, image]}, "admin", "2.81")
    assert (twice.status, twice.message) == (400, "Duplicate images in request")
    assert (await api.post("/os-aggregates/99/images", {"cache": [image]}, "admin", "2.81")).status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/os-aggregates", {"aggregate": {"name": "rack"}}, 409),
        ("POST", "/os-aggregates", {"aggregate": {"name": ""}}, 400),
        ("POST", "/os-aggregates", {"aggregate": {"name": "a", "availability_zone": "a:b"}}, 400),
        ("POST", "/os-aggregates", {"aggregate": {"name": "a", "availability_zone": ""}}, 400),
        ("POST", "/os-aggregates", {"aggregate": {"name": "a", "hosts": []}}, 400),
        ("PUT", "/os-aggregates/1", {"aggregate": {}}, 400),
        ("PUT", "/os-aggregates/1", {"aggregate": {"availability_zone": None}}, 400),
        ("PUT", "/os-aggregates/1", {"aggregate": {"name": "row"}}, 409),
        ("PUT", "/os-aggregates/99", {"aggregate": {"name": "x"}}, 404),
        ("POST", "/os-aggregates/1/action", {"set_metadata": {"metadata": {"availability_zone": None}}}, 400),
        ("POST", "/os-aggregates/1/action", {"set_metadata": {"metadata": {"a": 1}}}, 400),
        ("POST", "/os-aggregates/1/action", {"add_host": {"host": "a b"}}, 400),
        ("POST", "/os-aggregates/1/action", {"burn": None}, 400),
        ("GET", "/os-aggregates/x", None, 400),
        ("DELETE", "/os-aggregates/99", None, 404),
        ("DELETE", "/os-aggregates/99999999999999999999999", None, 400),
    ],
)
async def test_what_cannot_be_is_refused(api, method, path, body, status) -> None:
    await made(api, "rack")
    await made(api, "row")
    assert (await api.ask(method, path, "admin", None, body)).status == status


@pytest.mark.parametrize("caller", ["nobody", "reader", "member", "manager", "service"])
async def test_aggregates_are_for_administrators(api, caller) -> None:
    await made(api)
    for method, path, body in (
        ("GET", "/os-aggregates", None),
        ("POST", "/os-aggregates", {"aggregate": {"name": "a"}}),
        ("GET", "/os-aggregates/1", None),
        ("PUT", "/os-aggregates/1", {"aggregate": {"name": "a"}}),
        ("DELETE", "/os-aggregates/1", None),
        ("POST", "/os-aggregates/1/action", {"add_host": {"host": "host1"}}),
        ("POST", "/os-aggregates/1/action", {"remove_host": {"host": "host1"}}),
        ("POST", "/os-aggregates/1/action", {"set_metadata": {"metadata": {}}}),
    ):
        assert (await api.ask(method, path, caller, None, body)).status == 403, (method, path)


async def test_an_id_that_no_aggregate_can_have_is_not_found_and_a_word_is_wrong(api) -> None:
    for id, status in (("-1", 404), ("9" * 18, 404), ("one", 400)):
        assert [(await api.ask(method, f"/os-aggregates/{id}", "admin")).status for method in ("GET", "DELETE")] == [status, status]
