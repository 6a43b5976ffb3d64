"""What is done to domains in libvirt's own terms. All functions block: they run in the threads of ``connection``."""

import json
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as Tree

import libvirt
import libvirt_qemu

from nova_async import log
from nova_async.errors import Conflict, Error, NotFound
from nova_async.model.consoles import SERIAL
from nova_async.model.guests import GuestSpec, LiveProgress, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.virt.driver import GuestInfo
from nova_async.virt.libvirt import xml
from nova_async.virt.libvirt.parsed import parsed

POWER_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}
DAMAGED = 0  # in place of a guest's generation: its mark cannot be read
logger = log.get("virt.domains")
NO_MARK = (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_SUPPORT)  # ESX keeps no metadata


def all_guests(connection: libvirt.virConnect) -> list[GuestInfo]:
    """Those of our servers. One whose mark is damaged is missing among them until it is started anew, and hides no other."""
    found = []
    for domain in connection.listAllDomains(0):
        try:
            found.append(info(domain))
        except Error as error:
            logger.error("domain.mark_damaged", server=domain.UUIDString(), name=domain.name(), detail=error.detail)
    return [guest for guest in found if guest is not None]


def find(connection: libvirt.virConnect, instance_id: str) -> "libvirt.virDomain | None":
    try:
        return connection.lookupByUUIDString(instance_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def find_guest(connection: libvirt.virConnect, instance_id: str) -> GuestInfo | None:
    """One whose mark is damaged is of placement 0, which none is: it is mended when it is started."""
    domain = find(connection, instance_id)
    if domain is None:
        return None
    try:
        return info(domain)
    except Error:
        return GuestInfo(instance_id=instance_id, name=domain.name(), power_state=_power(domain), generation=DAMAGED)


def info(domain: libvirt.virDomain) -> GuestInfo | None:
    """None for a domain without our mark, and for one that vanished under our eyes."""
    try:
        mark = xml.read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.NAMESPACE))
        state = _power(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() in NO_MARK:
            return None
        raise
    return GuestInfo(
        instance_id=domain.UUIDString(), name=domain.name(), power_state=state, generation=mark.generation, rescued=bool(mark.rescue)
    )


def _power(domain: libvirt.virDomain) -> PowerState:
    return PowerState.RUNNING if _waits(domain) else POWER_STATES.get(domain.state()[0], PowerState.NOSTATE)


def define(connection: libvirt.virConnect, guest: GuestSpec, text: str) -> "libvirt.virDomain":
    """As ``text`` says, under the guest's own name, whatever somebody called it since. Raises ``Conflict`` where that name is taken."""
    known = find(connection, guest.instance_id)
    if known is None or known.name() != guest.name:
        try:
            other = connection.lookupByName(guest.name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
        else:
            raise Conflict(
                f"The host has another guest by the name of {guest.name}, which is not server {guest.instance_id}.",
                detail=other.UUIDString(),
            )
    if known is not None and known.name() != guest.name and not known.isActive():
        known.rename(guest.name)
    return connection.defineXML(text)


def start(domain: libvirt.virDomain) -> None:
    try:
        if not domain.isActive():
            domain.create()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise


def undefine(connection: libvirt.virConnect, instance_id: str) -> None:
    domain = find(connection, instance_id)
    if domain is None:
        return
    cut_power(domain)
    kind = connection.getType()
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    if kind != "Xen":
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    if kind == "QEMU":
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    unless_gone(lambda: domain.undefineFlags(flags))


def cut_power(domain: libvirt.virDomain) -> None:
    try:
        if domain.isActive():
            domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def unless_gone(work: "Callable[[], Any]") -> None:
    try:
        work()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def press_button(domain: libvirt.virDomain) -> bool:
    """Whether the guest is off already."""
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            return not domain.isActive()
        if error.get_error_code() in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
            domain.shutdown()  # libvirt's test hypervisor knows no buttons
        else:
            raise
    return False


def is_active(domain: libvirt.virDomain) -> bool:
    return bool(domain.isActive())


def pause(domain: libvirt.virDomain) -> None:
    if _switchable(domain, "pause") is not PowerState.PAUSED:
        domain.suspend()


def unpause(domain: libvirt.virDomain) -> None:
    if _switchable(domain, "unpause") is not PowerState.RUNNING:
        domain.resume()


def _switchable(domain: libvirt.virDomain, verb: str) -> PowerState:
    state = POWER_STATES.get(domain.state()[0], PowerState.NOSTATE)
    if state not in (PowerState.RUNNING, PowerState.PAUSED):
        raise Conflict(f"Cannot {verb} server {domain.UUIDString()}: it is {state.name.lower()}.")
    return state


def suspend(domain: libvirt.virDomain) -> None:
    if domain.isActive():
        domain.managedSave(0)
    elif not domain.hasManagedSaveImage(0):
        raise Conflict(f"Cannot suspend server {domain.UUIDString()}: it is off.")


def forget_saved(domain: libvirt.virDomain) -> None:
    if domain.hasManagedSaveImage(0):
        domain.managedSaveRemove(0)


def starts_as_it_is(connection: libvirt.virConnect, instance_id: str) -> bool:
    """Whether a guest goes on from saved memory, or is in rescue: nothing to define anew."""
    domain = find(connection, instance_id)
    if domain is None:
        return False
    found = find_guest(connection, instance_id)
    return bool(domain.hasManagedSaveImage(0)) or (found is not None and found.rescued)


def inject_nmi(domain: libvirt.virDomain) -> None:
    domain.injectNMI(0)


# --- cards


def has_card(domain: libvirt.virDomain, mac: str) -> bool:
    return any(_card(domain, mac, flags) is not None for flags in _levels(domain))


def attach_card(domain: libvirt.virDomain, mac: str, card: str) -> None:
    """To the guest as it is defined, and as it runs, wherever it has none with this MAC."""
    missing = [flags for flags in _levels(domain) if _card(domain, mac, flags) is None]
    if missing:
        domain.attachDeviceFlags(card, _affect(missing))


def detach_card(domain: libvirt.virDomain, mac: str) -> None:
    """Ask a running guest for its card, which it gives back later; one that is off loses it at once."""
    for flags in _levels(domain):
        card = _card(domain, mac, flags)
        if card is not None:
            try:
                domain.detachDeviceFlags(Tree.tostring(card, encoding="unicode"), _affect([flags]))
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_OPERATION_FAILED):
                    raise  # failed: it was asked already, and has not answered yet


def set_mark(domain: libvirt.virDomain, mark: str) -> None:
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark, xml.PREFIX, xml.NAMESPACE, _affect(_levels(domain)))


