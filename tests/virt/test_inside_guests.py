"""Real guests: rescued, given and robbed of cards, asked by their agent, copied while they write."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async.errors import Conflict, Unsupported
from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.model.power import PowerState
from nova_async.virt.libvirt import agent, qcow2

from .conftest import QemuHost, QemuLab, image_of, quiet
from .test_qemu_guests import Taps, network

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300), pytest.mark.xdist_group("qemu-inside")]

MakeLab = Callable[..., Awaitable[QemuLab]]
__all__ = ["network"]


def with_image(lab: QemuLab, guest: GuestSpec, **properties: str) -> GuestSpec:
    assert guest.image is not None
    return msgspec.structs.replace(guest, image=msgspec.structs.replace(guest.image, properties=properties))


@pytest.mark.hosts
async def test_a_guest_in_rescue_boots_the_rescue_image_and_sees_its_own_disk_second(qemu_lab: MakeLab) -> None:
    """Its volume, which has the name that its own disk has now, is there again afterwards."""
    lab = await qemu_lab()
    guest = await lab.spawn(root_gib=2, volumes=(lab.volume(),))
    await lab.printed(guest, "TESTGUEST data dev=vda2 boots=1")
    await lab.printed(guest, f"TESTGUEST disk name=vdb bytes={2**30}")
    image = image_of(lab.folder / "test.qcow2", "qcow2")  # boots from its own disk
    await lab.driver.rescue(guest, 2, image, quiet)
    console = await lab.printed(guest, "TESTGUEST data dev=vdb2 boots=2")
    assert f"TESTGUEST disk name=vda bytes={128 * 2**20}" in console
    assert f"TESTGUEST disk name=vdb bytes={2 * 2**30}" in console
    found = await lab.driver.guest(guest.instance_id)
    assert (found.power_state, found.generation, found.rescued) == (PowerState.RUNNING, 2, True)

    await lab.driver.unrescue(guest, 2, power_on=True)
    await lab.printed(guest, "TESTGUEST data dev=vda2 boots=3")  # its own disk, first again
    await lab.printed(guest, f"TESTGUEST disk name=vdb bytes={2**30}", times=2)
    assert not (await lab.driver.guest(guest.instance_id)).rescued
    assert not list((lab.folder / "instances" / guest.instance_id).glob("*.rescue"))


@pytest.mark.hosts
@pytest.mark.parametrize(("bus", "name"), [("scsi", "sda"), ("virtio", "vdc")])
async def test_a_stable_rescue_leaves_own_disks_and_volumes_their_names(qemu_lab: MakeLab, bus: str, name: str) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn(root_gib=2, volumes=(lab.volume(),))
    await lab.printed(guest, "TESTGUEST ready")
    image = image_of(lab.folder / "test.qcow2", "qcow2", properties={"hw_rescue_device": "disk", "hw_rescue_bus": bus})
    await lab.driver.rescue(guest, 2, image, quiet)
    console = await lab.printed(guest, "TESTGUEST ready", times=2)
    second = console.rpartition("TESTGUEST init")[2]
    assert f"TESTGUEST disk name=vda bytes={2 * 2**30}" in second
    assert f"TESTGUEST disk name=vdb bytes={2**30}" in second
    assert f"TESTGUEST disk name={name} bytes={128 * 2**20}" in second
    await lab.driver.destroy(guest.instance_id)
    assert await lab.left() == []


async def test_a_card_comes_and_goes_while_the_guest_runs(qemu_lab: MakeLab, network: str) -> None:
    lab = await qemu_lab(Taps(network))
    guest = await lab.spawn()
    await lab.ready(guest)
    port = PortSpec(id="port-1", network_id="net", mac="fa:16:3e:00:00:2a", bridge="brtest", device="taphot0", mtu=1400, tag="second")
    more = msgspec.structs.replace(guest, ports=(port,))
    await lab.driver.attach_port(more, 1, port.id)
    await lab.driver.attach_port(more, 1, port.id)
    console = await lab.printed(guest, "TESTGUEST net eth0 mac=fa:16:3e:00:00:2a ip=10.77.0.42/24")
    assert console.count("hotplug add net") == 1
    await lab.driver.detach_port(guest, 1, port)
    await lab.printed(guest, "TESTGUEST hotplug remove net name=eth0")
    await lab.driver.detach_port(guest, 1, port)
    assert await lab.driver._plugs.plugged() == []  # type: ignore[attr-defined]
    await lab.driver.reboot(guest, 1, hard=True)
    assert await lab.state(guest) is PowerState.RUNNING


@pytest.mark.hosts
async def test_a_guest_that_is_off_finds_its_new_card_when_it_starts(qemu_lab: MakeLab, network: str) -> None:
    lab = await qemu_lab(Taps(network))
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    port = PortSpec(id="port-1", network_id="net", mac="fa:16:3e:00:00:2a", bridge="brtest", device="taphot1", mtu=1400)
    more = msgspec.structs.replace(guest, ports=(port,))
    await lab.driver.attach_port(more, 1, port.id)
    await lab.driver.power_on(more, 1)
    await lab.printed(guest, "TESTGUEST net eth0 mac=fa:16:3e:00:00:2a")


async def test_a_password_is_set_by_the_agent_and_never_logged(
    qemu_lab: MakeLab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the guest still boots."""
    lab = await qemu_lab()
    guest = with_image(lab, lab.spec(), hw_qemu_guest_agent="yes")
    await lab.driver.spawn(guest, 1, quiet)
    await lab.driver.set_password(guest, "Sesame-2")
    await lab.printed(guest, "TESTGUEST password user=root")
    assert (await lab.shell(guest, "grep ^root: /etc/shadow")).startswith("root:$6$")
    await lab.shell(guest, "kill $(cat /run/qemu-ga.pid)")
    monkeypatch.setattr(agent, "BOOT_SECONDS", 1.0)
    with pytest.raises(Conflict, match="agent does not answer"):
        await lab.driver.set_password(guest, "Sesame-3")
    assert "Sesame" not in caplog.text


