"""What every driver must do, asked of the fake, of libvirt's test hypervisor and of real QEMU guests."""

import msgspec
import pytest

from nova_async.errors import Conflict, Invalid, NotFound, Unsupported
from nova_async.model.power import PowerState

from .conftest import Lab, quiet

OFF, ON, PAUSED = PowerState.SHUTDOWN, PowerState.RUNNING, PowerState.PAUSED


async def test_a_spawned_guest_runs_and_is_listed_with_its_generation(lab: Lab) -> None:
    guest = await lab.spawn(generation=7)
    found = await lab.driver.guests()
    assert [(f.instance_id, f.name, f.power_state, f.generation) for f in found] == [(guest.instance_id, guest.name, ON, 7)]
    assert await lab.driver.guest(guest.instance_id) == found[0]
    assert (await lab.event(guest, ON)).generation == 7


async def test_spawning_a_running_guest_again_leaves_it_alone(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.pause(guest.instance_id)
    await lab.driver.unpause(guest.instance_id)
    await lab.event(guest, PAUSED)
    await lab.event(guest, ON)
    before = lab.driver.events()
    await lab.driver.spawn(guest, 1, quiet)
    await lab.driver.destroy(guest.instance_id)
    assert (await anext(before)).power_state is OFF  # nothing happened in between


async def test_spawning_with_a_newer_generation_makes_the_guest_anew(lab: Lab) -> None:
    guest = await lab.spawn(generation=1)
    await lab.driver.spawn(guest, 2, quiet)
    found = await lab.driver.guest(guest.instance_id)
    assert (found.generation, found.power_state) == (2, ON)


async def test_spawning_with_an_outdated_generation_is_refused(lab: Lab) -> None:
    guest = await lab.spawn(generation=2)
    with pytest.raises(Conflict):
        await lab.driver.spawn(guest, 1, quiet)
    assert (await lab.driver.guest(guest.instance_id)).generation == 2


async def test_spawning_a_guest_that_is_off_starts_it(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await lab.driver.spawn(guest, 1, quiet)
    assert await lab.state(guest) is ON


async def test_a_destroyed_guest_is_gone_and_may_be_destroyed_again(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.destroy(guest.instance_id)
    await lab.event(guest, OFF)
    await lab.driver.destroy(guest.instance_id)
    assert await lab.left() == []
    with pytest.raises(NotFound):
        await lab.driver.guest(guest.instance_id)


async def test_destroying_keeps_the_disks_when_asked_to_and_they_are_then_strays(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.destroy(guest.instance_id, delete_disks=False)
    kept = [] if lab.kind == "test" else [guest.instance_id]
    assert await lab.driver.stray_files() == kept
    await lab.driver.remove_stray(guest.instance_id)
    await lab.driver.remove_stray(guest.instance_id)
    assert await lab.driver.stray_files() == []


async def test_removing_strays_spares_a_living_guest(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.remove_stray(guest.instance_id)
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await lab.driver.power_on(guest, 1)
    assert await lab.state(guest) is ON


async def test_a_guest_is_paused_and_unpaused_any_number_of_times(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.pause(guest.instance_id)
    await lab.driver.pause(guest.instance_id)
    assert await lab.state(guest) is PAUSED
    await lab.event(guest, PAUSED)
    await lab.driver.unpause(guest.instance_id)
    await lab.driver.unpause(guest.instance_id)
    assert await lab.state(guest) is ON
    await lab.event(guest, ON)


async def test_a_guest_that_is_off_cannot_be_paused_or_suspended(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    for refused in (lab.driver.pause, lab.driver.unpause, lab.driver.suspend):
        with pytest.raises(Conflict):
            await refused(guest.instance_id)


async def test_a_paused_guest_cannot_be_started(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.pause(guest.instance_id)
    with pytest.raises(Conflict):
        await lab.driver.power_on(guest, 1)


async def test_a_suspended_guest_is_off_until_it_is_resumed(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.suspend(guest.instance_id)
    await lab.driver.suspend(guest.instance_id)
    assert await lab.state(guest) is OFF
    await lab.event(guest, OFF)
    await lab.driver.resume(guest, 1)
    await lab.driver.resume(guest, 1)
    assert await lab.state(guest) is ON


async def test_a_suspended_guest_leaves_nothing_when_destroyed(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.suspend(guest.instance_id)
    await lab.driver.destroy(guest.instance_id)
    assert await lab.left() == []


async def test_power_is_cut_at_once_and_put_on_again(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    assert await lab.state(guest) is OFF
    await lab.event(guest, OFF)
    await lab.driver.power_on(guest, 1)
    await lab.driver.power_on(guest, 1)
    assert await lab.state(guest) is ON
    await lab.event(guest, ON)


async def test_a_guest_obeys_the_power_button(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.ready(guest)
    await lab.driver.power_off(guest.instance_id, timeout=60, retry=10)
    assert await lab.state(guest) is OFF
    if lab.kind != "test":
        assert "power" in (await lab.driver.console_output(guest.instance_id, None)).lower()


async def test_a_guest_that_is_deaf_to_the_power_button_is_cut_off(lab: Lab) -> None:
    guest = await lab.spawn()
    lab.ignore_power_button()
    await lab.driver.power_off(guest.instance_id, timeout=0.5, retry=0.2)
    assert await lab.state(guest) is OFF


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
async def test_a_rebooted_guest_runs_again(lab: Lab, hard: bool) -> None:
    guest = await lab.spawn()
    if not hard:
        await lab.ready(guest)
    await lab.driver.reboot(guest, 1, hard=hard)
    assert await lab.state(guest) is ON
    if lab.kind != "fake":
        await lab.event(guest, OFF)
    await lab.event(guest, ON)


async def test_a_guest_that_is_off_or_suspended_or_paused_is_rebooted_hard(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await lab.driver.reboot(guest, 1, hard=True)
    assert await lab.state(guest) is ON
    await lab.driver.suspend(guest.instance_id)
    await lab.driver.reboot(guest, 1, hard=True)
    assert await lab.state(guest) is ON
    await lab.driver.pause(guest.instance_id)
    await lab.driver.reboot(guest, 2, hard=False)
    found = await lab.driver.guest(guest.instance_id)
    assert (found.power_state, found.generation) == (ON, 2)


async def test_a_guest_that_a_failed_rescue_left_off_is_started_by_the_undo(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=1)
    await lab.driver.unrescue(guest, 1, power_on=False)
    assert await lab.state(guest) is PowerState.SHUTDOWN
    await lab.driver.unrescue(guest, 1, power_on=True)
    assert await lab.state(guest) is PowerState.RUNNING


async def test_the_console_shows_the_last_lines(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.wrote(guest)
    whole = await lab.driver.console_output(guest.instance_id, None)
    last = await lab.driver.console_output(guest.instance_id, 2)
    assert await lab.driver.console_output(guest.instance_id, 0) == ""
    if lab.kind != "test":
        assert whole.count("\n") >= 3
        assert len(last.splitlines()) == 2


@pytest.mark.parametrize("console_type", ["novnc", "serial"])
async def test_a_console_has_one_address_until_its_guest_ends_and_is_then_cut_off(lab: Lab, console_type: str) -> None:
    guest = await lab.spawn()
    if not lab.offers_consoles:
        with pytest.raises(Invalid):
            await lab.driver.console(guest.instance_id, console_type)
        return
    ends = {
        "reboot": lambda: lab.driver.reboot(guest, 1, hard=True),
        "off": lambda: lab.driver.power_off(guest.instance_id, timeout=0, retry=0),
        "destroy": lambda: lab.driver.destroy(guest.instance_id),
    }
    for name, end in ends.items():
        address = await lab.driver.console(guest.instance_id, console_type)
        assert await lab.driver.console(guest.instance_id, console_type) == address
        reader, writer = await lab.connect(address)
        if console_type == "novnc":
            assert await reader.readexactly(12) == b"RFB 003.008\n"
        await lab.driver.pause(guest.instance_id)
        await lab.driver.unpause(guest.instance_id)
        assert await lab.driver.console(guest.instance_id, console_type) == address
        await end()
        await lab.cut_off(reader, address)
        writer.close()
        if name == "off":
            await lab.driver.power_on(guest, 1)


async def test_a_console_of_an_unknown_type_is_refused(lab: Lab) -> None:
    guest = await lab.spawn()
    with pytest.raises(Invalid, match=r"Unavailable console type webmks\."):
        await lab.driver.console(guest.instance_id, "webmks")


async def test_a_guest_is_resized_in_place_and_reverted_and_resized_again_and_confirmed(lab: Lab) -> None:
    guest = await lab.spawn(generation=1)
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    larger = msgspec.structs.replace(guest, vcpus=2, memory_mib=192, root_gib=2)
    for _ in range(2):
        await lab.driver.finish_move(larger, 2, power_on=False, same_host=True)
        await lab.driver.finish_move(larger, 2, power_on=True, same_host=True)
    found = await lab.driver.guest(guest.instance_id)
    assert (found.generation, found.power_state) == (2, ON)
    for _ in range(2):
        await lab.driver.revert_move(guest, 3, moved=2, power_on=False, same_host=True)
    found = await lab.driver.guest(guest.instance_id)
    assert (found.generation, found.power_state) == (3, OFF)
    await lab.driver.finish_move(larger, 4, power_on=True, same_host=True)
    for _ in range(2):
        await lab.driver.confirm_move(guest.instance_id)
    assert await lab.state(guest) is ON


async def test_a_move_of_an_older_placement_is_refused(lab: Lab) -> None:
    guest = await lab.spawn(generation=5)
    if lab.kind != "fake":
        with pytest.raises(Conflict):
            await lab.driver.receive_disk(guest, 5, "other")
        with pytest.raises(Conflict):
            await lab.driver.finish_move(guest, 4, power_on=True, same_host=True)
        with pytest.raises(Conflict):
            await lab.driver.revert_move(guest, 4, moved=3, power_on=True, same_host=True)
    assert (await lab.driver.guest(guest.instance_id)).generation == 5


async def test_a_guest_that_was_expected_and_does_not_come_leaves_nothing(lab: Lab) -> None:
    guest = lab.spec()
    for _ in range(2):
        await lab.driver.receive_disk(guest, 2, "other")
    with pytest.raises(NotFound):
        await lab.driver.guest(guest.instance_id)
    await lab.driver.destroy(guest.instance_id)
    assert await lab.driver.stray_files() == []


@pytest.mark.parametrize("before", ["suspend", "pause", "resize", "resize and revert", "stop"])
async def test_sec_022_whatever_came_before_a_destroyed_guest_leaves_nothing(lab: Lab, before: str) -> None:
    """SEC-022: what an operation keeps beside the disks goes with them."""
    guest = await lab.spawn()
    if before == "suspend":
        await lab.driver.suspend(guest.instance_id)
    elif before == "pause":
        await lab.driver.pause(guest.instance_id)
    else:
        await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    if before.startswith("resize"):
        larger = msgspec.structs.replace(guest, root_gib=2)
        await lab.driver.finish_move(larger, 2, power_on=True, same_host=True)
    if before == "resize and revert":
        await lab.driver.revert_move(guest, 3, moved=2, power_on=True, same_host=True)
    await lab.driver.destroy(guest.instance_id)
    assert await lab.left() == []
    assert await lab.driver.stray_files() == []


async def test_a_running_guest_sends_no_disks(lab: Lab) -> None:
    guest = await lab.spawn()
    with pytest.raises(Conflict):
        await lab.driver.send_disk(guest.instance_id, "other", "127.0.0.1", {}, quiet)


async def test_an_unknown_guest_is_not_found(lab: Lab) -> None:
    unknown = lab.spec().instance_id
    for ask in (lab.driver.guest, lab.driver.pause, lab.driver.unpause, lab.driver.suspend):
        with pytest.raises(NotFound):
            await ask(unknown)
    with pytest.raises(NotFound):
        await lab.driver.power_off(unknown, timeout=0, retry=0)
    with pytest.raises(NotFound):
        await lab.driver.console_output(unknown, None)
    if lab.offers_consoles:
        with pytest.raises(NotFound):
            await lab.driver.console(unknown, "novnc")


async def test_the_ports_of_a_guest_are_refreshed_and_those_of_an_unknown_one_are_not(lab: Lab) -> None:
    guest = await lab.spawn()
    await lab.driver.refresh_ports(guest.instance_id, ())
    await lab.driver.refresh_ports(guest.instance_id, ())
    assert await lab.state(guest) is ON
    with pytest.raises(NotFound):
        await lab.driver.refresh_ports(lab.spec().instance_id, ())


async def test_a_volume_comes_and_goes(lab: Lab) -> None:
    guest, volume = await lab.spawn(), lab.volume()
    await lab.ready(guest)
    having = msgspec.structs.replace(guest, volumes=(volume,))
    for _ in range(2):
        await lab.driver.attach_volume(having, 1, volume)
    await lab.driver.extend_volume(having, volume if lab.kind == "fake" else msgspec.structs.replace(volume, size_gib=1))
    for _ in range(2):
        await lab.driver.detach_volume(guest, 1, volume)
    assert await lab.state(guest) is ON
    with pytest.raises(NotFound):
        await lab.driver.attach_volume(lab.spec(), 1, volume)


async def test_a_volume_is_snapshotted_with_the_hosts_help(lab: Lab) -> None:
    guest, volume = await lab.spawn(), lab.volume()
    await lab.ready(guest)
    having = msgspec.structs.replace(guest, volumes=(volume,))
    if lab.kind == "test":
        with pytest.raises(Unsupported):
            await lab.driver.snapshot_volume(having, volume, "first")
        return
    with pytest.raises(NotFound):
        await lab.driver.snapshot_volume(having, volume, "first")
    await lab.driver.attach_volume(having, 1, volume)
    for new in ("first", "first", "second"):
        await lab.overlay(volume, new)
        await lab.driver.snapshot_volume(having, volume, new)
    for merged, target in (("first", volume.volume_id), (None, None)):
        for _ in range(2):
            await lab.driver.merge_volume(having, volume, merged, target, quiet)
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=0)
    with pytest.raises(Conflict):
        await lab.driver.snapshot_volume(having, volume, "third")


async def test_guests_outlive_the_driver(lab: Lab) -> None:
    guest = await lab.spawn(generation=3)
    await lab.driver.close()
    await lab.open()
    found = await lab.driver.guests()
    assert [(f.instance_id, f.generation, f.power_state) for f in found] == [(guest.instance_id, 3, ON)]


async def test_events_end_when_the_driver_closes(lab: Lab) -> None:
    driver = await lab.another_driver()
    listener = driver.events()
    await driver.close()
    assert [event async for event in listener if event.instance_id == "nobody"] == []


async def test_the_host_tells_what_it_has(lab: Lab) -> None:
    facts = await lab.driver.facts()
    assert set(facts.inventory) >= {"VCPU", "MEMORY_MB", "DISK_GB"}
    assert all(total > 0 for total in facts.inventory.values())
    assert facts.hypervisor_hostname == "host"
    assert facts.hypervisor_version > 0
    assert facts.hypervisor_type.lower() == {"fake": "fake", "test": "test", "qemu": "qemu"}[lab.kind]
    assert facts.supported_instances
    assert ("CUSTOM_EMULATION" in facts.traits) == (lab.kind != "fake"), "SEC-076: isolation that is weaker than KVM's shows"
