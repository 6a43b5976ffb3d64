"""What we ask an Ironic for. Source: the Bare Metal API, https://docs.openstack.org/api-ref/baremetal/."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nova_async import log
from nova_async.errors import Conflict, Unavailable
from nova_async.services.client import ServiceClient, TokenSource
from nova_async.world import World

VERSION = "1.58"
AT_ONCE = 1000  # nodes of one page
LOCKED_SECONDS = 60.0  # how long we wait for a node that the conductor works on
LOCKED_PAUSE = 1.0
logger = log.get("virt.ironic")


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine. Values of ``properties`` may be numbers or text; sizes are MiB (``memory_mb``) and GiB (``local_gb``)."""

    uuid: str
    name: str | None = None
    instance_uuid: str | None = None
    power_state: str | None = None
    target_power_state: str | None = None
    provision_state: str | None = None
    target_provision_state: str | None = None
    maintenance: bool = False
    resource_class: str | None = None
    conductor_group: str = ""
    traits: tuple[str, ...] = ()
    properties: dict[str, Any] = {}
    instance_info: dict[str, Any] = {}
    last_error: str | None = None


FIELDS = ",".join(Node.__struct_fields__)


class Ironic:
    """``url`` without a version. Errors are those of ``ServiceClient``; a node that stays locked is ``Conflict``."""

    def __init__(self, url: str | Callable[[], Awaitable[str]], world: World, tokens: TokenSource | None = None) -> None:
        self._client = ServiceClient("bare metal", url, world, tokens)
        self._world = world

    async def close(self) -> None:
        await self._client.close()

    async def nodes(self, conductor_group: str | None = None) -> list[Node]:
        """All of them, or those of one conductor group."""
        found: list[Node] = []
        asked = {"fields": FIELDS, "limit": str(AT_ONCE)} | ({} if conductor_group is None else {"conductor_group": conductor_group})
        while True:
            page = (await self._ask("GET", "/v1/nodes", params=asked | ({"marker": found[-1].uuid} if found else {})))["nodes"]
            found += msgspec.convert(page, list[Node])
            if len(page) < AT_ONCE:
                return found

    async def node(self, uuid: str) -> Node:
        """Raises ``NotFound``."""
        return msgspec.convert(await self._ask("GET", f"/v1/nodes/{uuid}", params={"fields": FIELDS}), Node)

    async def change(self, uuid: str, fields: dict[str, Any]) -> None:
        """Set what ``fields`` name (``/instance_info/image_source``); None takes it away. Raises ``Conflict`` for a taken node."""
        changes = [
            {"op": "remove", "path": p} if value is None else {"op": "add", "path": p, "value": value} for p, value in fields.items()
        ]
        await self._patient("PATCH", f"/v1/nodes/{uuid}", json=changes)

    async def provision(self, uuid: str, target: str, **more: Any) -> None:
        """Begin a change of the provision state: active, deleted, rebuild ..."""
        await self._patient("PUT", f"/v1/nodes/{uuid}/states/provision", json={"target": target} | more)

    async def power(self, uuid: str, target: str, **more: Any) -> None:
        """Begin a change of power: ``power on``, ``power off``, ``rebooting``, ``soft power off``, ``soft rebooting``."""
        await self._patient("PUT", f"/v1/nodes/{uuid}/states/power", json={"target": target} | more)

    async def interrupt(self, uuid: str) -> None:
        """Let the machine have an NMI."""
        await self._patient("PUT", f"/v1/nodes/{uuid}/management/inject_nmi")

    async def vifs(self, uuid: str) -> set[str]:
        """Ids of the ports that are attached."""
        return {vif["id"] for vif in (await self._ask("GET", f"/v1/nodes/{uuid}/vifs"))["vifs"]}

    async def attach_vif(self, uuid: str, port_id: str) -> None:
        await self._patient("POST", f"/v1/nodes/{uuid}/vifs", json={"id": port_id})

    async def detach_vif(self, uuid: str, port_id: str) -> None:
        await self._patient("DELETE", f"/v1/nodes/{uuid}/vifs/{port_id}")

    async def _patient(self, method: str, path: str, **options: Any) -> None:
        """A node that the conductor has locked is asked again, until ``LOCKED_SECONDS`` are over."""
        ends = self._world.monotonic() + LOCKED_SECONDS
        while True:
            try:
                await self._ask(method, path, **options)
                return
            except Conflict as error:
                if " is locked by " not in error.message or self._world.monotonic() > ends:
                    raise
            await self._world.sleep(LOCKED_PAUSE)

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            return await self._client.json(method, path, headers={"X-OpenStack-Ironic-API-Version": VERSION}, **options)
        except msgspec.ValidationError as error:
            raise Unavailable("The bare metal service answered in a form that is not known.", detail=str(error)) from None
