"""QoS specs: what administrators say of volume types, and what hosts are told of their volumes."""

from typing import Any

import pytest

from nova_async.services.volume.qos import by_size
from tests.volume.conftest import PEOPLE, SERVER, UNKNOWN, Client, Service

LIMITS = {"total_iops_sec": "500", "vendor:burst": "yes"}


async def made(admin: Client, name: str = "fast", **specs: Any) -> str:
    answer = await admin("POST", "/qos-specs", 200, {"qos_specs": {"name": name, "consumer": "front-end", **LIMITS} | specs})
    return str(answer["qos_specs"]["id"])


async def kind(admin: Client, name: str = "t") -> str:
    return str((await admin("POST", "/types", 200, {"volume_type": {"name": name}}))["volume_type"]["id"])


async def test_specs_are_made_changed_and_removed(admin: Client) -> None:
    one = await made(admin)
    path = f"/qos-specs/{one}"
    shown = await admin("GET", path, 200)
    assert shown["qos_specs"] == {"id": one, "name": "fast", "consumer": "front-end", "specs": LIMITS}
    assert [link["rel"] for link in shown["links"]] == ["self", "bookmark"]
    more = {"qos_specs": {"total_iops_sec": "700", "consumer": "both"}}
    assert await admin("PUT", path, 200, more) == more
    await admin("PUT", path + "/delete_keys", 202, {"keys": ["vendor:burst"]})
    await admin.refused("PUT", path + "/delete_keys", 404, {"keys": ["total_iops_sec", "vendor:burst"]})
    (listed,) = (await admin("GET", "/qos-specs?name=fast", 200))["qos_specs"]
    assert listed == {"id": one, "name": "fast", "consumer": "both", "specs": {"total_iops_sec": "700"}}
    assert (await admin("GET", "/qos-specs?name=slow", 200))["qos_specs"] == []
    await admin("DELETE", path, 202)
    await admin.refused("GET", path, 404)


async def test_a_consumer_that_is_not_named_is_the_back_end(admin: Client) -> None:
    answer = await admin("POST", "/qos-specs", 200, {"qos_specs": {"name": "q"}})
    assert answer["qos_specs"] == {"id": answer["qos_specs"]["id"], "name": "q", "consumer": "back-end", "specs": {}}
    assert "already exist" in await admin.refused("POST", "/qos-specs", 409, {"qos_specs": {"name": "q"}})


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "an object of texts"),
        ({"consumer": "both"}, "'name' is a required property"),
        ({"name": " "}, "'name' is a required property"),
        ({"name": "q", "consumer": "middle"}, "front-end, back-end, both"),
        ({"name": "q", "total_iops_sec": "many"}, "A whole number is expected"),
        ({"name": "q", "read_bytes_sec_per_gb": "-1"}, "A whole number is expected"),
        ({"name": "q", "minIOPS": 5}, "Expected text"),
        ({"name": "q", "": "x"}, "keys of 1 to 255"),
    ],
)
async def test_what_makes_no_sense_is_refused(admin: Client, asked: dict[str, Any], told: str) -> None:
    assert told in await admin.refused("POST", "/qos-specs", 400, {"qos_specs": asked})
    assert (await admin("GET", "/qos-specs", 200))["qos_specs"] == []


async def test_types_have_one_each(admin: Client) -> None:
    one, other, fast = await made(admin), await made(admin, "slow"), await kind(admin)
    path = f"/qos-specs/{one}"
    for _ in range(2):
        await admin("GET", f"{path}/associate?vol_type_id={fast}", 202)
    assert (await admin("GET", f"/types/{fast}", 200))["volume_type"]["qos_specs_id"] == one
    told = await admin("GET", f"{path}/associations", 200)
    assert told == {"qos_associations": [{"association_type": "volume_type", "id": fast, "name": "t"}]}
    assert "already associated" in await admin.refused("GET", f"/qos-specs/{other}/associate?vol_type_id={fast}", 400)
    await admin.refused("GET", f"{path}/associate", 400)
    await admin.refused("GET", f"{path}/associate?vol_type_id={UNKNOWN}", 404)
    assert "still associated" in await admin.refused("DELETE", path, 400)
    await admin("GET", f"/qos-specs/{other}/disassociate?vol_type_id={fast}", 202)
    assert len((await admin("GET", f"{path}/associations", 200))["qos_associations"]) == 1, "it had another's"
    await admin("GET", f"{path}/disassociate?vol_type_id={fast}", 202)
    await admin("GET", f"{path}/associate?vol_type_id={fast}", 202)
    await admin("GET", f"{path}/disassociate_all", 202)
    assert (await admin("GET", f"{path}/associations", 200))["qos_associations"] == []
    await admin("GET", f"{path}/associate?vol_type_id={fast}", 202)
    await admin("DELETE", f"{path}?force=true", 202)
    assert (await admin("GET", f"/types/{fast}", 200))["volume_type"]["qos_specs_id"] is None


@pytest.mark.parametrize("path", ["", f"/{UNKNOWN}", f"/{UNKNOWN}/associations", f"/{UNKNOWN}/disassociate_all"])
async def test_nobody_else_has_to_do_with_them(anna: Client, admin: Client, path: str) -> None:
    await anna.refused("GET", "/qos-specs" + path, 403)
    await anna.refused("POST", "/qos-specs", 403, {"qos_specs": {"name": "q"}})
    if path:
        await admin.refused("GET", "/qos-specs" + path, 404)
    await admin.refused("GET", "/qos-specs/nothing", 404)


@pytest.mark.parametrize(("consumer", "told"), [("front-end", LIMITS), ("both", LIMITS), ("back-end", None)])
async def test_a_host_is_told_the_limits_that_are_its_own(
    service: Service, admin: Client, anna: Client, consumer: str, told: dict[str, str] | None
) -> None:
    specs, fast = await made(admin, consumer=consumer), await kind(admin)
    await admin("GET", f"/qos-specs/{specs}/associate?vol_type_id={fast}", 202)
    volume = await anna.volume(volume_type=fast)
    holders, ctx = service.volumes.holders, PEOPLE["nova"]
    row = await holders.reserve(ctx, volume, SERVER)
    await holders.connect(ctx, row.id, {"host": service.volumes.host}, "/dev/vdb")
    assert (await service.volumes.connection(row.id))["data"]["qos_specs"] == told


def test_limits_by_the_gibibyte_are_of_a_volume_of_its_size() -> None:
    """As Cinder reckons them."""
    assert by_size({"read_iops_sec_per_gb": "10", "read_iops_sec_per_gb_min": "30"}, 2) == {"read_iops_sec": "30"}
    assert by_size({"read_iops_sec_per_gb": "10", "read_iops_sec_max": "50"}, 20) == {"read_iops_sec": "50"}
    assert by_size({"total_bytes_sec_per_gb": "1000", "x": "y"}, 3) == {"total_bytes_sec": "3000", "x": "y"}
    assert by_size({"write_iops_sec": "7", "write_iops_sec_max": "9"}, 3) == {"write_iops_sec": "7", "write_iops_sec_max": "9"}


async def test_a_volume_says_whether_it_may_be_written_once_somebody_has_said_so(anna: Client) -> None:
    volume = await anna.volume()
    shown = [(await anna.show(volume))["metadata"]]
    for word in (True, False):
        await anna.act(volume, "os-update_readonly_flag", {"readonly": word})
        shown.append((await anna.show(volume))["metadata"])
    assert shown == [{}, {"readonly": "True"}, {"readonly": "False"}]
