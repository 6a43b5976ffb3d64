"""Flavors, from outside."""

import json
from pathlib import Path

import pytest

from tests.api.conftest import IMAGE, OTHER_PROJECT, PROJECT

SAMPLES = Path(__file__).parents[3] / "shared" / "api" / "samples"


async def test_a_flavor_lives_from_create_to_delete(api) -> None:
    made = await api.post("/flavors", {"flavor": {"name": "m1.tiny", "ram": 512, "vcpus": 1, "disk": 1, "id": "1"}}, "admin")
    assert made.status == 200, made
    shown = await api.get("/flavors/1", "reader")
    assert shown.body == made.body
    listed = await api.get("/flavors", "reader")
    assert [(f["id"], f["name"]) for f in listed.body["flavors"]] == [("1", "m1.tiny")]
    gone = await api.delete("/flavors/1", "admin")
    assert (gone.status, gone.raw) == (202, b"")
    missing = await api.get("/flavors/1")
    assert missing.status == 404
    assert missing.body == {"itemNotFound": {"code": 404, "message": "Flavor 1 could not be found."}}


async def test_an_id_is_made_when_none_is_given(api) -> None:
    made = await api.post("/flavors", {"flavor": {"name": "x", "ram": "64", "vcpus": "1", "disk": 0}}, "admin")
    assert len(made.body["flavor"]["id"]) == 36
    assert made.body["flavor"]["ram"] == 64


@pytest.mark.parametrize(("second", "text"), [({"id": "1", "name": "b"}, "ID"), ({"id": "2", "name": "a"}, "name")])
async def test_ids_and_names_are_taken_once(api, second, text) -> None:
    await api.flavor("1", name="a")
    answer = await api.post("/flavors", {"flavor": {"ram": 1, "vcpus": 1, "disk": 1} | second}, "admin")
    assert answer.status == 409
    assert text in answer.message


async def test_only_administrators_make_flavors(api) -> None:
    answer = await api.post("/flavors", {"flavor": {"name": "a", "ram": 1, "vcpus": 1, "disk": 1}}, "member")
    assert answer.status == 403
    assert answer.body == {
        "forbidden": {"code": 403, "message": "Policy doesn't allow os_compute_api:os-flavor-manage:create to be performed."}
    }


async def test_private_flavors_are_seen_by_those_who_were_granted_them(api) -> None:
    await api.flavor("public")
    private = await api.flavor("private", **{"os-flavor-access:is_public": False})
    async with api.database.connection() as conn:
        await conn.execute("INSERT INTO flavor_access SELECT id, $1 FROM flavors WHERE flavorid = $2", OTHER_PROJECT, private["id"])

    async def ids(caller: str, query: str = "") -> set[str]:
        return {f["id"] for f in (await api.get(f"/flavors{query}", caller)).body["flavors"]}

    assert await ids("member") == {"public"}
    assert await ids("stranger") == {"public", "private"}
    assert await ids("member", "?is_public=None") == {"public"}
    assert await ids("admin", "?is_public=None") == {"public", "private"}
    assert await ids("admin", "?is_public=false") == {"private"}
    assert (await api.get("/flavors/private", "member")).status == 404


async def test_lists_are_paged_sorted_and_filtered(api) -> None:
    for number, ram in (("a", 300), ("b", 200), ("c", 100)):
        await api.flavor(number, ram=ram)
    first = (await api.get("/flavors?limit=2&sort_key=memory_mb&sort_dir=asc")).body
    assert [f["id"] for f in first["flavors"]] == ["c", "b"]
    (link,) = first["flavors_links"]
    assert link["href"].endswith("/compute/v2.1/flavors?limit=2&marker=b&sort_dir=asc&sort_key=memory_mb")
    second = (await api.get("/flavors?" + link["href"].partition("?")[2])).body
    assert [f["id"] for f in second["flavors"]] == ["a"]
    assert "flavors_links" not in second
    assert [f["id"] for f in (await api.get("/flavors?minRam=200")).body["flavors"]] == ["a", "b"]
    assert (await api.get("/flavors?marker=z")).message == "marker [z] not found"


