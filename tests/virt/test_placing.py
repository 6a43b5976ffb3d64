"""Domains of guests with CPUs, NUMA cells, pages and PCI devices of their own, and how libvirt tells what a host has of them."""

from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest

from nova_async.config import HostDevices
from nova_async.model.topology import PHYSICAL, VIRTUAL, Device, Fit, FittedCell, FittedDevice
from nova_async.virt.libvirt import xml

from .libvirt_schema import assert_valid
from .test_domain_xml import KVM, QEMU, domain, spec

PINNED = FittedCell(host_cell=0, cpus=(0, 1), memory_mib=256, pins=((0, 4), (1, 12)), threads=2, page_size=2048)
FLOATING = FittedCell(host_cell=1, cpus=(2, 3), memory_mib=256, shared=(8, 9, 10, 15), page_size=1048576)
FITS = {
    "one cell": Fit(cells=(FittedCell(host_cell=0, cpus=(0, 1, 2, 3), memory_mib=512, shared=(0, 1, 2, 3)),)),
    "pinned": Fit(cells=(PINNED, FLOATING), emulator=(4, 12)),
    "devices": Fit(devices=(FittedDevice(alias="gpu", address="0000:81:00.1"), FittedDevice(alias="gpu", address="0000:82:1f.7"))),
    "locked": Fit(cells=(PINNED, FLOATING), locked=True),
    "realtime": Fit(cells=(PINNED, FLOATING), reserved=(5,), emulator=(5,), realtime=(1,)),
}


@pytest.mark.parametrize("host", [KVM, QEMU, xml.Host(virt_type="kvm", cpu_model="host-passthrough", shared_cpus="0-3,^2")])
@pytest.mark.parametrize("fit", [*FITS.values(), None], ids=[*FITS, "none"])
def test_libvirts_schema_accepts_it(fit: Fit | None, host: xml.Host, tmp_path: Path) -> None:
    limits = {"quota:cpu_shares": "512", "quota:cpu_period": "10000", "quota:cpu_quota": "5000"}
    assert_valid(domain(spec(fit=fit, extra_specs=limits), host), tmp_path)


def test_each_cpu_and_cell_is_where_the_claim_put_it() -> None:
    root = Tree.fromstring(domain(spec(fit=FITS["realtime"])))
    pins = {pin.get("vcpu"): pin.get("cpuset") for pin in root.findall("cputune/vcpupin")}
    assert pins == {"0": "4", "1": "12", "2": "8-10,15", "3": "8-10,15"}
    assert [e.get("cpuset") for e in root.findall("cputune/emulatorpin")] == ["5"]
    assert [e.attrib for e in root.findall("cputune/vcpusched")] == [{"vcpus": "1", "scheduler": "fifo", "priority": "1"}]
    assert [(e.get("cellid"), e.get("nodeset"), e.get("mode")) for e in root.findall("numatune/memnode")] == [
        ("0", "0", "strict"),
        ("1", "1", "strict"),
    ]
    assert [(e.get("cpus"), e.get("memory")) for e in root.findall("cpu/numa/cell")] == [("0-1", "262144"), ("2-3", "262144")]
    assert [(e.get("size"), e.get("nodeset")) for e in root.findall("memoryBacking/hugepages/page")] == [("2048", "0"), ("1048576", "1")]
    assert root.find("memoryBacking/locked") is not None


def test_threads_of_a_core_are_threads_in_the_guest() -> None:
    fit = Fit(cells=(FittedCell(host_cell=0, cpus=(0, 1, 2, 3), memory_mib=512, pins=((0, 0), (1, 8), (2, 1), (3, 9)), threads=2),))
    topology = Tree.fromstring(domain(spec(fit=fit))).find("cpu/topology")
    assert topology is not None
    assert topology.attrib == {"sockets": "2", "cores": "1", "threads": "2"}


