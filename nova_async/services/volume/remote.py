"""Cinder (or another nova_async's volume service) behind ``VolumeService``.

We ask with our own credential, as a service, and that sees more than the caller: whose things they are is looked at here. A volume or
snapshot belongs to the project of the token that it is made with: the caller's own while this process knows it, else one that our user
gets for the caller's project. What is made carries the key that it was asked for under, so that it is found again and not made twice.
"""

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.errors import Conflict, Forbidden, NotFound, Unauthorized, Unavailable
from nova_async.services.callers import CallersTokens
from nova_async.services.client import ServiceClient
from nova_async.services.key_manager import Barbican
from nova_async.services.volume import Attachment, Snapshot, Volume, Wanted
from nova_async.services.volume.records import KEY, Thing, attachment_of, connection_of, project_of_snapshot, snapshot_of, volume_of
from nova_async.services.volume.remote_attachments import RemoteAttachments
from nova_async.services.volume.remote_keys import RemoteKeys, TokenSource
from nova_async.world import World

NAMES = uuid.UUID("5b2d9a44-6a5c-5f0c-9c1b-2f7a1f0b6f1e")  # namespace of the names that keys give
UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
VERSION = {"OpenStack-API-Version": "volume 3.44"}  # since when attachments are completed
REIMAGE = {"OpenStack-API-Version": "volume 3.68"}
FORMATTED: dict[str, Thing] = {"nfs": {"format": "qcow2"}}  # encrypted ones: Cinder's API calls them raw until they have a snapshot
BLANK = frozenset({"iscsi"})  # kinds whose encrypted volumes Cinder leaves to their first host to format
ALL = "1"
PAGE, MAX_PAGES = 1000, 20  # things of one question; questions of one answer


