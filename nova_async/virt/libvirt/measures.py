"""What libvirt counts of a running guest."""

from typing import Any

import libvirt

from nova_async.errors import Conflict
from nova_async.model.guests import CardMeasures, DiskMeasures, Measures
from nova_async.virt.libvirt.base import LibvirtBase
from nova_async.virt.libvirt.parsed import parsed


class Measuring(LibvirtBase):
    """The method of ``virt.driver.Driver`` for diagnostics."""

    async def measures(self, instance_id: str) -> Measures:
        return await self._domain(instance_id, measured)


def measured(domain: libvirt.virDomain) -> Measures:
    """Blocks; for a libvirt thread."""
    if not domain.isActive():
        raise Conflict(f"Server {domain.UUIDString()} is not running.")
    (_, told), *_ = domain.connect().domainListGetStats([domain])
    macs = _macs(domain.XMLDesc(0))
    memory = domain.memoryStats() if domain.connect().getType() == "QEMU" else {}
    used = memory["available"] - memory["unused"] if {"available", "unused"} <= memory.keys() else None
    return Measures(
        cpu_nanoseconds=tuple(told.get(f"vcpu.{n}.time", 0) for n in range(told.get("vcpu.current", 0))),
        memory_kib=told.get("balloon.current", domain.maxMemory()),
        memory_used_kib=used,
        disks=tuple(_disk(told, f"block.{n}") for n in range(told.get("block.count", 0))),
        cards=tuple(_card(told, f"net.{n}", macs) for n in range(told.get("net.count", 0))),
    )


def _disk(told: dict[str, Any], key: str) -> DiskMeasures:
    return DiskMeasures(
        name=told[f"{key}.name"],
        read_bytes=told.get(f"{key}.rd.bytes", 0),
        read_requests=told.get(f"{key}.rd.reqs", 0),
        write_bytes=told.get(f"{key}.wr.bytes", 0),
        write_requests=told.get(f"{key}.wr.reqs", 0),
        errors=told.get(f"{key}.errors"),
    )


def _card(told: dict[str, Any], key: str, macs: dict[str, str]) -> CardMeasures:
    """libvirt counts on the host's side of the card and turns it around for us."""
    name = told[f"{key}.name"]
    ways = {
        f"{way}_{ours}": told.get(f"{key}.{way}.{theirs}", 0)
        for way in ("rx", "tx")
        for ours, theirs in (("octets", "bytes"), ("packets", "pkts"), ("errors", "errs"), ("drop", "drop"))
    }
    return CardMeasures(name=name, mac=macs.get(name, ""), **ways)


def _macs(text: str) -> dict[str, str]:
    found = {}
    for card in parsed(text).iterfind("devices/interface"):
        target, mac = card.find("target"), card.find("mac")
        if target is not None and mac is not None:
            found[target.get("dev", "")] = mac.get("address", "")
    return found
