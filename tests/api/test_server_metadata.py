"""What users note on their servers, from outside."""

import asyncio

import pytest

from tests.api.conftest import PROJECT
from tests.api.samples import samples, shape


async def test_metadata_is_added_replaced_changed_and_deleted(api) -> None:
    server = await api.server(metadata={"old": "1"})
    path = f"/servers/{server}/metadata"
    assert (await api.get(path, "reader")).body == {"metadata": {"old": "1"}}
    added = await api.post(path, {"metadata": {"new": "2", "old": "3"}})
    assert (added.status, added.body) == (200, {"metadata": {"old": "3", "new": "2"}})
    replaced = await api.put(path, {"metadata": {"foo": "Foo Value"}})
    assert (replaced.status, replaced.body) == (200, {"metadata": {"foo": "Foo Value"}})
    changed = await api.put(f"{path}/foo", {"meta": {"foo": "Bar Value"}})
    assert (changed.status, changed.body) == (200, {"meta": {"foo": "Bar Value"}})
    assert (await api.get(f"{path}/foo", "reader")).body == {"meta": {"foo": "Bar Value"}}
    gone = await api.delete(f"{path}/foo")
    assert (gone.status, gone.raw) == (204, b"")
    for answer in (await api.get(f"{path}/foo"), await api.delete(f"{path}/foo")):
        assert (answer.status, answer.message) == (404, "Metadata item was not found")
    assert (await api.get(path)).body == {"metadata": {}}
    assert (await api.put(path, {"metadata": {}})).body == {"metadata": {}}


async def test_who_may(api) -> None:
    server = await api.server(metadata={"a": "1"})
    path = f"/servers/{server}/metadata"
    assert (await api.get(path, "stranger")).status == 404
    assert (await api.get(path, "nobody")).status == 403
    assert (await api.post(path, {"metadata": {}}, "reader")).status == 403
    assert (await api.put(f"{path}/a", {"meta": {"a": "2"}}, "reader")).status == 403
    assert (await api.delete(f"{path}/a", "reader")).status == 403
    assert (await api.delete(f"{path}/a", "colleague")).status == 204


@pytest.mark.parametrize("state", ["error", "rescued", "building", "resized", "shelved_offloaded"])
async def test_only_settled_servers_are_noted_on(api, state) -> None:
    server = await api.server(state=state)
    answer = await api.post(f"/servers/{server}/metadata", {"metadata": {"a": "1"}})
    assert answer.status == 409
    assert answer.message == f"Cannot 'update metadata' instance {server} while it is in vm_state {state}"


async def test_what_is_being_done_to_a_server_does_not_matter(api) -> None:
    server = await api.server()
    await api.act(server, "os-stop")
    assert (await api.post(f"/servers/{server}/metadata", {"metadata": {"a": "1"}})).status == 200


async def test_a_locked_server_is_changed_by_administrators_only(api) -> None:
    server = await api.server(metadata={"a": "1"})
    await api.settle(server, locked_by="owner")
    refused = await api.put(f"/servers/{server}/metadata/a", {"meta": {"a": "2"}})
    assert (refused.status, refused.message) == (409, f"Instance {server} is locked")
    assert (await api.delete(f"/servers/{server}/metadata/a")).status == 409
    assert (await api.put(f"/servers/{server}/metadata/a", {"meta": {"a": "2"}}, "admin")).status == 200


async def test_no_more_items_than_the_quota_even_at_once(api) -> None:
    """SEC-060"""
    await api.put(f"/os-quota-sets/{PROJECT}", {"quota_set": {"metadata_items": 3}}, "admin")
    server = await api.server(metadata={"a": "1"})
    path = f"/servers/{server}/metadata"
    refused = await api.post(path, {"metadata": {"b": "1", "c": "1", "d": "1"}})
    assert (refused.status, refused.message) == (403, "Maximum number of metadata items exceeds 3")
    answers = await asyncio.gather(*(api.post(path, {"metadata": {f"x{i}": "1"}}) for i in range(4)))
    assert sorted(a.status for a in answers) == [200, 200, 403, 403]
    assert (await api.post(path, {"metadata": {"a": "2"}})).status == 200
    assert (await api.put(path, {"metadata": {"b": "1", "c": "1", "d": "1", "e": "1"}})).status == 403


async def test_wrong_bodies_are_refused(api) -> None:
    server = await api.server()
    for path, body in (
        ("", {"metadata": {"": "1"}}),
        ("", {"metadata": {"k" * 256: "1"}}),
        ("", {"metadata": {"k": "v" * 256}}),
        ("", {"metadata": {"k/": "v"}}),
        ("", {"metadata": {"k\n": "v"}}),
        ("", {"metadata": {"k": 1}}),
        ("", {"metadata": {"k": None}}),
        ("", {"metadata": []}),
        ("", {"meta": {"k": "v"}}),
        ("", {"metadata": {"k": "v"}, "x": 1}),
        ("", {"metadata": {"k": "\x00"}}),
        ("", None),
        ("/k", {"meta": {}}),
        ("/k", {"meta": {"other": "v"}}),
        ("/k", {"meta": {"k": "v", "l": "v"}}),
        ("/k", {"metadata": {"k": "v"}}),
    ):
        answer = await api.put(f"/servers/{server}/metadata{path}", body)
        assert answer.status == 400, answer


async def test_servers_that_do_not_exist_have_no_metadata(api) -> None:
    for server in (
        "x",
        "00000000-0000-0000-0000-000000000000",
        "%FF",
        "a" * 3000,
    ):
        assert (await api.get(f"/servers/{server}/metadata")).status == 404
        assert (await api.post(f"/servers/{server}/metadata", {"metadata": {}})).status == 404


@pytest.mark.parametrize(("version", "sample"), samples("server-metadata-all-resp", "server-metadata"))
async def test_metadata_looks_as_in_the_sample(api, version, sample) -> None:
    server = await api.server(metadata={"foo": "Foo Value"})
    assert (await api.get(f"/servers/{server}/metadata", version=version)).body == sample


@pytest.mark.parametrize(("version", "sample"), samples("server-ips-resp", "server-ips"))
async def test_addresses_look_as_in_the_sample(api, version, sample) -> None:
    server = await api.server()
    body = (await api.get(f"/servers/{server}/ips", "reader", version)).body
    (network,) = body["addresses"]
    assert shape(body["addresses"][network]) == shape(sample["addresses"]["private"])
    assert (await api.get(f"/servers/{server}/ips/{network}", "reader", version)).body == {network: body["addresses"][network]}
    missing = await api.get(f"/servers/{server}/ips/nowhere", "reader", version)
    assert (missing.status, missing.message) == (404, "Instance is not a member of specified network")
    assert (await api.get(f"/servers/{server}/ips", "stranger")).status == 404
