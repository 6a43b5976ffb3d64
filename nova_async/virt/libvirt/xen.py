"""Domains as libvirt's Xen driver wants them described: full virtualization, with disks of the host's own, and little else.

Source: libvirt's ``libxl_conf.c`` and its domain format. What Xen's guests do not have is refused by name (``check``).
"""

from xml.etree import ElementTree as Tree
from xml.etree.ElementTree import Element, SubElement

from nova_async.errors import Unsupported
from nova_async.model.guests import GuestSpec
from nova_async.virt.libvirt import xml
from nova_async.virt.libvirt.disks import Files

IMAGE_WORDS = frozenset(  # image properties of hardware and system that mean something here, or nothing to any hypervisor
    {
        "hw_architecture",
        "hw_vm_mode",
        "os_admin_user",
        "os_command_line",
        "os_distro",
        "os_shutdown_timeout",
        "os_type",
        "os_version",
        "img_hv_type",
        "img_mappings",
    }
)
FLAVOR_WORDS = ("hw:", "hw_rng:", "hw_video:", "os:", "quota:", "accel:", "pci_passthrough:", "hide_hypervisor_id")
LETTERS = "abcdefghijklmnop"


def check(guest: GuestSpec) -> None:
    """Raises ``Unsupported``, naming what the guest cannot be given on Xen."""
    for name in guest.extra_specs:
        if name.startswith(FLAVOR_WORDS):
            _refuse(f"{name} is not supported")
    for name, value in guest.properties.items():
        if name.startswith(("hw_", "os_", "img_")) and name not in IMAGE_WORDS:
            _refuse(f"{name} is not supported")
        if (name == "hw_vm_mode" and value != "hvm") or (name == "hw_architecture" and value not in ("x86_64", "i686")):
            _refuse(f"{name}={value[:40]} is not supported")
    if guest.ports:
        _refuse("network cards are not supported; ask for networks: none")
    if guest.volumes:
        _refuse("volumes are not supported")


def _refuse(what: str) -> None:
    raise Unsupported(f"Server on Xen: {what}.")


def domain(guest: GuestSpec, generation: int, files: Files) -> str:
    """The domain of a guest. Raises ``Unsupported``."""
    check(guest)
    root = Element("domain", type="xen")
    xml.begin(root, guest, generation, files)
    os = SubElement(root, "os")
    SubElement(os, "type").text = "hvm"
    if files.kernel:
        xml.add_kernel(os, guest, files)
    else:
        SubElement(os, "boot", dev="hd")
    features = SubElement(root, "features")
    for name in ("acpi", "apic", "pae"):
        SubElement(features, name)
    SubElement(root, "clock", offset="localtime" if guest.properties.get("os_type") == "windows" else "utc")
    xml.add_ends(root)
    devices = SubElement(root, "devices")
    # Xen gives the first disks to firmware as well, in their order, so that what is booted from comes first.
    for letter, disk in zip(LETTERS, sorted(files.disks, key=lambda disk: not disk.boot), strict=False):
        element = SubElement(devices, "disk", type="file", device="disk")
        SubElement(element, "driver", name="qemu", type=disk.format)
        SubElement(element, "source", file=str(disk.path))
        SubElement(element, "target", dev=f"xvd{letter}", bus="xen")
        if disk.read_only:
            SubElement(element, "readonly")
    SubElement(SubElement(devices, "serial", type="pty"), "target", port="0")
    SubElement(devices, "memballoon", model="xen")
    return Tree.tostring(root, encoding="unicode")