def _levels(domain: libvirt.virDomain) -> list[int]:
    """Flags for the descriptions that a domain has: that of its definition, and of the guest that runs."""
    return [libvirt.VIR_DOMAIN_XML_INACTIVE, *([0] if domain.isActive() else [])]


def _affect(levels: list[int]) -> int:
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE if 0 in levels else 0
    return live | (libvirt.VIR_DOMAIN_AFFECT_CONFIG if libvirt.VIR_DOMAIN_XML_INACTIVE in levels else 0)


def _card(domain: libvirt.virDomain, mac: str, flags: int) -> Tree.Element | None:
    cards = parsed(domain.XMLDesc(flags)).iterfind("devices/interface")
    return next((card for card in cards if (found := card.find("mac")) is not None and found.get("address") == mac), None)


# --- volumes, by the names and serial numbers of their disks


def has_disk(domain: libvirt.virDomain, volume: VolumeSpec) -> bool:
    return any(_disk(domain, volume, flags) is not None for flags in _levels(domain))


def attach_disk(domain: libvirt.virDomain, volume: VolumeSpec, disk: str) -> None:
    """To the guest as it is defined, and as it runs, wherever it does not have it."""
    missing = [flags for flags in _levels(domain) if _disk(domain, volume, flags) is None]
    if missing:
        domain.attachDeviceFlags(disk, _affect(missing))


def detach_disk(domain: libvirt.virDomain, volume: VolumeSpec) -> None:
    """As ``detach_card``."""
    for flags in _levels(domain):
        disk = _disk(domain, volume, flags)
        if disk is not None:
            try:
                domain.detachDeviceFlags(Tree.tostring(disk, encoding="unicode"), _affect([flags]))
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_OPERATION_FAILED):
                    raise


def resize_disk(domain: libvirt.virDomain, volume: VolumeSpec, size: int) -> None:
    """Tell a running guest the new size, in bytes."""
    domain.blockResize(target_of(domain, volume), size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)


