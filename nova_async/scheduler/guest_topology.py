"""The NUMA cells, CPU policies, pages and PCI devices that a flavor and an image ask for.

Rules and refusals are Nova's (``hw:*`` extra specs win or conflict with the image's ``hw_*`` properties). Called where a request
comes in, so that the caller hears of it, and again where a host is looked for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from nova_async.errors import Invalid
from nova_async.model.topology import ANY, LARGE, SMALL, DeviceRequest, DeviceSpec, GuestCell, GuestTopology, cpus_of

TRUE: Final = frozenset({"1", "t", "true", "on", "y", "yes"})
DEDICATED, SHARED, MIXED = "dedicated", "shared", "mixed"
ISOLATE = "isolate"
NAMES: Final = re.compile(
    r"(hw:(numa_|cpu_policy|cpu_thread_policy|cpu_dedicated_mask|cpu_realtime|emulator_threads_policy|mem_page_size|locked_memory|pci_numa)"
    r"|hw_(numa_|cpu_policy|cpu_thread_policy|cpu_realtime_mask|mem_page_size|locked_memory|pci_numa)"
    r"|pci_passthrough:alias$|resources[1-9]?\d*:[VP]CPU$|trait([1-9]\d*)?:HW_CPU_HYPERTHREADING$)"
)
SIZES: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
SIZE: Final = re.compile(r"(\d+)\s*([KMGT]?)i?(b|bit|B)?")
MOST_CELLS: Final = 64


class Wish:
    """A flavor and an image together. The flavor has ``vcpus``, ``memory_mb`` and ``extra_specs``."""

    def __init__(self, flavor: Mapping[str, Any], image: Mapping[str, Any]) -> None:
        self.specs: Mapping[str, str] = flavor.get("extra_specs") or {}
        self.image = image
        self.vcpus, self.memory_mib = int(flavor["vcpus"]), int(flavor["memory_mb"])

    def says_nothing(self) -> bool:
        """Nothing here concerns this module: true of most."""
        return not any(NAMES.match(name) for name in (*self.specs, *self.image))

    def both(self, name: str) -> tuple[str, str]:
        """What the flavor and what the image say."""
        return str(self.specs.get(f"hw:{name}") or ""), str(self.image.get(f"hw_{name}") or "")


def topology(flavor: Mapping[str, Any], image: Mapping[str, Any]) -> GuestTopology | None:
    """None: the guest runs anywhere on its host. Raises ``Invalid`` in Nova's words for what cannot be."""
    wish = Wish(flavor, image)
    if wish.says_nothing():
        return None
    policy, threads, emulator = _cpu_policy(wish), _thread_policy(wish), _emulator_policy(wish)
    realtime, mask = _realtime(wish, emulator), _dedicated_mask(wish)
    policy = _with_resources(wish, policy, emulator)
    threads = _with_trait(wish, threads)
    _check_together(policy, threads, emulator, realtime, mask)
    count, page_size, locked = _cell_count(wish), _page_size(wish), _locked(wish)
    if not (count or page_size or policy in (DEDICATED, MIXED)):
        return None
    dedicated = set(range(wish.vcpus)) if policy == DEDICATED else (mask or realtime) if policy == MIXED else set()
    cells = tuple(
        GuestCell(cpus=tuple(sorted(cpus)), dedicated=tuple(sorted(cpus & dedicated)), memory_mib=memory)
        for cpus, memory in _cells(wish, count or 1)
    )
    return GuestTopology(
        cells=cells,
        page_size=page_size,
        threads=threads,
        emulator=emulator,
        realtime=tuple(sorted(realtime)),
        locked=locked,
    )


def devices(flavor: Mapping[str, Any], image: Mapping[str, Any], aliases: Iterable[DeviceSpec]) -> tuple[DeviceRequest, ...]:
    """The PCI devices of ``pci_passthrough:alias``. Raises ``Invalid`` for an alias that the configuration does not have."""
    wish = Wish(flavor, image)
    flavors, images = wish.both("pci_numa_affinity_policy")
    if flavors and images and flavors != images:
        raise Invalid(
            "Image property 'hw_pci_numa_affinity_policy' is not permitted to override the 'hw:pci_numa_affinity_policy' flavor extra spec."
        )
    policy = flavors or images
    if policy and policy not in POLICIES:
        raise Invalid(f"Invalid PCI NUMA affinity configured: {policy}")
    text = wish.specs.get("pci_passthrough:alias") or ""
    return tuple(_device(one, policy, tuple(aliases)) for one in text.split(",") if one.strip())


