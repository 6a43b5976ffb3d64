"""Block devices in the body of a new server: what is asked for, in the form that rows keep. Nothing is looked up here.

Both forms, ``block_device_mapping_v2`` and the older one, become disks that the host makes (kinds ``ephemeral`` and ``swap``)
and volumes (see ``conductor/volumes.py`` for their fields; ``device`` is a wish or None as yet).
"""

from typing import Any

from nova_async.api.schemas import truth
from nova_async.errors import Invalid
from nova_async.world import World

Device = dict[str, Any]
WRONG = "Block Device Mapping is Invalid: "
SEQUENCE = WRONG + "Boot sequence for the instance and image/block device mapping combination is not valid."
OF_VOLUMES = ("volume", "snapshot")  # sources that are volumes unless told otherwise


def asked_devices(body: dict[str, Any], world: World, defined: list[Device] | None = None) -> list[Device]:
    """The devices beside the disk that the image becomes; a volume may be booted from in its place. Raises ``Invalid``.

    ``defined``: what the image itself maps, in the body's form; a root among it takes the place of the one that clients send for an image.
    """
    old, new = body.get("block_device_mapping") or [], body.get("block_device_mapping_v2") or []
    if old and new:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
    image_given = bool(body.get("imageRef"))
    mapped = [_device(one, False, world) for one in defined or ()]
    root_mapped = any(d is not None and d.get("boot_index") == 0 for d in mapped)
    if root_mapped:
        new = [one for one in new if not (_index(one) == 0 and one.get("source_type") == "image")]
    asked = _of_old(old, image_given or root_mapped, world) if old else [_device(one, image_given, world) for one in new]
    devices = [device for device in (*mapped, *asked) if device is not None]
    root_asked = any(device.get("boot_index") == 0 for device in devices)
    _check_sequence(devices, image_given and (not root_asked or (not root_mapped and any(map(is_images_own, new)))))
    return devices


def check_sizes(devices: list[Device], flavor: dict[str, Any]) -> None:
    """Whether the flavor has room for the disks that the host makes; sizes that were not told become the flavor's. Raises ``Invalid``."""
    swaps = [d for d in devices if d["kind"] == "swap"]
    if len(swaps) > 1:
        raise Invalid(WRONG + "More than one swap drive requested.")
    for device in devices:
        if device["size"] is None and device["kind"] != "volume":
            device["size"] = flavor["swap"] if device["kind"] == "swap" else flavor["ephemeral_gb"]
    if swaps and swaps[0]["size"] > flavor["swap"]:
        raise Invalid("Swap drive requested is larger than instance type allows.")
    if sum(d["size"] for d in devices if d["kind"] == "ephemeral") > flavor["ephemeral_gb"]:
        raise Invalid(
            "Ephemeral disks requested are larger than the instance type allows. If no size is given in one block device mapping, flavor "
            "ephemeral size will be used."
        )


def _check_sequence(devices: list[Device], image_boots: bool) -> None:
    """Boot indexes count up from 0; the image's own disk has 0 where there is one."""
    indexes = [d["boot_index"] for d in devices if d.get("boot_index") is not None] + ([0] if image_boots else [])
    if devices and sorted(indexes) != list(range(len(indexes))):
        raise Invalid(SEQUENCE)
    if devices and not indexes:
        raise Invalid(SEQUENCE)


def is_images_own(asked: dict[str, Any]) -> bool:
    """The disk that the image becomes anyway, as clients write it."""
    return asked.get("source_type") == "image" and asked.get("destination_type") == "local"


def _index(asked: dict[str, Any]) -> int | None:
    """None for what is not booted from."""
    value = asked.get("boot_index")
    if value is None or value == "" or int(value) < 0:
        return None
    return int(value)


def _device(asked: dict[str, Any], image_given: bool, world: World) -> Device | None:
    """One of the newer form; None for the disk that the image becomes anyway, and for what shall not be there."""
    if asked.get("no_device"):
        return None
    source, uuid = asked.get("source_type"), asked.get("uuid")
    if source is None:
        raise Invalid(WRONG + "Missing source_type field.")
    destination = asked.get("destination_type") or ("volume" if source in OF_VOLUMES else "local")
    named = uuid or asked.get(f"{source}_id")
    if source == "blank" and uuid:
        raise Invalid(WRONG + "Invalid device UUID.")
    if source != "blank" and not named:
        raise Invalid(WRONG + "Missing device UUID.")
    if destination == "local":
        return _local(asked, source, image_given)
    if asked.get("volume_type") and source == "volume":
        raise Invalid(WRONG + "Specifying volume type to existing volume is not supported.")
    if source == "image" and not asked.get("volume_size"):
        raise Invalid(WRONG + "Images with destination_type 'volume' need to have a non-zero size specified")
    if source == "blank" and not asked.get("volume_size"):
        raise Invalid(WRONG + "Blank volumes (source: 'blank', dest: 'volume') need to have non-zero size")
    return _volume(asked, source, named, _index(asked), world)


def _local(asked: dict[str, Any], source: str, image_given: bool) -> Device | None:
    if asked.get("volume_type"):
        raise Invalid(WRONG + "Specifying a volume_type with destination_type=local is not supported.")
    if source == "image":
        if not image_given or _index(asked) != 0:
            raise Invalid(WRONG + "Mapping image to local is not supported.")
        return None
    if source != "blank":
        raise Invalid(WRONG + f"Mapping {source} to local is not supported.")
    swap = asked.get("guest_format") == "swap"
    return {
        "kind": "swap" if swap else "ephemeral",
        "size": None if asked.get("volume_size") is None else int(asked["volume_size"]),
        "format": None if swap else asked.get("guest_format"),
        "bus": asked.get("disk_bus"),
        "tag": asked.get("tag"),
    }


def _volume(asked: dict[str, Any], source: str, named: str | None, boot_index: int | None, world: World) -> Device:
    made: Device = {
        "id": world.uuid(),
        "kind": "volume",
        "source": source,
        "boot_index": boot_index,
        "device": asked.get("device_name") or None,
        "size": int(asked["volume_size"]) if asked.get("volume_size") else None,
        "delete_on_termination": truth(asked.get("delete_on_termination") or False),
        "tag": asked.get("tag"),
        "bus": asked.get("disk_bus"),
        "volume_type": asked.get("volume_type"),
    }
    return made if source == "blank" else made | {f"{source}_id": named}


def _of_old(old: list[dict[str, Any]], has_root: bool, world: World) -> list[Device | None]:
    """The older form says by the device's name what is booted from; without an image the first one is."""
    devices: list[Device | None] = []
    for asked in old:
        if asked.get("no_device"):
            continue
        virtual = str(asked.get("virtual_name") or "")
        if virtual == "swap" or virtual.startswith("ephemeral"):
            devices.append(_local(asked | ({"guest_format": "swap"} if virtual == "swap" else {}), "blank", False))
            continue
        source = "snapshot" if asked.get("snapshot_id") else "volume" if asked.get("volume_id") else None
        if source is None:
            raise Invalid(WRONG + "Unrecognized legacy format.")
        root = not has_root and not any(d and d["kind"] == "volume" for d in devices)
        devices.append(_volume(asked, source, asked[f"{source}_id"], 0 if root else None, world))
    return devices
