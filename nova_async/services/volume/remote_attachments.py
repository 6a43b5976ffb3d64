"""Who holds a volume, by Cinder's attachments API (3.44).

An attachment is of one host for as long as it lives. A server that moves has a second one beside it, which takes its place when the
first is freed. Cinder does not tell the host of an attachment before that is complete: what may be for another host is made anew.
"""

from typing import Any

from nova_async.errors import Invalid, NotFound
from nova_async.services.volume.records import Ask, Thing, connection_of

HAD = ("attached", "detaching")


class RemoteAttachments:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def get(self, attachment_id: str) -> Thing:
        return dict((await self._ask("GET", f"/attachments/{attachment_id}"))["attachment"])

    async def of(self, instance_id: str) -> list[Thing]:
        """All of a server."""
        told = await self._ask("GET", "/attachments", params={"all_tenants": "1", "instance_id": instance_id})
        return [dict(one) for one in told.get("attachments") or []]

    async def reserve(self, volume_id: str, instance_id: str) -> str:
        """See ``VolumeService``."""
        for one in await self.of(instance_id):
            if one["volume_id"] == volume_id:
                return str(one["id"])
        return await self._make(volume_id, instance_id)

    async def connect(self, attachment_id: str, connector: Thing) -> str:
        """See ``VolumeService``; the one before stays until it is freed."""
        one = await self.get(attachment_id)
        host = await self._host(one)
        if host == connector["host"]:
            return attachment_id
        if host:
            return await self.join(one, connector)
        await self._ask("PUT", f"/attachments/{attachment_id}", json={"attachment": {"connector": connector}})
        return attachment_id

    async def disconnect(self, attachment_id: str) -> str:
        """See ``VolumeService``; the one before stays until it is freed."""
        one = await self.get(attachment_id)
        if not connection_of(one)["driver_volume_type"]:
            return attachment_id
        for other in await self._beside(one):
            if not connection_of(await self.get(other["id"]))["driver_volume_type"]:
                return str(other["id"])
        return await self._make(one["volume_id"], one["instance"])

    async def join(self, one: Thing, connector: Thing) -> str:
        """See ``VolumeService``."""
        for other in await self._beside(one):
            if await self._host(other) == connector["host"]:
                return str(other["id"])
            await self.free(other["id"])
        place = {"mountpoint": (await self._shown(one)).get("device")}
        return await self._make(one["volume_id"], one["instance"], connector={**place, **connector})

    async def complete(self, attachment_id: str) -> None:
        await self._ask("POST", f"/attachments/{attachment_id}/action", json={"os-complete": {}}, repeat=True)

    async def begin_detaching(self, attachment_id: str) -> bool:
        """See ``VolumeService``."""
        one = await self.get(attachment_id)
        volume = await self._volume(one)
        if volume["status"] == "detaching":
            return False
        if one["status"] not in HAD:
            raise Invalid(f"Invalid volume: Volume {one['volume_id']} is not attached yet; its attachment is {one['status']}.")
        await self._ask("POST", f"/volumes/{one['volume_id']}/action", json={"os-begin_detaching": {}})
        return True

    async def free(self, attachment_id: str) -> None:
        """See ``VolumeService``."""
        try:
            await self._ask("DELETE", f"/attachments/{attachment_id}")
        except NotFound:
            return

    async def _make(self, volume_id: str, instance_id: str, **more: Any) -> str:
        body = {"attachment": {"volume_uuid": volume_id, "instance_uuid": instance_id, **more}}
        return str((await self._ask("POST", "/attachments", json=body))["attachment"]["id"])

    async def _beside(self, one: Thing) -> list[Thing]:
        """Other attachments of the same volume to the same server."""
        return [other for other in await self.of(one["instance"]) if other["volume_id"] == one["volume_id"] and other["id"] != one["id"]]

    async def _host(self, one: Thing) -> str:
        """Where an attachment that is complete lets a host to the volume; empty where that is not told, or there is none."""
        return str((await self._shown(one)).get("host_name") or "") if one["status"] in HAD else ""

    async def _shown(self, one: Thing) -> Thing:
        """An attachment as its volume shows it (host_name, device) once it is complete; else empty."""
        told = (await self._volume(one)).get("attachments") or []
        return next((dict(each) for each in told if each.get("attachment_id") == one["id"]), {})

    async def _volume(self, one: Thing) -> Thing:
        return dict((await self._ask("GET", f"/volumes/{one['volume_id']}"))["volume"])
