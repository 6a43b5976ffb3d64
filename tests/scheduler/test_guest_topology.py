"""What flavors and images ask of NUMA cells, CPUs, pages and devices, and how what cannot be is refused."""

import pytest

from nova_async.errors import Invalid
from nova_async.model.topology import DeviceSpec, cpus_of, told
from nova_async.scheduler.guest_topology import claimed_cpus, devices, topology
from nova_async.scheduler.resources import resources_of

GPU = DeviceSpec(name="gpu", vendor_id="10de", product_id="1eb8", numa_policy="preferred")
PINNED = {"hw:cpu_policy": "dedicated"}


def flavor(specs: dict[str, str], vcpus: int = 4, memory: int = 1024) -> dict:
    return {"vcpus": vcpus, "memory_mb": memory, "root_gb": 1, "extra_specs": specs}


def shape(specs: dict[str, str], image: dict[str, str]) -> list[tuple[str, str, int]] | None:
    """Of each cell its CPUs, those that are dedicated, and its memory."""
    found = topology(flavor(specs), image)
    return found and [(told(cell.cpus), told(cell.dedicated), cell.memory_mib) for cell in found.cells]


@pytest.mark.parametrize(
    ("specs", "image", "cells"),
    [
        ({}, {}, None),
        ({"hw:cpu_policy": "shared"}, {}, None),
        ({"hw:cpu_cores": "2"}, {"hw_disk_bus": "virtio"}, None),
        ({"hw:numa_nodes": "1"}, {}, [("0-3", "", 1024)]),
        ({"hw:numa_nodes": "2"}, {}, [("0-1", "", 512), ("2-3", "", 512)]),
        ({}, {"hw_numa_nodes": 2}, [("0-1", "", 512), ("2-3", "", 512)]),
        (
            {"hw:numa_nodes": "2", "hw:numa_cpus.0": "0,3", "hw:numa_mem.0": "24", "hw:numa_cpus.1": "1-2", "hw:numa_mem.1": "1000"},
            {},
            [("0,3", "", 24), ("1-2", "", 1000)],
        ),
        (
            {},
            {"hw_numa_nodes": "2", "hw_numa_cpus.0": "0-2", "hw_numa_mem.0": "1", "hw_numa_cpus.1": "3", "hw_numa_mem.1": "1023"},
            [("0-2", "", 1), ("3", "", 1023)],
        ),
        ({"hw:mem_page_size": "large"}, {}, [("0-3", "", 1024)]),
        (PINNED, {}, [("0-3", "0-3", 1024)]),
        ({}, {"hw_cpu_policy": "dedicated"}, [("0-3", "0-3", 1024)]),
        (PINNED, {"hw_cpu_policy": "shared"}, [("0-3", "0-3", 1024)]),
        ({"resources:PCPU": "4"}, {}, [("0-3", "0-3", 1024)]),
        (PINNED | {"hw:numa_nodes": "2"}, {}, [("0-1", "0-1", 512), ("2-3", "2-3", 512)]),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "^0"}, {}, [("0-3", "1-3", 1024)]),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0-1", "hw:numa_nodes": "2"}, {}, [("0-1", "0-1", 512), ("2-3", "", 512)]),
        ({"hw:cpu_policy": "mixed", "hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "2-3"}, {}, [("0-3", "2-3", 1024)]),
    ],
)
def test_cells(specs, image, cells) -> None:
    assert shape(specs, image) == cells


