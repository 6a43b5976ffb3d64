"""What a flavor and an image ask of a host: amounts of resource classes, and traits (Nova's ``ResourceRequest``).

Numbered groups (``resources1:``, ``trait_gpu:``) are each for one provider of resources; a host is one, so that amounts add up
and traits are all the host's.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nova_async.scheduler.guest_topology import TRUE, claimed_cpus

RESOURCES: Final = re.compile(r"resources([a-zA-Z0-9_-]{1,64})?:(.+)")
TRAITS: Final = re.compile(r"trait([a-zA-Z0-9_-]{1,64})?:(.+)")
ENCRYPTION_TRAITS: Final = {
    "amd-sev": "HW_CPU_X86_AMD_SEV",
    "amd-sev-es": "HW_CPU_X86_AMD_SEV_ES",
    "amd-sev-snp": "HW_CPU_X86_AMD_SEV_SNP",
    "intel-tdx": "HW_CPU_X86_INTEL_TDX",
}


def resources_of(flavor: Mapping[str, Any], image: Mapping[str, Any]) -> dict[str, int]:
    """Resource class -> amount. What extra specs name replaces the flavor's own sizes; an amount of 0 takes nothing.

    DISK_GB is root + ephemeral + swap rounded up to GiB, as in Nova's resource tracker.
    """
    specs: Mapping[str, str] = flavor.get("extra_specs") or {}
    amounts = dict.fromkeys(("VCPU", "MEMORY_MB", "DISK_GB"), 0)
    named: set[str] = set()
    for _, name, amount in _grouped(specs):
        amounts[name] = amounts.get(name, 0) + amount
        named.add(name)
    policy = claimed_cpus(flavor, image)
    for name, amount in _sizes(flavor):
        if name == "VCPU" and policy is not None and not named & {"VCPU", "PCPU"}:
            amounts["VCPU"], amounts["PCPU"] = policy
        elif name not in named and not (name == "VCPU" and "PCPU" in named):
            amounts[name] = amount
    for name, amount in _implied(specs, image):
        amounts[name] = amounts.get(name, 0) + amount
    return {name: amount for name, amount in amounts.items() if amount > 0}


def isolated_groups(specs: Mapping[str, str]) -> int:
    """How many providers ``group_policy=isolate`` wants to be different ones."""
    if specs.get("group_policy") != "isolate":
        return 1
    return max(1, len({group for group, _, amount in _grouped(specs) if group and amount}))


def traits_of(specs: Mapping[str, str], word: str) -> frozenset[str]:
    """Traits that ``trait[group]:NAME=<word>`` names; the word is ``required`` or ``forbidden``."""
    return frozenset(match[2] for key, value in specs.items() if value == word and (match := TRAITS.fullmatch(key)))


def either(specs: Mapping[str, str], image: Mapping[str, Any], name: str) -> str:
    """What the extra spec says, else the image property of that name."""
    return str(specs.get(name) or image.get(name.replace(":", "_")) or "")


def true(specs: Mapping[str, str], image: Mapping[str, Any], name: str) -> bool:
    return either(specs, image, name).strip().lower() in TRUE


def encryption_trait(specs: Mapping[str, str], image: Mapping[str, Any]) -> str | None:
    """Of the processor that encrypts a guest's memory; None: nothing is encrypted."""
    if not true(specs, image, "hw:mem_encryption"):
        return None
    return ENCRYPTION_TRAITS.get(either(specs, image, "hw:mem_encryption_model") or "amd-sev")


def _grouped(specs: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Group, resource class, amount."""
    for key, value in specs.items():
        if (match := RESOURCES.fullmatch(key)) and str(value).isdecimal():
            yield match[1] or "", match[2], int(value)


def _sizes(flavor: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    yield "VCPU", int(flavor["vcpus"])
    yield "MEMORY_MB", int(flavor["memory_mb"])
    yield "DISK_GB", int(flavor.get("root_gb", 0)) + int(flavor.get("ephemeral_gb", 0)) + -(-int(flavor.get("swap", 0)) // 1024)


def _implied(specs: Mapping[str, str], image: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    if encryption_trait(specs, image):
        yield "MEM_ENCRYPTION_CONTEXT", 1
    for label in specs.get("hw:pmem", "").split(","):
        if label:
            yield "CUSTOM_PMEM_NAMESPACE_" + re.sub(r"[^A-Z0-9_]", "_", label.upper()), 1