@pytest.mark.parametrize(
    ("path", "version", "message"),
    [
        ("/flavors?limit=-1", "2.1", "Invalid input for query parameters limit. Value: -1. '-1' does not match '^[0-9]*$'"),
        ("/flavors?foo=1", "2.75", "Additional properties are not allowed ('foo' was unexpected)"),
        ("/flavors/1?x=1", "2.102", "Additional properties are not allowed ('x' was unexpected)"),
        ("/flavors?minRam=much", "2.1", "Invalid minRam filter [much]"),
        ("/flavors?name=%5B", "2.102", "Invalid input for query parameters name. Value: [. '[' is not a 'regex'"),
    ],
)
async def test_wrong_queries_are_refused_in_novas_words(api, path, version, message) -> None:
    answer = await api.get(path, version=version)
    assert (answer.status, answer.message) == (400, message)


@pytest.mark.parametrize("path", ["/flavors?foo=1", "/flavors/1?x=1"])
async def test_unknown_query_keys_are_dropped_in_old_versions(api, path) -> None:
    await api.flavor("1")
    assert (await api.get(path, version="2.74")).status == 200


@pytest.mark.parametrize("version", ["2.1", "2.54", "2.55", "2.60", "2.61", "2.74", "2.75", "2.101", "2.102", "2.104"])
async def test_fields_come_and_go_with_the_versions(api, version) -> None:
    await api.flavor("1")
    flavor = (await api.get("/flavors/1", version=version)).body["flavor"]
    minor = int(version[2:])
    assert ("description" in flavor) == (minor >= 55)
    assert ("extra_specs" in flavor) == (minor >= 61)
    assert ("rxtx_factor" in flavor) == (minor < 102)
    assert ("OS-FLV-DISABLED:disabled" in flavor) == (minor < 102)
    assert flavor["swap"] == ("" if minor < 75 else 0)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the API's samples are not here")
@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("flavors/**/flavor-get-resp.json")), ids=lambda p: p.parent.name)
async def test_a_flavor_has_the_keys_of_the_sample(api, sample) -> None:
    await api.flavor("1")
    version = "2.1" if sample.parent.name == "flavors" else sample.parent.name.removeprefix("v")
    flavor = (await api.get(f"/{PROJECT}/flavors/1", version=version)).body["flavor"]
    assert set(flavor) == set(json.loads(sample.read_text())["flavor"])


async def test_the_description_can_be_changed_since_2_55(api) -> None:
    await api.flavor("1")
    body = {"flavor": {"description": "small"}}
    assert (await api.put("/flavors/1", body, "admin", "2.54")).status == 404
    assert (await api.put("/flavors/1", body, "admin", "2.55")).body["flavor"]["description"] == "small"
    assert (await api.put("/flavors/2", body, "admin", "2.55")).status == 404


async def test_a_private_flavor_looks_to_strangers_like_one_that_is_not_there(api) -> None:
    """SEC-032."""
    await api.flavor("private", **{"os-flavor-access:is_public": False})
    server = await api.server()

    async def told(flavor: str) -> list[tuple[int, str]]:
        new = {"server": {"name": "x", "imageRef": IMAGE, "flavorRef": flavor}}
        answers = [
            await api.get(f"/flavors/{flavor}"),
            await api.get(f"/flavors/{flavor}/os-extra_specs"),
            await api.post("/servers", new),
            await api.act(server, "resize", {"flavorRef": flavor}),
        ]
        return [(answer.status, answer.message.replace(flavor, "it")) for answer in answers]

    seen = await told("private")
    assert seen == await told("nothing")
    assert {status for status, _ in seen} <= {400, 404}
    assert (await api.get("/servers/detail?flavor=private")).body["servers"] == []
