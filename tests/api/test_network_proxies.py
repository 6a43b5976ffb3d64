"""The old proxies to networks, in front of the built-in network service."""

import pytest

from tests.api.conftest import CALLERS, Api
from tests.api.proxied import proxied
from tests.api.samples import samples

__all__ = ["proxied"]

NOBODYS = "00000000-0000-4000-8000-000000000000"


async def test_networks_are_those_of_the_project_and_the_shared_ones(proxied: Api) -> None:
    mine = await proxied.parts.networks.make(CALLERS["member"], "networks", {"name": "mine"})
    theirs = await proxied.parts.networks.make(CALLERS["stranger"], "networks", {"name": "theirs"})

    listed = (await proxied.get("/os-networks")).body["networks"]
    assert {"mine", "private"} <= {network["label"] for network in listed}
    assert theirs["id"] not in {network["id"] for network in listed}
    shown = (await proxied.get(f"/os-networks/{mine['id']}", version="2.35")).body["network"]
    assert (shown["id"], shown["label"], shown["cidr"]) == (mine["id"], "mine", None)
    assert "vlan" not in shown
    assert "vlan" in (await proxied.get(f"/os-networks/{mine['id']}", "admin")).body["network"]

    listed = (await proxied.get("/os-tenant-networks")).body["networks"]
    assert {"id": mine["id"], "cidr": "None", "label": "mine"} in listed
    shown = (await proxied.get(f"/os-tenant-networks/{mine['id']}")).body["network"]
    assert shown == {"id": mine["id"], "cidr": "None", "label": "mine"}

    for path in ("os-networks", "os-tenant-networks"):
        for unknown in (theirs["id"], NOBODYS, "nonsense"):
            answer = await proxied.get(f"/{path}/{unknown}")
            assert (answer.status, answer.message) == (404, "Network not found"), (path, unknown)
        assert (await proxied.get(f"/{path}", version="2.36")).status == 404
        assert (await proxied.get(f"/{path}/{mine['id']}", version="2.36")).status == 404


@pytest.mark.parametrize(("version", "sample"), samples("network-show-resp", "os-networks"))
async def test_a_network_has_the_fields_of_nova(proxied: Api, version: str, sample: dict[str, dict[str, object]]) -> None:
    mine = await proxied.parts.networks.make(CALLERS["admin"], "networks", {"name": "mine"})
    shown = (await proxied.get(f"/os-networks/{mine['id']}", "admin", version)).body
    assert set(shown["network"]) == set(sample["network"])


async def test_pools_are_external_networks(proxied: Api) -> None:
    made = await proxied.parts.networks.make(CALLERS["admin"], "networks", {"name": "outside", "router:external": True})

    pools = (await proxied.get("/os-floating-ip-pools", "nobody")).body["floating_ip_pools"]

    assert {"name": "outside"} in pools
    assert {"name": "private"} not in pools
    unnamed = await proxied.parts.networks.change(CALLERS["admin"], "networks", made["id"], {"name": ""})
    assert {"name": unnamed["id"]} in (await proxied.get("/os-floating-ip-pools")).body["floating_ip_pools"]
    assert (await proxied.get("/os-floating-ip-pools", version="2.36")).status == 404
