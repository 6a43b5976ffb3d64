"""Limits of single volume types, beside those of all a project's volumes."""

from tests.volume.conftest import Client


async def made(admin: Client, name: str) -> str:
    return str((await admin("POST", "/types", 200, {"volume_type": {"name": name}}))["volume_type"]["id"])


async def test_a_type_has_limits_of_its_own(anna: Client, admin: Client) -> None:
    fast = await made(admin, "fast")
    told = (await admin("PUT", "/os-quota-sets/p-a", 200, {"quota_set": {"volumes_fast": 1, "gigabytes_fast": 3, "snapshots_fast": 1}}))[
        "quota_set"
    ]
    assert (told["volumes_fast"], told["gigabytes_fast"], told["volumes_files"]) == (1, 3, -1)
    volume = await anna.volume(1, volume_type="fast")
    refused = await anna.refused("POST", "/volumes", 413, {"volume": {"size": 1, "volume_type": "fast"}})
    assert refused == "VolumeLimitExceeded: Maximum number of volumes allowed (1) exceeded for quota 'volumes_fast'."
    other = await anna.volume(1)

    snapshot = await anna.snapshot(volume)
    assert "snapshots_fast" in await anna.refused("POST", "/snapshots", 413, {"snapshot": {"volume_id": volume}})
    assert "gigabytes_fast" in await anna.refused("POST", f"/volumes/{volume}/action", 413, {"os-extend": {"new_size": 3}})
    retype = {"os-retype": {"new_type": fast, "migration_policy": "never"}}
    assert "volumes_fast" in await anna.refused("POST", f"/volumes/{other}/action", 413, retype)
    detailed = (await anna("GET", "/os-quota-sets/p-a?usage=True", 200))["quota_set"]
    assert detailed["volumes_fast"] == {"limit": 1, "in_use": 1, "reserved": 0}
    assert detailed["gigabytes_fast"] == {"limit": 3, "in_use": 2, "reserved": 0}

    await anna("DELETE", f"/snapshots/{snapshot}", 202)
    await anna.service.idle()
    await anna("POST", f"/volumes/{volume}/action", 202, {"os-extend": {"new_size": 3}})


async def test_a_limit_of_the_class_is_for_all_projects(anna: Client, admin: Client) -> None:
    await made(admin, "fast")
    assert (await admin("GET", "/os-quota-class-sets/default", 200))["quota_class_set"]["volumes_fast"] == -1
    await admin("PUT", "/os-quota-class-sets/default", 200, {"quota_class_set": {"volumes_fast": 0}})
    assert (await admin("GET", "/os-quota-sets/p-a/defaults", 200))["quota_set"]["volumes_fast"] == 0
    await anna.refused("POST", "/volumes", 413, {"volume": {"size": 1, "volume_type": "fast"}})
    await admin("PUT", "/os-quota-sets/p-a", 200, {"quota_set": {"volumes_fast": 1}})
    await anna.volume(1, volume_type="fast")


async def test_a_limit_follows_its_type(anna: Client, admin: Client) -> None:
    """It keeps its limit when it is renamed; another type of the old name has none."""
    fast = await made(admin, "fast")
    await admin("PUT", "/os-quota-sets/p-a", 200, {"quota_set": {"volumes_fast": 4}})
    await admin("PUT", f"/types/{fast}", 200, {"volume_type": {"name": "quick"}})
    await made(admin, "fast")
    told = (await anna("GET", "/os-quota-sets/p-a", 200))["quota_set"]
    assert (told["volumes_quick"], told["volumes_fast"]) == (4, -1)
    await admin("DELETE", f"/types/{fast}", 202)
    assert "volumes_quick" not in (await anna("GET", "/os-quota-sets/p-a", 200))["quota_set"]


async def test_types_that_others_have_are_not_told(anna: Client, admin: Client) -> None:
    await admin("POST", "/types", 200, {"volume_type": {"name": "secret", "os-volume-type-access:is_public": False}})
    assert "volumes_secret" not in (await anna("GET", "/os-quota-sets/p-a", 200))["quota_set"]
    assert (await admin("GET", "/os-quota-sets/p-a", 200))["quota_set"]["volumes_secret"] == -1
