"""What is done to a server by ``POST /servers/{id}/action``: begun here, finished by a workflow."""

import re
from typing import Any

from nova_async.api.handlers.instances import hold, refuse_illegal, refuse_locked
from nova_async.api.request import Request
from nova_async.bus.messages.compute import ConsoleOutput, GetConsoleOutput
from nova_async.db import instances
from nova_async.errors import Conflict, Unavailable
from nova_async.model.instances import Instance
from nova_async.policy import servers as policy

CONSOLE_SECONDS = 10.0
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f]")


async def start(request: Request) -> None:
    await _begin(request, "start")


async def stop(request: Request) -> None:
    await _begin(request, "stop")


async def reboot(request: Request) -> None:
    kind = request.body["reboot"]["type"].upper()
    await _begin(request, "reboot", rule=f"reboot {kind.lower()}", type=kind)


async def pause(request: Request) -> None:
    await _begin(request, "pause")


async def unpause(request: Request) -> None:
    await _begin(request, "unpause")


async def suspend(request: Request) -> None:
    await _begin(request, "suspend")


async def resume(request: Request) -> None:
    await _begin(request, "resume")


async def lock(request: Request) -> None:
    """The owner's second lock changes nothing; an administrator of another project locks over the owner."""
    server = target(request)
    owner = server.project_id == request.ctx.project_id
    if server.locked_by is not None and owner:
        return
    reason = (request.body["lock"] or {}).get("locked_reason") if isinstance(request.body["lock"], dict) else None
    async with request.parts.database.transaction() as conn:
        await instances.change(conn, server.uuid, locked_by="owner" if owner else "admin", locked_reason=reason)
        await request.parts.starter.record(conn, request.ctx, "lock", server.uuid)


async def unlock(request: Request) -> None:
    server = target(request)
    expected = "owner" if server.project_id == request.ctx.project_id else "admin"
    if server.locked_by is not None and server.locked_by != expected:
        request.require(policy.UNLOCK_OVERRIDE, project_id=server.project_id, user_id=server.user_id)
    async with request.parts.database.transaction() as conn:
        await instances.change(conn, server.uuid, locked_by=None, locked_reason=None)
        await request.parts.starter.record(conn, request.ctx, "unlock", server.uuid)


async def reset_state(request: Request) -> None:
    """An operator's word on what the server is; what is being done with it goes on."""
    server = target(request)
    async with request.parts.database.transaction() as conn:
        await instances.change(conn, server.uuid, vm_state=request.body["os-resetState"]["state"])
        await request.parts.starter.record(conn, request.ctx, "resetState", server.uuid)


async def console_output(request: Request) -> dict[str, Any]:
    """The end of the console's log, asked of the host."""
    server = target(request)
    if server.host is None:
        raise Conflict(f"Instance {server.uuid} is not ready")
    length = request.body["os-getConsoleOutput"].get("length")
    lines = None if length is None or int(length) < 0 else int(length)
    try:
        answer = await request.parts.bus.call(
            f"compute.{server.host}", GetConsoleOutput(instance_id=server.uuid, lines=lines), timeout=CONSOLE_SECONDS
        )
    except Unavailable as error:
        raise Conflict(f"The host of instance {server.uuid} does not answer; try again later.", detail=error.detail) from None
    return {"output": UNPRINTABLE.sub("", answer.output) if isinstance(answer, ConsoleOutput) else ""}


async def _begin(request: Request, action: str, rule: str | None = None, **given: Any) -> None:
    """Begin a workflow where the server's state allows it, in one transaction with the look at that state."""
    server = target(request)
    async with request.parts.database.transaction() as conn:
        state = await hold(request, conn, server)
        refuse_locked(request, server, state)
        refuse_illegal(server, state, action, rule)
        workflow = await request.parts.starter.begin(conn, request.ctx, action, server.uuid, **given)
    request.parts.starter.go([workflow])


def target(request: Request) -> Instance:
    """The server that the route's target names."""
    assert request.server is not None
    return request.server
