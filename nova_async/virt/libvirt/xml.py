"""Domains as libvirt wants them described. Built as trees: no text is ever pasted into XML."""

import re
from typing import Any
from xml.etree import ElementTree as Tree
from xml.etree.ElementTree import Element, SubElement

import msgspec

from nova_async import __version__
from nova_async.errors import Error, Invalid, Unsupported
from nova_async.model.consoles import SERIAL, SPICE, VNC
from nova_async.model.cpu_topology import CpuTopology, chosen
from nova_async.model.guests import GuestSpec, PortSpec, VolumeSpec
from nova_async.virt.libvirt import hardware, placing, secrets
from nova_async.virt.libvirt.disks import Disk, Files
from nova_async.virt.libvirt.hardware import Wishes
from nova_async.virt.libvirt.parsed import parsed

NAMESPACE = "urn:nova-async:guest:1"  # of the mark that tells our guests from others
CPU_MODES = frozenset({"host-model", "host-passthrough", "maximum"})
CPU_DEFAULT = {"kvm": "host-model", "qemu": "Nehalem"}  # a named model, since emulation can offer any and migration wants the same
NIC_MODELS = frozenset({"virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3"})
CACHE = {"kvm": "none", "qemu": "writeback"}
IO_LIMITS = ("read_bytes_sec", "write_bytes_sec", "total_bytes_sec", "read_iops_sec", "write_iops_sec", "total_iops_sec")
VOLUME_IO_LIMITS = (*IO_LIMITS, *(f"{name}_max" for name in IO_LIMITS), "size_iops_sec")
LOCAL = {"file": "file", "local": "block"}  # kinds of volumes that the host itself has, in libvirt's words
BLOCK_SIZES = ("logical_block_size", "physical_block_size")
SERIAL_SOCKETS = "/run/libvirt/nova-async/serial"  # a folder of this host, wherever the guests' files are; as libvirtd names it
CONSOLE_BOOT = "console=tty0 console=ttyS0"
SPARE_SLOTS = 8  # q35 takes a device while it runs only on a free root port
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

PREFIX = "nova_async"

