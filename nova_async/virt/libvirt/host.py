"""What a host has and can do, from libvirt and the operating system."""

import datetime
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Tree

import libvirt
import psutil

from nova_async.config import Config
from nova_async.model.topology import HostCell, HostTopology
from nova_async.virt.driver import HostFacts
from nova_async.virt.libvirt import topology
from nova_async.virt.libvirt.parsed import parsed

DAC_LABEL = re.compile(r"\+(\d+):\+(\d+)")
MIB = 2**20
GIB = 2**30

TRAITS = (
    "COMPUTE_CONFIG_DRIVE_REGENERATION",
    "COMPUTE_DEVICE_TAGGING",
    "COMPUTE_GRAPHICS_MODEL_BOCHS",
    "COMPUTE_GRAPHICS_MODEL_CIRRUS",
    "COMPUTE_GRAPHICS_MODEL_NONE",
    "COMPUTE_GRAPHICS_MODEL_QXL",
    "COMPUTE_GRAPHICS_MODEL_VGA",
    "COMPUTE_GRAPHICS_MODEL_VIRTIO",
    "COMPUTE_GRAPHICS_MODEL_VMVGA",
    "COMPUTE_IMAGE_TYPE_ISO",
    "COMPUTE_IMAGE_TYPE_QCOW2",
    "COMPUTE_IMAGE_TYPE_RAW",
    "COMPUTE_NET_ATTACH_INTERFACE",
    "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG",
    "COMPUTE_NET_VIF_MODEL_E1000",
    "COMPUTE_NET_VIF_MODEL_E1000E",
    "COMPUTE_NET_VIF_MODEL_NE2K_PCI",
    "COMPUTE_NET_VIF_MODEL_PCNET",
    "COMPUTE_NET_VIF_MODEL_RTL8139",
    "COMPUTE_NET_VIF_MODEL_VIRTIO",
    "COMPUTE_NET_VIF_MODEL_VMXNET3",
    "COMPUTE_NODE",
    "COMPUTE_SECURITY_UEFI_SECURE_BOOT",
    "COMPUTE_STORAGE_BUS_IDE",
    "COMPUTE_STORAGE_BUS_SATA",
    "COMPUTE_STORAGE_BUS_SCSI",
    "COMPUTE_STORAGE_BUS_USB",
    "COMPUTE_STORAGE_BUS_VIRTIO",
    "COMPUTE_TRUSTED_CERTS",
)
CPU_TRAITS = {  # a flag of /proc/cpuinfo -> the trait; what a guest on KVM can be given
    "aes": "HW_CPU_X86_AESNI",
    "avx": "HW_CPU_X86_AVX",
    "avx2": "HW_CPU_X86_AVX2",
    "avx512f": "HW_CPU_X86_AVX512F",
    "bmi1": "HW_CPU_X86_BMI",
    "bmi2": "HW_CPU_X86_BMI2",
    "f16c": "HW_CPU_X86_F16C",
    "fma": "HW_CPU_X86_FMA3",
    "sha_ni": "HW_CPU_X86_SHA",
    "sse": "HW_CPU_X86_SSE",
    "sse2": "HW_CPU_X86_SSE2",
    "ssse3": "HW_CPU_X86_SSSE3",
    "sse4_1": "HW_CPU_X86_SSE41",
    "sse4_2": "HW_CPU_X86_SSE42",
    "svm": "HW_CPU_X86_AMD_SVM",
    "vmx": "HW_CPU_X86_INTEL_VMX",
}
EMULATED = ("CUSTOM_EMULATION",)  # guests are kept apart by QEMU alone, which does not promise that much (QEMU: docs/system/security.rst)
FOREIGN_TRAITS = {  # of hypervisors other than QEMU, by the type of their domains
    "xen": (
        "COMPUTE_CONFIG_DRIVE_REGENERATION",
        "COMPUTE_IMAGE_TYPE_ISO",
        "COMPUTE_IMAGE_TYPE_QCOW2",
        "COMPUTE_IMAGE_TYPE_RAW",
        "COMPUTE_NODE",
        "COMPUTE_TRUSTED_CERTS",
    ),
    "vmware": ("COMPUTE_NODE",),
}


