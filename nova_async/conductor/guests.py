"""From a server's row to the ``GuestSpec`` that its host gets."""

from typing import Any

import msgspec

from nova_async.conductor.parts import Parts
from nova_async.context import service_context
from nova_async.db import topologies
from nova_async.metadata.documents import config_drive_files
from nova_async.metadata.instances import metadata_of, tagged
from nova_async.model.guests import DiskSpec, GuestSpec, ImageRef, PortSpec, VolumeSpec
from nova_async.model.instances import Instance
from nova_async.model.topology import Fit
from nova_async.scheduler.guest_topology import Wish
from nova_async.services.image import image_ref


async def guest_of(parts: Parts, instance: Instance, ports: tuple[PortSpec, ...], zone: str, generation: int | None = None) -> GuestSpec:
    """Everything the host needs. ``generation``: of the placement that is meant, if not the server's present one.

    Raises ``NotFound`` or ``Invalid`` when the image went away, ``Unavailable`` for vendor data that there has to be.
    """
    flavor = instance.flavor
    files = await _config_drive(parts, instance, ports, zone) if instance.config_drive else {}
    return GuestSpec(
        instance_id=instance.uuid,
        name=instance.name,
        display_name=instance.display_name,
        hostname=instance.hostname,
        project_id=instance.project_id,
        user_id=instance.user_id,
        flavor_id=str(flavor.get("flavorid", instance.flavor_id)),
        flavor_name=str(flavor.get("name", "")),
        vcpus=instance.vcpus,
        memory_mib=instance.memory_mb,
        root_gib=int(flavor.get("root_gb", 0)),
        disks=tuple(_extra_disks(flavor)),
        volume_properties={k: str(v) for k, v in instance.image_properties.items()} if instance.root_volume else {},
        volumes=tuple(volume_spec(device) for device in instance.volumes if device.get("attachment_id")),
        extra_specs={k: str(v) for k, v in (flavor.get("extra_specs") or {}).items()},
        image=await _image_of(parts, instance),
        ports=ports,
        config_drive=instance.config_drive,
        config_drive_files=files,
        tagged=tagged(instance, ports),
        created_at=instance.created_at.isoformat(),
        fit=await _fit_of(parts, instance, instance.generation if generation is None else generation),
    )


async def _config_drive(parts: Parts, instance: Instance, ports: tuple[PortSpec, ...], zone: str) -> dict[str, bytes]:
    metadata = metadata_of(instance, ports, zone, parts.config)
    return config_drive_files(await parts.vendor_data.told(metadata))


async def _fit_of(parts: Parts, instance: Instance, generation: int) -> Fit | None:
    """What the claim of this placement gave the guest. Most are given nothing, and the rows are not asked."""
    if Wish(instance.flavor, instance.image_properties).says_nothing():
        return None
    async with parts.database.connection() as conn:
        given = await topologies.of(conn, instance.uuid, generation)
    return given[1] if given else None


async def _image_of(parts: Parts, instance: Instance) -> ImageRef | None:
    """The image as it was when the server was made (kept in its row), else as the image service knows it now."""
    if not instance.image_id:
        return None
    kept = instance.system_metadata.get("image")
    if kept and kept["id"] == instance.image_id:
        return msgspec.convert(kept, ImageRef)
    return image_ref(await parts.images.get(service_context("req-" + parts.world.uuid()), instance.image_id))


def volume_spec(device: dict[str, Any]) -> VolumeSpec:
    """A volume that is held for its server (see ``conductor/volumes.py``)."""
    return VolumeSpec(
        volume_id=device["volume_id"],
        attachment_id=device["attachment_id"],
        device=device["device"],
        bus=device.get("bus") or "virtio",
        boot_index=device.get("boot_index"),
        size_gib=int(device.get("size") or 0),
        read_only=bool(device.get("read_only")),
        shared=bool(device.get("shared")),
        tag=device.get("tag"),
        serial=device.get("serial") or "",
    )


def _extra_disks(flavor: dict[str, Any]) -> list[DiskSpec]:
    disks = []
    if ephemeral := int(flavor.get("ephemeral_gb", 0)):
        disks.append(DiskSpec(name="ephemeral0", size_mib=ephemeral * 1024, format="ext4"))
    if swap := int(flavor.get("swap", 0)):
        disks.append(DiskSpec(name="swap", size_mib=swap, format="swap"))
    return disks