def bridges(connection: libvirt.virConnect) -> set[str]:
    """The attachments whose volumes guests have, or would have when started, through a bridge."""
    found = set()
    for domain in connection.listAllDomains(0):
        for flags in _levels(domain):
            for source in parsed(domain.XMLDesc(flags)).iterfind("devices/disk/source[@protocol='nbd']"):
                found.add(source.get("name", ""))
    return found


def waiting(connection: libvirt.virConnect) -> list[str]:
    """The guests that stand still since a volume is out of reach."""
    return [domain.UUIDString() for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED) if _waits(domain)]


def go_on(domain: libvirt.virDomain) -> bool:
    """Let a guest that stands still for want of a volume try again; False when it does not stand still for that."""
    if not _waits(domain):
        return False
    domain.resume()
    return True


def _waits(domain: libvirt.virDomain) -> bool:
    return list(domain.state()) == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]


def reach_anew(domain: libvirt.virDomain, name: str) -> None:
    """Let QEMU, which reaches a disk at a socket that somebody else serves by now, begin to connect to it.

    It does so only when it has something to read or write. The first tries fail: they go to the old connection, or come too early.
    """
    told = json.loads(libvirt_qemu.qemuMonitorCommand(domain, '{"execute": "query-block"}', 0))["return"]
    nodes = [each["inserted"]["node-name"] for each in told if name in str(each.get("inserted", {}).get("file", ""))]
    for node in nodes * 2:
        libvirt_qemu.qemuMonitorCommand(domain, f'qemu-io {node} "read 0 512"', libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)


def is_reached_so(domain: libvirt.virDomain, volume: VolumeSpec, disk: str) -> bool:
    """Whether a running guest has the disk's bytes from where ``disk`` says."""
    here, there = _disk(domain, volume, 0), parsed(disk)
    return here is not None and _place(here) == _place(there)


def _place(disk: Tree.Element) -> list[str | None]:
    source = disk.find("source")
    return [source.get(name) for name in ("file", "dev", "protocol", "name")] if source is not None else []


def begin_disk_copy(domain: libvirt.virDomain, volume: VolumeSpec, disk: str) -> None:
    """Mirror a disk of a running guest to another one that is there; one that is being mirrored is left at it."""
    target = target_of(domain, volume)
    if domain.blockJobInfo(target, 0):
        return
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    domain.blockCopy(target, disk, {}, flags)


