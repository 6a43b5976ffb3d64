"""Ports at a real Neutron while their server moves."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from nova_async.config import Identity, load
from nova_async.context import service_context
from nova_async.errors import NoCapacity
from nova_async.services.identity.remote import TokenSource
from nova_async.services.network.remote import RemoteNetworks
from nova_async.world import RealWorld
from tests.openstack.neutron import ELSEWHERE
from tests.openstack.services import PASSWORD

if TYPE_CHECKING:
    from tests.openstack.conftest import Site


def change_hosts(site: "Site", server: Any) -> None:
    """Of a server that is not needed any more: nobody plugs what is bound elsewhere."""
    asyncio.run(_told(site, str(server.id)))


async def _told(site: "Site", server: str) -> None:
    world, ctx = RealWorld(), service_context("")
    tokens = TokenSource(Identity(url=site.services.auth_url, username="nova", password=PASSWORD), world)
    networks = RemoteNetworks(site.services.url("network"), tokens, load(None, {}, compute__driver="fake"), world)

    async def host() -> str:
        [port] = await networks.things(ctx, "ports", device_id=[server])
        return str(port["binding:host_id"])

    async def bindings() -> dict[str, str]:
        [port] = await networks.things(ctx, "ports", device_id=[server])
        found = (await networks._client.json("GET", f"/v2.0/ports/{port['id']}/bindings"))["bindings"]
        return {binding["host"]: binding["status"] for binding in found}

    try:
        here = await host()
        for _ in range(2):
            await networks.join(ctx, instance_id=server, host=ELSEWHERE)
        assert await bindings() == {here: "ACTIVE", ELSEWHERE: "INACTIVE"}
        await networks.part(ctx, instance_id=server, host=ELSEWHERE)
        assert await bindings() == {here: "ACTIVE"}
        with pytest.raises(NoCapacity):
            await networks.join(ctx, instance_id=server, host="nowhere")
        assert await bindings() == {here: "ACTIVE"}
        await networks.join(ctx, instance_id=server, host=ELSEWHERE)
        [before] = await networks.ports(ctx, instance_id=server)
        for _ in range(2):
            [after] = await networks.move(ctx, instance_id=server, host=ELSEWHERE, availability_zone="nova")
        assert (await host(), await bindings()) == (ELSEWHERE, {ELSEWHERE: "ACTIVE"})
        assert (after.id, after.mac, after.fixed_ips, after.tag) == (before.id, before.mac, before.fixed_ips, before.tag)
        await networks.move(ctx, instance_id=server, host=here, availability_zone="nova")
        assert await bindings() == {here: "ACTIVE"}
    finally:
        await networks.close()
        await tokens.close()
