"""What is asked of hosts before the filters: traits that follow from flavor and image, and aggregates that are kept for some."""

from collections.abc import Iterator
from typing import Any, Final

from nova_async.config import SchedulerSection
from nova_async.scheduler.filters.aggregates import TENANT, tenants
from nova_async.scheduler.filters.base import AggregateFilter
from nova_async.scheduler.hosts import HostTable, Membership
from nova_async.scheduler.request import Request
from nova_async.scheduler.resources import either, encryption_trait, traits_of, true

DISABLED: Final = "COMPUTE_STATUS_DISABLED"  # a host that says so of itself gets nothing
HYPERTHREADS: Final = "HW_CPU_HYPERTHREADING"
THREAD_POLICY: Final = "hw:cpu_thread_policy"

# image property -> the trait of hosts that can give it, asked for with the option image_metadata_prefilter
IMAGE_TRAITS = {
    "hw_cdrom_bus": "COMPUTE_STORAGE_BUS_{}",
    "hw_disk_bus": "COMPUTE_STORAGE_BUS_{}",
    "hw_rescue_bus": "COMPUTE_STORAGE_BUS_{}",
    "hw_video_model": "COMPUTE_GRAPHICS_MODEL_{}",
    "hw_vif_model": "COMPUTE_NET_VIF_MODEL_{}",
    "hw_viommu_model": "COMPUTE_VIOMMU_MODEL_{}",
}


def traits(request: Request, options: SchedulerSection) -> frozenset[str]:
    """All traits that a host needs for this request."""
    return request.required_traits | frozenset(_implied(request, options))


def unwanted(request: Request) -> frozenset[str]:
    """All traits that keep a host from this request."""
    isolated = either(request.extra_specs, request.image_properties, THREAD_POLICY) == "isolate"
    return request.forbidden_traits | {DISABLED, *((HYPERTHREADS,) if isolated else ())}


def _implied(request: Request, options: SchedulerSection) -> Iterator[str]:
    specs, image = request.extra_specs, request.image_properties
    yield from traits_of(image, "required")
    yield from _of_devices(request)
    if "required" in (specs.get("os:secure_boot"), image.get("os_secure_boot")):
        yield "COMPUTE_SECURITY_UEFI_SECURE_BOOT"
    if true(specs, image, "hw:firmware_stateless"):
        yield "COMPUTE_SECURITY_STATELESS_FIRMWARE"
    if encryption := encryption_trait(specs, image):
        yield encryption
    if either(specs, image, THREAD_POLICY) == "require":
        yield HYPERTHREADS
    if either(specs, image, "hw:pci_numa_affinity_policy") == "socket":
        yield "COMPUTE_SOCKET_PCI_NUMA_AFFINITY"
    if mode := ADDRESS_SPACES.get(either(specs, image, "hw:maxphysaddr_mode")):
        yield mode
    if options.image_type_support_required and request.disk_format:
        yield f"COMPUTE_IMAGE_TYPE_{request.disk_format.upper()}"
    if options.image_metadata_prefilter:
        yield from (trait.format(_word(image[key])) for key, trait in IMAGE_TRAITS.items() if image.get(key))


ADDRESS_SPACES = {"passthrough": "COMPUTE_ADDRESS_SPACE_PASSTHROUGH", "emulate": "COMPUTE_ADDRESS_SPACE_EMULATED"}
TPM_MODELS = {"tpm-crb": "COMPUTE_SECURITY_TPM_CRB"}


def _of_devices(request: Request) -> Iterator[str]:
    specs, image = request.extra_specs, request.image_properties
    if specs.get("accel:device_profile"):
        yield "COMPUTE_ACCELERATORS"
    if true(specs, image, "hw:virtio_packed_ring"):
        yield "COMPUTE_NET_VIRTIO_PACKED"
    if true(specs, image, "hw:ephemeral_encryption"):
        yield "COMPUTE_EPHEMERAL_ENCRYPTION"
        if kind := either(specs, image, "hw:ephemeral_encryption_format"):
            yield f"COMPUTE_EPHEMERAL_ENCRYPTION_{kind.upper()}"
    if model := either(specs, image, "hw:sound_model"):
        yield f"COMPUTE_SOUND_MODEL_{model.upper()}"
    if version := either(specs, image, "hw:tpm_version"):
        yield f"COMPUTE_SECURITY_TPM_{version.replace('.', '_')}"
        yield TPM_MODELS.get(either(specs, image, "hw:tpm_model"), "COMPUTE_SECURITY_TPM_TIS")
        yield f"COMPUTE_SECURITY_TPM_SECRET_SECURITY_{(specs.get('hw:tpm_secret_security') or 'user').upper()}"


def _word(value: Any) -> str:
    return str(value).upper().replace("-", "_")


class IsolatedAggregates(AggregateFilter):
    """Aggregates with ``trait:NAME=required`` in their metadata take servers that require all these traits only."""

    def verdict(self, membership: Membership, request: Request) -> str | None:
        asked = traits(request, self.options)
        kept = {
            key.partition(":")[2] for label in membership.labels for key, value in label.metadata.items()
            if key.startswith("trait:") and value == "required"
        }  # fmt: skip
        missing = sorted(kept - asked)
        return f"its aggregates are for servers that require the trait {', '.join(missing)}" if missing else None


class TenantAggregates(AggregateFilter):
    """Projects that some aggregate names run on its hosts only; with ``aggregate_required_for_tenants`` the others run nowhere."""

    def applies_to(self, table: HostTable, request: Request) -> bool:
        return self.options.aggregate_required_for_tenants or self._named(table, request)

    def verdict(self, membership: Membership, request: Request) -> str | None:
        return None if request.project_id in tenants(membership) else f"none of its aggregates is for the project ({TENANT})"

    def _named(self, table: HostTable, request: Request) -> bool:
        return any(request.project_id in tenants(membership) for membership in table.memberships)
