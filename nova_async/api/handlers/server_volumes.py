"""Volumes and shares of servers: this cloud has no service that would give any."""

from typing import Any

from nova_async.api.handlers.actions import check_legal, target
from nova_async.api.request import Request
from nova_async.errors import NotFound


async def attachments(request: Request) -> dict[str, Any]:
    return {"volumeAttachments": []}


async def attach(request: Request) -> None:
    await check_legal(request, "attach_volume")
    raise NotFound(f"Volume {request.body['volumeAttachment']['volumeId']} could not be found.")


async def attachment(request: Request) -> None:
    raise NotFound(f"Instance {target(request).uuid} is not attached to volume {request.values['id'][:255]}")