def disk_copied(domain: libvirt.virDomain, volume: VolumeSpec) -> int:
    """Percent; 100 once the copy keeps up with the guest. Raises ``Conflict`` when it has ended by itself."""
    job = domain.blockJobInfo(target_of(domain, volume), 0)
    if not job:
        raise Conflict("The copy of the volume ended before it was whole.")
    if job["cur"] == job["end"] and job["end"] > 0:
        return 100
    return min(99, int(job["cur"] * 100 // job["end"])) if job["end"] else 0


def end_disk_copy(domain: libvirt.virDomain, volume: VolumeSpec, *, pivot: bool) -> None:
    """The guest goes on with the copy (``pivot``), or with what it had."""
    target = target_of(domain, volume)
    if domain.blockJobInfo(target, 0):
        domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT if pivot else 0)


def disk_of(domain: libvirt.virDomain, volume: VolumeSpec) -> Tree.Element:
    """A running guest's disk. Raises ``NotFound``."""
    disk = _disk(domain, volume, 0)
    if disk is None:
        raise NotFound(f"The guest has no volume {volume.volume_id}.")
    return disk


def target_of(domain: libvirt.virDomain, volume: VolumeSpec) -> str:
    """Its name."""
    target = disk_of(domain, volume).find("target")
    return target.get("dev", "") if target is not None else ""


def _disk(domain: libvirt.virDomain, volume: VolumeSpec, flags: int) -> Tree.Element | None:
    """``flags`` without secrets: libvirt knows those itself."""
    disks = parsed(domain.XMLDesc(flags)).iterfind("devices/disk")
    return next((disk for disk in disks if xml.known_as(disk) == volume.known_as), None)


# --- copies of disks


def begin_copy(domain: libvirt.virDomain, disk: str, copy: str) -> None:
    """Let QEMU write the disk as it is now to the file ``copy`` (qcow2), which it makes, while the guest goes on."""
    backup = Tree.Element("domainbackup", mode="push")
    disks = Tree.SubElement(backup, "disks")
    for element in parsed(domain.XMLDesc(0)).iterfind("devices/disk"):
        source, target = element.find("source"), element.find("target")
        wanted = source is not None and source.get("file") == disk
        part = Tree.SubElement(disks, "disk", name=target.get("dev", "") if target is not None else "", backup="yes" if wanted else "no")
        if wanted:
            part.set("type", "file")
            Tree.SubElement(part, "driver", type="qcow2")
            Tree.SubElement(part, "target", file=copy)
    domain.backupBegin(Tree.tostring(backup, encoding="unicode"), None, 0)


def copy_is_done(domain: libvirt.virDomain) -> bool:
    """Raises ``Error`` when the copy failed."""
    if domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE:
        return False
    told = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if told.get("type") != libvirt.VIR_DOMAIN_JOB_COMPLETED or not told.get("success", True):
        raise Error("The guest's disk could not be copied.", detail=told.get("errmsg"))
    return True


def begin_flattening(domain: libvirt.virDomain, disk: str) -> None:
    """Bring into a disk what it has from its base, while the guest goes on."""
    if not domain.blockJobInfo(disk):
        domain.blockPull(disk)


def is_flattened(domain: libvirt.virDomain, disk: str) -> bool:
    return not domain.blockJobInfo(disk)


# --- live migration


def described(domain: libvirt.virDomain) -> str:
    """As the guest runs."""
    return str(domain.XMLDesc(0))


def descriptions(domain: libvirt.virDomain) -> tuple[str, str]:
    """As the guest runs, and as it is to be started, in the form that another host takes."""
    flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
    return domain.XMLDesc(flags), domain.XMLDesc(flags | libvirt.VIR_DOMAIN_XML_INACTIVE)


def migrate(domain: libvirt.virDomain, uri: str, parameters: dict[str, Any], flags: int) -> None:
    domain.migrateToURI3(uri, parameters, flags)


def start_post_copy(domain: libvirt.virDomain) -> None:
    domain.migrateStartPostCopy(0)


def live_progress(domain: libvirt.virDomain) -> LiveProgress:
    told = domain.jobStats()
    return LiveProgress(**{name: int(told.get(name, 0)) for name in LiveProgress.__struct_fields__})


def has_job(domain: libvirt.virDomain) -> bool:
    """Whether libvirt migrates or saves it now."""
    return bool(domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)


def abort_job(domain: libvirt.virDomain) -> None:
    """Succeeds when there is none."""
    try:
        domain.abortJob()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise


# --- consoles


def console(domain: libvirt.virDomain, protocol: str) -> tuple[int, str] | None:
    """Which start of the guest this is, and the socket of its console; None when it has no such console."""
    devices = parsed(domain.XMLDesc(0)).find("devices")
    assert devices is not None
    if protocol == SERIAL:
        place = devices.find("serial[@type='unix']/source")
        path = place.get("path") if place is not None else None
    else:
        place = devices.find(f"graphics[@type='{protocol}']/listen[@type='socket']")
        path = place.get("socket") if place is not None else None
    return (domain.ID(), path) if path and domain.isActive() else None


# --- the guest's agent

SILENT = (libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_ERR_AGENT_UNSYNCED)
AGENT_GONE = ("agent is not connected", "Guest agent disappeared", "End of file from agent socket", "processing agent IO")
ANSWER_SECONDS = 10


class AgentSilent(Conflict):
    """The guest runs, and its agent does not answer."""


def set_password(domain: libvirt.virDomain, user: str, password: str) -> None:
    _ask_agent(domain, lambda: domain.setUserPassword(user, password, 0))


def freeze(domain: libvirt.virDomain) -> None:
    """Let the guest write all out and hold its file systems still."""
    _ask_agent(domain, domain.fsFreeze)


def thaw(domain: libvirt.virDomain) -> None:
    _ask_agent(domain, domain.fsThaw)


def _ask_agent(domain: libvirt.virDomain, question: Callable[[], Any]) -> None:
    if not domain.isActive():
        raise Conflict(f"Server {domain.UUIDString()} is not running.")
    domain.agentSetResponseTimeout(ANSWER_SECONDS, 0)
    try:
        question()
    except libvirt.libvirtError as error:
        if error.get_error_code() in SILENT or any(words in str(error) for words in AGENT_GONE):
            raise AgentSilent("The guest's agent does not answer; is it installed and running?", detail=str(error)) from None
        raise
