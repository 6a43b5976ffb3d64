"""A server as its row tells it. What users call a server is an instance everywhere behind the API."""

from datetime import datetime
from typing import Any

import msgspec

ROOT_TAG = "root_tag"  # in system_metadata: the owner's word for the disk that the image became


class Instance(msgspec.Struct):
    """One row of ``instances`` with the task state of its live (or queued) workflow. Sizes: MiB and GiB as in the flavor."""

    uuid: str
    number: int
    project_id: str
    user_id: str
    reservation_id: str
    display_name: str
    hostname: str
    vm_state: str
    power_state: int
    image_properties: dict[str, Any]
    flavor: dict[str, Any]  # columns of the flavors table as they were at boot, extra_specs included
    flavor_id: int
    vcpus: int
    memory_mb: int
    metadata: dict[str, str]
    system_metadata: dict[str, Any]
    tags: list[str]
    scheduler_hints: dict[str, Any]
    network_requests: list[dict[str, Any]]  # NetworkRequest as plain fields
    security_groups: list[str]
    block_devices: list[dict[str, Any]]  # {kind: swap, ephemeral, volume; size ...}; those of volumes: see conductor/volumes.py
    ports: list[dict[str, Any]]  # PortSpec as bound, as plain fields
    injected_files: list[dict[str, str]]
    created_at: datetime
    launch_index: int = 0
    display_description: str | None = None
    task_state: str | None = None
    progress: int = 0
    host_id: str | None = None
    host: str | None = None
    node: str | None = None
    host_disabled: bool | None = None
    host_forced_down: bool | None = None
    generation: int = 0
    availability_zone: str | None = None
    pinned_zone: str | None = None
    image_id: str | None = None
    kernel_id: str = ""
    ramdisk_id: str = ""
    root_device_name: str | None = None
    key_name: str | None = None
    key_data: dict[str, Any] | None = None  # {name, type, public_key, fingerprint}
    user_data: str | None = None  # base64
    config_drive: bool = False
    auto_disk_config: bool = True
    access_ip_v4: str | None = None
    access_ip_v6: str | None = None
    locked_by: str | None = None  # owner, admin
    locked_reason: str | None = None
    trusted_certs: list[str] | None = None
    password_data: str = ""
    fault: dict[str, Any] | None = None  # {code, message, details, created}
    updated_at: datetime | None = None
    launched_at: datetime | None = None
    terminated_at: datetime | None = None
    deleted: bool = False
    server_groups: list[str] = []  # ids of the groups that it is in, where one server was asked for

    def __repr__(self) -> str:
        """Errors and logs that name a server do not tell its user data, files and passwords."""
        return f"Instance({self.uuid})"

    @property
    def volumes(self) -> list[dict[str, Any]]:
        """The block devices that are volumes, or are to become some."""
        return [device for device in self.block_devices if device.get("kind") == "volume"]

    @property
    def root_volume(self) -> dict[str, Any] | None:
        """The volume that it boots from; None for a server with a disk of its host's."""
        return next((device for device in self.volumes if device.get("boot_index") == 0), None)

    @property
    def groups_on_ports(self) -> list[str]:
        """Names of the security groups that its ports are in, or are to be: none where nothing guards them."""
        if self.ports:
            return self.security_groups if any(port.get("port_security", True) for port in self.ports) else []
        return self.security_groups if self.network_requests else []

    @property
    def name(self) -> str:
        """The domain's name, OS-EXT-SRV-ATTR:instance_name."""
        return f"instance-{self.number:08x}"