POLICIES: Final = ("required", "socket", "legacy", "preferred")


def claimed_cpus(flavor: Mapping[str, Any], image: Mapping[str, Any]) -> tuple[int, int] | None:
    """How many shared (VCPU) and dedicated (PCPU) host CPUs a CPU policy claims; None: there is none.

    Raises as ``topology``.
    """
    wanted = topology(flavor, image)
    if wanted is None or not wanted.is_pinned:
        return None
    dedicated = sum(len(cell.dedicated) for cell in wanted.cells)
    shared = sum(len(cell.cpus) for cell in wanted.cells) - dedicated
    return shared, dedicated + (wanted.emulator == ISOLATE)


# -- policies


def _cpu_policy(wish: Wish) -> str | None:
    flavors, images = wish.both("cpu_policy")
    for source, policy in (("flavor extra specs", flavors), ("image properties", images)):
        if policy and policy not in (DEDICATED, SHARED, MIXED):
            raise Invalid(f"CPU policy requested from '{source}' is invalid, given: '{policy}', available: 'dedicated, shared, mixed'.")
    if (flavors == MIXED and images == DEDICATED) or (flavors == SHARED and images in (MIXED, DEDICATED)):
        raise Invalid("Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor")
    return flavors or images or None


def _thread_policy(wish: Wish) -> str | None:
    flavors, images = wish.both("cpu_thread_policy")
    for source, policy in (("flavor extra specs", flavors), ("image properties", images)):
        if policy and policy not in ("prefer", "isolate", "require"):
            raise Invalid(
                f"CPU thread policy requested from '{source}' is invalid, given: '{policy}', available: 'prefer, isolate, require'."
            )
    if flavors in ("", "prefer"):
        return images or flavors or None
    if images and images != flavors:
        raise Invalid("Image property 'hw_cpu_thread_policy' is not permitted to override CPU thread pinning policy set against the flavor")
    return flavors


def _emulator_policy(wish: Wish) -> str | None:
    policy = wish.specs.get("hw:emulator_threads_policy") or None
    if policy not in (None, ISOLATE, "share"):
        raise Invalid(f"CPU emulator threads option requested is invalid, given: '{policy}', available: 'isolate, share'.")
    return policy


def _with_resources(wish: Wish, policy: str | None, emulator: str | None) -> str | None:
    """``resources:PCPU`` and ``resources:VCPU`` are another way to say dedicated and shared."""
    vcpus, pcpus = _named(wish, "VCPU"), _named(wish, "PCPU")
    if policy and (vcpus or pcpus):
        raise Invalid(
            "It is not possible to use the 'resources:VCPU' or 'resources:PCPU' extra specs in combination with the 'hw:cpu_policy' "
            "extra spec or 'hw_cpu_policy' image metadata property; use one or the other"
        )
    if vcpus and pcpus:
        raise Invalid("It is not possible to specify both 'resources:VCPU' and 'resources:PCPU' extra specs; use one or the other")
    if pcpus and emulator == ISOLATE and pcpus != wish.vcpus + 1:
        raise Invalid(
            "You have requested 'hw:emulator_threads_policy=isolate' but have not requested sufficient PCPUs to handle this policy; you "
            "must allocate exactly flavor.vcpus + 1 PCPUs."
        )
    if pcpus and emulator != ISOLATE and pcpus != wish.vcpus:
        raise Invalid(
            "There is a mismatch between the number of PCPUs requested via 'resourcesNN:PCPU' and the flavor); you must allocate exactly "
            "flavor.vcpus PCPUs"
        )
    return DEDICATED if pcpus else SHARED if vcpus else policy


def _named(wish: Wish, name: str) -> int:
    """How much of a resource class the extra specs name in all."""
    pattern = re.compile(rf"resources([1-9]\d*)?:{name}")
    return sum(int(value) for key, value in wish.specs.items() if pattern.fullmatch(key) and str(value).isdecimal())


