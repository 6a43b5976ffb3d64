"""Every name that Nova's scheduling knows has an effect here, is refused by name, or stands in a list with the reason why not.

The names come from ../shared/api; without it these tests skip.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.api.handlers.scheduler_hints import checked
from nova_async.config import Config, SchedulerSection
from nova_async.errors import Error
from nova_async.model.server_groups import Group
from nova_async.model.topology import DeviceSpec
from nova_async.scheduler import prefilters, weighers
from nova_async.scheduler.filters import BUILT_IN, load
from nova_async.scheduler.guest_topology import devices, topology
from nova_async.scheduler.resources import isolated_groups, resources_of, traits_of
from nova_async.services.image import signatures
from tests.scheduler.hosts import decide, request, row, table, verdict

API = Path(__file__).parents[3] / "shared" / "api"
SERVER = "11111111-2222-4333-8444-555555555555"
GPU = DeviceSpec(name="gpu", vendor_id="10de", product_id="1eb8")
PACKAGE = Path(__file__).parents[2] / "nova_async"


def rows(name: str, *columns: str) -> list[Any]:
    """Parameters: the columns of each row; one that skips when the file is not there."""
    file = API / name
    if not file.exists():
        return [pytest.param(*("" for _ in columns), marks=pytest.mark.skip(reason="the list of names is not here"))]
    lines = [line for line in csv.reader(file.open(), delimiter="\t") if line and not line[0].startswith("#")]
    places = [lines[0].index(column) for column in columns]
    return [pytest.param(*(line[place] if place < len(line) else "" for place in places), id="-".join(line[:2])[:60]) for line in lines[1:]]


def of_kind(kind: str) -> list[Any]:
    return [p for p in rows("scheduler.tsv", "kind", "name", "default") if p.marks or p.values[0] == kind]


# -- filters, weighers, pre-filters: what each does to one host

# name -> what the host is, what is asked, options
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "ComputeFilter": ({"disabled": True}, {}, {}),
    "ComputeCapabilitiesFilter": ({}, {"extra_specs": {"capabilities:vcpus": ">= 99"}}, {}),
    "ImagePropertiesFilter": ({}, {"image_properties": {"hw_architecture": "aarch64"}}, {}),
    "ServerGroupAntiAffinityFilter": ({}, {"group": Group(policy="anti-affinity", members={"host1": 1})}, {}),
    "ServerGroupAffinityFilter": ({}, {"group": Group(policy="affinity", members={"host2": 1})}, {}),
    "DifferentHostFilter": ({}, {"hints": {"different_host": [SERVER]}, "hosts_of": {SERVER: "host1"}}, {}),
    "SameHostFilter": ({}, {"hints": {"same_host": [SERVER]}, "hosts_of": {SERVER: "host2"}}, {}),
    "SimpleCIDRAffinityFilter": ({}, {"hints": {"build_near_host_ip": "192.0.2.1"}}, {}),
    "JsonFilter": ({}, {"hints": {"query": ["=", "$host", "host2"]}}, {}),
    "AggregateImagePropertiesIsolation": ({"metadata": {"os_type": "linux"}}, {"image_properties": {"os_type": "windows"}}, {}),
    "AggregateInstanceExtraSpecsFilter": ({"metadata": {"ssd": "no"}}, {"extra_specs": {"aggregate_instance_extra_specs:ssd": "yes"}}, {}),
    "AggregateMultiTenancyIsolation": ({"metadata": {"filter_tenant_id": "other"}}, {"project_id": "mine"}, {}),
    "AggregateTypeAffinityFilter": ({"metadata": {"instance_type": "big"}}, {"flavor_name": "small"}, {}),
    "AggregateIoOpsFilter": ({"metadata": {"max_io_ops_per_host": "1"}, "operations": 1}, {}, {}),
    "IoOpsFilter": ({"operations": 8}, {}, {}),
    "AggregateNumInstancesFilter": ({"metadata": {"max_instances_per_host": "1"}, "instances": 1}, {}, {}),
    "NumInstancesFilter": ({"instances": 50}, {}, {}),
    "IsolatedHostsFilter": ({}, {"image_id": "plain"}, {"isolated_hosts": ("host1",), "isolated_images": ("secret",)}),
    "MetricsFilter": ({}, {}, {"metric_weights": {"heat": 1.0}}),
    "NUMATopologyFilter": ({}, {"topology": topology({"vcpus": 1, "memory_mb": 1, "extra_specs": {"hw:numa_nodes": "1"}}, {})}, {}),
    "PciPassthroughFilter": (
        {},
        {"devices": devices({"vcpus": 1, "memory_mb": 1, "extra_specs": {"pci_passthrough:alias": "gpu:1"}}, {}, (GPU,))},
        {},
    ),
}


@pytest.mark.parametrize(("kind", "name", "default"), of_kind("filter"))
def test_each_filter_refuses_and_is_on_where_novas_is(kind: str, name: str, default: str) -> None:
    assert name in BUILT_IN
    assert (name in SchedulerSection().filters) == default.startswith("on")
    if name == "AllHostsFilter":
        return
    host, asked, options = REFUSED[name]
    metadata = host.get("metadata")
    fields = {key: value for key, value in host.items() if key != "metadata"} | ({"aggregates": [1]} if metadata else {})
    hosts = table(row("host1", address="198.51.100.7", **fields), row("host2"), aggregates=(metadata,) if metadata else ())
    assert verdict(name, hosts, request(**asked), **options)


# name -> a better host, a worse one, what is asked, options
WEIGHED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "RAMWeigher": ({}, {"inventory": {"MEMORY_MB": [4096, 0, 1.0, 0]}}, {}, {}),
    "CPUWeigher": ({}, {"inventory": {"VCPU": [4, 0, 1.0, 0]}}, {}, {}),
    "DiskWeigher": ({}, {"inventory": {"DISK_GB": [50, 0, 1.0, 0]}}, {}, {}),
    "HypervisorVersionWeigher": ({"facts": {"hypervisor_version": 2}}, {"facts": {"hypervisor_version": 1}}, {}, {}),
    "NumInstancesWeigher": ({"instances": 2}, {"instances": 1}, {}, {}),
    "IoOpsWeigher": ({"operations": 1}, {"operations": 2}, {}, {}),
    "ImagePropertiesWeigher": ({}, {}, {"alike": {"better": 1.0}}, {}),
    "PCIWeigher": ({}, {"facts": {"topology": {"devices": [{"address": "0000:00:01.0", "vendor_id": "1", "product_id": "2"}]}}}, {}, {}),
    "ServerGroupSoftAffinityWeigher": ({}, {}, {"group": Group(policy="soft-affinity", members={"better": 1})}, {}),
    "ServerGroupSoftAntiAffinityWeigher": ({}, {}, {"group": Group(policy="soft-anti-affinity", members={"worse": 1})}, {}),
    "BuildFailureWeigher": ({}, {"failed_builds": 1}, {}, {}),
    "CrossCellWeigher": ({"cell": "one"}, {"cell": "two"}, {"cell": "one"}, {}),
    "MetricsWeigher": ({"facts": {"metrics": {"heat": 2.0}}}, {"facts": {"metrics": {"heat": 1.0}}}, {}, {"metric_weights": {"heat": 1.0}}),
}


@pytest.mark.parametrize(("kind", "name", "default"), of_kind("weigher"))
def test_each_weigher_weighs_with_novas_multiplier(kind: str, name: str, default: str) -> None:
    assert name in SchedulerSection().weighers
    [weigher] = [w for w in weighers.load(SchedulerSection()) if w.name == name]
    said = default.removeprefix("on").strip(", ()")
    assert weigher.multiplier == (float(said) if said.replace(".", "").replace("-", "").isdigit() else 1.0)
    better, worse, asked, options = WEIGHED[name]
    whole = row().inventory
    rows = [
        row(name, **(fields | {"inventory": whole | fields.get("inventory", {})}))
        for name, fields in (("worse", worse), ("better", better))
    ]
    strength = {name: -1.0 if weigher.multiplier < 0 else 1.0}
    found = decide(table(*rows), request(**asked), weighers=(name,), multipliers=strength, **options)
    assert [c.host for c in found.candidates] == ["better", "worse"]
    assert found.candidates[0].weight > found.candidates[1].weight


NO_PROVIDERS = "networks here have no segments, cards are no SmartNICs, and all hosts are this service's own"
# name -> options, what is asked, what a host needs for it
ASKED_BEFORE: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "isolate_aggregates": ({"enable_isolated_aggregate_filtering": True}, {}, {"aggregates": [2]}),
    "require_tenant_aggregate": (
        {"limit_tenants_to_aggregate": True, "aggregate_required_for_tenants": True}, {"project_id": "p"}, {"aggregates": [3]},
    ),
    "map_az_to_placement_aggregate": ({}, {"zone": "east"}, {"availability_zone": "east"}),
    "require_image_type_support": ({"image_type_support_required": True}, {"disk_format": "vmdk"}, {"traits": ["COMPUTE_IMAGE_TYPE_VMDK"]}),
    "transform_image_metadata": (
        {"image_metadata_prefilter": True}, {"image_properties": {"hw_vif_model": "igb"}}, {"traits": ["COMPUTE_NET_VIF_MODEL_IGB"]},
    ),
    "compute_status_filter": ({}, {}, {"traits": []}),
    "accelerators_filter": ({}, {"extra_specs": {"accel:device_profile": "x"}}, {"traits": ["COMPUTE_ACCELERATORS"]}),
    "packed_virtqueue_filter": ({}, {"image_properties": {"hw_virtio_packed_ring": "true"}}, {"traits": ["COMPUTE_NET_VIRTIO_PACKED"]}),
    "ephemeral_encryption_filter": (
        {},
        {"extra_specs": {"hw:ephemeral_encryption": "yes", "hw:ephemeral_encryption_format": "luks"}},
        {"traits": ["COMPUTE_EPHEMERAL_ENCRYPTION", "COMPUTE_EPHEMERAL_ENCRYPTION_LUKS"]},
    ),
    "virtio_sound_filter": ({}, {"extra_specs": {"hw:sound_model": "virtio"}}, {"traits": ["COMPUTE_SOUND_MODEL_VIRTIO"]}),
    "tpm_secret_security_filter": (
        {},
        {"extra_specs": {"hw:tpm_version": "2.0", "hw:tpm_secret_security": "host"}},
        {"traits": ["COMPUTE_SECURITY_TPM_2_0", "COMPUTE_SECURITY_TPM_TIS", "COMPUTE_SECURITY_TPM_SECRET_SECURITY_HOST"]},
    ),
}  # fmt: skip
NOT_ASKED_BEFORE = dict.fromkeys(("routed_networks_filter", "remote_managed_ports_filter", "owner_nova_filter"), NO_PROVIDERS)


@pytest.mark.parametrize(("kind", "name", "default"), of_kind("prefilter"))
def test_each_prefilter_keeps_to_hosts_that_have_what_it_asks(kind: str, name: str, default: str) -> None:
    if name in NOT_ASKED_BEFORE:
        assert name in (PACKAGE.parent / "docs" / "scheduling.md").read_text()
        return
    options, asked, suits = ASKED_BEFORE[name]
    without = {"traits": ["COMPUTE_STATUS_DISABLED"]} if name == "compute_status_filter" else {"aggregates": [1]}
    aggregates = ({"trait:GOLD": "required"}, {}, {"filter_tenant_id": "p"})
    found = decide(table(row("without", **without), row("suits", **suits), aggregates=aggregates), request(**asked), **options)
    assert [c.host for c in found.candidates] == ["suits"]
    assert found.refusals["without"].reason


# Nova's option -> ours and its default
OPTIONS: dict[str, tuple[str, Any]] = {
    "service_down_time": ("compute.down_seconds", 30.0),
    "filter_scheduler.image_properties_default_architecture": ("scheduler.image_properties_default_architecture", ""),
    "filter_scheduler.aggregate_image_properties_isolation_namespace": ("scheduler.aggregate_image_properties_isolation_namespace", ""),
    "filter_scheduler.max_io_ops_per_host": ("scheduler.max_io_ops_per_host", 8),
    "filter_scheduler.isolated_images": ("scheduler.isolated_images", ()),
    "metrics.weight_setting": ("scheduler.metric_weights", {}),
    "metrics.weight_multiplier": ("scheduler.multipliers", {}),
    "image_props_weight_multiplier": ("scheduler.image_property_weights", {}),
    "filter_scheduler.max_instances_per_host": ("scheduler.max_instances_per_host", 50),
    "scheduler.enable_isolated_aggregate_filtering": ("scheduler.enable_isolated_aggregate_filtering", False),
    "scheduler.limit_tenants_to_placement_aggregate": ("scheduler.limit_tenants_to_aggregate", False),
    "scheduler.query_placement_for_image_type_support": ("scheduler.image_type_support_required", False),
    "scheduler.image_metadata_prefilter": ("scheduler.image_metadata_prefilter", False),
    "filter_scheduler.host_subset_size": ("scheduler.host_subset_size", 1),
    "scheduler.max_placement_results": ("scheduler.alternates", 3),
    "initial_cpu_allocation_ratio": ("compute.cpu_allocation_ratio", 4.0),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_novas_options_have_ours_beside_them(name: str) -> None:
    section, _, option = OPTIONS[name][0].partition(".")
    assert getattr(getattr(Config(), section), option) == OPTIONS[name][1]


# -- hints

# hint -> its value, filters that follow it, the hosts that it leaves of three
FOLLOWED: dict[str, tuple[Any, tuple[str, ...], list[str]]] = {
    "different_host": ([SERVER], ("DifferentHostFilter",), ["host2", "host3"]),
    "same_host": (SERVER, ("SameHostFilter",), ["host1"]),
    "query": (["=", "$host", "host2"], ("JsonFilter",), ["host2"]),
    "build_near_host_ip": ("192.0.2.9", ("SimpleCIDRAffinityFilter",), ["host3"]),
    "cidr": ("/31", ("SimpleCIDRAffinityFilter",), []),
    "target_cell": ("cell", (), ["host1", "host2", "host3"]),
    "different_cell": (["cell"], (), ["host1", "host2", "host3"]),
    "<other>": ("mine", (), ["host1", "host2", "host3"]),
}


@pytest.mark.parametrize(("hint", "effect"), rows("scheduler-hints.tsv", "hint", "effect"))
def test_each_hint_is_followed_or_kept(hint: str, effect: str) -> None:
    if hint == "group":  # its effect is the filters' of server groups; here that the members are looked up
        assert checked({"group": [SERVER]})["group"] == SERVER
        return
    if hint == "_nova_check_type":  # ours has no such word: a user's counts as any other
        assert checked({hint: ["rebuild"]}) == {hint: ["rebuild"]}
        return
    value, filters, left = FOLLOWED[hint]
    hints = checked({hint: value} | ({"build_near_host_ip": "192.0.2.9"} if hint == "cidr" else {}))
    assert hints[hint] == value
    hosts = table(row("host1"), row("host2"), row("host3", address="192.0.2.1"))
    found = decide(hosts, request(hints=hints, hosts_of={SERVER: "host1"}), filters=filters)
    assert sorted(c.host for c in found.candidates) == left


# -- extra specs and image properties: what changes for a flavor or an image that has the name

FLAVOR = {"vcpus": 4, "memory_mb": 512, "root_gb": 1}
VALUES = {  # where the first value that comes to mind changes nothing by itself
    "hw:cpu_dedicated_mask": "0",
    "hw:cpu_max_cores": "1",
    "hw:cpu_max_sockets": "1",
    "hw:cpu_max_threads": "1",
    "hw:cpu_cores": "2",
    "hw:cpu_sockets": "2",
    "hw:cpu_threads": "2",
    "hw:cpu_realtime_mask": "^0-1",
    "hw:ephemeral_encryption_format": "luks",
    "hw:mem_encryption_model": "amd-sev-es",
    "hw:mem_page_size": "large",
    "hw:numa_nodes": "2",
    "hw:numa_cpus.0": "0-3",
    "hw:numa_mem.0": "512",
    "hw:pci_numa_affinity_policy": "required",
    "hw:pmem": "fast",
    "hw:tpm_model": "tpm-crb",
    "hw:usb_model": "nec-xhci",
    "hw_rng:allowed": "false",
    "hw:tpm_secret_security": "host",
    "os:secure_boot": "required",
    "pci_passthrough:alias": "gpu:1",
    "hw_vm_mode": "xen",
    "os_type": "windows",
    "img_hv_requested_version": ">=9",
}
TOGETHER: dict[str, dict[str, str]] = {  # what the name goes with
    "hw:cpu_dedicated_mask": {"hw:cpu_policy": "mixed"},
    "hw:cpu_thread_policy": {"hw:cpu_policy": "dedicated"},
    "hw:cpu_realtime": {"hw:cpu_policy": "dedicated", "hw:cpu_realtime_mask": "^0"},
    "hw:cpu_realtime_mask": {"hw:cpu_policy": "dedicated", "hw:cpu_realtime": "yes"},
    "hw:cpu_max_sockets": {"hw:cpu_sockets": "4"},
    "hw:cpu_max_cores": {"hw:cpu_cores": "4"},
    "hw:cpu_max_threads": {"hw:cpu_threads": "4"},
    "hw:emulator_threads_policy": {"hw:cpu_policy": "dedicated"},
    "hw:ephemeral_encryption_format": {"hw:ephemeral_encryption": "yes"},
    "hw:locked_memory": {"hw:mem_page_size": "large"},
    "hw:mem_encryption_model": {"hw:mem_encryption": "yes"},
    "hw:numa_cpus.0": {"hw:numa_nodes": "1"},
    "hw:numa_mem.0": {"hw:numa_nodes": "1"},
    "hw:pci_numa_affinity_policy": {"pci_passthrough:alias": "gpu:1"},
    "hw:maxphysaddr_bits": {"hw:maxphysaddr_mode": "emulate"},
    "hw_rng:rate_period": {"hw_rng:rate_bytes": "100"},
    **{f"quota:vif_{way}_{word}": {f"quota:vif_{way}_average": "9"} for way in ("inbound", "outbound") for word in ("burst", "peak")},
    "hw:tpm_model": {"hw:tpm_version": "2.0"},
    "hw:tpm_secret_security": {"hw:tpm_version": "2.0"},
    "group_policy": {"resources1:VGPU": "1", "resources2:VGPU": "1"},
}
WITH_IMAGE = {"hw_video:ram_max_mb": {"hw_video_ram": "16"}}
PARAMETERS = {"{num}": "0", "{key}": "ssd", "{filter}": "", "{group}": "1", "<class>": "VGPU", "<trait>": "HW_GPU_API_VULKAN"}
VMWARE = "VMware's driver alone knows it"
XEN = "XenServer's driver alone knew it"
OF_THE_SERVICE = "written by services, asked of nothing"
PASSED_OVER: dict[str, str] = {  # as by Nova with libvirt
    **{f"quota:{what}_{word}": VMWARE for what in ("cpu", "memory", "disk_io", "vif")
       for word in ("limit", "reservation", "shares_level", "shares_share")},
    **dict.fromkeys(("vmware:hw_version", "vmware:storage_policy", "hw_disk_type", "img_linked_clone"), VMWARE),
    **dict.fromkeys(("hw_device_id", "img_cache_in_nova", "img_bittorrent", "img_compression_level", "img_use_agent",
                     "os_skip_agent_inject_files_at_boot", "os_skip_agent_inject_ssh", "hw_ipxe_boot", "hw_floppy_bus"), XEN),
    **dict.fromkeys(("img_owner_id", "img_version", "img_mappings", "os_distro", "img_bdm_v2"), OF_THE_SERVICE),
    "hw_rng_model": "virtio is the only one",
    "hw_ephemeral_encryption_secret_uuid": "written by services, and what it goes with is refused",
}  # fmt: skip
ELSEWHERE: dict[str, str] = {  # its effect is not on hosts or domains: the module that has it
    **dict.fromkeys(signatures.PROPERTIES, "services/image/signatures.py"),
    "img_config_drive": "api/handlers/server_create.py",
    "img_root_device_name": "api/handlers/server_create.py",
    "hw_auto_disk_config": "api/handlers/server_create.py",
    "min_disk, min_ram (image fields)": "api/handlers/boot_images.py",
    "disk_format, container_format, size, status, protected, visibility, owner (image fields)": "api/handlers/boot_images.py",
    "kernel_id, ramdisk_id": "api/handlers/server_create.py",
    "img_block_device_mapping": "model/image_properties.py",
    "hw_rescue_device": "virt/libvirt/rescue.py",
    "os_admin_user": "virt/libvirt/agent.py",
    "os_command_line": "virt/libvirt/xml.py",
    "os_require_quiesce": "virt/libvirt/snapshots.py",
    "base_image_ref, image_type, instance_uuid, user_id, image_location, image_state, boot_roles, owner_*": "api/handlers/server_images.py",
    "architecture, hypervisor_type, vm_mode, owner_id, auto_disk_config, bdm_v2, block_device_mapping, mappings, root_device_name, "
    "requires_ssh, vmware_* and other old names": "model/image_properties.py",
}


TRAIT = "trait:HW_GPU_API_VULKAN"


def effects(specs: dict[str, str], image: dict[str, str]) -> Iterator[Any]:
    """All that a flavor and an image ask for: of the claim, of the filters, of the guest's description."""
    xml, hardware = pytest.importorskip("tests.virt.test_domain_xml"), pytest.importorskip("nova_async.virt.libvirt.hardware")
    flavor = FLAVOR | {"extra_specs": specs}
    yield told(lambda: resources_of(flavor, image))
    yield told(lambda: topology(flavor, image))
    yield told(lambda: devices(flavor, image, (GPU,)))
    yield traits_of(specs, "required"), traits_of(specs, "forbidden"), isolated_groups(specs)
    asked, options = request(extra_specs=specs, image_properties=image), SchedulerSection(image_metadata_prefilter=True)
    yield prefilters.traits(asked, options), prefilters.unwanted(asked)
    hosts = table(row(facts={"hypervisor_version": 8_000_000, "supported_instances": [["x86_64", "kvm", "hvm"]]}))
    for name in BUILT_IN:
        _, each = load(name, options)
        yield each.reason(hosts.states[0], asked) if each.applies(asked) else None
    guest = xml.spec(image, extra_specs=specs, vcpus=4, memory_mib=512, ports=(xml.port(1),), config_drive=True)
    yield told(lambda: hardware.check(guest, tuning=True, tpm=True, spice=True))
    yield told(lambda: xml.domain(guest, xml.KVM))