def test_a_guest_without_cpus_of_its_own_stays_on_the_shared_ones() -> None:
    host = xml.Host(virt_type="kvm", shared_cpus="0-3")
    assert Tree.fromstring(domain(spec(), host)).find("vcpu").get("cpuset") == "0-3"
    assert Tree.fromstring(domain(spec())).find("vcpu").get("cpuset") is None


def test_devices_are_taken_by_their_address() -> None:
    [one, two] = Tree.fromstring(domain(spec(fit=FITS["devices"]))).findall("devices/hostdev")
    assert (one.get("managed"), one.find("source/address").attrib) == (
        "yes",
        {"domain": "0x0000", "bus": "0x81", "slot": "0x00", "function": "0x1"},
    )
    assert two.find("source/address").get("slot") == "0x1f"


CAPABILITIES = """<capabilities><host><topology><cells num='2'>
<cell id='0'><memory unit='KiB'>4194304</memory><pages unit='KiB' size='4'>524288</pages><pages unit='KiB' size='2048'>1024</pages>
<pages unit='KiB' size='1048576'>0</pages><cpus num='4'>
<cpu id='0' socket_id='0' die_id='0' core_id='0' siblings='0,4'/><cpu id='4' socket_id='0' die_id='0' core_id='0' siblings='0,4'/>
<cpu id='1' socket_id='0' die_id='0' core_id='1' siblings='1,5'/><cpu id='5' socket_id='0' die_id='0' core_id='1' siblings='1,5'/>
</cpus></cell>
<cell id='1'><memory unit='KiB'>2097152</memory><cpus num='1'><cpu id='2' socket_id='1' die_id='0' core_id='0' siblings='2'/></cpus></cell>
</cells></topology></host></capabilities>"""
FUNCTION = """<device><name>pci_0000_3b_0a_1</name><capability type='pci'><domain>0</domain><bus>59</bus><slot>10</slot>
<function>1</function><product id='0x154c'>VF</product><vendor id='0x8086'>Intel</vendor>
<capability type='phys_function'><address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></capability><numa node='1'/>
</capability></device>"""
PORT = """<device><name>pci_0000_3b_00_0</name><capability type='pci'><domain>0</domain><bus>59</bus><slot>0</slot><function>0</function>
<product id='0x1572'/><vendor id='0x8086'/><capability type='virt_functions' maxCount='64'/></capability></device>"""


def test_cells_are_read_from_libvirts_capabilities() -> None:
    topology = pytest.importorskip("nova_async.virt.libvirt.topology")
    one, two = topology.cells(Tree.fromstring(CAPABILITIES))
    assert (one.memory_mib, one.shared, one.siblings, one.socket) == (4096, (0, 1, 4, 5), ((0, 4), (1, 5)), 0)
    assert one.pages == ((4, 524288), (2048, 1024))
    assert (two.memory_mib, two.shared, two.siblings, two.pages, two.socket) == (2048, (2,), (), (), 1)


def test_devices_are_read_from_libvirts_node_devices() -> None:
    topology = pytest.importorskip("nova_async.virt.libvirt.topology")
    assert topology.device_of(Tree.fromstring(FUNCTION)) == Device(
        address="0000:3b:0a.1", vendor_id="8086", product_id="154c", kind=VIRTUAL, numa_node=1, parent="0000:3b:00.0"
    )
    port = topology.device_of(Tree.fromstring(PORT))
    assert (port.kind, port.numa_node, port.parent) == (PHYSICAL, None, None)
    assert topology._named(port, HostDevices(vendor_id="8086", product_id="1572"))
    assert not topology._named(port, HostDevices(vendor_id="8086", address="0000:3b:00.1"))
    assert not topology._named(port, HostDevices())


def test_libvirts_own_test_hypervisor_has_two_cells() -> None:
    libvirt = pytest.importorskip("libvirt")
    topology = pytest.importorskip("nova_async.virt.libvirt.topology")
    found = topology.cells(Tree.fromstring(libvirt.open("test:///default").getCapabilities()))
    assert [len(cell.shared) for cell in found] == [8, 8]
