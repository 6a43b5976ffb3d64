"""Each filter as a table: the host, the request, and the words of the refusal (None: it passes)."""

import json

import pytest

from nova_async.model.server_groups import Group
from nova_async.scheduler.filters import BUILT_IN
from tests.scheduler.hosts import request, row, table, verdict

X86 = {"supported_instances": [["x86_64", "kvm", "hvm"], ["i686", "qemu", "hvm"]], "hypervisor_version": 8002001}
SERVER, OTHER = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_filter_passes_a_host_that_nothing_is_asked_of(name) -> None:
    assert verdict(name, table(row()), request()) is None


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({}, None),
        ({"capabilities:cpu_info:arch": "x86_64"}, None),
        ({"capabilities:cpu_info:arch": "aarch64"}, "cpu_info:arch is x86_64, needs aarch64"),
        ({"capabilities:cpu_info:features": "<in> avx"}, None),
        ({"capabilities:cpu_info:features": "<all-in> avx sse9"}, "needs <all-in> avx sse9"),
        ({"capabilities:hypervisor_version": ">= 9000000"}, "hypervisor_version is 8002001"),
        ({"capabilities:free_ram_mb": ">= 8000"}, None),
        ({"capabilities:free_ram_mb": ">= 9000"}, "needs >= 9000"),
        ({"capabilities:no:thing": "1"}, "it reports no no:thing"),
        ({"hw:cpu_policy": "dedicated"}, None),
        ({"hypervisor_type": "s== QEMU"}, None),
        ({"hypervisor_type": "<or> KVM <or> XEN"}, "needs <or> KVM <or> XEN"),
    ],
)
def test_compute_capabilities(specs, words) -> None:
    facts = X86 | {"cpu_info": {"arch": "x86_64", "features": ["avx", "sse"]}, "hypervisor_type": "QEMU"}
    said(words, verdict("ComputeCapabilitiesFilter", table(row(facts=facts)), request(extra_specs=specs)))


@pytest.mark.parametrize(
    ("properties", "options", "words"),
    [
        ({}, {}, None),
        ({"hw_architecture": "x86_64"}, {}, None),
        ({"hw_architecture": "amd64", "img_hv_type": "kvm"}, {}, None),
        ({"hw_architecture": "aarch64"}, {}, "the image needs aarch64/any/any"),
        ({"hw_architecture": "i686", "img_hv_type": "kvm"}, {}, "i686/kvm/any"),
        ({"hw_vm_mode": "xen"}, {}, "any/any/xen"),
        ({"img_hv_requested_version": ">=8.2,<9"}, {}, None),
        ({"img_hv_requested_version": ">=9"}, {}, "hypervisor version 8002001 is not >=9"),
        ({"img_hv_requested_version": "new"}, {}, "hypervisor version 8002001 is not new"),
        ({}, {"image_properties_default_architecture": "x86_64"}, None),
        ({}, {"image_properties_default_architecture": "ppc64"}, "the image needs ppc64"),
        ({"hw_architecture": "x86_64"}, {"image_properties_default_architecture": "ppc64"}, None),
    ],
)
def test_image_properties(properties, options, words) -> None:
    said(words, verdict("ImagePropertiesFilter", table(row(facts=X86)), request(image_properties=properties), **options))


@pytest.mark.parametrize(
    ("policy", "most", "members", "words"),
    [
        ("anti-affinity", 1, {}, None),
        ("anti-affinity", 1, {"host1": 1}, "it holds 1 of the group already (at most 1 per host)"),
        ("anti-affinity", 2, {"host1": 1}, None),
        ("anti-affinity", 2, {"host1": 2}, "at most 2"),
        ("anti-affinity", 1, {"host2": 5}, None),
        ("affinity", 1, {}, None),
        ("affinity", 1, {"host1": 3}, None),
        ("affinity", 1, {"host2": 1}, "the group's servers are on host2"),
        ("soft-affinity", 1, {"host2": 1}, None),
        ("soft-anti-affinity", 1, {"host1": 1}, None),
    ],
)
def test_server_groups(policy, most, members, words) -> None:
    asked = request(group=Group(policy=policy, max_server_per_host=most, members=members))
    hosts = table(row())
    found = verdict("ServerGroupAntiAffinityFilter", hosts, asked) or verdict("ServerGroupAffinityFilter", hosts, asked)
    said(words, found)


