"""A volume goes from one project to another."""

import pytest

from tests.volume.conftest import PEOPLE, SERVER, UNKNOWN, Client, Service

OLD, NEW = "/os-volume-transfer", "/volume-transfers"


@pytest.fixture
def ben(service: Service) -> Client:
    return service.client("ben")


async def test_a_volume_is_offered_accepted_and_gone_from_where_it_was(anna: Client, ben: Client) -> None:
    volume = await anna.volume()
    snapshot = await anna.snapshot(volume)
    made = (await anna("POST", NEW, 202, {"transfer": {"volume_id": volume, "name": "gift"}}))["transfer"]
    shown = (await anna("GET", f"{NEW}/{made['id']}", 200))["transfer"]
    assert made == shown | {"auth_key": made["auth_key"]}
    assert (shown["name"], shown["no_snapshots"], shown["source_project_id"], shown["accepted"]) == ("gift", False, "p-a", False)
    assert [t["id"] for t in (await anna("GET", f"{OLD}/detail", 200, version="3.0"))["transfers"]] == [made["id"]]
    assert (await anna.show(volume))["status"] == "awaiting-transfer"
    accepted = await ben("POST", f"{NEW}/{made['id']}/accept", 202, {"accept": {"auth_key": made["auth_key"]}})
    assert accepted["transfer"]["volume_id"] == volume
    now = await ben.show(volume)
    assert (now["status"], now["user_id"], now["os-vol-tenant-attr:tenant_id"]) == ("available", "ben", "p-b")
    assert (await ben("GET", f"/snapshots/{snapshot}", 200))["snapshot"]["user_id"] == "ben"
    for path in (f"/volumes/{volume}", f"/snapshots/{snapshot}", f"{NEW}/{made['id']}"):
        await anna("GET", path, 404)
    await ben("POST", f"{NEW}/{made['id']}/accept", 404, {"accept": {"auth_key": made["auth_key"]}})


async def test_an_offer_is_taken_back(anna: Client, ben: Client) -> None:
    volume = await anna.volume()
    made = (await anna("POST", OLD, 202, {"transfer": {"volume_id": volume}}, version="3.0"))["transfer"]
    assert set(made) == {"id", "volume_id", "name", "links", "created_at", "auth_key"}
    await ben("DELETE", f"{OLD}/{made['id']}", 404)
    await anna("DELETE", f"{OLD}/{made['id']}", 202)
    assert (await anna.show(volume))["status"] == "available"
    await ben("POST", f"{OLD}/{made['id']}/accept", 404, {"accept": {"auth_key": made["auth_key"]}})
    assert (await anna("GET", OLD, 200))["transfers"] == []


async def test_snapshots_that_stay_are_not_deleted_by_who_has_the_volume(anna: Client, ben: Client) -> None:
    volume = await anna.volume()
    snapshot = await anna.snapshot(volume)
    made = (await anna("POST", NEW, 202, {"transfer": {"volume_id": volume, "no_snapshots": True}}))["transfer"]
    await ben("POST", f"{NEW}/{made['id']}/accept", 202, {"accept": {"auth_key": made["auth_key"]}})
    assert "dependent snapshots" in await ben.refused("DELETE", f"/volumes/{volume}?cascade=true", 400)
    await anna("GET", f"/snapshots/{snapshot}", 200)
    await ben("GET", f"/snapshots/{snapshot}", 404)


async def test_what_cannot_be_offered_or_accepted_is_refused(service: Service, anna: Client, ben: Client, admin: Client) -> None:
    volume = await anna.volume(2)
    await anna.refused("POST", NEW, 404, {"transfer": {"volume_id": volume}}, version="3.54")
    await anna.refused("POST", NEW, 400, {"transfer": {"volume_id": "x"}})
    await anna.refused("POST", OLD, 400, {"transfer": {"volume_id": volume, "no_snapshots": True}}, version="3.54")
    await anna.refused("POST", NEW, 404, {"transfer": {"volume_id": UNKNOWN}})
    await ben.refused("POST", NEW, 404, {"transfer": {"volume_id": volume}})
    await service.client("rosa").refused("POST", NEW, 403, {"transfer": {"volume_id": volume}})
    made = (await anna("POST", NEW, 202, {"transfer": {"volume_id": volume}}))["transfer"]
    await anna.refused("POST", NEW, 400, {"transfer": {"volume_id": volume}})
    await anna.refused("POST", "/attachments", 400, {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER}})
    await anna.refused("DELETE", f"/volumes/{volume}", 400)
    await ben.refused("GET", f"{NEW}/{made['id']}", 404)
    accept = f"{NEW}/{made['id']}/accept"
    refusal = await ben.refused("POST", accept, 400, {"accept": {"auth_key": "x" * 20}})
    assert "auth key" in refusal
    assert made["auth_key"] not in refusal
    await admin("PUT", f"/os-quota-sets/{PEOPLE['ben'].project_id}", 200, {"quota_set": {"gigabytes": 1}})
    await ben.refused("POST", accept, 413, {"accept": {"auth_key": made["auth_key"]}})
    assert (await anna.show(volume))["status"] == "awaiting-transfer"
    await admin("PUT", f"/os-quota-sets/{PEOPLE['ben'].project_id}", 200, {"quota_set": {"gigabytes": 2}})
    await ben("POST", accept, 202, {"accept": {"auth_key": made["auth_key"]}})
