"""Shares of servers, where no host can pass one on."""

import pytest

from tests.api.conftest import IMAGE


async def test_a_server_has_no_shares_and_gets_none(api) -> None:
    server = await api.server(state="stopped")
    path = f"/servers/{server}/shares"
    assert (await api.get(path, "reader", "2.97")).body == {"shares": []}
    refused = await api.post(path, {"share": {"share_id": IMAGE}}, "member", "2.97")
    assert (refused.status, refused.message) == (
        409,
        "Feature not supported because either compute or instance are not configured correctly.",
    )
    missing = await api.get(f"{path}/{IMAGE}", "reader", "2.97")
    assert (missing.status, missing.message) == (404, f"Share {IMAGE} could not be found.")
    assert (await api.delete(f"{path}/{IMAGE}", "member", "2.97")).status == 404


async def test_shares_are_for_servers_that_are_off(api) -> None:
    server = await api.server()
    refused = await api.post(f"/servers/{server}/shares", {"share": {"share_id": IMAGE}}, "member", "2.97")
    assert (refused.status, refused.message) == (409, f"Cannot 'create share' instance {server} while it is in vm_state active")
    assert (await api.delete(f"/servers/{server}/shares/{IMAGE}", "member", "2.97")).status == 409


@pytest.mark.parametrize("share", [{}, {"share_id": "x"}, {"share_id": IMAGE, "tag": ""}, {"share_id": IMAGE, "tag": "a b"}, {"x": 1}])
async def test_bodies_are_checked(api, share) -> None:
    server = await api.server(state="stopped")
    assert (await api.post(f"/servers/{server}/shares", {"share": share}, "member", "2.97")).status == 400
    assert (await api.get(f"/servers/{server}/shares?x=1", "member", "2.97")).status == 400
    assert (await api.get(f"/servers/{server}/shares", "member", "2.96")).status == 404