async def test_a_guest_without_an_agent_is_not_asked_for_a_password(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    with pytest.raises(Unsupported, match="hw_qemu_guest_agent"):
        await lab.driver.set_password(guest, "Sesame")


async def test_a_snapshot_is_of_one_instant_and_the_guest_runs_on(qemu_lab: MakeLab, tmp_path: Path) -> None:
    lab = await qemu_lab()
    guest = with_image(lab, lab.spec(), hw_qemu_guest_agent="yes", os_require_quiesce="yes")
    await lab.driver.spawn(guest, 1, quiet)
    await lab.printed(guest, "TESTGUEST agent started")
    await lab.shell(guest, "echo before > /data/mark; sync")
    copy = tmp_path / "copy.qcow2"
    chunks: list[bytes] = []
    await asked(lambda: take(lab, guest, chunks))
    copy.write_bytes(b"".join(chunks))
    assert await lab.shell(guest, "echo after > /data/mark && cat /data/mark") == "after"  # thawed
    header = qcow2.read_header(copy)
    assert (header.virtual_size, header.backing_file) == (2**30, "")
    second = lab.spec(image=image_of(copy.rename(lab.folder / "snapshot.qcow2"), "qcow2"))
    await lab.driver.spawn(second, 1, quiet)
    await lab.ready(second)
    assert await lab.shell(second, "cat /data/mark") == "before"
    assert not list((lab.folder / "instances").glob("*/snapshot.qcow2"))


async def take(lab: QemuLab, guest: GuestSpec, chunks: list[bytes]) -> None:
    async with lab.driver.snapshot(guest) as data:
        chunks.extend([chunk async for chunk in data])


async def asked(question: Callable[[], Awaitable[None]]) -> None:
    """Ask again as long as the agent is not up."""
    for _ in range(40):
        try:
            return await question()
        except Conflict:
            await asyncio.sleep(0.5)
    await question()


@pytest.mark.hosts
async def test_a_guest_is_told_to_dump_itself(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    await lab.ready(guest)
    await lab.shell(guest, "dmesg -n 7")
    await lab.driver.crash_dump(guest.instance_id)
    await lab.printed(guest, "NMI")


@pytest.mark.hosts
async def test_a_guest_that_switches_itself_off_is_told_of(qemu_lab: MakeLab, qemu_host: QemuHost) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    await lab.ready(guest)
    await lab.shell(guest, "poweroff")
    await lab.event(guest, PowerState.SHUTDOWN)
    assert await lab.state(guest) is PowerState.SHUTDOWN


@pytest.mark.hosts
async def test_what_a_running_guest_does_is_counted(qemu_lab: MakeLab, network: str) -> None:
    lab = await qemu_lab(Taps(network))
    port = PortSpec(id="port-1", network_id="net", mac="fa:16:3e:00:00:2a", bridge="brtest", device="tapcount0", mtu=1400)
    guest = await lab.spawn(ports=(port,))
    await lab.ready(guest)
    told = await lab.driver.measures(guest.instance_id)
    assert told.memory_kib == 128 * 1024
    assert [time > 0 for time in told.cpu_nanoseconds] == [True]
    assert [(disk.name, disk.read_requests > 0) for disk in told.disks] == [("vda", True)]
    assert [(card.name, card.mac, card.rx_packets > 0, card.tx_packets > 0) for card in told.cards] == [(port.device, port.mac, True, True)]
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    with pytest.raises(Conflict):
        await lab.driver.measures(guest.instance_id)
