"""What users note on their servers (/servers/{id}/metadata). The guest reads it through the metadata service."""

from nova_async import quota
from nova_async.api.handlers import instances, quota_sets
from nova_async.api.request import Request
from nova_async.db import Connection, server_metadata
from nova_async.errors import Invalid, NotFound
from nova_async.model.instances import Instance
from nova_async.model.states import ACTIVE, PAUSED, STOPPED, SUSPENDED

CHANGEABLE = frozenset({ACTIVE, PAUSED, SUSPENDED, STOPPED})  # the vm_states in which users may note something


async def index(request: Request) -> dict[str, str]:
    return server(request).metadata


async def show(request: Request) -> dict[str, str]:
    key, items = request.values["id"], server(request).metadata
    if key not in items:
        raise missing()
    return {key: items[key]}


async def create(request: Request) -> dict[str, str]:
    """Add items; those that exist change."""
    return await _put(request, request.body["metadata"], replace=False)


async def update_all(request: Request) -> dict[str, str]:
    return await _put(request, request.body["metadata"], replace=True)


async def update(request: Request) -> dict[str, str]:
    items: dict[str, str] = request.body["meta"]
    if request.values["id"] not in items:
        raise Invalid("Request body and URI mismatch")
    await _put(request, items, replace=False)
    return items


async def delete(request: Request) -> None:
    noted = server(request)
    if request.values["id"] not in noted.metadata:
        raise missing()
    async with request.parts.database.transaction() as conn:
        await _hold(request, conn, noted, "delete metadata")
        if not await server_metadata.remove(conn, noted.uuid, request.values["id"]):
            raise missing()


def server(request: Request) -> Instance:
    """The server in the path, which the route had loaded."""
    assert request.server is not None
    return request.server


def missing() -> NotFound:
    return NotFound("Metadata item was not found")


async def _put(request: Request, items: dict[str, str], *, replace: bool) -> dict[str, str]:
    noted = server(request)
    async with request.parts.database.transaction() as conn:
        await _hold(request, conn, noted, "update metadata")
        limits = await quota_sets.limits(request, conn, noted.project_id, request.ctx.user_id)
        now = await server_metadata.put(conn, noted.uuid, items, replace=replace)
        quota.check_metadata(limits, len(now))
    return now


async def _hold(request: Request, conn: Connection, noted: Instance, action: str) -> None:
    """Nobody else changes the server until the transaction ends; raises ``Conflict`` where it must not be changed."""
    state = await instances.hold(request, conn, noted)
    instances.refuse_locked(request, noted, state)
    if state.vm_state not in CHANGEABLE:
        raise instances.illegal(noted, action, "vm_state", state.vm_state)
