"""A second binding of a Neutron port, for the host that its server is on its way to (the extension ``binding-extended``).

It is made before the server goes, so that a host which cannot have the port is known in time; it becomes the active one when the server is
there. A Neutron without the extension says 404: then ports change hosts in one go, when the server has arrived.
"""

from typing import Any

from nova_async.errors import Conflict, NoCapacity, NotFound, Unavailable, Unsupported
from nova_async.services.client import ServiceClient
from nova_async.services.network.neutron_ports import FAILED, fits

Thing = dict[str, Any]
ACTIVE = "ACTIVE"


class RemoteBindings:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def join(self, port: Thing, host: str) -> None:
        """See ``NetworkService.join``. The card's place in its server, which is in the profile, goes along."""
        if port.get("binding:host_id") == host or not port.get("binding:host_id"):
            return
        fields = {"host": host, "profile": port.get("binding:profile") or {}, "vnic_type": port.get("binding:vnic_type") or "normal"}
        try:
            made = (await self._client.json("POST", _of(port), json={"binding": fields}))["binding"]
        except (Conflict, NotFound):  # it was made before; or nobody knows of bindings
            return
        except Unavailable as error:  # so Neutron says that no agent took it
            if any(binding["host"] == host for binding in await self._all(port)):
                return
            raise _failed(port, host, error.detail) from None
        if made.get("vif_type") == FAILED:
            raise _failed(port, host)
        if not fits({"binding:vif_type": made.get("vif_type")}):
            raise Unsupported(f"Host {host} wires port {port['id']} as {made.get('vif_type')}, which this cloud's hosts do not know.")

    async def part(self, port: Thing, host: str) -> None:
        """See ``NetworkService.part``."""
        if port.get("binding:host_id") != host:
            await self._remove(port, host)

    async def settle(self, port: Thing, host: str) -> None:
        """The host's own binding, if there is one, becomes the active one; all others go. Safe to repeat."""
        known = await self._all(port)
        if any(binding["host"] == host and binding["status"] != ACTIVE for binding in known):
            await self._client.json("PUT", f"{_of(port)}/{host}/activate")
        elif not any(binding["host"] == host for binding in known):
            return
        for binding in known:
            if binding["host"] != host:
                await self._remove(port, binding["host"])

    async def _all(self, port: Thing) -> list[Thing]:
        try:
            return list((await self._client.json("GET", _of(port))).get("bindings") or [])
        except NotFound:
            return []

    async def _remove(self, port: Thing, host: str) -> None:
        try:
            await self._client.json("DELETE", f"{_of(port)}/{host}")
        except NotFound:
            return


def _of(port: Thing) -> str:
    return f"/v2.0/ports/{port['id']}/bindings"


def _failed(port: Thing, host: str, why: str | None = None) -> NoCapacity:
    return NoCapacity(
        f"Binding failed for port {port['id']}, please check neutron logs for more information.", detail=f"host {host}: {why}"
    )
