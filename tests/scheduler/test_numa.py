"""Where guests' cells, CPUs, pages and devices fit on a host, and that nothing is ever given twice."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nova_async.config import Fake, FakeDevices
from nova_async.model.topology import DeviceRequest, DeviceSpec, Fit, HostTopology, cpus_of, divided
from nova_async.scheduler.guest_topology import devices, topology
from nova_async.scheduler.numa import Ratios, Used, fit
from nova_async.virt.fake_topology import made

GPU = DeviceSpec(name="gpu", vendor_id="10de", product_id="1eb8")
NIC = DeviceSpec(name="nic", vendor_id="8086", product_id="1520", device_type="type-VF")
PORT = DeviceSpec(name="port", vendor_id="8086", product_id="1520", device_type="type-PF")
CARDS = (FakeDevices(vendor_id="10de", product_id="1eb8", count=2),)
PORTS = (FakeDevices(vendor_id="8086", product_id="1520", device_type="type-PF", count=2, functions=2),)


def host(dedicated: str = "", shared: str | None = None, **fields: Any) -> HostTopology:
    """Two cells of four CPUs and 4 GiB unless said otherwise."""
    built = made(Fake(**({"vcpus": 8, "memory_mib": 8192, "cells": 2} | fields)))
    cells = divided(built.cells, cpus_of(shared) if shared is not None else None, cpus_of(dedicated))
    return HostTopology(cells=cells, devices=built.devices)


def fitted(on: HostTopology, used: Used, specs: dict[str, str], vcpus: int = 2, memory: int = 1024) -> Fit | str:
    flavor = {"vcpus": vcpus, "memory_mb": memory, "extra_specs": specs}
    return fit(on, used, topology(flavor, {}), devices(flavor, {}, (GPU, NIC, PORT)), Ratios(4.0, 1.5))


def filled(on: HostTopology, specs: dict[str, str], vcpus: int = 2, memory: int = 1024) -> tuple[list[Fit], str]:
    """As many equal guests as the host takes, and why no more."""
    fits: list[Fit] = []
    while not isinstance(found := fitted(on, Used(fits), specs, vcpus, memory), str):
        fits.append(found)
    return fits, found


PINNED = {"hw:cpu_policy": "dedicated"}


@pytest.mark.parametrize(
    ("on", "specs", "vcpus", "memory", "many", "why"),
    [
        ({}, {"hw:numa_nodes": "2"}, 2, 1024, 12, "memory: needs 512 MiB, 0 of 6144 MiB free"),
        ({}, {"hw:numa_nodes": "2"}, 4, 64, 8, "shared CPUs: needs 2, 0 of 16 free"),
        ({}, {"hw:numa_nodes": "1"}, 5, 64, 0, "shared CPUs: needs 5, it has 4 in all"),
        ({}, {"hw:numa_nodes": "1"}, 1, 5000, 0, "memory: needs 5000 MiB, it has 4096 MiB in all"),
        ({}, {"hw:numa_nodes": "4"}, 4, 64, 0, "the guest wants 4 NUMA cells, the host has 2"),
        ({}, PINNED, 2, 64, 0, "dedicated CPUs: needs 2, it has 0 in all"),
        ({"dedicated": "0-7"}, PINNED, 2, 64, 4, "dedicated CPUs: needs 2, 0 of 4 free"),
        ({"dedicated": "0-7"}, PINNED, 3, 64, 2, "dedicated CPUs: needs 3, 1 of 4 free"),
        ({"dedicated": "0-7"}, PINNED, 2, 4096, 2, "memory: needs 4096 MiB, 0 of 4096 MiB free"),
        ({"dedicated": "0-7"}, PINNED | {"hw:numa_nodes": "2"}, 4, 64, 2, "dedicated CPUs: needs 2, 0 of 4 free"),
        ({"dedicated": "0-7"}, PINNED | {"hw:emulator_threads_policy": "isolate"}, 3, 64, 2, "dedicated CPUs: needs 4, 0 of 4 free"),
        ({"dedicated": "0-7"}, PINNED | {"hw:emulator_threads_policy": "share"}, 1, 64, 0, "cpu_shared_set"),
        ({"dedicated": "2-7", "shared": "0-1"}, PINNED | {"hw:emulator_threads_policy": "share"}, 2, 64, 3, "needs 2, 0 of 4 free"),
        (
            {"dedicated": "0-1", "shared": "2-7"},
            {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"}, 2, 64, 2, "dedicated CPUs: needs 1, 0 of 2 free",
        ),
        ({"dedicated": "0-7"}, PINNED | {"hw:cpu_thread_policy": "require"}, 2, 64, 0, "its cores have no threads"),
        ({"dedicated": "0-7"}, PINNED | {"hw:cpu_thread_policy": "isolate"}, 2, 64, 4, "needs 2, 0 of 4 free"),
        ({"dedicated": "0-7", "threads": 2}, PINNED | {"hw:cpu_thread_policy": "isolate"}, 1, 64, 0, "its cores have threads"),
        ({"dedicated": "0-7", "threads": 2}, PINNED | {"hw:cpu_thread_policy": "require"}, 2, 64, 4, "needs 2, 0 of 4 free"),
        ({"dedicated": "0-3,5-7", "threads": 2}, PINNED | {"hw:cpu_thread_policy": "require"}, 2, 64, 3, "needs 2, 1 of 3 free"),
        ({"dedicated": "0-3", "threads": 2}, PINNED | {"hw:cpu_thread_policy": "require"}, 2, 64, 0, "2 are free, in pairs too few"),
        ({"large_pages": 512}, {"hw:mem_page_size": "large"}, 1, 512, 4, "pages of 2048 KiB: needs 256, 0 of 512 free"),
        ({"large_pages": 512}, {"hw:mem_page_size": "2MB"}, 1, 511, 0, "511 MiB are no whole number of pages of 2048 KiB"),
        ({"large_pages": 512}, {"hw:mem_page_size": "1GB"}, 1, 1024, 0, "it has no pages of 1048576 KiB"),
        ({}, {"hw:mem_page_size": "large"}, 1, 1024, 0, "it has no large pages"),
        ({"huge_pages": 1, "large_pages": 512}, {"hw:mem_page_size": "large"}, 1, 1024, 4, "pages of 1048576 KiB: needs 1, 0 of 1 free"),
        ({"large_pages": 1024}, {"hw:mem_page_size": "any"}, 1, 1024, 8, "pages of 4 KiB: needs 262144, 0 of 524288 free"),
        ({"large_pages": 1024}, {"hw:mem_page_size": "small"}, 1, 1024, 4, "pages of 4 KiB: needs 262144, 0 of 524288 free"),
        ({"large_pages": 1024}, {"hw:numa_nodes": "1"}, 1, 1024, 6, "memory: needs 1024 MiB, 0 of 3072 MiB free"),
        ({"devices": CARDS}, {"pci_passthrough:alias": "gpu:1"}, 1, 64, 2, "PCI devices gpu: needs 1, 0 free"),
        ({"devices": CARDS}, {"pci_passthrough:alias": "gpu:3"}, 1, 64, 0, "PCI devices gpu: needs 3, 2 free"),
        ({"devices": PORTS}, {"pci_passthrough:alias": "nic:1"}, 1, 64, 4, "PCI devices nic: needs 1, 0 free"),
        ({"devices": PORTS}, {"pci_passthrough:alias": "port:1"}, 1, 64, 2, "PCI devices port: needs 1, 0 free"),
    ],
)  # fmt: skip
def test_a_host_takes_so_many_guests(on, specs, vcpus, memory, many, why) -> None:
    fits, reason = filled(host(**on), specs, vcpus, memory)
    assert len(fits) == many
    assert why in reason


def test_a_refusal_names_every_cell_of_the_host() -> None:
    on = host(dedicated="0-1,4-6")
    assert fitted(on, Used(), PINNED, 4) == (
        "guest cell 0 (4 CPUs, 1024 MiB) fits nowhere: NUMA cell 0: dedicated CPUs: needs 4, it has 2 in all; "
        "NUMA cell 1: dedicated CPUs: needs 4, it has 3 in all"
    )
    _, reason = filled(host(dedicated="0-7"), PINNED)
    assert reason == "guest cell 0 (2 CPUs, 1024 MiB) fits nowhere: NUMA cell 0, 1: dedicated CPUs: needs 2, 0 of 4 free"


def test_threads_of_a_core_go_to_one_guest() -> None:
    found = fitted(host(dedicated="0-7", threads=2), Used(), PINNED, 4)
    assert isinstance(found, Fit)
    assert (found.cells[0].threads, [cpu for _, cpu in found.cells[0].pins]) == (2, [0, 4, 1, 5])
    assert (found.emulator, found.reserved) == ((0, 1, 4, 5), ())


def test_the_emulator_has_a_cpu_of_its_own() -> None:
    found = fitted(host(dedicated="0-7"), Used(), PINNED | {"hw:emulator_threads_policy": "isolate"})
    assert isinstance(found, Fit)
    assert found.reserved == found.emulator
    assert len(set(found.exclusive)) == 3


def test_guests_without_devices_leave_the_cells_beside_devices_alone() -> None:
    on = host(dedicated="0-7", devices=(FakeDevices(vendor_id="10de", product_id="1eb8"),))
    found = fitted(on, Used(), PINNED)
    assert isinstance(found, Fit)
    assert found.cells[0].host_cell == 1


@pytest.mark.parametrize(
    ("policy", "node", "socket", "ok"),
    [
        ("required", 0, 0, True),
        ("required", 1, 0, False),
        ("required", None, 0, False),
        ("socket", 1, 0, True),
        ("socket", 1, 1, False),
        ("socket", None, 0, False),
        ("legacy", 0, 0, True),
        ("legacy", None, 0, True),
        ("legacy", 1, 0, False),
        ("preferred", 1, 1, True),
        ("preferred", None, 0, True),
    ],
)
def test_how_near_a_device_must_be(policy, node, socket, ok) -> None:
    """The guest fits on cell 0 only; the device is beside ``node``, cell 1 is on ``socket``."""
    built = host(dedicated="0-3", devices=(FakeDevices(vendor_id="10de", product_id="1eb8"),))
    cells = tuple(
        type(c)(**{f: getattr(c, f) for f in c.__struct_fields__} | {"socket": s}) for c, s in zip(built.cells, (0, socket), strict=True)
    )
    card = built.devices[0]
    card = type(card)(address=card.address, vendor_id=card.vendor_id, product_id=card.product_id, numa_node=node)
    wanted = topology({"vcpus": 2, "memory_mb": 64, "extra_specs": PINNED}, {})
    found = fit(
        HostTopology(cells=cells, devices=(card,)), Used(), wanted, (DeviceRequest(alias="gpu", count=1, specs=(GPU,), policy=policy),)
    )
    assert isinstance(found, Fit) == ok
    assert ok or f"policy {policy} wants" in str(found)


HOSTS = st.builds(
    lambda cells, threads, cores, dedicated, pages, cards: host(
        ",".join(f"{cpu}" for cpu in range(cells * threads * cores) if dedicated >> (cpu % 8) & 1),
        ",".join(f"{cpu}" for cpu in range(cells * threads * cores) if not dedicated >> (cpu % 8) & 1),
        vcpus=cells * threads * cores,
        cells=cells,
        threads=threads,
        memory_mib=cells * 1024,
        large_pages=pages,
        devices=(FakeDevices(vendor_id="10de", product_id="1eb8", count=cards), *PORTS) if cards else (),
    ),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.integers(0, 255), st.integers(0, 256), st.integers(0, 3),
)  # fmt: skip
SPECS = st.sampled_from(
    [
        {"hw:numa_nodes": "1"},
        {"hw:numa_nodes": "2"},
        PINNED,
        PINNED | {"hw:numa_nodes": "2"},
        PINNED | {"hw:cpu_thread_policy": "require"},
        PINNED | {"hw:emulator_threads_policy": "isolate"},
        PINNED | {"hw:mem_page_size": "2MB"},
        {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"},
        {"hw:mem_page_size": "any"},
        {"pci_passthrough:alias": "gpu:1"},
        {"pci_passthrough:alias": "nic:2"},
        {"pci_passthrough:alias": "port:1"},
        PINNED | {"pci_passthrough:alias": "gpu:1,nic:1", "hw:pci_numa_affinity_policy": "required"},
    ]
)
GUESTS = st.lists(st.tuples(SPECS, st.sampled_from([2, 4]), st.sampled_from([64, 256, 512]), st.booleans()), max_size=24)


@settings(max_examples=150, deadline=None)
@given(on=HOSTS, guests=GUESTS)
def test_nothing_is_given_twice(on: HostTopology, guests: list[tuple[dict[str, str], int, int, bool]]) -> None:
    """Whatever comes and goes: every guest is whole, exclusive things have one owner, and no cell holds more than it has."""
    fits: list[Fit] = []
    for specs, vcpus, memory, goes in guests:
        found = fitted(on, Used(fits), specs, vcpus, memory)
        if isinstance(found, str):
            continue
        wanted = topology({"vcpus": vcpus, "memory_mb": memory, "extra_specs": specs}, {})
        assert [cell.cpus for cell in found.cells] == [cell.cpus for cell in (wanted.cells if wanted else ())]
        assert [tuple(g for g, _ in cell.pins) for cell in found.cells] == [cell.dedicated for cell in (wanted.cells if wanted else ())]
        assert len({cell.host_cell for cell in found.cells}) == len(found.cells)
        fits.append(found)
        check(on, fits)
        if goes:
            fits.pop(0)


def check(on: HostTopology, fits: list[Fit]) -> None:
    things = [thing for each in fits for thing in each.exclusive]
    assert len(things) == len(set(things))
    taken = {d.address for each in fits for d in each.devices}
    assert not {d.address for d in on.devices if d.address in taken and d.parent in taken}
    for cell in on.cells:
        here = [c for each in fits for c in each.cells if c.host_cell == cell.id]
        assert {cpu for c in here for _, cpu in c.pins} <= set(cell.dedicated)
        assert sum(len(c.cpus) - len(c.pins) for c in here) <= 4 * len(cell.shared)
        for size, count in cell.pages:
            assert sum(c.memory_mib for c in here if c.page_size == size) * 1024 <= count * size
