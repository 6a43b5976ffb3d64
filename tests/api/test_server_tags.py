"""Tags of servers, from outside."""

import asyncio

import pytest

V = "2.26"


async def test_tags_are_put_asked_for_and_taken(api) -> None:
    server = await api.server()
    path = f"/servers/{server}/tags"
    assert (await api.get(path, "reader", V)).body == {"tags": []}
    put = await api.put(path, {"tags": ["tag1", "tag2", "tag1"]}, version=V)
    assert (put.status, put.body) == (200, {"tags": ["tag1", "tag2"]})
    new = await api.put(f"{path}/tag3", None, version=V)
    assert (new.status, new.raw) == (201, b"")
    assert new.headers["Location"].endswith(f"/compute/v2.1{path}/tag3")
    assert (await api.put(f"{path}/tag3", None, version=V)).status == 204
    assert (await api.get(f"{path}/tag3", "reader", V)).status == 204
    gone = await api.delete(f"{path}/tag1", version=V)
    assert (gone.status, gone.raw) == (204, b"")
    assert (await api.get(path, version=V)).body == {"tags": ["tag2", "tag3"]}
    missing = await api.get(f"{path}/tag1", version=V)
    assert (missing.status, missing.message) == (404, f"Server {server} has no tag 'tag1'")
    assert (await api.delete(f"{path}/tag1", version=V)).message == f"Instance {server} has no tag 'tag1'"
    assert (await api.delete(path, version=V)).status == 204
    assert (await api.get(path, version=V)).body == {"tags": []}


async def test_there_are_no_tags_before_2_26(api) -> None:
    server = await api.server()
    assert (await api.get(f"/servers/{server}/tags", version="2.25")).status == 404


async def test_tags_may_hold_anything_but_commas_and_slashes(api) -> None:
    server = await api.server()
    new = await api.put(f"/servers/{server}/tags/%C3%A9%22%20x", None, version=V)
    assert new.status == 201, new
    assert new.headers["Location"].endswith("/tags/%C3%A9%22%20x")
    assert (await api.get(f"/servers/{server}/tags", version=V)).body == {"tags": ['é" x']}


async def test_who_may(api) -> None:
    server = await api.server()
    path = f"/servers/{server}/tags"
    assert (await api.get(path, "stranger", V)).status == 404
    assert (await api.get(path, "nobody", V)).status == 403
    assert (await api.put(path, {"tags": []}, "reader", V)).status == 403
    assert (await api.put(f"{path}/a", None, "reader", V)).status == 403
    assert (await api.delete(path, "reader", V)).status == 403
    assert (await api.put(f"{path}/a", None, "colleague", V)).status == 201


@pytest.mark.parametrize(("method", "tag", "action"), [("PUT", "/a", "update tag"), ("DELETE", "", "delete tags")])
async def test_only_settled_servers_are_tagged(api, method, tag, action) -> None:
    server = await api.server(state="error")
    answer = await api.ask(method, f"/servers/{server}/tags{tag}", "member", V)
    assert (answer.status, answer.message) == (409, f"Cannot '{action}' instance {server} while it is in vm_state error")


async def test_a_server_has_fifty_tags_at_most_even_when_they_come_at_once(api) -> None:
    """SEC-060"""
    server = await api.server()
    path = f"/servers/{server}/tags"
    await api.put(path, {"tags": [f"t{i}" for i in range(48)]}, version=V)
    answers = await asyncio.gather(*(api.put(f"{path}/n{i}", None, version=V) for i in range(5)))
    assert sorted(a.status for a in answers) == [201, 201, 400, 400, 400]
    assert len((await api.get(path, version=V)).body["tags"]) == 50
    assert (await api.put(path, {"tags": [f"t{i}" for i in range(51)]}, version=V)).status == 400


async def test_wrong_tags_are_refused(api) -> None:
    server = await api.server()
    for tag in (
        "a,b",
        "a%2Fb",
        "x" * 61,
        "%2C",
    ):
        answer = await api.put(f"/servers/{server}/tags/{tag}", None, version=V)
        assert answer.status == 400
        assert "is invalid" in answer.message


async def test_wrong_bodies_are_refused(api) -> None:
    server = await api.server()
    for body in (
        {"tags": ["a,b"]},
        {"tags": [""]},
        {"tags": [1]},
        {"tags": "a"},
        {},
        {"tags": [], "x": 1},
        {"tags": ["x" * 61]},
    ):
        assert (await api.put(f"/servers/{server}/tags", body, version=V)).status == 400
        assert (await api.put(f"/servers/{server}/tags/a", body, version=V)).status == 400
