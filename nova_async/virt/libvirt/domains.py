"""What is done to domains in libvirt's own terms. All functions block: they run in the threads of ``connection``."""

from collections.abc import Callable
from typing import Any

import libvirt

from nova_async.errors import Conflict
from nova_async.model.power import PowerState
from nova_async.virt.driver import GuestInfo
from nova_async.virt.libvirt import xml

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


def all_guests(connection: libvirt.virConnect) -> list[GuestInfo]:
    found = (info(domain) for domain in connection.listAllDomains(0))
    return [guest for guest in found if guest is not None]


def find(connection: libvirt.virConnect, instance_id: str) -> "libvirt.virDomain | None":
    try:
        return connection.lookupByUUIDString(instance_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def find_guest(connection: libvirt.virConnect, instance_id: str) -> GuestInfo | None:
    domain = find(connection, instance_id)
    return info(domain) if domain is not None else None


def info(domain: libvirt.virDomain) -> GuestInfo | None:
    """None for a domain without our mark, and for one that vanished under our eyes."""
    try:
        mark = xml.read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.NAMESPACE))
        state = POWER_STATES.get(domain.state()[0], PowerState.NOSTATE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise
    return GuestInfo(instance_id=domain.UUIDString(), name=domain.name(), power_state=state, generation=mark.generation)


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
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    if connection.getType() == "QEMU":
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


def has_saved(connection: libvirt.virConnect, instance_id: str) -> bool:
    domain = find(connection, instance_id)
    return domain is not None and bool(domain.hasManagedSaveImage(0))
