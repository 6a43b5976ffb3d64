"""What is done to a server by ``POST /servers/{id}/action``: begun here, finished by a workflow."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from nova_async.api.handlers.instances import hold, refuse_illegal, refuse_locked, refuse_nowhere
from nova_async.api.handlers.server_quota import check_growth
from nova_async.api.request import Request
from nova_async.api.schemas import TRUE_WORDS
from nova_async.bus.messages.compute import ConsoleOutput, GetConsoleOutput
from nova_async.db import Connection, hosts, instances
from nova_async.errors import Conflict, Unavailable, Unsupported
from nova_async.model.instances import Instance
from nova_async.model.states import REBOOT_OVER
from nova_async.policy import servers as policy
from nova_async.sealed import seal

CONSOLE_SECONDS = 10.0
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f]")


async def start(request: Request) -> None:
    await begin(request, "start", placed=True)


async def stop(request: Request) -> None:
    await begin(request, "stop", placed=True)


async def reboot(request: Request) -> None:
    """A hard one cuts short what else is being done with the guest's power."""
    kind = request.body["reboot"]["type"].upper()
    await begin(request, "reboot", rule=f"reboot {kind.lower()}", over=REBOOT_OVER if kind == "HARD" else None, type=kind)


async def pause(request: Request) -> None:
    await begin(request, "pause")


async def unpause(request: Request) -> None:
    await begin(request, "unpause")


async def suspend(request: Request) -> None:
    await begin(request, "suspend")


async def resume(request: Request) -> None:
    await begin(request, "resume")


async def unrescue(request: Request) -> None:
    await begin(request, "unrescue")


async def restore(request: Request) -> None:
    """A deleted server counts again, so that its project's limits are looked at again."""
    server = target(request)
    async with beginning(request, "restore") as begun:
        await check_growth(begun.conn, request, server, {"instances": 1, "cores": server.vcpus, "ram": server.memory_mb})


async def change_password(request: Request) -> None:
    """The guest's agent sets it; QEMU guests say in their image that they have one. Sealed, so that the host alone reads it."""
    server = target(request)
    await check_legal(request, "changePassword")
    refuse_nowhere(server)
    async with request.parts.database.connection() as conn:
        facts = next((row.facts for row in await hosts.all(conn, [server.host or ""])), {})
    agent = str(server.image_properties.get("hw_qemu_guest_agent", "")).lower()
    if str(facts.get("hypervisor_type", "")).upper() in ("QEMU", "KVM") and agent not in TRUE_WORDS:
        raise Conflict("QEMU guest agent is not enabled")
    if not facts.get("sealing_key"):
        raise Unsupported("Unable to set password on instance")
    await begin(request, "changePassword", sealed=seal(facts["sealing_key"], request.body["changePassword"]["adminPass"]))


async def trigger_crash_dump(request: Request) -> None:
    await begin(request, "trigger_crash_dump", placed=True)


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
    refuse_nowhere(server)
    length = request.body["os-getConsoleOutput"].get("length")
    lines = None if length is None or int(length) < 0 else int(length)
    try:
        answer = await request.parts.bus.call(
            f"compute.{server.host}", GetConsoleOutput(instance_id=server.uuid, lines=lines), timeout=CONSOLE_SECONDS
        )
    except Unavailable as error:
        raise Conflict(f"The host of instance {server.uuid} does not answer; try again later.", detail=error.detail) from None
    return {"output": UNPRINTABLE.sub("", answer.output) if isinstance(answer, ConsoleOutput) else ""}


class Beginning(msgspec.Struct):
    """An operation that is about to begin, and the transaction in which it does."""

    conn: Connection
    workflow_id: str = ""


async def begin(request: Request, kind: str, **options: Any) -> str:
    """Begin a workflow where the server's state allows it, in one transaction with the look at that state; see ``beginning``.

    Returns the workflow's id.
    """
    async with beginning(request, kind, **options) as begun:
        pass
    return begun.workflow_id


@asynccontextmanager
async def beginning(
    request: Request,
    kind: str,
    *,
    word: str | None = None,
    rule: str | None = None,
    locks: bool = True,
    placed: bool = False,
    idle: bool = True,
    over: Mapping[str, str] | None = None,
    **given: Any,
) -> AsyncIterator[Beginning]:
    """As ``begin``; what the block writes is written in the same transaction, before the workflow's row.

    ``word`` is what texts call the action, ``rule`` its name in ``LEGAL``, where they are not ``kind``. ``locks``: a locked
    server refuses it; ``placed``: so does one on no host, whatever its state; ``idle``: and one that something is being done with,
    unless its task_state is in ``over``, which names the operation that is cut short then. The block may still fill a dict in ``given``.
    """
    server = target(request)
    async with request.parts.database.transaction() as conn:
        state = await hold(request, conn, server)
        if locks:
            refuse_locked(request, server, state)
        if placed:
            refuse_nowhere(server)
        cut_short = server.task_state is not None and server.task_state in (over or {})
        refuse_illegal(server, state, word or kind, rule or kind, idle=idle and not cut_short)
        begun = Beginning(conn)
        yield begun
        if over and cut_short:
            given["over"] = frozenset(over.values())
        begun.workflow_id = await request.parts.starter.begin(conn, request.ctx, kind, server.uuid, **given)
    request.parts.starter.go([begun.workflow_id])


async def check_legal(request: Request, action: str, *, locks: bool = True) -> None:
    """Refuse early what ``begin`` would refuse, before something is made elsewhere."""
    server = target(request)
    async with request.parts.database.transaction() as conn:
        state = await hold(request, conn, server)
    if locks:
        refuse_locked(request, server, state)
    refuse_illegal(server, state, action)


def target(request: Request) -> Instance:
    """The server that the route's target names."""
    assert request.server is not None
    return request.server
