"""The server in a path, as far as the caller may know of it."""

from nova_async.api.request import Request
from nova_async.api.schema import UUID
from nova_async.errors import NotFound
from nova_async.model.instances import Instance


async def visible(request: Request, server_id: str) -> Instance:
    """The live server; raises ``NotFound``, also for one of another project unless the caller is an administrator."""
    raise missing(server_id)


def missing(server_id: str) -> NotFound:
    return NotFound(f"Instance {server_id} could not be found.")


__all__ = ["UUID", "missing", "visible"]
