"""What a volume of a server looks like, and what the old proxies tell of volumes and snapshots."""

from typing import Any

from nova_async.api.render import AsItIs, Field, Fields, Many, One, Plain
from nova_async.api.schema import since, until
from nova_async.api.shapes import BOOLEAN, INTEGER, MAYBE_TEXT, TEXT, UUID, array, closed
from nova_async.api.versions import V
from nova_async.services.volume import Snapshot, Volume

Device = dict[str, Any]


FIELDS = Fields(
    (
        Field("id", lambda device, _: device.get("volume_id"), until=V.ATTACHMENT_IDS - 1, type=TEXT),
        Field("volumeId", lambda device, _: device.get("volume_id"), type=TEXT),
        Field("serverId", lambda device, _: device["server"], type=TEXT),
        Field("device", lambda device, _: device.get("device"), type=TEXT),
        Field("tag", lambda device, _: device.get("tag"), since=V.ATTACHMENT_TAGS_SHOWN, type=MAYBE_TEXT),
        Field(
            "delete_on_termination",
            lambda device, _: bool(device.get("delete_on_termination")),
            since=V.DELETE_ON_TERMINATION,
            type=BOOLEAN,
        ),
        Field("attachment_id", lambda device, _: device.get("attachment_id"), since=V.ATTACHMENT_IDS, type=TEXT),
        Field("bdm_uuid", lambda device, _: device["id"], since=V.ATTACHMENT_IDS, type=TEXT),
    )
)
SHOW = One("volumeAttachment", FIELDS)
LIST = Many("volumeAttachments", FIELDS)


# The answer to an attachment has never had the fields of 2.89, and since 2.101 there is none.
_ATTACHED = closed(
    {
        "id": TEXT,
        "serverId": UUID,
        "volumeId": TEXT,
        "device": MAYBE_TEXT,
        "tag": since(V.ATTACHMENT_TAGS_SHOWN, MAYBE_TEXT),
        "delete_on_termination": since(V.DELETE_ON_TERMINATION, BOOLEAN),
    }
)
ATTACHED = AsItIs(until(V.ATTACH_IN_BACKGROUND - 1, closed({"volumeAttachment": _ATTACHED})))


def _volume(volume: Volume) -> dict[str, Any]:
    attachments: list[dict[str, Any]] = [{}]
    if volume.status in ("in-use", "detaching") and volume.holders:
        server, device = next(iter(volume.holders.items()))
        attachments = [{"id": volume.id, "volumeId": volume.id, "serverId": server} | ({"device": device} if device else {})]
    return {
        "id": volume.id,
        "status": volume.status,
        "size": volume.size,
        "availabilityZone": volume.availability_zone,
        "createdAt": volume.created_at,
        "attachments": attachments,
        "displayName": volume.name,
        "displayDescription": volume.description,
        "volumeType": volume.volume_type,
        "snapshotId": volume.snapshot_id,
        "metadata": volume.metadata,
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "id": snapshot.id,
        "volumeId": snapshot.volume_id,
        "status": snapshot.status,
        "size": snapshot.size,
        "createdAt": snapshot.created_at,
        "displayName": snapshot.name,
        "displayDescription": snapshot.description,
    }


_HELD = closed({"id": TEXT, "volumeId": TEXT, "serverId": TEXT, "device": TEXT}, ("id", "volumeId", "serverId", "device"))
_VOLUME = closed(
    {
        **dict.fromkeys(("id", "status", "availabilityZone", "createdAt", "displayName", "displayDescription", "volumeType"), TEXT),
        "size": INTEGER,
        "snapshotId": MAYBE_TEXT,
        "attachments": array(_HELD),
        "metadata": {"type": "object", "additionalProperties": TEXT},
    }
)
_SNAPSHOT = closed(dict.fromkeys(("id", "volumeId", "status", "createdAt", "displayName", "displayDescription"), TEXT) | {"size": INTEGER})
VOLUME = Plain(lambda volume, _: {"volume": _volume(volume)}, closed({"volume": _VOLUME}))
VOLUMES = Plain(lambda found, _: {"volumes": [_volume(volume) for volume in found]}, closed({"volumes": array(_VOLUME)}))
SNAPSHOT = Plain(lambda snapshot, _: {"snapshot": _snapshot(snapshot)}, closed({"snapshot": _SNAPSHOT}))
ASSISTED = AsItIs(closed({"snapshot": closed({"id": MAYBE_TEXT, "volumeId": TEXT})}))
SNAPSHOTS = Plain(lambda found, _: {"snapshots": [_snapshot(snapshot) for snapshot in found]}, closed({"snapshots": array(_SNAPSHOT)}))