@pytest.mark.parametrize(
    ("name", "hints", "words"),
    [
        ("DifferentHostFilter", {}, None),
        ("DifferentHostFilter", {"different_host": SERVER}, f"it holds {SERVER}"),
        ("DifferentHostFilter", {"different_host": [OTHER, SERVER]}, f"it holds {SERVER}"),
        ("DifferentHostFilter", {"different_host": [OTHER]}, None),
        ("DifferentHostFilter", {"different_host": ["33333333-3333-4333-8333-333333333333"]}, None),
        ("SameHostFilter", {}, None),
        ("SameHostFilter", {"same_host": SERVER}, None),
        ("SameHostFilter", {"same_host": [OTHER, SERVER]}, None),
        ("SameHostFilter", {"same_host": OTHER}, "it holds none of the servers"),
        ("SimpleCIDRAffinityFilter", {}, None),
        ("SimpleCIDRAffinityFilter", {"build_near_host_ip": "192.0.2.200"}, None),
        (
            "SimpleCIDRAffinityFilter",
            {"build_near_host_ip": "192.0.2.200", "cidr": "/25"},
            "192.0.2.7 is not in 192.0.2.128/25",
        ),
        ("SimpleCIDRAffinityFilter", {"build_near_host_ip": "192.0.3.1", "cidr": "/16"}, None),
        ("SimpleCIDRAffinityFilter", {"build_near_host_ip": "2001:db8::1", "cidr": "/64"}, "is not in 2001:db8::/64"),
    ],
)
def test_hints(name, hints, words) -> None:
    asked = request(hints=hints, hosts_of={SERVER: "host1", OTHER: "host2"})
    said(words, verdict(name, table(row(address="192.0.2.7"), row("host2")), asked))


@pytest.mark.parametrize(
    ("query", "passes"),
    [
        (["=", "$host", "host1"], True),
        (["=", "$host", "host2"], False),
        ([">=", "$free_ram_mb", 8192], True),
        (["<", "$free_ram_mb", 8192], False),
        ([">", "$free_disk_mb", 1024], True),
        (["<=", "$vcpus_used", 0], True),
        (["in", "$host", "host1", "host2"], True),
        (["in", "$host", "host2"], False),
        (["not", ["=", "$host", "host2"]], True),
        (["and", ["=", "$host", "host1"], [">", "$vcpus_total", 100]], False),
        (["or", ["=", "$host", "host1"], [">", "$vcpus_total", 100]], True),
        (["=", "$cpu_info.arch", "x86_64"], True),
        (["=", "$nothing", "x"], False),
        (["<", "$host", 5], False),
        (["=", "$host"], False),
    ],
)
@pytest.mark.parametrize("form", [json.dumps, list], ids=["text", "list"])
def test_json_queries(query, passes, form) -> None:
    hosts = table(row(facts={"cpu_info": {"arch": "x86_64"}}))
    assert (verdict("JsonFilter", hosts, request(hints={"query": form(query)})) is None) == passes


@pytest.mark.parametrize(
    ("name", "metadata", "fields", "words"),
    [
        ("AggregateInstanceExtraSpecsFilter", {}, {}, None),
        ("AggregateInstanceExtraSpecsFilter", {"ssd": "true"}, {"extra_specs": {"aggregate_instance_extra_specs:ssd": "true"}}, None),
        ("AggregateInstanceExtraSpecsFilter", {"ssd": "true"}, {"extra_specs": {"ssd": "true"}}, None),
        ("AggregateInstanceExtraSpecsFilter", {"ssd": "no"}, {"extra_specs": {"ssd": "true"}}, "say ssd is no, needs true"),
        ("AggregateInstanceExtraSpecsFilter", {"ssd": "no, true"}, {"extra_specs": {"ssd": "true"}}, None),
        ("AggregateInstanceExtraSpecsFilter", {"cores": "8"}, {"extra_specs": {"cores": ">= 9"}}, "needs >= 9"),
        ("AggregateInstanceExtraSpecsFilter", {}, {"extra_specs": {"ssd": "true"}}, "do not say ssd"),
        ("AggregateInstanceExtraSpecsFilter", {}, {"extra_specs": {"hw:cpu_policy": "shared"}}, None),
        ("AggregateImagePropertiesIsolation", {"os_type": "windows"}, {"image_properties": {"os_type": "windows"}}, None),
        ("AggregateImagePropertiesIsolation", {"os_type": "linux,windows"}, {"image_properties": {"os_type": "windows"}}, None),
        (
            "AggregateImagePropertiesIsolation",
            {"os_type": "linux"},
            {"image_properties": {"os_type": "windows"}},
            "os_type linux, this",
        ),
        ("AggregateImagePropertiesIsolation", {"os_type": "linux"}, {}, None),
        ("AggregateImagePropertiesIsolation", {}, {"image_properties": {"os_type": "windows"}}, None),
        ("AggregateMultiTenancyIsolation", {}, {"project_id": "p"}, None),
        ("AggregateMultiTenancyIsolation", {"filter_tenant_id": "p"}, {"project_id": "p"}, None),
        ("AggregateMultiTenancyIsolation", {"filter_tenant_id": "q,p"}, {"project_id": "p"}, None),
        ("AggregateMultiTenancyIsolation", {"filter_tenant_id": "q", "filter_tenant_id2": "p"}, {"project_id": "p"}, None),
        ("AggregateMultiTenancyIsolation", {"filter_tenant_id": "q"}, {"project_id": "p"}, "for other projects"),
        ("AggregateTypeAffinityFilter", {}, {"flavor_name": "m1.tiny"}, None),
        ("AggregateTypeAffinityFilter", {"instance_type": "m1.big, m1.tiny"}, {"flavor_name": "m1.tiny"}, None),
        ("AggregateTypeAffinityFilter", {"instance_type": "m1.big"}, {"flavor_name": "m1.tiny"}, "take flavors m1.big only"),
    ],
)
def test_aggregates(name, metadata, fields, words) -> None:
    said(words, verdict(name, table(row(aggregates=[1]), row("host2"), aggregates=(metadata,)), request(**fields)))