class RemoteVolumes:
    """Implements ``VolumeService``. ``url`` is the endpoint, with or without ``/v3`` and a project, or how to find it."""

    def __init__(
        self,
        url: str | Callable[[], Awaitable[str]],
        tokens: TokenSource,
        world: World,
        callers: CallersTokens | None = None,
        barbican: Barbican | None = None,
    ) -> None:
        self._client = ServiceClient("volume", root(url) if isinstance(url, str) else _found(url), world, tokens, as_service=True)
        self._tokens, self._callers = tokens, callers
        self._held = RemoteAttachments(self._json)
        self._keys = RemoteKeys(self._json, tokens, barbican)

    async def close(self) -> None:
        await self._client.close()

    # Volumes

    async def get(self, ctx: Context, volume_id: str) -> Volume:
        return volume_of(await self._volume(ctx, volume_id))

    async def create(self, ctx: Context, key: str, wanted: Wanted) -> Volume:
        if earlier := await self.made(ctx, key):
            return earlier
        optional = {
            "volume_type": wanted.volume_type,
            "availability_zone": wanted.zone,
            "imageRef": wanted.image_id,
            "snapshot_id": wanted.snapshot_id,
        }
        fields = {"size": wanted.size, "name": wanted.name, "description": wanted.description}
        fields |= {name: value for name, value in optional.items() if value is not None}
        made = await self._make(ctx, "volume", fields | {"metadata": {**wanted.metadata, KEY: _name(key)}})
        return volume_of(made, ctx.project_id)

    async def made(self, ctx: Context, key: str) -> Volume | None:
        found = await self._made("volumes", key)
        return volume_of(found[0]) if found else None

    async def delete(self, ctx: Context, volume_id: str) -> None:
        if (volume := await self._known(ctx, volume_id)) and volume["status"] != "deleting":
            await self._quietly("DELETE", f"/volumes/{volume['id']}")

    async def discard(self, ctx: Context, volume_id: str) -> None:
        if (volume := await self._known(ctx, volume_id)) and volume["status"] != "deleting":
            await self._quietly("POST", f"/volumes/{volume['id']}/action", json={"os-force_delete": {}})

    async def has_type(self, ctx: Context, name: str) -> bool:
        for one in await self._all("/types", "volume_types", is_public="none"):
            if name in (one["id"], one["name"]):
                return ctx.is_admin or bool(one.get("is_public", True)) or await self._may_use(ctx, str(one["id"]))
        return False

    async def find(self, ctx: Context) -> list[Volume]:
        own = {"all_tenants": ALL, "project_id": ctx.project_id}
        found = [volume_of(body) for body in await self._all("/volumes/detail", "volumes", **own)]
        return [volume for volume in found if volume.project_id == ctx.project_id]

    async def reimage(self, ctx: Context, volume_id: str, image_id: str) -> None:
        volume = await self._volume(ctx, volume_id)
        if volume["status"] != "downloading":
            body = {"os-reimage": {"image_id": image_id, "reimage_reserved": True}}
            await self._json("POST", f"/volumes/{volume['id']}/action", json=body, headers=REIMAGE)

    # Snapshots

    async def snapshot(self, ctx: Context, snapshot_id: str) -> Snapshot:
        return snapshot_of(await self._snapshot(ctx, snapshot_id))

    async def create_snapshot(self, ctx: Context, key: str, volume_id: str, name: str, description: str) -> Snapshot:
        volume = await self._volume(ctx, volume_id)
        if found := await self._made("snapshots", key):
            return snapshot_of(found[0])
        fields = {"volume_id": volume["id"], "name": name, "description": description, "force": True, "metadata": {KEY: _name(key)}}
        return snapshot_of(await self._make(ctx, "snapshot", fields))

    async def delete_snapshot(self, ctx: Context, snapshot_id: str) -> None:
        try:
            snapshot = await self._snapshot(ctx, snapshot_id)
        except NotFound:
            return
        if snapshot["status"] != "deleting":
            await self._quietly("DELETE", f"/snapshots/{snapshot['id']}")

    async def discard_snapshot(self, ctx: Context, key: str) -> None:
        for snapshot in await self._made("snapshots", key):
            if snapshot["status"] != "deleting":
                await self._quietly("POST", f"/snapshots/{snapshot['id']}/action", json={"os-force_delete": {}})

    async def tell_snapshot(self, ctx: Context, snapshot_id: str, status: str) -> None:
        body = {"os-update_snapshot_status": {"status": status, "progress": "100%" if status == "available" else "0%"}}
        await self._json("POST", f"/snapshots/{_id('Snapshot', snapshot_id)}/action", json=body)

    async def find_snapshots(self, ctx: Context) -> list[Snapshot]:
        own = {"all_tenants": ALL, "project_id": ctx.project_id}
        found = await self._all("/snapshots/detail", "snapshots", **own)
        return [snapshot_of(body) for body in found if project_of_snapshot(body) == ctx.project_id]

    # Attachments

    async def reserve(self, ctx: Context, volume_id: str, instance_id: str) -> str:
        return await self._held.reserve(str((await self._volume(ctx, volume_id))["id"]), instance_id)

    async def connect(self, ctx: Context, attachment_id: str, connector: dict[str, Any], mountpoint: str) -> str:
        return await self._held.connect(attachment_id, {**connector, "mountpoint": mountpoint})

    async def disconnect(self, ctx: Context, attachment_id: str) -> str:
        return await self._held.disconnect(attachment_id)

    async def join(self, ctx: Context, attachment_id: str, connector: dict[str, Any]) -> str:
        return await self._held.join(await self._held.get(attachment_id), connector)

    async def settle(self, ctx: Context, attachment_id: str, joined: str) -> None:
        await self._held.complete(joined)
        await self._held.free(attachment_id)

    async def complete(self, ctx: Context, attachment_id: str) -> None:
        await self._held.complete(attachment_id)

    async def begin_detaching(self, ctx: Context, attachment_id: str) -> bool:
        return await self._held.begin_detaching(attachment_id)

    async def free(self, ctx: Context, attachment_id: str) -> None:
        await self._held.free(attachment_id)

    async def end_migration(self, ctx: Context, volume_id: str, new_id: str, *, failed: bool) -> str:
        """See ``VolumeService``: Cinder gives the bytes at ``new_id`` the old id. Raises ``Unavailable`` while it does."""
        volume = await self._known(ctx, volume_id)
        match volume.get("migration_status") if volume else "error":
            case "migrating":
                body = {"os-migrate_volume_completion": {"new_volume": new_id, "error": failed}}
                return str((await self._json("POST", f"/volumes/{volume_id}/action", json=body))["save_volume_id"])
            case "completing":
                raise Unavailable(f"The volume service is still ending the migration of volume {volume_id}.")
            case "error" if not failed:  # it gave up, and the server has the bytes of another volume
                return new_id
        return volume_id

    async def attachments(self, ctx: Context, instance_id: str) -> list[Attachment]:
        return [attachment_of(body) for body in await self._held.of(instance_id)]

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        """Raises ``Conflict`` too, where no host was let to the volume, and as ``RemoteKeys.luks`` of one that is encrypted."""
        one = await self._held.get(attachment_id)
        told = connection_of(one)
        if not told["driver_volume_type"]:
            raise Conflict(f"The volume service lets no host to the volume of attachment {attachment_id}.")
        if told["data"].get("encrypted") and not told["data"].get("passphrase"):
            kind, luks = told["driver_volume_type"], await self._keys.luks(one["volume_id"])
            told["data"] |= FORMATTED.get(kind, {}) | {"passphrase": luks.passphrase}
            if kind in BLANK:
                told["data"]["blank_bits"] = luks.bits
        return told

    # How it is asked

    async def _volume(self, ctx: Context, volume_id: str) -> Thing:
        """One that the caller may see."""
        body = await self._json("GET", f"/volumes/{_id('Volume', volume_id)}")
        if not ctx.is_service and body["volume"].get("os-vol-tenant-attr:tenant_id") != ctx.project_id:
            raise NotFound(f"Volume {volume_id} could not be found.")
        return dict(body["volume"])

    async def _known(self, ctx: Context, volume_id: str) -> Thing | None:
        try:
            return await self._volume(ctx, volume_id)
        except NotFound:
            return None

    async def _snapshot(self, ctx: Context, snapshot_id: str) -> Thing:
        body = await self._json("GET", f"/snapshots/{_id('Snapshot', snapshot_id)}")
        if not ctx.is_service and project_of_snapshot(body["snapshot"]) != ctx.project_id:
            raise NotFound(f"Snapshot {snapshot_id} could not be found.")
        return dict(body["snapshot"])

    async def _may_use(self, ctx: Context, type_id: str) -> bool:
        told = await self._json("GET", f"/types/{type_id}/os-volume-type-access")
        return any(one.get("project_id") == ctx.project_id for one in told.get("volume_type_access") or [])

    async def _make(self, ctx: Context, kind: str, fields: Thing) -> Thing:
        path, body = f"/v3/{kind}s", {kind: fields}
        if caller := self._callers.of(ctx.request_id) if self._callers else "":
            try:
                return dict((await self._client.json("POST", path, json=body, caller=caller, headers=VERSION))[kind])
            except Unauthorized:
                pass  # it has ended, and the volume service takes no ended ones from services
        try:
            own = await self._tokens.token_for(ctx.project_id)
        except Unauthorized:
            raise Forbidden(
                f"The {kind} cannot be made any more: the caller's token has ended or is not known, and the user of nova_async has no "
                "role in the caller's project. Ask again, or give it one."
            ) from None
        return dict((await self._client.json("POST", path, json=body, caller=own, headers=VERSION))[kind])

    async def _made(self, plural: str, key: str) -> list[Thing]:
        """What was made with this key and is not going away, the oldest first."""
        with_key = msgspec.json.encode({KEY: _name(key)}).decode()
        found = await self._all(f"/{plural}/detail", plural, all_tenants=ALL, metadata=with_key)
        return sorted((one for one in found if one["status"] != "deleting"), key=lambda one: (one["created_at"], one["id"]))

    async def _all(self, path: str, plural: str, **query: str) -> list[Thing]:
        found: list[Thing] = []
        for _ in range(MAX_PAGES):
            told = await self._json("GET", path, params={**query, "limit": str(PAGE)})
            found += told.get(plural) or []
            if not told.get(f"{plural}_links") or not told.get(plural):
                break
            query["marker"] = str(found[-1]["id"])
        return found

    async def _quietly(self, method: str, path: str, **options: Any) -> None:
        """What is not there any more need not go."""
        try:
            await self._json(method, path, **options)
        except NotFound:
            return

    async def _json(self, method: str, path: str, **options: Any) -> Thing:
        return await self._client.json(method, f"/v3{path}", **{"headers": VERSION, **options})


def root(url: str) -> str:
    """An endpoint of Cinder without version and project."""
    return re.sub(r"/v3(/[^/]+)?/?$", "", url.rstrip("/"))


def _found(url: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
    async def found() -> str:
        return root(await url())

    return found


def _name(key: str) -> str:
    return str(uuid.uuid5(NAMES, key))


def _id(kind: str, text: str) -> str:
    """Raises ``NotFound``: what is no UUID names nothing."""
    if not UUID.fullmatch(text):
        raise NotFound(f"{kind} {text[:255]} could not be found.")
    return text.lower()
