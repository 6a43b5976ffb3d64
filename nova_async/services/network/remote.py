"""Neutron behind ``NetworkService``.

We ask with our own credential, which sees more than the caller: whose things they are is looked at here. A port's ``binding:profile``,
which only administrators may write, says which card of the server it is and whether the user brought it, so that every operation
is safe to repeat. Cables are Neutron's: its agent on the host wires the tap that the worker makes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nova_async.config import Config
from nova_async.context import Context, service_context
from nova_async.db.networks import Survey
from nova_async.errors import Conflict, Forbidden, Invalid, NoCapacity, NotFound, Unsupported
from nova_async.model.guests import PortSpec
from nova_async.services.client import ServiceClient, TokenSource, versioned
from nova_async.services.network import NetworkRequest
from nova_async.services.network.checks import DEFAULT, is_uuid, judged, not_allocated, well_formed
from nova_async.services.network.ground import plugs_ports
from nova_async.services.network.neutron_bindings import RemoteBindings
from nova_async.services.network.neutron_ports import CARD, FAILED, card_of, fits, may_boot, spec
from nova_async.services.network.neutron_segments import RemoteSegments
from nova_async.world import World

Thing = dict[str, Any]
WORD = {"networks": "Network", "subnets": "Subnet", "ports": "Port", "security-groups": "Security group", "floatingips": "Floating IP"}
EXTERNAL = "router:external"
UNBOUND = {"device_id": "", "device_owner": "", "binding:host_id": "", "binding:profile": {}}


class RemoteNetworks:
    """Implements ``NetworkService``. ``url`` is the endpoint, with or without ``/v2.0``, or how to find it."""

    def __init__(self, url: str | Callable[[], Awaitable[str]], tokens: TokenSource, config: Config, world: World) -> None:
        base = versioned(url, "v2.0").removesuffix("/v2.0") if isinstance(url, str) else url
        self._client = ServiceClient("network", base, world, tokens)
        self._bindings = RemoteBindings(self._client)
        self._segments = RemoteSegments(self._list)
        self.plug = plugs_ports(config)

    async def close(self) -> None:
        await self._client.close()

    # Servers' ports

    async def check(
        self, ctx: Context, requests: list[NetworkRequest] | None, security_groups: list[str], count: int
    ) -> list[NetworkRequest]:
        """See ``NetworkService.check``."""
        for request in requests or []:
            well_formed(request, count)
        return judged(requests, security_groups, await self._survey(ctx, requests or []), ctx)

    async def bind(
        self,
        ctx: Context,
        *,
        instance_id: str,
        hostname: str,
        host: str,
        availability_zone: str,
        requests: list[NetworkRequest],
        security_groups: list[str],
        first_position: int = 0,
    ) -> list[PortSpec]:
        """See ``NetworkService.bind``; ``ctx.project_id`` is the server's project."""
        if not requests:
            return []
        known = {card_of(port): port for port in await self._of(instance_id)}
        groups = await self._group_ids(ctx.project_id, security_groups)
        binding = {
            "device_id": instance_id,
            "device_owner": f"compute:{availability_zone or 'nova'}",
            "binding:host_id": host,
        }
        for position, request in enumerate(requests, first_position):
            card = {CARD: {"position": position, "tag": request.tag, "brought": request.port_id is not None}}
            fields = {**binding, "binding:profile": card}
            if position in known:
                await self._change_port(known[position]["id"], binding)
            elif request.port_id is not None:
                await self._change_port(request.port_id, fields)
            else:
                await self._make_port(ctx, request, fields, groups)
        return await self._bound(instance_id)

    async def unbind(self, ctx: Context, *, instance_id: str, port_id: str | None = None) -> None:
        """See ``NetworkService.unbind``. A port that is gone is no error."""
        for port in await self._of(instance_id):
            if port_id not in (None, port["id"]):
                continue
            try:
                if (port.get("binding:profile") or {}).get(CARD, {}).get("brought", True):
                    await self._put("ports", port["id"], UNBOUND)
                else:
                    await self._client.json("DELETE", f"/v2.0/ports/{port['id']}")
            except NotFound:
                continue

    async def join(self, ctx: Context, *, instance_id: str, host: str) -> None:
        """See ``NetworkService.join``."""
        for port in await self._of(instance_id):
            await self._bindings.join(port, host)

    async def part(self, ctx: Context, *, instance_id: str, host: str) -> None:
        """See ``NetworkService.part``."""
        for port in await self._of(instance_id):
            await self._bindings.part(port, host)

    async def move(self, ctx: Context, *, instance_id: str, host: str, availability_zone: str) -> list[PortSpec]:
        """See ``NetworkService.move``."""
        if host:
            for port in await self._of(instance_id):
                await self._bindings.settle(port, host)
        binding = {"binding:host_id": host, "device_owner": f"compute:{availability_zone or 'nova'}"}
        for port in await self._of(instance_id):
            if any(port.get(name) != value for name, value in binding.items()):
                await self._change_port(port["id"], binding)
        return await self._bound(instance_id)

    async def reach(self, ctx: Context, *, instance_id: str, requests: list[NetworkRequest]) -> dict[str, list[str]]:
        """See ``NetworkService.reach``."""
        bound = await self._of(instance_id)
        brought = await self._some("ports", [r.port_id for r in requests])
        return await self._segments.hosts([r for r in requests if not bound], bound or brought)

    async def ports(self, ctx: Context, *, instance_id: str) -> list[PortSpec]:
        return await self._specs(await self._of(instance_id))

    async def security_groups(self, ctx: Context, *, instance_id: str) -> list[str]:
        ids = sorted({group for port in await self._of(instance_id) for group in port.get("security_groups") or []})
        found = await self._list("security-groups", id=ids) if ids else []
        return sorted({str(group["name"]) for group in found})

    async def check_auto(self, ctx: Context) -> None:
        """See ``NetworkService.check_auto``."""
        await self._topology(ctx, "?fields=dry-run")

    async def auto(self, ctx: Context) -> list[NetworkRequest]:
        """See ``NetworkService.auto``."""
        return [NetworkRequest(network_id=await self._topology(ctx))]

    async def _topology(self, ctx: Context, query: str = "") -> str:
        """The network's id. Raises ``Invalid``."""
        try:
            body = await self._client.json("GET", f"/v2.0/auto-allocated-topology/{ctx.project_id}{query}")
        except (Conflict, NotFound) as error:
            raise not_allocated(ctx.project_id, error) from None
        return str(body["auto_allocated_topology"]["id"])

    # Neutron's own things

    async def things(self, ctx: Context, kind: str, **filters: list[str]) -> list[Thing]:
        if kind not in ("networks", "subnets") and not ctx.is_admin:
            filters = {**filters, "project_id": [ctx.project_id]}
        return [thing for thing in await self._list(kind, **filters) if _visible(ctx, kind, thing)]

    async def thing(self, ctx: Context, kind: str, id: str) -> Thing:
        found = await self._list(kind, id=[id]) if is_uuid(id) else []
        if not found or not _visible(ctx, kind, found[0]):
            raise NotFound(f"{WORD.get(kind, kind)} {id} could not be found.")
        return found[0]

    async def make(self, ctx: Context, kind: str, fields: Thing) -> Thing:
        name = _singular(kind)
        owner = {"project_id": ctx.project_id} if kind != "security-group-rules" or "project_id" not in fields else {}
        body = await self._client.json("POST", f"/v2.0/{kind}", json={name: {**owner, **fields}})
        return dict(body[name])

    async def change(self, ctx: Context, kind: str, id: str, fields: Thing) -> Thing:
        await self._own(ctx, kind, id)
        return await self._put(kind, id, fields)

    async def remove(self, ctx: Context, kind: str, id: str) -> None:
        await self._own(ctx, kind, id)
        await self._client.json("DELETE", f"/v2.0/{kind}/{id}")

    async def _own(self, ctx: Context, kind: str, id: str) -> None:
        thing = await self.thing(ctx, kind, id)
        if not ctx.is_admin and thing.get("project_id") != ctx.project_id:
            raise Forbidden("rule:admin_or_owner is disallowed by policy")

    # How it is asked

    async def _survey(self, ctx: Context, asked: list[NetworkRequest]) -> Survey:
        """What ``checks`` judges by."""
        usable, shared, named, ports, groups = await asyncio.gather(
            self._list("networks", project_id=[ctx.project_id]),
            self._list("networks", shared=["True"]),
            self._some("networks", [r.network_id for r in asked]),
            self._some("ports", [r.port_id for r in asked]),
            self._list("security-groups", project_id=[ctx.project_id]),
        )
        seen = {
            n["id"]: n for n in (*usable, *shared, *(n for n in named if ctx.is_admin or n.get(EXTERNAL) or _visible(ctx, "networks", n)))
        }
        subnets, under = await asyncio.gather(
            self._some("subnets", [id for n in seen.values() for id in n.get("subnets") or []]),
            self._some("networks", [p["network_id"] for p in ports if p["network_id"] not in seen]),
        )
        open_ones = {n["id"] for n in (*seen.values(), *under) if not _guarded(n)}
        addresses = [r.fixed_ip for r in asked if r.fixed_ip]
        taken = await self._list("ports", fixed_ips=[f"ip_address={a}" for a in addresses]) if addresses else []
        return Survey(
            default_group=next((g["id"] for g in groups if g["name"] == DEFAULT), ""),
            networks=[_surveyed(n, ctx, subnets, taken) for n in sorted(seen.values(), key=lambda n: str(n.get("created_at")))],
            ports=[
                {
                    "id": p["id"],
                    "network_id": p["network_id"],
                    "in_use": bool(p.get("device_id")),
                    "on_guarded": p["network_id"] not in open_ones,
                    "addressed": may_boot(p),
                }
                for p in ports
                if ctx.is_admin or p.get("project_id") == ctx.project_id
            ],
            groups=[{"id": g["id"], "name": g["name"]} for g in groups],
        )

    async def _make_port(self, ctx: Context, request: NetworkRequest, fields: Thing, groups: list[str]) -> None:
        wanted = {**fields, "network_id": request.network_id, "project_id": ctx.project_id}
        network = await self.thing(service_context(""), "networks", str(request.network_id))
        if groups and _guarded(network):
            wanted["security_groups"] = groups
        if request.fixed_ip:
            wanted["fixed_ips"] = [{"ip_address": request.fixed_ip}]
        port = (await self._client.json("POST", "/v2.0/ports", json={"port": wanted}))["port"]
        _accept(port)

    async def _change_port(self, port_id: str, fields: Thing) -> None:
        _accept(await self._put("ports", port_id, fields))

    async def _group_ids(self, project_id: str, names: list[str]) -> list[str]:
        """Ids of groups by id or name; none where there is nothing but the default, which Neutron gives by itself."""
        wanted = [name for name in names if name != DEFAULT]
        if not wanted:
            return []
        known = await self._list("security-groups", project_id=[project_id])
        found = {name: next((g["id"] for g in known if name in (g["id"], g["name"])), None) for name in names}
        if missing := [name for name, id in found.items() if id is None]:
            raise Invalid(f"Security group {missing[0]} not found.")
        return [str(id) for id in found.values()]

    async def _bound(self, instance_id: str) -> list[PortSpec]:
        return await self._specs(await self._of(instance_id))

    async def _of(self, instance_id: str) -> list[Thing]:
        """The ports of a server, in the order of its cards."""
        found = await self._list("ports", device_id=[instance_id])
        return sorted(found, key=lambda port: (card_of(port), str(port["id"])))

    async def _specs(self, ports: list[Thing]) -> list[PortSpec]:
        networks, subnets = await asyncio.gather(
            self._some("networks", [p["network_id"] for p in ports]),
            self._some("subnets", [ip["subnet_id"] for p in ports for ip in p.get("fixed_ips") or []]),
        )
        known = {network["id"]: network for network in networks}
        return [spec(port, known.get(port["network_id"], {}), {s["id"]: s for s in subnets}, plug=self.plug) for port in ports]

    async def _some(self, kind: str, ids: list[Any]) -> list[Thing]:
        wanted = sorted({str(id) for id in ids if id})
        return await self._list(kind, id=wanted) if wanted else []

    async def _list(self, kind: str, **filters: list[str]) -> list[Thing]:
        query = [(name, value) for name, values in filters.items() for value in values]
        found = (await self._client.json("GET", f"/v2.0/{kind}", params=query)).get(kind.replace("-", "_"))
        return [thing for thing in found if isinstance(thing, dict)] if isinstance(found, list) else []

    async def _put(self, kind: str, id: str, fields: Thing) -> Thing:
        name = _singular(kind)
        return dict((await self._client.json("PUT", f"/v2.0/{kind}/{id}", json={name: fields}))[name])


