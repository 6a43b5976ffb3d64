"""Tags of servers (/servers/{id}/tags), by which lists are filtered."""

from urllib.parse import quote

from nova_async.api.body import MALFORMED
from nova_async.api.handlers import instances
from nova_async.api.handlers.server_metadata import CHANGEABLE, server
from nova_async.api.request import Request
from nova_async.api.schemas.server_tags import LONGEST, MOST
from nova_async.db import Connection, server_tags
from nova_async.errors import Invalid, NotFound

EXISTS, CREATED = 204, 201


async def index(request: Request) -> list[str]:
    return server(request).tags


async def show(request: Request) -> None:
    """Succeeds where the server has the tag."""
    tagged, tag = server(request), request.values["id"]
    if tag not in tagged.tags:
        raise NotFound(f"Server {tagged.uuid} has no tag '{tag}'")


async def update_all(request: Request) -> list[str]:
    async with request.parts.database.transaction() as conn:
        await _hold(request, conn, "update tags")
        return await server_tags.put(conn, server(request).uuid, list(dict.fromkeys(request.body["tags"])))


async def update(request: Request) -> None:
    """Add a tag: 201 with its address where it is new, 204 where the server has it already."""
    tagged, tag = server(request), request.values["id"]
    if request.body is not None:
        raise Invalid(MALFORMED)
    if len(tag) > LONGEST or "," in tag or "/" in tag:
        raise Invalid(
            f"Tag '{tag[:LONGEST]}' is invalid. It must be a non empty string of at most {LONGEST} characters without '/' and ','."
        )
    async with request.parts.database.transaction() as conn:
        tags = await _hold(request, conn, "update tag")
        if len(tags) >= MOST:
            raise Invalid(f"The number of tags exceeded the per-server limit {MOST}")
        if tag in tags:
            request.status = EXISTS
            return
        await server_tags.put(conn, tagged.uuid, [*tags, tag])
    request.status = CREATED
    request.headers["Location"] = request.here(f"servers/{tagged.uuid}/tags/{quote(tag, safe='')}")


async def delete(request: Request) -> None:
    tagged, tag = server(request), request.values["id"]
    async with request.parts.database.transaction() as conn:
        tags = await _hold(request, conn, "delete tag")
        if tag not in tags:
            raise NotFound(f"Instance {tagged.uuid} has no tag '{tag}'")
        await server_tags.put(conn, tagged.uuid, [t for t in tags if t != tag])


async def delete_all(request: Request) -> None:
    async with request.parts.database.transaction() as conn:
        await _hold(request, conn, "delete tags")
        await server_tags.put(conn, server(request).uuid, [])


async def _hold(request: Request, conn: Connection, action: str) -> list[str]:
    """The tags of the server, which nobody else changes until the transaction ends; raises ``Conflict`` where its state forbids it."""
    tagged = server(request)
    state = await instances.hold(request, conn, tagged)
    if state.vm_state not in CHANGEABLE:
        raise instances.illegal(tagged, action, "vm_state", state.vm_state)
    return await server_tags.current(conn, tagged.uuid)