def told(find: Callable[[], Any]) -> Any:
    """What is found, or the words of the refusal."""
    try:
        return find()
    except Error as error:
        return error.message


def a_value(name: str, domain: str) -> str:
    if name in VALUES:
        return VALUES[name]
    words = {"one": domain.split()[2:3], "boolean": ["true"], "integer": ["3"], "CPU": ["aarch64"]}.get(domain.split(" ")[0], ["x"])
    return words[0]


@pytest.mark.parametrize(("name", "domain"), rows("flavor-extra-specs.tsv", "name", "domain"))
def test_each_extra_spec_changes_something_or_is_named(name: str, domain: str) -> None:
    plain = name
    for parameter, meaning in PARAMETERS.items():
        plain = plain.replace(parameter, meaning)
    without, image = TOGETHER.get(plain, {}), WITH_IMAGE.get(plain, {})
    held(name, effects(without | {plain: a_value(plain, domain)}, image), effects(without, image))


@pytest.mark.parametrize(("name", "domain"), rows("image-properties.tsv", "name", "domain"))
def test_each_image_property_changes_something_or_is_named(name: str, domain: str) -> None:
    plain = {"hw_numa_cpus": "hw_numa_cpus.0", "hw_numa_mem": "hw_numa_mem.0", "trait:<NAME>": TRAIT, "traits_required": TRAIT}.get(
        name, name
    )
    twin = plain.replace("_", ":", 1)
    specs = TOGETHER.get(twin, {})
    value = "required" if plain.startswith("trait:") else a_value(plain if plain in VALUES else twin if twin in VALUES else plain, domain)
    if plain == "hw_mem_page_size":  # the image chooses among what the flavor allows
        specs, value = {"hw:mem_page_size": "any"}, "2MB"
    held(name, effects(specs, {plain: value}), effects(specs, {}))


def held(name: str, with_it: Iterator[Any], without: Iterator[Any]) -> None:
    changes = any(one != other for one, other in zip(with_it, without, strict=True))
    if name in PASSED_OVER:
        assert not changes, f"{name} has an effect now: take it out of PASSED_OVER and of docs/scheduling.md"
        assert name.partition("_shares")[0].rpartition("_")[0] in (PACKAGE.parent / "docs" / "scheduling.md").read_text()
    elif name in ELSEWHERE:
        text = (PACKAGE / ELSEWHERE[name]).read_text()
        assert any(word.strip(" *,") in text for word in name.removesuffix(" (image fields)").split(", "))
    else:
        assert changes, f"{name} has no effect"