@pytest.mark.parametrize(
    ("specs", "image", "words"),
    [
        ({"hw:numa_nodes": "0"}, {}, "cannot be '0'"),
        ({"hw:numa_nodes": "3"}, {}, "cannot be evenly distributed"),
        ({"hw:numa_nodes": "1"}, {"hw_numa_nodes": "1"}, "'hw_numa_nodes' is not permitted to override"),
        ({"hw:numa_nodes": "2", "hw:numa_cpus.0": "0-3"}, {}, "must be provided for all NUMA nodes"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3"}, {}, "must be provided for all NUMA nodes"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-4", "hw:numa_mem.0": "1024"}, {}, "CPU number 4 is larger than max 3"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-2", "hw:numa_mem.0": "1024"}, {}, "{3} is not assigned to any node"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "1000"}, {}, "1000 MB of memory assigned, but expected 1024 MB"),
        ({"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-99999999999", "hw:numa_mem.0": "1024"}, {}, "Invalid inclusion expression"),
        (
            {"hw:numa_nodes": "2", "hw:numa_cpus.0": "0-2", "hw:numa_mem.0": "512", "hw:numa_cpus.1": "2-3", "hw:numa_mem.1": "512"},
            {},
            "CPU number 2 is assigned to two nodes",
        ),
        (
            {"hw:numa_nodes": "1", "hw:numa_cpus.0": "0-3", "hw:numa_mem.0": "1024"},
            {"hw_numa_cpus.0": "0-3"},
            "'hw_numa_cpus' is not permitted",
        ),
        ({"hw:cpu_policy": "all"}, {}, "CPU policy requested from 'flavor extra specs' is invalid"),
        ({}, {"hw_cpu_policy": "all"}, "CPU policy requested from 'image properties' is invalid"),
        ({"hw:cpu_policy": "shared"}, {"hw_cpu_policy": "dedicated"}, "'hw_cpu_policy' is not permitted"),
        ({"hw:cpu_policy": "mixed"}, {"hw_cpu_policy": "dedicated"}, "'hw_cpu_policy' is not permitted"),
        ({"hw:cpu_policy": "mixed"}, {}, "Dedicated CPU set can be specified from either"),
        (PINNED | {"hw:cpu_dedicated_mask": "0"}, {}, "without the 'mixed' policy"),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0-3"}, {}, "at least 1 pinned vCPU and 1 unpinned"),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0,9"}, {}, "not a subset of vCPUs in the flavor"),
        ({"hw:cpu_thread_policy": "require"}, {}, "thread pinning policy in a non dedicated"),
        (PINNED | {"hw:cpu_thread_policy": "some"}, {}, "CPU thread policy requested from 'flavor extra specs' is invalid"),
        (PINNED | {"hw:cpu_thread_policy": "require"}, {"hw_cpu_thread_policy": "isolate"}, "'hw_cpu_thread_policy' is not permitted"),
        (PINNED | {"hw:cpu_thread_policy": "require", "trait:HW_CPU_HYPERTHREADING": "required"}, {}, "use one or the other"),
        ({"hw:emulator_threads_policy": "isolate"}, {}, "requires a dedicated CPU policy"),
        ({"hw:emulator_threads_policy": "all"}, {}, "CPU emulator threads option requested is invalid"),
        ({"hw:cpu_realtime": "yes"}, {}, "requires either one or more non-realtime CPU"),
        ({"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "^0"}, {}, "Cannot set realtime policy"),
        (PINNED | {"hw:cpu_realtime": "yes", "hw:cpu_realtime_mask": "8"}, {}, "not a subset of the vCPUs in the flavor"),
        (PINNED | {"resources:PCPU": "4"}, {}, "in combination with the 'hw:cpu_policy'"),
        ({"resources:PCPU": "2", "resources:VCPU": "2"}, {}, "use one or the other"),
        ({"resources:PCPU": "3"}, {}, "exactly flavor.vcpus PCPUs"),
        ({"resources:PCPU": "4", "hw:emulator_threads_policy": "isolate"}, {}, "exactly flavor.vcpus + 1 PCPUs"),
        ({"hw:locked_memory": "yes"}, {}, "forbidden when mem_page_size is not set"),
        ({"hw:locked_memory": "yes", "hw:mem_page_size": "large"}, {"hw_locked_memory": "no"}, "contradicts the flavor's"),
        ({"hw:mem_page_size": "3X"}, {}, "Invalid memory page size '3X'"),
        ({}, {"hw_mem_page_size": "large"}, "Page size large forbidden against '<empty>'"),
        ({"hw:mem_page_size": "2MB"}, {"hw_mem_page_size": "1GB"}, "Page size 1GB forbidden against '2MB'"),
    ],
)
def test_refusals(specs, image, words) -> None:
    with pytest.raises(Invalid) as refused:
        topology(flavor(specs), image)
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("specs", "image", "size"),
    [
        ("small", None, "small"),
        ("any", None, "any"),
        ("2048", None, "2048"),
        ("2MB", None, "2048"),
        ("1GiB", None, "1048576"),
        ("16384Kb", None, "2048"),
        ("large", "2MB", "2048"),
        ("any", "small", "small"),
    ],
)
def test_page_sizes(specs, image, size) -> None:
    found = topology(flavor({"hw:mem_page_size": specs}), {"hw_mem_page_size": image} if image else {})
    assert found is not None
    assert found.page_size == size