def test_the_namespace_limits_which_metadata_isolate_images() -> None:
    hosts = table(row(aggregates=[1]), aggregates=({"os_type": "linux", "my.os": "linux"},))
    options = {"aggregate_image_properties_isolation_namespace": "my"}
    asked = request(image_properties={"os_type": "windows"})
    assert verdict("AggregateImagePropertiesIsolation", hosts, asked, **options) is None
    asked = request(image_properties={"my.os": "windows"})
    assert "my.os linux" in (verdict("AggregateImagePropertiesIsolation", hosts, asked, **options) or "")


@pytest.mark.parametrize(
    ("name", "fields", "metadata", "words"),
    [
        ("NumInstancesFilter", {"instances": 49}, {}, None),
        ("NumInstancesFilter", {"instances": 50}, {}, "it holds 50 servers (at most 50)"),
        ("IoOpsFilter", {"operations": 7}, {}, None),
        ("IoOpsFilter", {"operations": 8}, {}, "it has 8 operations in progress (at most 8)"),
        ("AggregateNumInstancesFilter", {"instances": 49}, {"max_instances_per_host": "10"}, "(at most 10)"),
        ("AggregateNumInstancesFilter", {"instances": 60}, {"max_instances_per_host": "70"}, None),
        ("AggregateNumInstancesFilter", {"instances": 60}, {"max_instances_per_host": "many"}, "(at most 50)"),
        ("AggregateIoOpsFilter", {"operations": 4}, {"max_io_ops_per_host": "3"}, "(at most 3)"),
        ("AggregateIoOpsFilter", {"operations": 4}, {}, None),
    ],
)
def test_limits(name, fields, metadata, words) -> None:
    said(words, verdict(name, table(row(aggregates=[1], **fields), aggregates=(metadata,)), request()))


def test_of_two_aggregates_the_smaller_limit_holds() -> None:
    hosts = table(row(aggregates=[1, 2], instances=6), aggregates=({"max_instances_per_host": "9"}, {"max_instances_per_host": "5"}))
    assert verdict("AggregateNumInstancesFilter", hosts, request()) == "it holds 6 servers (at most 5)"


@pytest.mark.parametrize(
    ("host", "image", "restrict", "passes"),
    [
        ("host1", "secret", True, True),
        ("host2", "secret", True, False),
        ("host1", "plain", True, False),
        ("host2", "plain", True, True),
        ("host1", "plain", False, True),
        ("host2", "secret", False, False),
        ("host1", None, True, False),
    ],
)
def test_isolated_hosts(host, image, restrict, passes) -> None:
    options = {"isolated_hosts": ("host1",), "isolated_images": ("secret",), "restrict_isolated_hosts_to_isolated_images": restrict}
    assert (verdict("IsolatedHostsFilter", table(row(host)), request(image_id=image), **options) is None) == passes


def test_metrics_that_count_must_be_reported() -> None:
    hosts = table(row(facts={"metrics": [{"name": "cpu.percent", "value": 0.5}]}))
    assert verdict("MetricsFilter", hosts, request()) is None
    assert verdict("MetricsFilter", hosts, request(), metric_weights={"cpu.percent": 1.0}) is None
    said("the metric heat", verdict("MetricsFilter", hosts, request(), metric_weights={"cpu.percent": 1.0, "heat": -1.0}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, None),
        ({"disabled": True, "disabled_reason": "repair"}, "disabled by an operator (repair)"),
        ({"forced_down": True}, "forced down by an operator"),
    ],
)
def test_compute(fields, words) -> None:
    said(words, verdict("ComputeFilter", table(row(**fields)), request()))


def test_a_silent_host_is_refused_until_it_reports_again() -> None:
    hosts = table(row())
    hosts.seen[0] = hosts.world.monotonic() - 31
    said("its worker does not report", verdict("ComputeFilter", hosts, request()))
    hosts.heard("host1")
    assert verdict("ComputeFilter", hosts, request()) is None


def said(words: str | None, reason: str | None) -> None:
    assert (reason is None) == (words is None), reason
    assert words is None or words in (reason or ""), reason