def facts(connection: libvirt.virConnect, host: str, virt_type: str, config: Config) -> HostFacts:
    """Blocks; for a libvirt thread."""
    capabilities = parsed(connection.getCapabilities())
    if virt_type in FOREIGN_TRAITS:
        return _foreign_facts(connection, host, virt_type, config, capabilities)
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(config.state)
    cells = topology.cells(capabilities)
    devices = topology.devices(connection, config.pci.devices)
    return HostFacts(
        inventory={"VCPU": psutil.cpu_count() or 1, "MEMORY_MB": memory.total // MIB, "DISK_GB": disk.total // GIB},
        traits=tuple(sorted((*TRAITS, *_traits_of(cells), *(_cpu_traits() if virt_type == "kvm" else EMULATED)))),
        hypervisor_type=connection.getType(),
        hypervisor_version=connection.getVersion(),
        hypervisor_hostname=host,
        cpu_info=_cpu_info(capabilities),
        supported_instances=_supported(capabilities, virt_type),
        memory_used_mib=(memory.total - memory.available) // MIB,
        disk_used_gib=disk.used // GIB,
        uptime=_uptime(),
        initiator=initiator(host),
        topology=HostTopology(cells=cells, devices=devices),
    )


def initiator(host: str) -> str:
    """The host's name to iSCSI targets, as QEMU makes its own (RFC 3720, 3.2.6.3.1)."""
    return "iqn.2008-11.org.linux-kvm:" + re.sub(r"[^a-z0-9.-]", "-", host.lower())


def _foreign_facts(connection: libvirt.virConnect, host: str, virt_type: str, config: Config, capabilities: Tree.Element) -> HostFacts:
    """Memory and processors are the hypervisor's, of which this system may have a part only. ESX has room for no guest of ours."""
    _, memory_mib, cpus, *_ = connection.getInfo()
    disk = shutil.disk_usage(config.state)
    ours = virt_type == "xen"
    return HostFacts(
        inventory={"VCPU": cpus, "MEMORY_MB": memory_mib, "DISK_GB": disk.total // GIB} if ours else {},
        traits=FOREIGN_TRAITS[virt_type],
        hypervisor_type=connection.getType(),
        hypervisor_version=connection.getVersion(),
        hypervisor_hostname=host,
        cpu_info=_cpu_info(capabilities),
        supported_instances=tuple(found for found in _supported(capabilities, virt_type) if found[2] == "hvm") if ours else (),
        disk_used_gib=disk.used // GIB if ours else 0,
        uptime=_uptime() if ours else "",
    )


def guests_owner(connection: libvirt.virConnect) -> tuple[int, int] | None:
    """User and group that guests' QEMU runs as; None when libvirt does not say. Blocks."""
    for model in parsed(connection.getCapabilities()).iterfind("host/secmodel"):
        if model.findtext("model") == "dac" and (label := DAC_LABEL.fullmatch(model.findtext("baselabel", ""))):
            return int(label[1]), int(label[2])
    return None


def _traits_of(cells: tuple[HostCell, ...]) -> list[str]:
    threads = any(len(core) > 1 for cell in cells for core in cell.siblings)
    sockets = bool(cells) and all(cell.socket is not None for cell in cells)
    return ["HW_CPU_HYPERTHREADING"] * threads + ["COMPUTE_SOCKET_PCI_NUMA_AFFINITY"] * sockets


def _cpu_info(capabilities: Tree.Element) -> dict[str, Any]:
    cpu = capabilities.find("host/cpu")
    if cpu is None:
        return {}
    topology = cpu.find("topology")
    return {
        "arch": cpu.findtext("arch", ""),
        "model": cpu.findtext("model", ""),
        "vendor": cpu.findtext("vendor", ""),
        "features": sorted(feature.get("name", "") for feature in cpu.findall("feature")),
        "topology": {name: int(topology.get(name, "1")) for name in ("sockets", "cores", "threads")} if topology is not None else {},
    }


def _supported(capabilities: Tree.Element, virt_type: str) -> tuple[tuple[str, str, str], ...]:
    """(architecture, hypervisor type, mode) of the guests that this host runs."""
    found = []
    for guest in capabilities.findall("guest"):
        arch = guest.find("arch")
        if arch is not None and any(domain.get("type") == virt_type for domain in arch.findall("domain")):
            found.append((arch.get("name", ""), virt_type, guest.findtext("os_type", "hvm")))
    return tuple(found)


def _cpu_traits() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return [CPU_TRAITS[flag] for flag in flags if flag in CPU_TRAITS]


def _uptime() -> str:
    """As the command ``uptime`` says it."""
    up = datetime.timedelta(seconds=int(datetime.datetime.now(datetime.UTC).timestamp() - psutil.boot_time()))
    one, five, fifteen = psutil.getloadavg()
    return f"up {up.days} days, {up.seconds // 3600:2d}:{up.seconds // 60 % 60:02d}, load average: {one:.2f}, {five:.2f}, {fifteen:.2f}"
