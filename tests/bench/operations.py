"""What the driver adds to libvirt's own time: each operation beside the bare calls of libvirt for the same guest, in turns.

Two hosts on this machine (``tests.virt.two_hosts``), a guest of 128 MiB without an operating system, 20 rounds.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import libvirt
import msgspec

from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.virt.libvirt import domains, qcow2, xml
from nova_async.virt.libvirt.disks import layout
from nova_async.world import RealWorld
from tests.virt.conftest import quiet
from tests.virt.test_qemu_guests import Taps, ip
from tests.virt.two_hosts import Host, Pair, two_places

ROUNDS = 20
PORTS = ((19180, 19184), (19185, 19189))
LIVE = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE

Times = dict[str, tuple[list[float], list[float]]]  # operation -> seconds of bare libvirt, and of the driver


async def measure(test_guest: Path) -> dict[str, tuple[float, float]]:
    """Median seconds of each operation, bare and by the driver."""
    times: Times = {name: ([], []) for name in ("define and start", "stop", "attach a card", "live migration with a disk of 1 GiB")}
    with two_places(test_guest) as places:
        hosts = [Host(RealWorld(), folder, uri, f"host{n}", PORTS[n]) for n, (folder, uri) in enumerate(places)]
        plugs = []
        for host, name in zip(hosts, await asyncio.to_thread(_namespaces, places), strict=True):
            await ip(name, "link", "add", "brbench", "type", "bridge")
            host.plugs = Taps(name)
            plugs.append(host.plugs)
            await host.open()
        for _ in range(ROUNDS):
            await _round(Pair(hosts), times)
        for host in hosts:
            await host.close()
    return {name: (statistics.median(bare), statistics.median(ours)) for name, (bare, ours) in times.items()}


def _namespaces(places: list[tuple[Path, str]]) -> list[str]:
    return [(folder / "libvirt/network").read_text() for folder, _ in places]


async def _round(pair: Pair, times: Times) -> None:
    start, stop, attach, live = times.values()
    guest = pair.source.spec(image=None, root_gib=1)
    pair.target.spawned.append(guest.instance_id)
    port = PortSpec(id="p", network_id="n", mac="fa:16:3e:00:00:2a", bridge="brbench", device="tapbench")
    with_card = msgspec.structs.replace(guest, ports=(port,))
    driver = pair.source.driver
    start[1].append(await timed(lambda: driver.spawn(guest, 1, quiet)))
    attach[1].append(await timed(lambda: driver.attach_port(with_card, 1, port.id)))
    live[1].append(await timed(lambda: _moved(pair, with_card)))
    stop[1].append(await timed(lambda: pair.source.driver.power_off(guest.instance_id, timeout=0, retry=0)))
    await pair.source.driver.destroy(guest.instance_id)
    await asyncio.to_thread(_bare_round, pair, times)


async def _moved(pair: Pair, guest: GuestSpec) -> None:
    ticket = await pair.target.driver.prepare_live(guest, 2, pair.source.name, None)
    await pair.source.driver.live_migrate(guest, 2, pair.target.name, None, ticket, quiet)
    await pair.target.driver.finish_live(guest, 2, paused=False)
    await pair.source.driver.destroy(guest.instance_id)
    pair.at, pair.generation = 1 - pair.at, 2


def _bare_round(pair: Pair, times: Times) -> None:
    """The same on a guest of our own, by libvirt's calls alone. The migration's two connections lead from host to host directly."""
    start, stop, attach, live = times.values()
    guest = pair.target.spec(image=None, root_gib=1)
    pair.target.spawned.remove(guest.instance_id)
    source, target = pair.target, pair.source  # where the round before left off: turned around
    folders = [host.folder / "bare" / guest.instance_id for host in (source, target)]
    for folder in folders:
        folder.mkdir(parents=True)
        qcow2.create(folder / "disk", 2**30)
    connections = [libvirt.open(host.uri) for host in (source, target)]
    text = xml.domain(guest, 1, layout(folders[0], guest), xml.Host(virt_type="qemu", consoles=("vnc", "serial")))
    card = Tree.tostring(_card(), encoding="unicode")
    started = time.monotonic()
    domain = connections[0].defineXML(text)
    domain.create()
    start[0].append(time.monotonic() - started)
    started = time.monotonic()
    domain.attachDeviceFlags(card, libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    attach[0].append(time.monotonic() - started)
    meeting = f"/run/libvirt/nova-async/{uuid.uuid4().hex[:8]}"
    here, there = (host.folder / "libvirt/run" / meeting.removeprefix("/run/libvirt/") for host in (source, target))
    here.mkdir(parents=True)
    there.mkdir(parents=True)
    for name in ("memory", "disks"):
        (here / name).symlink_to(there / name)
    moved = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE).replace(str(folders[0]), str(folders[1]))
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: moved,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: moved,
        libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{meeting}/memory",
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"unix://{meeting}/disks",
        libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS: ["vda"],
    }
    started = time.monotonic()
    domain.migrateToURI3(target.uri, parameters, LIVE | libvirt.VIR_MIGRATE_NON_SHARED_INC)
    live[0].append(time.monotonic() - started)
    arrived = connections[1].lookupByUUIDString(guest.instance_id)
    started = time.monotonic()
    arrived.destroy()
    stop[0].append(time.monotonic() - started)
    domains.undefine(connections[1], guest.instance_id)
    for connection in connections:
        connection.close()


def _card() -> Tree.Element:
    interface = Tree.Element("interface", type="user")
    Tree.SubElement(interface, "mac", address="fa:16:3e:00:00:2a")
    Tree.SubElement(interface, "model", type="virtio")
    return interface


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began