def _with_trait(wish: Wish, threads: str | None) -> str | None:
    """``trait:HW_CPU_HYPERTHREADING`` is another way to say require and isolate."""
    pattern = re.compile(r"trait([1-9]\d*)?:HW_CPU_HYPERTHREADING")
    word = next((value for key, value in wish.specs.items() if pattern.fullmatch(key)), None)
    word = word or ("required" if wish.image.get("trait:HW_CPU_HYPERTHREADING") == "required" else None)
    if threads and word:
        raise Invalid(
            "It is not possible to use the 'trait:HW_CPU_HYPERTHREADING' extra spec in combination with the 'hw:cpu_thread_policy' extra "
            "spec or 'hw_cpu_thread_policy' image metadata property; use one or the other"
        )
    return {"forbidden": ISOLATE, "required": "require"}.get(word or "", threads)


def _dedicated_mask(wish: Wish) -> set[int]:
    text = wish.specs.get("hw:cpu_dedicated_mask")
    if not text:
        return set()
    cpus, every = _cpus(text, wish.vcpus), set(range(wish.vcpus))
    if not cpus or not every - cpus:
        raise Invalid("Mixed instance must have at least 1 pinned vCPU and 1 unpinned vCPU. See 'hw:cpu_dedicated_mask'.")
    if cpus - every:
        raise Invalid('Mixed instance dedicated vCPU(s) mask is not a subset of vCPUs in the flavor. See "hw:cpu_dedicated_mask"')
    return cpus


def _realtime(wish: Wish, emulator: str | None) -> set[int]:
    if not _true(str(wish.specs.get("hw:cpu_realtime") or "")):
        return set()
    flavors, images = wish.both("cpu_realtime_mask")
    every = set(range(wish.vcpus))
    mask = images or flavors
    cpus = _cpus(mask, wish.vcpus) if mask else every
    if not cpus or (cpus == every and not emulator):
        raise Invalid("Use of realtime CPUs requires either one or more non-realtime CPU(s) or offloaded emulator threads.")
    if cpus - every:
        raise Invalid(
            "Realtime policy vCPU(s) mask is configured with RT vCPUs that are not a subset of the vCPUs in the flavor. See "
            "hw:cpu_realtime_mask or hw_cpu_realtime_mask"
        )
    return cpus


def _check_together(policy: str | None, threads: str | None, emulator: str | None, realtime: set[int], mask: set[int]) -> None:
    """What the policies forbid each other."""
    if mask and policy != MIXED:
        raise Invalid("Cannot specify 'hw:cpu_dedicated_mask' without the 'mixed' policy.")
    if policy == MIXED and bool(realtime) == bool(mask):
        raise Invalid(
            "Dedicated CPU set can be specified from either 'hw:cpu_dedicated_mask' or 'hw:cpu_realtime_mask' when using 'mixed' CPU "
            "policy. 'hw:cpu_dedicated_mask' and 'hw:cpu_realtime_mask' can not be specified at the same time, or be specified with none "
            "of them."
        )
    if policy in (DEDICATED, MIXED):
        return
    if threads:
        raise Invalid("Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy")
    if emulator == ISOLATE:
        raise Invalid("An isolated CPU emulator threads option requires a dedicated CPU policy option.")
    if realtime:
        raise Invalid("Cannot set realtime policy in a non dedicated cpu pinning policy")


# -- cells


def _cell_count(wish: Wish) -> int | None:
    flavors, images = wish.both("numa_nodes")
    if flavors and images:
        raise _overridden("hw_numa_nodes")
    text = flavors or images
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) <= MOST_CELLS:
        raise Invalid(f"The property 'numa_nodes' cannot be '{text[:20]}'. It must be a number greater than 0")
    return int(text)


