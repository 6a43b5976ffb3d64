"""The extra specs of flavors that mean something, and what their values may be.

Names outside of the known namespaces are free. Patterns take the same texts as Nova's, in linear time.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from nova_async.errors import Invalid

Check = Callable[[str], None]

TRUTHS: Final = frozenset({"1", "t", "true", "on", "y", "yes", "0", "f", "false", "off", "n", "no"})
CPUS: Final = r"\^?\d+(-\d+|,\^?\d+)*"
PARAMETERS: Final = {
    "{num}": r"\d+",
    "{key}": ".+",
    "{filter}": r"(:\w+)*",
    "{group}": "([a-zA-Z0-9_-]{1,64})?",
    "{custom}": "[A-Z0-9_]+",
}


def text(value: str) -> None:
    """Anything will do."""


def boolean(value: str) -> None:
    if value.strip().lower() not in TRUTHS:
        raise Invalid(f"Validation failed; '{value}' is not a valid boolean-like value.")


def integer(least: int | None = None, most: int | None = None) -> Check:
    def check(value: str) -> None:
        try:
            number = int(value)
        except ValueError:
            raise Invalid(f"Validation failed; '{value}' is not a valid integer value.") from None
        if most is not None and number > most:
            raise Invalid(f"Validation failed; '{value}' is greater than the max value of '{most}'.")
        if least is not None and number < least:
            raise Invalid(f"Validation failed; '{value}' is less than the min value of '{least}'.")

    return check


def one_of(*values: str) -> Check:
    def check(value: str) -> None:
        if value not in values:
            raise Invalid(f"Validation failed; '{value}' is not one of: {', '.join(values)}.")

    return check


def matching(pattern: str) -> Check:
    whole = re.compile(pattern)

    def check(value: str) -> None:
        if not whole.fullmatch(value):
            raise Invalid(f"Validation failed; '{value}' is not of the format '{pattern}'.")

    return check


POSITIVE, NOT_NEGATIVE, ANY_INTEGER = integer(1), integer(0), integer()

HARDWARE: Final[dict[str, Check]] = {
    "hw:boot_menu": boolean,
    "hw:cpu_cores": POSITIVE,
    "hw:cpu_dedicated_mask": matching(CPUS),
    "hw:cpu_max_cores": POSITIVE,
    "hw:cpu_max_sockets": POSITIVE,
    "hw:cpu_max_threads": POSITIVE,
    "hw:cpu_policy": one_of("dedicated", "shared", "mixed"),
    "hw:cpu_realtime": boolean,
    "hw:cpu_realtime_mask": matching(CPUS),
    "hw:cpu_sockets": POSITIVE,
    "hw:cpu_thread_policy": one_of("prefer", "isolate", "require"),
    "hw:cpu_threads": POSITIVE,
    "hw:emulator_threads_policy": one_of("isolate", "share"),
    "hw:ephemeral_encryption": boolean,
    "hw:ephemeral_encryption_format": one_of("plain", "luks", "luksv2"),
    "hw:hide_hypervisor_id": boolean,
    "hw:locked_memory": boolean,
    "hw:mem_encryption": boolean,
    "hw:mem_encryption_model": one_of("amd-sev", "amd-sev-es", "amd-sev-snp", "intel-tdx"),
    "hw:mem_page_size": matching(r"(large|small|any|\d+([kKMGT]i?)?(b|bit|B)?)"),
    "hw:numa_cpus.{num}": matching(CPUS),
    "hw:numa_mem.{num}": POSITIVE,
    "hw:numa_nodes": POSITIVE,
    "hw:pci_numa_affinity_policy": one_of("required", "preferred", "legacy", "socket"),
    "hw:pmem": matching(r"[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*,?"),
    "hw:pmu": boolean,
    "hw:redirected_usb_ports": integer(0, 15),
    "hw:serial_port_count": NOT_NEGATIVE,
    "hw:sound_model": one_of("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio"),
    "hw:tpm_model": one_of("tpm-tis", "tpm-crb"),
    "hw:tpm_secret_security": one_of("user", "host", "deployment"),
    "hw:tpm_version": one_of("1.2", "2.0"),
    "hw:usb_model": one_of("none", "nec-xhci", "qemu-xhci"),
    "hw:vif_multiqueue_enabled": boolean,
    "hw:viommu_model": one_of("intel", "smmuv3", "virtio", "auto"),
    "hw:virtio_packed_ring": boolean,
    "hw:watchdog_action": one_of("none", "pause", "poweroff", "reset", "disabled"),
    "hw_rng:allowed": boolean,
    "hw_rng:rate_bytes": NOT_NEGATIVE,
    "hw_rng:rate_period": NOT_NEGATIVE,
    "hw_video:ram_max_mb": NOT_NEGATIVE,
    "os:secure_boot": one_of("disabled", "required"),
}

QUOTAS: Final[dict[str, Check]] = {
    "quota:cpu_period": NOT_NEGATIVE,
    "quota:cpu_quota": ANY_INTEGER,
    "quota:cpu_shares": NOT_NEGATIVE,
    **{f"quota:disk_{way}_{unit}_sec": NOT_NEGATIVE for way in ("read", "write", "total") for unit in ("bytes", "iops")},
    **{f"quota:vif_{way}_{unit}": NOT_NEGATIVE for way in ("inbound", "outbound") for unit in ("average", "peak", "burst")},
    **{f"quota:{what}_limit": NOT_NEGATIVE for what in ("cpu", "memory", "disk_io", "vif")},
    **{f"quota:{what}_reservation": ANY_INTEGER for what in ("cpu", "memory", "disk_io", "vif")},
    **{f"quota:{what}_shares_level": one_of("custom", "high", "normal", "low") for what in ("cpu", "memory", "disk_io", "vif")},
    **{f"quota:{what}_shares_share": NOT_NEGATIVE for what in ("cpu", "memory", "disk_io", "vif")},
}

HOST_STATE = (
    *("id", "uuid", "service_id", "host", "host_ip", "hypervisor_hostname", "hypervisor_type", "hypervisor_version", "cell_uuid"),
    *("vcpus", "vcpus_total", "vcpus_used", "memory_mb", "memory_mb_used", "free_ram_mb", "total_usable_ram_mb"),
    *("local_gb", "local_gb_used", "free_disk_gb", "free_disk_mb", "disk_mb_used", "disk_available_least", "total_usable_disk_gb"),
    *("cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio", "current_workload", "running_vms", "num_instances"),
    *("num_io_ops", "failed_builds", "aggregates", "mapped", "updated"),
)
NESTED_HOST_STATE = (
    *("cpu_info", "instances", "limits", "metrics", "nodename", "numa_topology", "pci_device_pools", "pci_stats", "stats"),
    *("supported_hv_specs", "supported_instances"),
)
RESOURCE_CLASSES = (
    *("DISK_GB", "FPGA", "IPV4_ADDRESS", "MEMORY_MB", "MEM_ENCRYPTION_CONTEXT", "NET_BW_EGR_KILOBIT_PER_SEC", "NET_BW_IGR_KILOBIT_PER_SEC"),
    *("NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC", "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC", "NET_PACKET_RATE_KILOPACKET_PER_SEC"),
    *("NUMA_CORE", "NUMA_MEMORY_MB", "NUMA_SOCKET", "NUMA_THREAD", "PCI_DEVICE", "PCPU", "PGPU", "SRIOV_NET_VF", "VCPU", "VGPU"),
    *("VGPU_DISPLAY_HEAD", "CUSTOM_{custom}"),
)
TRAIT_FAMILIES = ("COMPUTE", "CUSTOM", "HW", "MISC", "OWNER", "STORAGE")

KNOWN: Final[dict[str, Check]] = {
    **HARDWARE,
    **QUOTAS,
    **{f"capabilities:{name}": text for name in HOST_STATE},
    **{f"capabilities:{name}{{filter}}": text for name in NESTED_HOST_STATE},
    **{f"resources{{group}}:{name}": ANY_INTEGER for name in RESOURCE_CLASSES},
    **{f"trait{{group}}:{family}_{{custom}}": one_of("required", "forbidden") for family in TRAIT_FAMILIES},
    "accel:device_profile": text,
    "aggregate_instance_extra_specs:{key}": text,
    "group_policy": one_of("isolate", "none"),
    "hide_hypervisor_id": boolean,
    "pci_passthrough:alias": matching(r"[^:]+:\d+(?:\s*,\s*[^:]+:\d+)*"),
    "vmware:hw_version": text,
    "vmware:storage_policy": text,
}


class Pattern(NamedTuple):
    """A known name with parameters in it."""

    name: re.Pattern[str]
    check: Check


def _patterns() -> Iterator[Pattern]:
    for name, check in KNOWN.items():
        pattern = re.escape(name)
        for parameter, meaning in PARAMETERS.items():
            pattern = pattern.replace(re.escape(parameter), meaning)
        if "{" in name:
            yield Pattern(re.compile(pattern), check)


PATTERNS: Final = tuple(_patterns())
NAMESPACES: Final = re.compile("accel|aggregate_instance_extra_specs|capabilities|hw|hw_rng|hw_video|os|pci_passthrough|quota|vmware"
                               "|(resources|trait)([a-zA-Z0-9_-]{1,64})?")  # fmt: skip


# What protects a guest, or keeps it where it belongs. A word that is none would be no word: it would run, and without.
PROTECTING: Final[dict[str, Check]] = {
    name: KNOWN[name]
    for name in (
        *("os:secure_boot", "hw:mem_encryption", "hw:mem_encryption_model", "hw:ephemeral_encryption", "hw:ephemeral_encryption_format"),
        *("hw:locked_memory", "hw:hide_hypervisor_id", "hw:cpu_realtime", "hw:tpm_secret_security", "group_policy"),
    )
}
OF_IMAGES: Final[dict[str, Check]] = {
    "os_secure_boot": one_of("disabled", "optional", "required"),
    "hw_firmware_type": one_of("bios", "uefi"),
    "hw_firmware_stateless": boolean,
    "img_config_drive": one_of("mandatory", "optional"),
    **{name.replace(":", "_"): check for name, check in PROTECTING.items() if name.startswith("hw:")},
}
TRAIT: Final = re.compile(r"trait([a-zA-Z0-9_-]{1,64})?:.+")
OF_TRAITS: Final = one_of("required", "forbidden")


def check_protecting(specs: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    """Hold a flavor's extra specs and an image's properties, which may be older than their checks. Raises ``Invalid`` naming one."""
    for what, words, known in (("extra spec", specs, PROTECTING), ("image property", properties, OF_IMAGES)):
        for name, value in words.items():
            found = OF_TRAITS if TRAIT.fullmatch(name) else known.get(name)
            try:
                if found is not None and value:
                    found(str(value))
            except Invalid as error:
                raise Invalid(f"The {what} {name} cannot be followed. {error.message}") from None


def check(name: str, value: str) -> None:
    """Raises ``Invalid`` for a name that a known namespace does not have, and for a value that the name does not take."""
    known = KNOWN.get(name) or next((pattern.check for pattern in PATTERNS if pattern.name.fullmatch(name)), None)
    if known is not None:
        known(value)
    elif ":" in name and NAMESPACES.fullmatch(name.partition(":")[0]):
        raise Invalid(f"Validation failed; extra spec '{name}' does not appear to be a valid extra spec.")