Tree.register_namespace(PREFIX, NAMESPACE)


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What of the host shapes its domains."""

    virt_type: str  # kvm, qemu or test
    cpu_model: str = ""
    shared_cpus: str = ""  # where guests without CPUs of their own run; empty: anywhere
    consoles: tuple[str, ...] = ()  # vnc, spice, serial
    vnc_clipboard: bool = False  # by QEMU itself, for screens that are not had by SPICE
    cpu_features: tuple[str, ...] = ()  # beside the model's; -name: without it
    tpm: bool = False  # guests can be given one
    tuning: bool = True  # shares of processor time can be set
    initiator: str = ""  # the host's iSCSI name (RFC 3720)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a domain says about itself, enough to know the server without a database."""

    generation: int
    display_name: str
    project_id: str
    user_id: str
    flavor_id: str
    flavor_name: str
    image_id: str | None
    created_at: str
    rescue: str = ""  # id of the image that the guest is rescued with


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A volume, and how its host reaches it (Cinder's ``driver_volume_type`` and ``data``)."""

    volume: VolumeSpec
    kind: str
    data: dict[str, Any]


def domain(guest: GuestSpec, generation: int, files: Files, host: Host, ways: tuple[Way, ...] = ()) -> str:
    """The domain of a guest; ``ways`` to its volumes."""
    root = Element("domain", type=host.virt_type)
    begin(root, guest, generation, files)
    if host.virt_type != "test":
        _sysinfo(root, guest)
    _os(root, guest, files, host)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    if host.virt_type != "test":
        hardware.add_features(features, Wishes(guest))
        _cpu(root, guest, host)
    _clock(root, guest, host)
    add_ends(root)
    _devices(root, guest, files, host, ways)
    if host.virt_type != "test":
        placing.limit(root, guest)
        placing.place(root, guest, host.shared_cpus)
    return Tree.tostring(root, encoding="unicode")


def begin(root: Element, guest: GuestSpec, generation: int, files: Files) -> None:
    """Who the guest is, and how large."""
    _text(root, "name", guest.name)
    _text(root, "uuid", guest.instance_id)
    SubElement(root, "metadata").append(mark(guest, generation, files.rescue))
    _text(root, "memory", guest.memory_mib, unit="MiB")
    _text(root, "currentMemory", guest.memory_mib, unit="MiB")
    _text(root, "vcpu", guest.vcpus)


def add_ends(root: Element) -> None:
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")


def read_mark(text: str) -> Mark:
    """The mark, from libvirt's copy of it. Raises ``Error`` when it is damaged."""
    try:
        root = parsed(text)
        plain = {child.tag.rpartition("}")[2]: child for child in root}
        return Mark(
            generation=int(plain["generation"].text or ""),
            display_name=plain["name"].text or "",
            project_id=plain["owner"].get("project", ""),
            user_id=plain["owner"].get("user", ""),
            flavor_id=plain["flavor"].get("id", ""),
            flavor_name=plain["flavor"].get("name", ""),
            image_id=plain["image"].get("id") if "image" in plain else None,
            created_at=plain["created"].text or "" if "created" in plain else "",
            rescue=plain["rescue"].get("image", "") if "rescue" in plain else "",
        )
    except (Tree.ParseError, KeyError, ValueError) as error:
        raise Error("A domain's description of its server cannot be read.", detail=str(error)) from None


def mark_text(guest: GuestSpec, generation: int) -> str:
    """The mark alone, in no namespace: libvirt puts it into the one that it is told."""
    element = mark(guest, generation)
    for part in element.iter():
        part.tag = part.tag.rpartition("}")[2]
    return Tree.tostring(element, encoding="unicode")


def mark(guest: GuestSpec, generation: int, rescue: str = "") -> Element:
    """What a domain says of its server; ``rescue``: the id of the image that it is rescued with."""
    mark = Element(f"{{{NAMESPACE}}}instance")
    _own(mark, "id", guest.instance_id)
    _own(mark, "generation", str(generation))
    _own(mark, "name", guest.display_name)
    if guest.created_at:
        _own(mark, "created", guest.created_at)
    _own(mark, "owner", project=guest.project_id, user=guest.user_id)
    _own(
        mark,
        "flavor",
        id=guest.flavor_id,
        name=guest.flavor_name,
        vcpus=str(guest.vcpus),
        memory_mib=str(guest.memory_mib),
        root_gib=str(guest.root_gib),
    )
    if guest.image:
        _own(mark, "image", id=guest.image.id)
    if rescue:
        _own(mark, "rescue", image=rescue)
    for port in guest.ports:
        _own(mark, "port", id=port.id, mac=port.mac, device=port.device)
    return mark


def _sysinfo(root: Element, guest: GuestSpec) -> None:
    """SMBIOS: cloud-init looks for the metadata service when the product is named so."""
    system = SubElement(SubElement(root, "sysinfo", type="smbios"), "system")
    entries = {
        "manufacturer": "OpenStack Foundation",
        "product": "OpenStack Nova",
        "version": __version__,
        "serial": guest.instance_id,
        "uuid": guest.instance_id,
        "family": "Virtual Machine",
    }
    for name, value in entries.items():
        _text(system, "entry", value, name=name)


def _os(root: Element, guest: GuestSpec, files: Files, host: Host) -> None:
    properties = guest.properties
    uefi = properties.get("hw_firmware_type") == "uefi"
    os = SubElement(root, "os", {"firmware": "efi"} if uefi else {})
    kind = _text(os, "type", "hvm")
    if host.virt_type == "test":
        return
    kind.set("machine", _machine(guest))
    if uefi:
        secure = hardware.secure_boot(Wishes(guest))
        SubElement(SubElement(os, "firmware"), "feature", enabled="yes" if secure else "no", name="secure-boot")
        if Wishes(guest).yes("", "hw_firmware_stateless"):
            SubElement(os, "loader", stateless="yes")
        if files.nvram:
            _text(os, "nvram", files.nvram)
    if files.kernel:
        add_kernel(os, guest, files)
    elif not guest.boots_from_volume and not any(disk.boot for disk in files.disks):
        SubElement(os, "boot", dev="hd")
    hardware.add_boot(os, Wishes(guest))
    SubElement(os, "smbios", mode="sysinfo")


def add_kernel(os: Element, guest: GuestSpec, files: Files) -> None:
    _text(os, "kernel", files.kernel)
    if files.ramdisk:
        _text(os, "initrd", files.ramdisk)
    _text(os, "cmdline", files.command_line or guest.properties.get("os_command_line", CONSOLE_BOOT))


def _machine(guest: GuestSpec) -> str:
    properties = guest.properties
    return properties.get("hw_machine_type") or ("q35" if properties.get("hw_firmware_type") == "uefi" else "pc")


def _cpu(root: Element, guest: GuestSpec, host: Host) -> None:
    model = host.cpu_model or CPU_DEFAULT[host.virt_type]
    if model in CPU_MODES:
        cpu = SubElement(root, "cpu", mode=model)
    else:
        cpu = SubElement(root, "cpu", mode="custom", match="exact", check="none")
        _text(cpu, "model", model, fallback="forbid")
    sockets, cores, threads = _topology(guest)
    SubElement(cpu, "topology", sockets=str(sockets), cores=str(cores), threads=str(threads))
    hardware.add_cpu(cpu, Wishes(guest), host.cpu_features)


def _topology(guest: GuestSpec) -> CpuTopology:
    """Threads that nobody asked for are those of the host's cores that the guest has for itself."""
    try:
        return chosen(guest.vcpus, guest.extra_specs, guest.properties, placing.guest_threads(guest))
    except ValueError as error:
        raise Invalid(str(error)) from None


def _clock(root: Element, guest: GuestSpec, host: Host) -> None:
    windows = guest.image is not None and guest.image.properties.get("os_type") == "windows"
    clock = SubElement(root, "clock", offset="localtime" if windows else "utc")
    if host.virt_type != "test":
        SubElement(clock, "timer", name="pit", tickpolicy="delay")
        SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        SubElement(clock, "timer", name="hpet", present="yes" if Wishes(guest).yes("", "hw_time_hpet") else "no")


def _devices(root: Element, guest: GuestSpec, files: Files, host: Host, ways: tuple[Way, ...]) -> None:
    devices = SubElement(root, "devices")
    for disk in files.disks:
        devices.append(_disk(disk, files, guest, host))
    for way in ways:
        devices.append(_volume(way, guest, host, boots=not files.rescue))
    if host.virt_type == "test":
        for port in guest.ports:
            devices.append(_interface(port, guest))
        return
    _controllers(devices, guest, files)
    for port in guest.ports:
        if port.plug:
            devices.append(_interface(port, guest))
    _serial(devices, guest, files, host)
    screens = [protocol for protocol in (VNC, SPICE) if protocol in host.consoles]
    for protocol in screens:  # had at sockets that libvirt names; a guest without any has no video device either
        SubElement(SubElement(devices, "graphics", type=protocol), "listen", type="socket")
    hardware.add_devices(devices, Wishes(guest), screens=bool(screens), tpm=host.tpm)
    if Wishes(guest).yes("", "hw_qemu_guest_agent"):
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    _clipboard(devices, host)
    SubElement(devices, "memballoon", model="virtio")


def _serial(devices: Element, guest: GuestSpec, files: Files, host: Host) -> None:
    serial = SubElement(devices, "serial", type="unix" if SERIAL in host.consoles else "pty")
    if SERIAL in host.consoles:
        SubElement(serial, "source", mode="bind", path=f"{SERIAL_SOCKETS}/{guest.name}")
    SubElement(serial, "log", file=str(files.console), append="on")
    SubElement(serial, "target", type="isa-serial", port="0")


def _clipboard(devices: Element, host: Host) -> None:
    """Where an agent in the guest (spice-vdagent) shares the clipboard with who looks at the screen; it knows one channel alone."""
    if SPICE in host.consoles:
        channel = SubElement(devices, "channel", type="spicevmc")
    elif VNC in host.consoles and host.vnc_clipboard:
        channel = SubElement(devices, "channel", type="qemu-vdagent")
        SubElement(SubElement(channel, "source"), "clipboard", copypaste="yes")
    else:
        return
    SubElement(channel, "target", type="virtio", name="com.redhat.spice.0")


def _controllers(devices: Element, guest: GuestSpec, files: Files) -> None:
    """No USB controller, which costs an idle guest processor time, unless a disk is on it."""
    buses = {disk.bus for disk in files.disks} | {volume.bus for volume in guest.volumes}
    SubElement(devices, "controller", type="usb", model=hardware.usb_controller(Wishes(guest), "usb" in buses))
    if "scsi" in buses:
        SubElement(devices, "controller", type="scsi", index="0", model=hardware.scsi_model(guest))
    if "q35" in _machine(guest):
        SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
        for number in range(1, SPARE_SLOTS + 1):
            SubElement(devices, "controller", type="pci", index=str(number), model="pcie-root-port")


def _disk(disk: Disk, files: Files, guest: GuestSpec, host: Host) -> Element:
    element = Element("disk", type="file", device=disk.device)
    driver = SubElement(element, "driver", name="qemu", type=disk.format)
    if host.virt_type in CACHE:
        driver.set("cache", CACHE[host.virt_type] if disk.device == "disk" and not disk.read_only else "writeback")
        driver.set("discard", "unmap")
        if hardware.packed(Wishes(guest)) and disk.bus == "virtio":
            driver.set("packed", "on")
    SubElement(element, "source", file=str(disk.path))
    _see_as(element, disk.target, disk.bus, guest)
    if disk.boot and not files.kernel:
        SubElement(element, "boot", order="1")
    limits = {name: guest.extra_specs[f"quota:disk_{name}"] for name in IO_LIMITS if f"quota:disk_{name}" in guest.extra_specs}
    if limits and not disk.read_only and host.virt_type != "test":
        _limit(element, limits)
    if disk.read_only:
        SubElement(element, "readonly")
    if disk.serial:
        _text(element, "serial", disk.serial)
    return element


def _limit(disk: Element, limits: dict[str, Any]) -> None:
    """How much the guest may read and write. Raises ``Unsupported`` for what is no whole number."""
    tune = SubElement(disk, "iotune")
    for name, value in limits.items():
        if not re.fullmatch("[0-9]{1,18}", str(value)):
            raise Unsupported(f"The limit {name} of a disk is to be a whole number, and is {str(value)[:64]!r}.")
        _text(tune, name, value)


def _see_as(disk: Element, name: str, bus: str, guest: GuestSpec) -> None:
    """As which disk the guest sees it. A virtio-scsi controller has room for all; libvirt by itself would add others of another model."""
    SubElement(disk, "target", dev=name, bus=bus)
    if bus == "scsi" and hardware.scsi_model(guest) == hardware.VIRTIO_SCSI:
        unit = str(ord(name[-1]) - ord("a"))
        SubElement(disk, "address", type="drive", controller="0", bus="0", target="0", unit=unit)


def volume(way: Way, guest: GuestSpec, host: Host) -> str:
    """A volume alone, for a guest that runs."""
    return Tree.tostring(_volume(way, guest, host), encoding="unicode")


def _volume(way: Way, guest: GuestSpec, host: Host, *, boots: bool = True) -> Element:
    """A disk of the format that the volume service tells, whatever its bytes look like; guests know it by its serial number.

    ``boots``: from a root volume, which a guest in rescue does not.
    """
    spec, data = way.volume, way.data
    element = Element("disk", type=LOCAL.get(way.kind, "network"), device="disk")
    if (form := str(data.get("format") or "raw")) not in ("raw", "qcow2"):
        raise Unsupported(f"Hosts of this cloud cannot open volumes of the format {form[:64]}.")
    driver = SubElement(element, "driver", name="qemu", type=form)
    if host.virt_type in CACHE:
        driver.set("cache", "none" if spec.shared else CACHE[host.virt_type])
        driver.set("discard", "unmap")
    match way.kind:
        case "file":
            source = SubElement(element, "source", file=str(data["device_path"]))
        case "local":
            source = SubElement(element, "source", dev=str(data["device_path"]))
        case "rbd":
            source = SubElement(element, "source", protocol="rbd", name=str(data["name"]))
            for name, port in zip(data["hosts"], data["ports"], strict=True):
                SubElement(source, "host", name=str(name), port=str(port))
        case "iscsi":
            portal, _, port = str(data["target_portal"]).rpartition(":")
            source = SubElement(element, "source", protocol="iscsi", name=f"{data['target_iqn']}/{data['target_lun']}")
            SubElement(source, "host", name=portal.strip("[]"), port=port)
            SubElement(SubElement(source, "initiator"), "iqn", name=host.initiator)
        case "nbd":
            driver.set("cache", "none")
            source = SubElement(element, "source", protocol="nbd", name=str(data["name"]))
            SubElement(source, "host", transport="unix", socket=str(data["socket"]))
        case _:
            raise Unsupported(f"Hosts of this cloud cannot reach volumes of the kind {way.kind}.")
    if data.get("auth_enabled") or data.get("auth_method"):
        _log_in(source, way, guest)
    if way.kind == "nbd" or data.get("error_policy") == "stop":
        for policy in ("error_policy", "rerror_policy"):
            driver.set(policy, "stop")  # a guest whose volume is out of reach stands still
    if data.get("encrypted"):  # what opens it libvirt knows by the volume's id, see ``secrets``
        SubElement(SubElement(source, "encryption", format="luks"), "secret", type="passphrase", uuid=spec.volume_id)
    name, serial = spec.known_as
    _see_as(element, name, spec.bus, guest)
    if sizes := {name: str(data[name]) for name in BLOCK_SIZES if data.get(name)}:
        SubElement(element, "blockio", sizes)
    wanted = data.get("qos_specs") or {}
    if limits := {name: wanted[name] for name in VOLUME_IO_LIMITS if name in wanted}:
        _limit(element, limits)
    if spec.boot_index == 0 and boots:
        SubElement(element, "boot", order="1")
    if spec.shared:
        SubElement(element, "shareable")
    if spec.read_only or data.get("access_mode") == "ro":
        SubElement(element, "readonly")
    _text(element, "serial", serial)
    return element


def _log_in(source: Element, way: Way, guest: GuestSpec) -> None:
    """To the volume's target, with a secret that libvirt keeps: of iSCSI's this guest's for the volume, of Ceph's the operator's."""
    match way.kind, way.data.get("auth_method"):
        case "iscsi", "CHAP":
            kind, secret = "iscsi", secrets.login_id(guest.instance_id, way.volume.volume_id)
        case "rbd", _:
            kind, secret = "ceph", str(way.data["secret_uuid"])
        case _:
            raise Unsupported(f"Hosts of this cloud cannot log in to where a volume of the kind {way.kind} is.")
    SubElement(SubElement(source, "auth", username=str(way.data["auth_username"])), "secret", type=kind, uuid=secret)


def known_as(disk: Element) -> tuple[str, str]:
    """As ``VolumeSpec.known_as``."""
    target = disk.find("target")
    return target.get("dev", "") if target is not None else "", disk.findtext("serial", "")


def card(port: PortSpec, guest: GuestSpec) -> str:
    """A card alone, for a guest that runs."""
    return Tree.tostring(_interface(port, guest), encoding="unicode")


def _interface(port: PortSpec, guest: GuestSpec) -> Element:
    """A card on a tap device that is there already and stays ours."""
    model = (guest.image.properties.get("hw_vif_model") if guest.image else None) or "virtio"
    if model not in NIC_MODELS:
        raise Unsupported(f"The network card model {model} is not supported.")
    interface = Element("interface", type="ethernet")
    SubElement(interface, "mac", address=port.mac)
    SubElement(interface, "target", dev=port.device, managed="no")
    SubElement(interface, "model", type=model)
    if hardware.packed(Wishes(guest)) and model == "virtio":
        SubElement(interface, "driver", packed="on")
    hardware.add_bandwidth(interface, Wishes(guest))
    SubElement(interface, "mtu", size=str(port.mtu))
    return interface


def _text(parent: Element, tag: str, value: object, **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = _legal(str(value))
    return element


def _own(parent: Element, tag: str, text: str | None = None, **attributes: str) -> None:
    element = SubElement(parent, f"{{{NAMESPACE}}}{tag}", {name: _legal(value) for name, value in attributes.items()})
    element.text = None if text is None else _legal(text)


def _legal(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
