"""A server's volumes: attached, shown, exchanged, detached."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nova_async.api.handlers.actions import begin, beginning, check_legal, target
from nova_async.api.handlers.instances import hold, illegal, visible
from nova_async.api.request import Request
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.db import instances, server_volumes
from nova_async.errors import Conflict, Error, Forbidden, Invalid, NotFound
from nova_async.model import states
from nova_async.model.devices import made_by_host, next_name, prefix_of
from nova_async.model.instances import Instance
from nova_async.policy import server_volumes as policy
from nova_async.services.volume import Volume

Device = dict[str, Any]
ON_SHELF = (states.SHELVED, states.SHELVED_OFFLOADED)


async def index(request: Request) -> list[Device]:
    """In the order in which they came; pages by ``limit`` and ``offset``."""
    server = target(request)
    found = [device | {"server": server.uuid} for device in server.volumes if device.get("volume_id")]
    if request.has(V.ATTACHMENT_IDS):
        found = [device for device in found if device.get("attachment_id")]
    start = int(request.first("offset") or 0)
    return found[start : start + request.limit()]


async def show(request: Request) -> Device:
    server = target(request)
    device = _device(server, request.values["id"])
    if request.has(V.ATTACHMENT_IDS) and not device.get("attachment_id"):
        raise _not_attached(server, request.values["id"])
    return device | {"server": server.uuid}


async def attach(request: Request) -> dict[str, Any] | None:
    """The volume is the server's as soon as this is answered; its guest gets it a moment later."""
    server, asked = target(request), request.body["volumeAttachment"]
    await _check_legal(request, "attach_volume")
    volume = await request.parts.volumes.get(request.ctx, asked["volumeId"])
    check_attachable(request, volume, server.uuid)
    if volume.multiattach and server.vm_state == states.SHELVED_OFFLOADED:
        raise Invalid("Attaching multiattach volumes is not supported for shelved-offloaded instances.")
    device = {
        "id": request.parts.world.uuid(),
        "kind": "volume",
        "source": "volume",
        "volume_id": volume.id,
        "device": _name(server, asked.get("device")),
        "size": volume.size,
        "boot_index": None,
        "delete_on_termination": truth(asked.get("delete_on_termination", False)),
        "tag": asked.get("tag"),
        "bus": _bus(server),
        "shared": volume.multiattach,
        "read_only": volume.read_only,
    }
    device["attachment_id"] = attachment = await request.parts.volumes.reserve(request.ctx, volume.id, server.uuid)
    try:
        async with beginning(request, "attach_volume", device=device, volume_id=volume.id) as begun:
            row = await instances.get(begun.conn, server.uuid)
            await server_volumes.set_devices(begun.conn, server.uuid, [*(row or server).block_devices, device])
    except Error:
        await request.parts.volumes.free(request.ctx, attachment)
        raise
    return None if request.has(V.ATTACH_IN_BACKGROUND) else {"volumeAttachment": _told(request, device)}


async def update(request: Request) -> None:
    """The same volume: whether it is deleted with the server. Another one: that takes its place."""
    request.server = server = await visible(request, request.values["server_id"])
    asked, old = request.body["volumeAttachment"], request.values["id"]
    regular = request.has(V.CHANGE_DELETE_ON_TERMINATION)
    if regular and asked["volumeId"] == old:
        request.require(policy.UPDATE, project_id=server.project_id, user_id=server.user_id)
    else:
        request.require(policy.SWAP)
    if regular:
        await _change(request, _device(server, old), asked)
    if not regular or asked["volumeId"] != old:
        await _swap(request, old, asked["volumeId"])


async def delete(request: Request) -> None:
    server, volume_id = target(request), request.values["id"]
    _refuse_old_shelved(request, server, "detach_volume")
    device = _device(server, volume_id)
    if device.get("boot_index") == 0:
        raise Invalid("Cannot detach a root device volume")
    await check_legal(request, "detach_volume")
    async with _detaching(request, server, device):
        await begin(request, "detach_volume", volume_id=device["volume_id"])


# -- parts


def _told(request: Request, device: Device) -> dict[str, Any]:
    """What is told of a volume that is being attached."""
    volume_id = device["volume_id"]
    told = {"id": volume_id, "serverId": target(request).uuid, "volumeId": volume_id, "device": device["device"]}
    if request.has(V.ATTACHMENT_TAGS_SHOWN):
        told["tag"] = device["tag"]
    if request.has(V.DELETE_ON_TERMINATION):
        told["delete_on_termination"] = device["delete_on_termination"]
    return told


