"""Real guests: what they find inside, and what happens to them when libvirt goes away."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from xml.etree import ElementTree as Tree

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async.config import load
from nova_async.errors import Invalid, NotFound, Unavailable
from nova_async.model.guests import DiskSpec, GuestSpec, PortSpec
from nova_async.model.power import PowerState
from nova_async.model.tagged_devices import ROOT, TaggedDevice
from nova_async.model.topology import Fit, FittedCell
from nova_async.processes import run
from nova_async.virt.libvirt import daemon, qcow2
from nova_async.virt.libvirt.connection import Connection
from nova_async.virt.libvirt.disks import Disks
from nova_async.virt.libvirt.driver import LibvirtDriver
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import ImageCache
from nova_async.world import RealWorld

from .conftest import QemuHost, QemuLab, image_of, quiet

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300)]

MAC = "fa:16:3e:00:00:2a"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFakeF test"

MakeLab = Callable[..., Awaitable[QemuLab]]


class Taps:
    """Plugs taps into the bridge of the test's network namespace."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.devices: dict[str, list[str]] = {}

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def plug(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        known = self.devices.setdefault(instance_id, [])
        for device in [device for device in known if device not in {port.device for port in ports}]:
            known.remove(device)
            await ip(self.network, "link", "del", device)
        for port in [port for port in ports if port.device not in known]:
            known.append(port.device)
            await ip(self.network, "tuntap", "add", port.device, "mode", "tap")
            await ip(self.network, "link", "set", port.device, "master", port.bridge, "mtu", str(port.mtu), "up")

    async def unplug(self, instance_id: str) -> None:
        for device in self.devices.pop(instance_id, []):
            await ip(self.network, "link", "del", device)

    async def plugged(self) -> list[str]:
        return list(self.devices)


async def ip(network: str, *words: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", "-n", network, *words)
    assert await process.wait() == 0, words


@pytest.fixture
async def network(qemu_host: QemuHost, tmp_path: Path) -> AsyncIterator[str]:
    """A bridge ``brtest`` with DHCP and a metadata service (the files of ``tmp_path/metadata``)."""
    if shutil.which("dnsmasq") is None:
        pytest.skip("dnsmasq is not installed")
    name, metadata = qemu_host.network, tmp_path / "metadata"
    metadata.mkdir()
    await ip(name, "link", "set", "lo", "up")
    await ip(name, "link", "add", "brtest", "type", "bridge")
    for address in ("10.77.0.1/24", "169.254.169.254/32"):
        await ip(name, "addr", "add", address, "dev", "brtest")
    await ip(name, "link", "set", "brtest", "up")
    inside = ["ip", "netns", "exec", name]
    dhcp = ["dnsmasq", "--conf-file=/dev/null", "--keep-in-foreground", "--port=0", "--interface=brtest", "--bind-interfaces"]
    dhcp += ["--except-interface=lo", "--dhcp-range=10.77.0.0,static,255.255.255.0", f"--dhcp-host={MAC},10.77.0.42,guest"]
    dhcp += ["--dhcp-option=26,1400", "--dhcp-option=121,169.254.169.254/32,10.77.0.1,0.0.0.0/0,10.77.0.1"]
    dhcp += [f"--dhcp-leasefile={tmp_path}/leases", f"--pid-file={tmp_path}/dnsmasq.pid", "--log-facility=/dev/null"]
    web = [sys.executable, "-m", "http.server", "--bind", "169.254.169.254", "--directory", str(metadata), "80"]
    servers = [
        await asyncio.create_subprocess_exec(*inside, *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in (dhcp, web)
    ]
    yield name
    for server in servers:
        server.terminate()
        await server.wait()
    await ip(name, "link", "del", "brtest")


def metadata_of(instance_id: str) -> str:
    return json.dumps({"uuid": instance_id, "hostname": "guest.novalocal", "public_keys": {"mine": KEY + "\n"}})


async def test_a_guest_runs_on_the_cpus_and_the_cell_that_it_was_given(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    cells = (await lab.driver.facts()).topology.cells
    if not cells or len(cells[0].shared) < 2:
        pytest.skip("one CPU is too few to tell")
    first, second, *_ = cells[0].shared
    cell = FittedCell(host_cell=cells[0].id, cpus=(0, 1), memory_mib=192, pins=((0, second), (1, first)))
    guest = await lab.spawn(vcpus=2, memory_mib=192, fit=Fit(cells=(cell,), emulator=(first,)))
    await lab.ready(guest)
    _, pins = await lab.driver._connection.call(lambda connection: connection.lookupByUUIDString(guest.instance_id).vcpus())
    assert [row.index(True) for row in pins] == [second, first]
    told = await lab.printed(guest, "TESTGUEST numa")
    assert "TESTGUEST cpu online=2" in told
    assert "TESTGUEST numa nodes=1" in told


async def test_a_guest_finds_its_network_its_metadata_and_its_config_drive(
    qemu_lab: MakeLab, qemu_host: QemuHost, network: str, tmp_path: Path
) -> None:
    plugs = Taps(network)
    lab = await qemu_lab(plugs)
    port = PortSpec(id="port", network_id="net", mac=MAC, bridge="brtest", device="taptest0", mtu=1400)
    disks = (DiskSpec(name="ephemeral0", size_mib=64), DiskSpec(name="swap", size_mib=16))
    guest = lab.spec(ports=(port,), disks=disks, config_drive=True)
    # Nobody but the guest knows which way it took, so each way tells another id.
    guest = msgspec.structs.replace(guest, config_drive_files={"openstack/latest/meta_data.json": metadata_of(guest.instance_id).encode()})
    for name, text in (("openstack/latest/meta_data.json", metadata_of("over-http")), ("latest/meta-data/instance-id", "i-00000001")):
        (tmp_path / "metadata" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "metadata" / name).write_text(text)

    await lab.driver.spawn(guest, 1, quiet)
    console = await lab.printed(guest, "login:")

    assert f"TESTGUEST smbios manufacturer=OpenStack_Foundation product=OpenStack_Nova serial={guest.instance_id}" in console
    assert f"TESTGUEST net eth0 mac={MAC} ip=10.77.0.42/24 gw=10.77.0.1 mtu=1400 from=dhcp" in console
    assert f"TESTGUEST config-drive dev=vdd type=iso9660 uuid={guest.instance_id}" in console
    assert "TESTGUEST metadata-http uuid=over-http ec2id=i-00000001" in console
    assert "TESTGUEST sshkeys n=1" in console
    for disk in (f"name=vda bytes={2**30}", f"name=vdb bytes={64 * 2**20}", f"name=vdc bytes={16 * 2**20}"):
        assert f"TESTGUEST disk {disk}" in console
    await lab.driver.destroy(guest.instance_id)
    assert await plugs.plugged() == []


async def test_a_guests_config_drive_says_where_libvirt_put_what_has_a_tag(qemu_lab: MakeLab, network: str) -> None:
    lab = await qemu_lab(Taps(network))
    port = PortSpec(id="port", network_id="net", mac=MAC, bridge="brtest", device="taptest1", mtu=1400, tag="front")
    volume = msgspec.structs.replace(lab.volume(), bus="scsi", device="/dev/sda")
    tagged = (
        TaggedDevice(kind="disk", name=volume.volume_id, tag="data", serial=volume.volume_id),
        TaggedDevice(kind="disk", name=ROOT, tag="system"),
        TaggedDevice(kind="nic", name=MAC, tag="front"),
    )
    guest = lab.spec(ports=(port,), volumes=(volume,), config_drive=True, tagged=tagged)
    path = "openstack/latest/meta_data.json"
    guest = msgspec.structs.replace(guest, config_drive_files={path: json.dumps({"uuid": guest.instance_id}).encode()})
    await lab.driver.spawn(guest, 1, quiet)

    drive = lab.folder / "instances" / guest.instance_id / "disk.config"
    said = await run("isoinfo", "-R", "-i", str(drive), "-x", f"/{path}", deadline=60)
    data, system, front = json.loads(said)["devices"]
    assert (data["bus"], data["serial"], data["tags"]) == ("scsi", volume.volume_id, ["data"])
    assert re.fullmatch(r"0:0:0:[0-9]+", data["address"])
    assert (system["bus"], front["bus"], front["mac"]) == ("pci", "pci", MAC)
    running = await lab.driver._connection.call(lambda connection: connection.lookupByUUIDString(guest.instance_id).XMLDesc(0))
    slot = int(Tree.fromstring(running).find("devices/interface/address").get("slot"), 16)  # type: ignore[union-attr, arg-type]
    assert front["address"] == f"0000:00:{slot:02x}.0"
    assert system["address"] != front["address"]


async def test_a_guest_reads_a_config_drive_that_is_a_fat_file_system(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab(compute__config_drive_format="vfat")
    guest = lab.spec(config_drive=True, tagged=(TaggedDevice(kind="disk", name=ROOT, tag="system"),))
    path, longer = "openstack/latest/meta_data.json", "ec2/2009-04-04/meta-data.json"
    files = {path: json.dumps({"uuid": guest.instance_id}).encode(), longer: b"{}", "openstack/content/0000": bytes(range(256))}
    await lab.driver.spawn(msgspec.structs.replace(guest, config_drive_files=files), 1, quiet)

    drive = lab.folder / "instances" / guest.instance_id / "disk.config"
    assert drive.stat().st_size == 64 * 2**20
    assert [entry.name for entry in drive.parent.iterdir() if entry.name.startswith("config-drive")] == []
    for name in (longer, "openstack/content/0000"):
        assert await run("mtype", "-i", str(drive), f"::{name}", deadline=60) == files[name]
    [disk] = json.loads(await run("mtype", "-i", str(drive), f"::{path}", deadline=60))["devices"]
    assert (disk["bus"], disk["tags"]) == ("pci", ["system"])
    await lab.printed(guest, f"TESTGUEST config-drive dev=vdb type=vfat uuid={guest.instance_id}")


@pytest.mark.slow
async def test_a_guest_boots_from_its_own_disk_under_uefi_on_q35_with_a_scsi_cdrom(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    properties = {"hw_firmware_type": "uefi", "hw_machine_type": "q35", "hw_cdrom_bus": "scsi", "hw_disk_bus": "scsi"}
    image = image_of(lab.folder / "test.qcow2", "qcow2", properties=properties)
    files = {"openstack/latest/meta_data.json": b'{"uuid": "on-the-drive"}'}
    guest = await lab.spawn(image=image, config_drive=True, config_drive_files=files, memory_mib=256)
    console = await lab.printed(guest, "TESTGUEST ready")
    assert "TESTGUEST firmware uefi" in console
    assert "TESTGUEST config-drive dev=sr0 type=iso9660 uuid=on-the-drive" in console
    volume = msgspec.structs.replace(lab.volumes.make(1), device="/dev/sdb", bus="scsi")
    await lab.driver.attach_volume(msgspec.structs.replace(guest, volumes=(volume,)), 1, volume)
    await lab.printed(guest, "TESTGUEST hotplug add block name=sdb")
    await lab.driver.destroy(guest.instance_id)
    assert await lab.left() == []


@pytest.mark.slow
async def test_disks_survive_a_hard_reboot(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    await lab.printed(guest, "TESTGUEST data dev=vda2 boots=1")
    await lab.driver.reboot(guest, 2, hard=True)
    await lab.printed(guest, "TESTGUEST data dev=vda2 boots=2")


async def test_a_guest_without_an_image_has_an_empty_disk(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn(image=None, root_gib=3)
    disk = lab.folder / "instances" / guest.instance_id / "disk"
    assert (qcow2.read_header(disk).virtual_size, qcow2.read_header(disk).backing_file) == (3 * 2**30, "")


async def test_an_image_larger_than_the_flavors_disk_is_refused_and_leaves_nothing(qemu_lab: MakeLab, tmp_path: Path) -> None:
    lab = await qemu_lab()
    large = lab.folder / "large.qcow2"
    qcow2.create(large, 2 * 2**30)
    guest = lab.spec(image=image_of(large, "qcow2"), root_gib=1)
    with pytest.raises(Invalid, match="needs a root disk of 2 GiB"):
        await lab.driver.spawn(guest, 1, quiet)
    await lab.driver.destroy(guest.instance_id)
    assert await lab.left() == []


async def test_a_half_made_guest_is_made_whole_by_the_next_spawn(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = lab.spec()
    folder = lab.folder / "instances" / guest.instance_id
    folder.mkdir()
    (folder / "disk").write_text("half a disk")
    await lab.driver.spawn(guest, 1, quiet)
    assert await lab.state(guest) is PowerState.RUNNING
    assert qcow2.read_header(folder / "disk").virtual_size == 2**30


async def test_a_guest_whose_disks_are_gone_is_not_started(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    (lab.folder / "instances" / guest.instance_id / "disk").unlink()
    with pytest.raises(NotFound, match="disks"):
        await lab.driver.power_on(guest, 1)


async def test_a_guest_that_the_hypervisor_forgot_is_defined_anew(qemu_lab: MakeLab) -> None:
    import libvirt

    lab = await qemu_lab()
    guest = await lab.spawn(generation=1)
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    connection = libvirt.open(lab.uri)
    connection.lookupByUUIDString(guest.instance_id).undefine()
    connection.close()
    await lab.driver.power_on(guest, 4)
    found = await lab.driver.guest(guest.instance_id)
    assert (found.power_state, found.generation) == (PowerState.RUNNING, 4)


async def test_destroying_does_not_wait_for_a_guest_that_is_deaf_to_its_power_button(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    off = asyncio.create_task(lab.driver.power_off(guest.instance_id, timeout=300, retry=300))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(20):
        await lab.driver.destroy(guest.instance_id)
        await off


async def test_a_base_image_is_kept_as_long_as_a_disk_reads_it(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    base = Path(qcow2.read_header(lab.folder / "instances" / guest.instance_id / "disk").backing_file)
    files = FileThreads()
    cache = ImageCache(lab.folder / "image-cache", lab.images, files, lab.world, keep_seconds=-60)
    disks = Disks(lab.folder / "instances", cache, files)
    await cache.sweep(await disks.bases())
    assert [path.name for path in base.parent.iterdir()] == [base.name]
    await lab.driver.reboot(guest, 1, hard=True)  # its kernel was a cached file as well
    await lab.driver.destroy(guest.instance_id)
    await cache.sweep(await disks.bases())
    assert list(base.parent.iterdir()) == []
    files.close()


async def test_guests_that_start_together_all_start_and_share_what_they_fetch(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guests = [lab.spec() for _ in range(4)]
    await asyncio.gather(*(lab.driver.spawn(guest, 1, quiet) for guest in guests))
    assert {found.power_state for found in await lab.driver.guests()} == {PowerState.RUNNING}
    assert lab.images.downloads <= 3
    await asyncio.gather(*(lab.driver.destroy(guest.instance_id) for guest in guests))
    assert await lab.left() == []


async def test_a_killed_qemu_is_told_of(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    os.kill(pid_of(lab, guest), signal.SIGKILL)
    await lab.event(guest, PowerState.SHUTDOWN)
    assert await lab.state(guest) is PowerState.SHUTDOWN


async def test_guests_survive_libvirtd_and_the_driver_finds_it_again(qemu_lab: MakeLab, qemu_host: QemuHost) -> None:
    lab = await qemu_lab()
    # As in production: the system's URI, which the folder's own libvirtd answers and is restarted for.
    config = load(environment={}, state_dir=str(lab.folder), compute__libvirt_uri="qemu:///system", compute__virt_type="qemu")
    driver = LibvirtDriver(config, lab.world, lab.images, lab.plugs, "host")
    await driver.start()
    guest = lab.spec()
    await driver.spawn(guest, 1, quiet)
    qemu, libvirtd = pid_of(lab, guest), pid(lab, "libvirtd")
    events = driver.events()

    os.kill(libvirtd, signal.SIGKILL)
    async with asyncio.timeout(30):
        told = await anext(events)
        while pid(lab, "libvirtd") in (libvirtd, 0):  # that was still of its start
            told = await anext(events)  # what it says after it has found libvirt again
    assert pid(lab, "libvirtd") not in (libvirtd, 0)
    assert await lab.state(guest) is PowerState.RUNNING

    assert pid_of(lab, guest) == qemu
    assert (told.instance_id, told.power_state) == (guest.instance_id, PowerState.RUNNING)
    await driver.power_off(guest.instance_id, timeout=0, retry=0)
    async with asyncio.timeout(30):  # libvirt says nothing of a guest that ends while it takes up its guests again
        while (await anext(events)).power_state is not PowerState.SHUTDOWN:
            pass
    await driver.close()


async def test_a_guest_whose_start_died_with_libvirtd_can_be_started_again(qemu_lab: MakeLab) -> None:
    """What libvirtd leaves when it is killed before QEMU is there: a record that says so, and an operation without end."""
    lab = await qemu_lab()
    guest = await lab.spawn()
    record = lab.folder / "libvirt/run/qemu" / f"{guest.name}.xml"
    qemu = pid_of(lab, guest)
    os.kill(pid(lab, "libvirtd"), signal.SIGKILL)
    os.kill(qemu, signal.SIGKILL)
    started = record.read_text()
    assert f"pid='{qemu}'" in started
    record.write_text(started.replace(f"pid='{qemu}'", "pid='0'"))
    await daemon.start_private(lab.folder, lab.world)
    async with asyncio.timeout(30):
        while await lab.state(guest) is not PowerState.SHUTDOWN:
            await asyncio.sleep(0.1)
    await lab.driver.power_on(guest, 1)
    assert await lab.state(guest) is PowerState.RUNNING


async def test_a_libvirtd_that_does_not_answer_costs_each_call_its_deadline_only(qemu_host: QemuHost, world: RealWorld) -> None:
    async def uri() -> str:
        return qemu_host.uri

    async def opened() -> None:
        return None

    connection = Connection(uri, 2, world, lifecycle=lambda *_: None, opened=opened)
    await connection.open()
    libvirtd = int((qemu_host.folder / "libvirt/run/libvirtd.pid").read_text())
    os.kill(libvirtd, signal.SIGSTOP)
    try:
        for _ in range(4):
            with pytest.raises(Unavailable):
                await connection.call(lambda c: c.getLibVersion() and c.listAllDomains(), deadline=0.2)
    finally:
        os.kill(libvirtd, signal.SIGCONT)
    assert await connection.call(lambda c: c.getHostname())
    await connection.close()


async def test_a_second_start_finds_the_private_libvirtd_running(qemu_host: QemuHost, world: RealWorld) -> None:
    before = (qemu_host.folder / "libvirt/run/libvirtd.pid").read_text()
    assert await daemon.ensure_libvirtd(qemu_host.folder, "qemu:///system", world) == qemu_host.uri
    assert (qemu_host.folder / "libvirt/run/libvirtd.pid").read_text() == before


def pid(lab: QemuLab, name: str) -> int:
    try:
        return int((lab.folder / "libvirt/run" / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return 0


def pid_of(lab: QemuLab, guest: GuestSpec) -> int:
    return int((lab.folder / "libvirt/run/qemu" / f"{guest.name}.pid").read_text())
