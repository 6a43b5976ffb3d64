"""Remote consoles of servers, and what a console's token stands for."""

from typing import Any

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import illegal, refuse_nowhere
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.errors import Invalid
from nova_async.model import states
from nova_async.model.consoles import PROTOCOLS, SPICE_DIRECT

OLD = {"os-getVNCConsole": "vnc", "os-getSPICEConsole": "spice", "os-getSerialConsole": "serial"}
REMOVED, UNAVAILABLE = ("rdp",), ("mks",)  # protocols of hypervisors that are not here
BUSY = (states.DELETING, states.MIGRATING)


async def old(request: Request) -> dict[str, Any]:
    """The action of the first versions, one for each protocol."""
    ((action, asked),) = request.body.items()
    return {"console": {"type": asked["type"], "url": await _open(request, OLD[action], asked["type"])}}


async def create(request: Request) -> dict[str, Any]:
    asked = request.body["remote_console"]
    return {"remote_console": {**asked, "url": await _open(request, asked["protocol"], asked["type"])}}


async def _open(request: Request, protocol: str, console_type: str) -> str:
    server = target(request)
    if protocol in REMOVED:
        raise Invalid(f"Unavailable console type {protocol}.")
    refuse_nowhere(server)
    if server.task_state in BUSY:
        raise illegal(server, f"get_{protocol}_console", "task_state", server.task_state)
    if protocol in UNAVAILABLE:
        raise Invalid(f"Unavailable console type {console_type}.")
    if PROTOCOLS.get(console_type) != protocol:
        raise Invalid(f"Invalid console type {console_type}")
    return await request.parts.consoles.open(server, console_type, request.ctx.user_id)


async def token(request: Request) -> dict[str, Any]:
    """Where the console of a token is, for a proxy of the operator's own."""
    if not request.has(V.ANY_CONSOLE_TOKEN):
        raise Invalid()
    grant = await request.parts.consoles.find(request.values["id"])
    await request.parts.consoles.confirm(grant)
    shown: dict[str, Any] = {
        "instance_uuid": grant.instance_id,
        "host": grant.address,
        "port": grant.port,
        "internal_access_path": None,
    }
    if request.has(V.SPICE_DIRECT) and grant.console_type == SPICE_DIRECT:
        shown["tls_port"] = grant.tls_port
    return {"console": shown}


async def rdp(request: Request) -> None:
    """Only Hyper-V had such consoles."""
    raise Invalid()