def _cells(wish: Wish, count: int) -> list[tuple[set[int], int]]:
    """CPUs and memory of each cell: as they are said, else in equal parts."""
    cpus = {number: _cpus(text) for number, text in _numbered(wish, "numa_cpus").items()}
    memory = _numbered(wish, "numa_mem")
    if not cpus and not memory:
        if wish.vcpus % count or wish.memory_mib % count:
            raise Invalid(
                "Instance CPUs and/or memory cannot be evenly distributed across instance NUMA nodes. Explicit assignment of CPUs and "
                "memory to nodes is required"
            )
        size = wish.vcpus // count
        return [(set(range(n * size, (n + 1) * size)), wish.memory_mib // count) for n in range(count)]
    if set(cpus) != set(range(count)) or set(memory) != set(range(count)) or not all(text.isdecimal() for text in memory.values()):
        raise Invalid("CPU and memory allocation must be provided for all NUMA nodes")
    left = set(range(wish.vcpus))
    for number in range(count):
        for cpu in sorted(cpus[number]):
            if cpu >= wish.vcpus:
                raise Invalid(f"CPU number {cpu} is larger than max {wish.vcpus - 1}")
            if cpu not in left:
                raise Invalid(f"CPU number {cpu} is assigned to two nodes")
            left.remove(cpu)
    if left:
        raise Invalid(f"CPU number {left} is not assigned to any node")
    if (total := sum(int(text) for text in memory.values())) != wish.memory_mib:
        raise Invalid(f"{total} MB of memory assigned, but expected {wish.memory_mib} MB")
    return [(cpus[number], int(memory[number])) for number in range(count)]


def _numbered(wish: Wish, name: str) -> dict[int, str]:
    """``hw:<name>.N`` of the flavor or ``hw_<name>.N`` of the image, not of both."""
    found: list[dict[int, str]] = []
    for source, prefix in ((wish.specs, f"hw:{name}."), (wish.image, f"hw_{name}.")):
        numbers = {key.removeprefix(prefix): str(value) for key, value in source.items() if key.startswith(prefix)}
        found.append({int(number): value for number, value in numbers.items() if number.isdecimal() and len(number) < 4})
    if found[0] and found[1]:
        raise _overridden(f"hw_{name}")
    return found[0] or found[1]


def _overridden(name: str) -> Invalid:
    return Invalid(f"Image property '{name}' is not permitted to override NUMA configuration set against the flavor")


def _cpus(text: str, count: int | None = None) -> set[int]:
    try:
        return set(cpus_of(text, count))
    except ValueError as error:
        raise Invalid(f"Invalid inclusion expression '{text[:60]}': {error}.") from None


# -- pages and devices


def _page_size(wish: Wish) -> str | None:
    flavors, images = wish.both("mem_page_size")
    if images and not flavors:
        raise Invalid(f"Page size {images} forbidden against '<empty>'")
    if not flavors:
        return None
    size = _size(flavors)
    if not images:
        return size
    if size not in (ANY, LARGE):
        raise Invalid(f"Page size {images} forbidden against '{flavors}'")
    return _size(images)


def _locked(wish: Wish) -> bool:
    """Whether the host may not swap the guest's memory out."""
    flavors, images = wish.both("locked_memory")
    if flavors and images and _true(flavors) != _true(images):
        raise Invalid(f"Image property 'hw_locked_memory' ({images}) contradicts the flavor's 'hw:locked_memory' ({flavors}).")
    if _true(flavors or images) and not any(wish.both("mem_page_size")):
        raise Invalid("locked_memory value in image or flavor is forbidden when mem_page_size is not set.")
    return _true(flavors or images)


def _true(text: str) -> bool:
    return text.strip().lower() in TRUE


def _size(text: str) -> str:
    """A word, or KiB in digits. Plain digits are KiB; units count in powers of 1024, ``b`` and ``bit`` are bits."""
    if text in (ANY, LARGE, SMALL):
        return text
    match = SIZE.fullmatch(text)
    if match is None or len(text) > 20:
        raise Invalid(f"Invalid memory page size '{text[:40]}'")
    number, unit, suffix = int(match[1]), match[2], match[3]
    if not unit and not suffix:
        return str(number)
    bits = 8 if suffix in ("b", "bit") else 1
    kib = number * 1024 ** SIZES[unit] // bits // 1024
    if not kib:
        raise Invalid(f"Invalid memory page size '{text[:40]}'")
    return str(kib)


def _device(text: str, policy: str, aliases: tuple[DeviceSpec, ...]) -> DeviceRequest:
    name, _, count = text.strip().rpartition(":")
    specs = tuple(alias for alias in aliases if alias.name == name.strip())
    if not specs:
        raise Invalid(f"PCI alias {name[:255]} is not defined")
    if not count.strip().isdecimal() or len(count) > 6:
        raise Invalid(f"PCI alias {name[:255]}: {count[:20]!r} is no number of devices.")
    return DeviceRequest(alias=name.strip(), count=int(count), specs=specs, policy=policy or specs[0].numa_policy)
