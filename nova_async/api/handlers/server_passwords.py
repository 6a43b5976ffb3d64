"""The administrator's password that a guest made, encrypted with its owner's key, and posted to the metadata service."""

from nova_async.api.handlers.actions import target
from nova_async.api.request import Request
from nova_async.db import instances


async def show(request: Request) -> dict[str, str]:
    return {"password": target(request).password_data}


async def clear(request: Request) -> None:
    """Forgotten here; the guest keeps it."""
    async with request.parts.database.connection() as conn:
        await instances.change(conn, target(request).uuid, password_data="")