def _singular(kind: str) -> str:
    return kind.removesuffix("s").replace("-", "_")


def _visible(ctx: Context, kind: str, thing: Thing) -> bool:
    if ctx.is_admin or thing.get("project_id") == ctx.project_id:
        return True
    return kind == "networks" and bool(thing.get("shared") or thing.get(EXTERNAL))


def _guarded(network: Thing) -> bool:
    return bool(network.get("port_security_enabled", True))


def _surveyed(network: Thing, ctx: Context, subnets: list[Thing], taken: list[Thing]) -> Thing:
    own = [s for s in subnets if s["network_id"] == network["id"]]
    return {
        "id": network["id"],
        "name": network["name"],
        "external": bool(network.get(EXTERNAL)),
        "own": network.get("project_id") == ctx.project_id,
        "shared": bool(network.get("shared")),
        "guarded": _guarded(network),
        "cidrs": [s["cidr"] for s in own],
        "gateways": [s["gateway_ip"] for s in own if s.get("gateway_ip")],
        "taken": [ip["ip_address"] for p in taken if p["network_id"] == network["id"] for ip in p.get("fixed_ips") or []],
    }


def _accept(port: Thing) -> None:
    """Raises ``NoCapacity`` where no agent of the host took the port, ``Unsupported`` for a way of wiring that workers do not know."""
    if port.get("binding:vif_type") == FAILED:
        raise NoCapacity(f"Binding failed for port {port['id']}, please check neutron logs for more information.")
    if not fits(port):
        raise Unsupported(f"Port {port['id']} is wired as {port.get('binding:vif_type')}, which this cloud's hosts do not know.")
