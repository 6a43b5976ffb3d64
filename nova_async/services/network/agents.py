"""Hosts as Neutron's agents, for administrators: which of them live, and which routers each carries."""

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.errors import Conflict, Unsupported
from nova_async.services.network import fields as f
from nova_async.services.network.collection import Collection, Query
from nova_async.services.network.ground import Carrier, Ground
from nova_async.services.network.routers import Routers
from nova_async.services.network.views import ZONE
from nova_async.services.web import context_of, json_body, json_response

L3 = "neutron-l3-agent"
AGENTS = {  # binary: type, and topic; what a host's worker does of each
    L3: ("L3 agent", "l3_agent"),
    "neutron-dhcp-agent": ("DHCP agent", "dhcp_agent"),
    "neutron-linuxbridge-agent": ("Linux bridge agent", "N/A"),
}


class Agent(msgspec.Struct, kw_only=True):
    id: str
    project_id: str = ""
    binary: str
    carrier: Carrier


class Agents(Collection[Agent]):
    """Others than administrators find none."""

    name, plural, label, has_name = "agent", "agents", "Agent", False

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[Agent]:
        desk = self.service.router_desk
        if page.project_id is not None or desk is None:
            return []
        found = [Agent(id=_id(carrier, binary), binary=binary, carrier=carrier) for carrier in desk.carriers() for binary in AGENTS]
        found = [agent for agent in found if (page.ids is None or agent.id in page.ids) and agent.id > (page.after or "")]
        return sorted(found, key=lambda agent: agent.id)[: page.limit]

    def view(self, row: Agent, ctx: Context) -> dict[str, Any]:
        kind, topic = AGENTS[row.binary]
        heard = row.carrier.seen_at or row.carrier.created_at
        physical = {wires.partition(":")[2] for wires in row.carrier.wires}
        return {
            "id": row.id,
            "agent_type": kind,
            "binary": row.binary,
            "topic": topic,
            "host": row.carrier.name,
            "admin_state_up": True,
            "alive": row.carrier.up,
            "availability_zone": None if topic == "N/A" else ZONE,
            "configurations": {"physical_networks": sorted(physical)} if topic == "N/A" else {},
            "description": None,
            "created_at": _moment(row.carrier.created_at),
            "started_at": _moment(row.carrier.created_at),
            "heartbeat_timestamp": _moment(heard),
            "resources_synced": None,
        }


class AgentApi:
    """The requests by which administrators see which host carries a router, and give it to another."""

    def __init__(self, service: Ground) -> None:
        self.agents, self.routers = Agents(service), Routers(service)

    def routes(self) -> list[web.RouteDef]:
        path = "/v2.0/agents/{agent}/l3-routers"
        return [
            web.get(path, self.routers_of),
            web.post(path, self.add),
            web.delete(path + "/{router}", self.remove),
            web.get("/v2.0/routers/{router}/l3-agents", self.agents_of),
        ]

    async def routers_of(self, request: web.Request) -> web.Response:
        ctx, agent = context_of(request), await self._agent(request)
        async with self.agents.service.db.connection() as conn:
            found = await router_rows.routers(conn, rows.Page())
        own = [row for row in found if row.host == agent.carrier.name]
        return json_response({"routers": [self.routers.view(row, ctx) for row in own]})

    async def add(self, request: web.Request) -> web.Response:
        """A router is always on one host, which it leaves for this."""
        agent, body = await self._agent(request), await json_body(request)
        router = await self.routers.get(context_of(request), f.identifier("router_id", body.get("router_id")))
        desk = self.agents.service.router_desk
        assert desk is not None  # it knows the agent
        await desk.move(router.id, agent.carrier.name)
        return json_response({}, 201)

    async def remove(self, request: web.Request) -> web.Response:
        await self._agent(request)
        raise Unsupported("A router is always on one host: add it to the L3 agent of another.")

    async def agents_of(self, request: web.Request) -> web.Response:
        ctx = context_of(request)
        router = await self.routers.get(ctx, request.match_info["router"])
        async with self.agents.service.db.connection() as conn:
            found = await self.agents.find(conn, rows.Page(project_id=None if ctx.is_admin else ctx.project_id), {})
        own = [agent for agent in found if agent.binary == L3 and agent.carrier.name == router.host]
        return json_response({"agents": [self.agents.view(agent, ctx) for agent in own]})

    async def _agent(self, request: web.Request) -> Agent:
        """Raises ``NotFound``, ``Conflict``."""
        agent = await self.agents.get(context_of(request), request.match_info["agent"])
        if agent.binary != L3:
            raise Conflict(f"Agent {agent.id} is not a L3 Agent or has been disabled")
        return agent


def _id(carrier: Carrier, binary: str) -> str:
    return str(uuid.uuid5(uuid.UUID(carrier.id), binary))


def _moment(value: datetime) -> str:
    """As Neutron writes it here."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
