"""Block devices in the body of a new server: the image's own disk, ephemeral disks and swap. Volumes need a volume service."""

from typing import Any

from nova_async.errors import Invalid

NO_VOLUMES = "Block Device Mapping is Invalid: this cloud has no volume service; only local disks can be made ({})."


def checked_devices(body: dict[str, Any], flavor: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The devices beside the root disk, with sizes in GiB (swap: MiB), as rows keep them. Raises ``Invalid``.

    ``flavor`` None: only the form is checked.
    """
    old, new = body.get("block_device_mapping") or [], body.get("block_device_mapping_v2") or []
    if old and new:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
    if any(device.get("volume_id") or device.get("snapshot_id") for device in old):
        raise Invalid(NO_VOLUMES.format("block_device_mapping names a volume or snapshot"))
    devices = [device for device in (_device(asked, bool(body.get("imageRef"))) for asked in new) if device is not None]
    if len([asked for asked in new if str(asked.get("boot_index")) == "0"]) > 1:
        raise Invalid(
            "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device mapping combination is not valid."
        )
    if flavor is not None:
        _check_sizes(devices, flavor)
    return devices


def _device(asked: dict[str, Any], image_given: bool) -> dict[str, Any] | None:
    """None for the disk that the image becomes anyway."""
    source, destination = asked.get("source_type"), asked.get("destination_type")
    if asked.get("volume_id") or asked.get("snapshot_id") or source in ("volume", "snapshot") or destination == "volume":
        raise Invalid(NO_VOLUMES.format("block_device_mapping_v2 names a volume or snapshot"))
    if source is None:
        raise Invalid("Block Device Mapping is Invalid: Missing source_type field.")
    if source == "image":
        if not image_given or str(asked.get("boot_index")) != "0":
            raise Invalid("Block Device Mapping is Invalid: Mapping image to local is not supported.")
        return None
    swap = asked.get("guest_format") == "swap"
    return {
        "kind": "swap" if swap else "ephemeral",
        "size": None if asked.get("volume_size") is None else int(asked["volume_size"]),
        "format": None if swap else asked.get("guest_format"),
        "bus": asked.get("disk_bus"),
        "tag": asked.get("tag"),
    }


def _check_sizes(devices: list[dict[str, Any]], flavor: dict[str, Any]) -> None:
    swaps = [d for d in devices if d["kind"] == "swap"]
    if len(swaps) > 1:
        raise Invalid("Block Device Mapping is Invalid: More than one swap drive requested.")
    for device in devices:
        if device["size"] is None:
            device["size"] = flavor["swap"] if device["kind"] == "swap" else flavor["ephemeral_gb"]
    if swaps and swaps[0]["size"] > flavor["swap"]:
        raise Invalid("Swap drive requested is larger than instance type allows.")
    if sum(d["size"] for d in devices if d["kind"] == "ephemeral") > flavor["ephemeral_gb"]:
        raise Invalid(
            "Ephemeral disks requested are larger than the instance type allows. If no size is given in one block device mapping, flavor "
            "ephemeral size will be used."
        )
