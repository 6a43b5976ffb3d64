"""What a host must know to run a guest. Made by the conductor, carried by commands, understood by drivers."""

from typing import Any

import msgspec

from nova_async.model.tagged_devices import TaggedDevice
from nova_async.model.topology import Fit


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """How an image was signed; certificates are in PEM. See ``services/image/signatures.py``."""

    properties: dict[str, str]  # the four of the signature
    certificate: str
    trusted: tuple[str, ...] | None = None  # who vouches for the certificate, up to a root; None: nobody needs to


class ImageRef(msgspec.Struct, frozen=True, kw_only=True):
    """An image to boot from. The worker fetches it by ``id`` from the image service and proves ``sha512``, and what ``proof`` says."""

    id: str
    disk_format: str  # what the image service proved it to be: raw or qcow2
    size_bytes: int
    sha512: str
    min_disk_gib: int = 0
    virtual_size_bytes: int = 0
    properties: dict[str, str] = msgspec.field(default_factory=dict)
    kernel: "ImageRef | None" = None
    ramdisk: "ImageRef | None" = None
    proof: Proof | None = None  # None: nobody asks who signed it


class PortSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A network card of a guest, and all that the host needs to plug it."""

    id: str
    network_id: str
    mac: str
    bridge: str
    device: str  # tap name, at most 14 characters
    mtu: int = 1500
    fixed_ips: tuple["FixedIp", ...] = ()
    gateway: str | None = None
    host_address: str | None = None  # by which hosts answer in the gateway's range, where others have its address; None: by the gateway's
    routes: tuple[tuple[str, str], ...] = ()  # destination CIDR, next hop
    dns_servers: tuple[str, ...] = ()
    dns_name: str = ""  # of the port; empty: one made of each address (model/names.py)
    dns_domain: str = ""  # of its network
    dhcp: bool = True
    snat: bool = True
    security_rules: tuple[dict[str, Any], ...] = ()
    port_security: bool = True
    tag: str | None = None
    network_label: str = ""
    project_id: str = ""  # of the port; the metadata proxy vouches for it
    plug: bool = True  # False: rows only, no device on the host (fake networks)
    wired_by: str = ""  # agent: one of Neutron's wires the tap; empty: the worker does all
    pairs: tuple[tuple[str, str], ...] = ()  # MACs and addresses (or ranges) that it may use besides its own
    veth: bool = False  # of a router: the device is one end of a pair
    apart: bool = False  # of a network whose ranges others may have, too: the host keeps its own end of it to itself
    wires: str = ""  # flat: or vlan: and the physical network that the port's network is on; empty: hosts make it among themselves
    vlan: int | None = None
    up: bool = True  # False: the port or its network is administratively down, and nothing passes

    @property
    def addresses(self) -> list[str]:
        """All that it may use; ranges among them."""
        return [*(ip.address for ip in self.fixed_ips), *(address for _, address in self.pairs)]


class FixedIp(msgspec.Struct, frozen=True, kw_only=True):
    address: str
    subnet_id: str
    cidr: str
    version: int = 4
    dhcp: bool = True
    ra_mode: str | None = None  # IPv6: who advertises, slaac, dhcpv6-stateful or dhcpv6-stateless; None: nobody of ours
    address_mode: str | None = None  # IPv6: how the guest comes by the address
    floating: tuple[str, ...] = ()  # floating IPs that lead to it
    host_address: str | None = None  # by which hosts serve its subnet, where that has no gateway for them to be


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A disk beside the root disk that the host makes itself: ephemeral or swap."""

    name: str  # ephemeral0, swap
    size_mib: int
    bus: str = "virtio"
    format: str | None = None


class LiveProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a live migration is; bytes."""

    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0

    @property
    def percent(self) -> int | None:
        """None as long as nothing is known. Memory that changes on the way is sent again, so this is no promise."""
        total = self.memory_total + self.disk_total
        return (total - self.memory_remaining - self.disk_remaining) * 100 // total if total else None


class VolumeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that a guest has. Its host asks the volume service, by the attachment, how to reach it: that may be secret."""

    volume_id: str
    attachment_id: str
    device: str  # as users name it: /dev/vdb
    bus: str = "virtio"
    boot_index: int | None = None  # 0: the guest boots from it
    size_gib: int = 0
    read_only: bool = False
    shared: bool = False  # several guests may have it
    tag: str | None = None
    serial: str = ""  # by which the guest knows the disk; empty: the volume's id

    @property
    def known_as(self) -> tuple[str, str]:
        """The disk's name and serial number in the guest, which stay when another volume takes this one's place."""
        return self.device.removeprefix("/dev/"), self.serial or self.volume_id


class DiskMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """What a disk has done since the guest was started. ``errors``: None where nobody counts them."""

    name: str
    read_bytes: int = 0
    read_requests: int = 0
    write_bytes: int = 0
    write_requests: int = 0
    errors: int | None = None


class CardMeasures(msgspec.Struct, frozen=True, kw_only=True):
    """What the guest has received (rx) and sent (tx) since it was started."""

    name: str
    mac: str
    rx_octets: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_drop: int = 0
    tx_octets: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_drop: int = 0


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """What a host counts of a running guest."""

    cpu_nanoseconds: tuple[int, ...] = ()
    memory_kib: int = 0
    memory_used_kib: int | None = None  # as the guest's own system says
    disks: tuple[DiskMeasures, ...] = ()
    cards: tuple[CardMeasures, ...] = ()


class GuestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a guest that its host needs. The files of its config drive may hold secrets of its user's.

    ``config_drive`` and the metadata service read ``metadata_documents``' inputs from the app, not from here:
    ``config_drive_files`` holds path -> content, ready to be written.
    """

    instance_id: str
    name: str  # instance-<8 hex digits>, the domain's name
    display_name: str
    hostname: str
    project_id: str
    user_id: str
    project_name: str = ""
    user_name: str = ""
    flavor_id: str
    flavor_name: str
    vcpus: int
    memory_mib: int
    root_gib: int  # 0: as large as the image
    disks: tuple[DiskSpec, ...] = ()
    extra_specs: dict[str, str] = msgspec.field(default_factory=dict)
    image: ImageRef | None = None
    ports: tuple[PortSpec, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    volume_properties: dict[str, str] = msgspec.field(default_factory=dict)  # of the image that its root volume was made of
    config_drive: bool = False
    config_drive_files: dict[str, bytes] = msgspec.field(default_factory=dict)
    tagged: tuple[TaggedDevice, ...] = ()  # devices that the config drive tells of; their host adds where they are
    created_at: str = ""
    fit: Fit | None = None  # its CPUs, cells, pages and PCI devices on this host; None: the host's choice

    def __repr__(self) -> str:
        """Errors and logs that name a guest do not tell its secrets."""
        return f"GuestSpec({self.instance_id})"

    @property
    def properties(self) -> dict[str, str]:
        """What its image says of the guest's hardware, or the volume that it boots from."""
        return self.image.properties if self.image else self.volume_properties

    @property
    def boots_from_volume(self) -> bool:
        return any(volume.boot_index == 0 for volume in self.volumes)
