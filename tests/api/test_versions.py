"""Microversions, request ids, and what the service says of itself."""

import pytest

from nova_async.api.versions import LATEST, V


def test_the_list_of_versions_has_no_hole_and_a_sentence_for_each() -> None:
    assert [int(v) for v in V] == list(range(1, LATEST + 1))
    assert all(v.sentence.endswith(".") for v in V)


async def test_anybody_may_ask_which_versions_there_are(api) -> None:
    versions = await api.get("/", caller=None, root="/compute")
    assert versions.status == 200
    current = versions.body["versions"][1]
    assert (current["id"], current["version"], current["min_version"]) == ("v2.1", "2.104", "2.1")
    for path in ("", "/"):
        one = await api.get(path, caller=None)
        assert one.status == 200
        assert one.body["version"]["links"][0]["href"].endswith("/compute/v2.1/")


async def test_an_unversioned_path_shows_the_choices(api) -> None:
    answer = await api.get("/servers", caller=None, root="/compute")
    assert answer.status == 300
    assert [choice["id"] for choice in answer.body["choices"]] == ["v2.0", "v2.1"]


async def test_without_a_version_header_the_answer_is_2_1(api) -> None:
    answer = await api.get("/flavors")
    assert answer.headers["OpenStack-API-Version"] == "compute 2.1"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.1"
    assert answer.headers.getall("Vary") == ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"]


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({"OpenStack-API-Version": "compute latest"}, "2.104"),
        ({"OpenStack-API-Version": "volume 3.1, compute 2.55"}, "2.55"),
        ({"OpenStack-API-Version": "compute 2.10, compute 2.20"}, "2.20"),
        ({"OpenStack-API-Version": "volume 3.1"}, "2.1"),
        ({"X-OpenStack-Nova-API-Version": "2.30"}, "2.30"),
        ({"OpenStack-API-Version": "compute 2.40", "X-OpenStack-Nova-API-Version": "2.30"}, "2.40"),
    ],
)
async def test_the_version_that_is_asked_for_is_used(api, headers, version) -> None:
    answer = await api.get("/flavors", headers=headers)
    assert answer.headers["X-OpenStack-Nova-API-Version"] == version


@pytest.mark.parametrize("version", ["2.105", "2.0", "3.1", "1.1"])
async def test_a_version_out_of_range_is_406_and_echoed(api, version) -> None:
    answer = await api.get("/flavors", version=version)
    assert answer.status == 406
    assert answer.body == {
        "computeFault": {"code": 406, "message": f"Version {version} is not supported by the API. Minimum is 2.1 and maximum is 2.104."}
    }
    assert answer.headers["X-OpenStack-Nova-API-Version"] == version


@pytest.mark.parametrize("version", ["abc", "2", "2.1.1", "2.01", "-2.1"])
async def test_a_malformed_version_is_400_without_version_headers(api, version) -> None:
    answer = await api.get("/flavors", version=version)
    assert answer.status == 400
    assert answer.message == f"API Version String {version} is of invalid format. Must be of format MajorNum.MinorNum."
    assert "OpenStack-API-Version" not in answer.headers


async def test_the_old_tree_ignores_microversions_and_unknown_keys(api) -> None:
    body = {"flavor": {"name": " old ", "ram": 1, "vcpus": 1, "disk": 0, "id": "o", "colour": "blue"}, "beside": 1}
    made = await api.post("/flavors", body, "admin", "2.99", root="/compute/v2")
    assert made.status == 200, made
    assert "OpenStack-API-Version" not in made.headers
    assert made.body["flavor"]["name"] == "old"
    assert "/compute/v2/flavors/o" in made.body["flavor"]["links"][0]["href"]


async def test_every_answer_names_its_request(api) -> None:
    for answer in [await api.get("/flavors"), await api.get("/nowhere"), await api.get("/flavors", caller=None)]:
        assert answer.headers["x-openstack-request-id"] == answer.headers["x-compute-request-id"]
        assert answer.headers["x-openstack-request-id"].startswith("req-")
