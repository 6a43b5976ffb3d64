"""Guests that somebody renamed at their host, on libvirt's test hypervisor: known by their ids, and started under their own names."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("libvirt")

from nova_async.errors import Conflict
from nova_async.model.power import PowerState
from nova_async.virt.libvirt.xml import NAMESPACE
from nova_async.world import RealWorld

from .conftest import TestHypervisorLab

URI = "test:///default"
FOREIGN = "<domain type='test'><name>{}</name><memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"


@pytest.fixture
async def lab(tmp_path: Path, world: RealWorld) -> AsyncIterator[TestHypervisorLab]:
    made = TestHypervisorLab(world, tmp_path, URI)
    await made.open()
    yield made
    await made.close()


async def at_the_host(work: Any) -> Any:
    import libvirt

    def done() -> Any:
        connection = libvirt.open(URI)
        try:
            return work(connection)
        finally:
            connection.close()

    return await asyncio.to_thread(done)


async def test_a_guest_that_was_renamed_is_started_under_its_own_name(lab: TestHypervisorLab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=1)
    await at_the_host(lambda connection: connection.lookupByUUIDString(guest.instance_id).rename("stolen"))
    assert await lab.state(guest) is PowerState.SHUTDOWN
    await lab.driver.power_on(guest, 1)
    assert await lab.state(guest) is PowerState.RUNNING
    assert (await lab.driver.guest(guest.instance_id)).name == guest.name


async def test_a_guest_whose_name_another_has_is_not_started_and_the_other_is_left_alone(lab: TestHypervisorLab) -> None:
    guest = await lab.spawn()
    await lab.driver.power_off(guest.instance_id, timeout=0, retry=1)
    await at_the_host(lambda connection: connection.lookupByUUIDString(guest.instance_id).rename("stolen"))
    await at_the_host(lambda connection: connection.defineXML(FOREIGN.format(guest.name)) and None)
    try:
        with pytest.raises(Conflict, match=f"another guest by the name of {guest.name}"):
            await lab.driver.power_on(guest, 1)
        await lab.driver.destroy(guest.instance_id)
        assert not await at_the_host(lambda connection: connection.lookupByName(guest.name).isActive())
    finally:
        await at_the_host(lambda connection: connection.lookupByName(guest.name).undefine())


@pytest.mark.parametrize("on", [True, False], ids=["running", "off"])
@pytest.mark.parametrize("mark", ["<instance/>", "<instance><generation>x</generation></instance>"])
async def test_a_guest_whose_mark_is_damaged_hides_no_other_and_is_mended_when_it_is_started(
    lab: TestHypervisorLab, mark: str, on: bool
) -> None:
    """SEC-065"""
    import libvirt

    damaged, whole = await lab.spawn(), await lab.spawn()
    if not on:
        await lab.driver.power_off(damaged.instance_id, timeout=0, retry=1)

    def damage(connection: Any) -> None:
        domain = connection.lookupByUUIDString(damaged.instance_id)
        flags = libvirt.VIR_DOMAIN_AFFECT_CURRENT
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, mark, "nova", NAMESPACE, flags)

    await at_the_host(damage)
    restarted = await lab.another_driver()
    try:
        assert [guest.instance_id for guest in await restarted.guests()] == [whole.instance_id]
        await restarted.reboot(whole, 1, hard=True)
        await restarted.power_on(damaged, 1)
        assert {(g.instance_id, g.generation) for g in await restarted.guests()} == {(damaged.instance_id, 1), (whole.instance_id, 1)}
    finally:
        await restarted.close()