@pytest.mark.parametrize(
    ("specs", "policy"),
    [
        (PINNED | {"hw:cpu_thread_policy": "prefer"}, "prefer"),
        (PINNED | {"trait:HW_CPU_HYPERTHREADING": "required"}, "require"),
        (PINNED | {"trait1:HW_CPU_HYPERTHREADING": "forbidden"}, "isolate"),
    ],
)
def test_thread_policies(specs, policy) -> None:
    found = topology(flavor(specs), {})
    assert found is not None
    assert found.threads == policy


@pytest.mark.parametrize(
    ("specs", "claims"),
    [
        ({}, {"VCPU": 4}),
        ({"hw:numa_nodes": "2"}, {"VCPU": 4}),
        (PINNED, {"PCPU": 4}),
        (PINNED | {"hw:emulator_threads_policy": "isolate"}, {"PCPU": 5}),
        ({"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"}, {"VCPU": 3, "PCPU": 1}),
        ({"resources:PCPU": "4"}, {"PCPU": 4}),
    ],
)
def test_what_is_claimed(specs, claims) -> None:
    assert resources_of(flavor(specs), {}) == claims | {"MEMORY_MB": 1024, "DISK_GB": 1}
    assert claimed_cpus(flavor(specs), {}) == ((claims.get("VCPU", 0), claims["PCPU"]) if "PCPU" in claims else None)


def test_devices_are_asked_for_by_alias() -> None:
    [one] = devices(flavor({"pci_passthrough:alias": " gpu:2"}), {}, (GPU,))
    assert (one.alias, one.count, one.specs, one.policy) == ("gpu", 2, (GPU,), "preferred")
    [one] = devices(flavor({"pci_passthrough:alias": "gpu:1"}), {"hw_pci_numa_affinity_policy": "required"}, (GPU,))
    assert one.policy == "required"


@pytest.mark.parametrize(
    ("specs", "image", "words"),
    [
        ({"pci_passthrough:alias": "fpga:1"}, {}, "PCI alias fpga is not defined"),
        ({"pci_passthrough:alias": "gpu:many"}, {}, "is no number of devices"),
        ({"hw:pci_numa_affinity_policy": "required"}, {"hw_pci_numa_affinity_policy": "legacy"}, "is not permitted to override"),
        ({"hw:pci_numa_affinity_policy": "near"}, {}, "Invalid PCI NUMA affinity configured: near"),
    ],
)
def test_devices_that_cannot_be(specs, image, words) -> None:
    with pytest.raises(Invalid, match=words):
        devices(flavor(specs), image, (GPU,))


@pytest.mark.parametrize(
    ("text", "count", "cpus"),
    [("0-3,^2,8", None, {0, 1, 3, 8}), ("^1", 3, {0, 2}), ("^1", None, set()), ("", None, set()), (" 1 , 2-2 ", None, {1, 2})],
)
def test_cpu_sets(text, count, cpus) -> None:
    assert cpus_of(text, count) == cpus


def test_cpu_sets_are_told_as_ranges() -> None:
    assert told([3, 0, 1, 2, 8, 10, 11]) == "0-3,8,10-11"
