"""From a server's row to what its documents are made of."""

import base64
import binascii
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from nova_async.config import Config
from nova_async.errors import Invalid
from nova_async.metadata.documents import InstanceMetadata, random_seed
from nova_async.model.guests import PortSpec
from nova_async.model.instances import ROOT_TAG, Instance
from nova_async.model.tagged_devices import EPHEMERAL, ROOT, SWAP, DeviceAddress, TaggedDevice
from nova_async.world import RealWorld, World

DISKS = {"swap": SWAP, "ephemeral": EPHEMERAL}  # what rows call the disks that the host makes


def metadata_of(
    instance: Instance,
    ports: tuple[PortSpec, ...] | None,
    zone: str,
    config: Config,
    *,
    world: World | None = None,
    admin_pass: str = "",
    addresses: tuple[DeviceAddress, ...] = (),
) -> InstanceMetadata:
    """``ports`` None means those in the row; where nothing guards them, they are in no security group. Without a world the
    random seed for the guest comes straight from the operating system."""
    key = instance.key_data
    ports = ports if ports is not None else tuple(msgspec.convert(port, PortSpec) for port in instance.ports)
    domain = config.metadata.dhcp_domain
    return InstanceMetadata(
        uuid=instance.uuid,
        number=instance.number,
        project_id=instance.project_id,
        name=instance.display_name,
        hostname=f"{instance.hostname}.{domain}" if domain else instance.hostname,
        launch_index=instance.launch_index,
        reservation_id=instance.reservation_id,
        availability_zone=zone or instance.availability_zone or "",
        metadata=instance.metadata,
        user_data=decoded(instance.user_data),
        keys=({"name": key["name"], "type": key.get("type", "ssh"), "data": _line(key["public_key"])},) if key else (),
        security_groups=tuple(instance.security_groups) if not ports or any(port.port_security for port in ports) else (),
        flavor_name=instance.flavor.get("name", ""),
        image_id=instance.image_id or "",
        kernel_id=instance.kernel_id,
        ramdisk_id=instance.ramdisk_id,
        root_device=instance.root_device_name or "/dev/vda",
        volumes=tuple(sorted(device["device"] for device in instance.volumes if device.get("device"))),
        public_ipv4=next((outer for port in ports for ip in port.fixed_ips for outer in ip.floating), ""),
        ports=ports,
        tagged=tagged(instance, ports),
        addresses=addresses,
        vendor_data=vendor_data(config.metadata.vendor_data_file),
        files=tuple((item["path"], item["contents"]) for item in instance.injected_files),
        password=instance.password_data,
        random_seed=random_seed(world or RealWorld()),
        admin_pass=admin_pass,
    )


def _line(key: str) -> str:
    """A public key as a line of a file, whatever blank lines it was imported with."""
    return key.strip() + "\n" if key.endswith("\n") else key.strip()


def tagged(instance: Instance, ports: tuple[PortSpec, ...]) -> tuple[TaggedDevice, ...]:
    """Its disks and cards that have a tag."""
    tag = instance.system_metadata.get(ROOT_TAG)
    disks = [TaggedDevice(kind="disk", name=ROOT, tag=tag)] if tag else []
    for device in instance.block_devices:
        if device.get("tag"):
            volume = device.get("serial") or device.get("volume_id")
            disks.append(TaggedDevice(kind="disk", name=volume or DISKS.get(device["kind"], ""), tag=device["tag"], serial=volume))
    return (*disks, *(TaggedDevice(kind="nic", name=port.mac, tag=port.tag) for port in ports if port.tag))


@cache
def vendor_data(file: str) -> dict[str, Any]:
    """What the operator's file says to every guest; it is read once, when the application starts. Blocks. Raises ``Invalid``."""
    if not file:
        return {}
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise Invalid(f"metadata.vendor_data_file: {file} must be a file with one JSON object ({error}).") from None


def decoded(user_data: str | None) -> bytes | None:
    """User data as the guest wants it; the API has proved that it is base64."""
    try:
        return base64.b64decode(user_data) if user_data else None
    except (binascii.Error, ValueError):
        return None