@asynccontextmanager
async def _detaching(request: Request, server: Instance, device: Device) -> AsyncIterator[None]:
    """The volume is ``detaching`` before the request is answered, and is not if it is refused."""
    volumes, attachment = request.parts.volumes, str(device.get("attachment_id") or "")
    begun = bool(server.host and attachment) and await volumes.begin_detaching(request.ctx, attachment)
    try:
        yield
    except Error:
        if begun:
            await volumes.complete(request.ctx, attachment)
        raise


async def _change(request: Request, device: Device, asked: dict[str, Any]) -> None:
    """Raises ``Invalid`` for what cannot be changed."""
    server = target(request)
    fixed = {"id": device["volume_id"], "serverId": server.uuid, "device": device["device"], "tag": device.get("tag")}
    for name, value in fixed.items():
        if name in asked and asked[name] != value:
            raise Invalid(f"The {name} property is not mutable")
    if "delete_on_termination" not in asked:
        return
    goes = truth(asked["delete_on_termination"])
    async with request.parts.database.transaction() as conn:
        await hold(request, conn, server)
        row = await instances.get(conn, server.uuid)
        devices = [d | {"delete_on_termination": goes} if d.get("id") == device["id"] else d for d in (row or server).block_devices]
        await server_volumes.set_devices(conn, server.uuid, devices)


async def _swap(request: Request, old_id: str, new_id: str) -> None:
    server, volumes = target(request), request.parts.volumes
    old = await volumes.get(request.ctx, old_id)
    try:
        new = await volumes.get(request.ctx, new_id)
    except NotFound as error:
        raise Invalid(error.message) from None
    device = _device(server, old_id)
    if new.replaces != (old.id if old.migrating else ""):
        raise Conflict(f"The volume service is not migrating volume {old.id} to volume {new.id}.")
    if old.multiattach:
        raise Invalid(f"Volume {old.id} is attached to several servers; it cannot be swapped.")
    if new.size < old.size:
        raise Invalid(f"Invalid volume: New volume must be the same size or larger than the old one, which has {old.size} GiB.")
    check_attachable(request, new, server.uuid)
    await check_legal(request, "swap_volume")
    both = {"old_volume_id": device["volume_id"], "new_volume_id": new.id, "new_size": new.size}
    if old.migrating:  # its users are not to see it ``detaching``
        await begin(request, "swap_volume", **both, migrates=True)
        return
    async with _detaching(request, server, device):
        await begin(request, "swap_volume", **both)


def check_attachable(request: Request, volume: Volume, server_id: str) -> None:
    """Raises ``Invalid`` in Nova's words."""
    if server_id in volume.holders:
        raise Invalid(f"Invalid volume: volume {volume.id} is already attached to instance {server_id}")
    if volume.multiattach and not request.has(V.MULTIATTACH):
        raise Invalid(
            f"Volume {volume.id} has 'multiattach' set, which is not supported for this version of the API; use 2.60 or a newer one."
        )
    wanted = ("available", "in-use", "reserved", "attaching") if volume.multiattach else ("available",)
    if volume.status not in wanted:
        raise Invalid(f"Invalid volume: volume '{volume.id}' status must be '{' or '.join(wanted)}'. Currently in '{volume.status}'")


async def _check_legal(request: Request, action: str) -> None:
    _refuse_old_shelved(request, target(request), action)
    await check_legal(request, action)


def _refuse_old_shelved(request: Request, server: Instance, action: str) -> None:
    """Before 2.20 a server on the shelf kept what it had."""
    if server.vm_state in ON_SHELF and not request.has(V.ATTACH_WHILE_SHELVED):
        raise illegal(server, action, "vm_state", server.vm_state)


def _bus(server: Instance) -> str:
    return str(server.image_properties.get("hw_disk_bus") or "virtio")


def _name(server: Instance, wish: str | None) -> str:
    """The wish where it is one of the guest's own names, else the next free one. Raises ``Conflict``, ``Forbidden``."""
    prefix = prefix_of(_bus(server))
    taken = [*made_by_host(server.flavor, prefix), *(d["device"] for d in server.volumes)]
    if wish in taken:
        raise Conflict(f"The supplied device path ({wish}) is in use.")
    if wish and wish.startswith(prefix) and len(wish) == len(prefix) + 1:
        return wish
    found = next_name(taken, prefix)
    if found is None:
        raise Forbidden("The maximum allowed number of disk devices is attached already.")
    return found


def _device(server: Instance, volume_id: str) -> Device:
    found = next((d for d in server.volumes if d.get("volume_id") == volume_id), None)
    if found is None:
        raise _not_attached(server, volume_id)
    return found


def _not_attached(server: Instance, volume_id: str) -> NotFound:
    return NotFound(f"Instance {server.uuid} is not attached to volume {volume_id[:255]}")
