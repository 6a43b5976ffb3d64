"""Decisions: who is left, in which order, and what is said of the others."""

from typing import Any

import msgspec
import pytest

from nova_async.errors import Invalid
from nova_async.model.hosts import HostRow
from nova_async.model.server_groups import Group
from nova_async.model.topology import Fit, FittedCell, GuestCell, GuestTopology, HostCell, HostTopology
from nova_async.scheduler import filters, numa
from nova_async.scheduler.request import Request
from tests.scheduler.hosts import decide, request, row, table


def hosts_of(decision) -> list[str]:
    return [c.host for c in decision.candidates]


def sized(name: str, memory: int = 8192, used: int = 0, **fields):
    inventory = {"VCPU": [8, 0, 4.0, 0], "MEMORY_MB": [memory, 0, 1.0, used], "DISK_GB": [100, 0, 1.0, 0]}
    return row(name, inventory=inventory, **fields)


def test_more_free_memory_is_better() -> None:
    hosts = table(sized("small", 4096), sized("big", 16384), sized("half", 16384, used=8192))
    decision = decide(hosts)
    assert hosts_of(decision) == ["big", "half", "small"]
    assert [c.weight for c in decision.candidates] == [1.0, pytest.approx(1 / 3, abs=1e-5), 0.0]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"required_traits": frozenset({"CUSTOM_GOLD"})},
        {"image_properties": {"hw_architecture": "x86_64", "trait:CUSTOM_GOLD": "required"}},
        {"extra_specs": {"aggregate_instance_extra_specs:ssd": "true", "capabilities:hypervisor_type": "QEMU"}, "zone": "east"},
        {"hints": {"different_host": ["a"], "same_host": ["b"], "query": '["=", "$free_ram_mb", 1]'}},
    ],
)
def test_where_there_are_no_hosts_there_is_none_for_anything(asked: dict[str, Any]) -> None:
    options = {"filters": list(filters.BUILT_IN), "enable_isolated_aggregate_filtering": True, "limit_tenants_to_aggregate": True}
    decision = decide(table(), request(**asked), **options)
    assert (decision.candidates, decision.hosts) == ([], 0)


def test_a_negative_multiplier_packs() -> None:
    hosts = table(sized("small", 4096), sized("big", 16384))
    assert hosts_of(decide(hosts, multipliers={"RAMWeigher": -1.0})) == ["small", "big"]


def test_aggregates_change_the_multiplier_of_their_hosts() -> None:
    packed = sized("packed", 16384, aggregates=[1])
    hosts = table(packed, sized("other", 8192), sized("small", 4096), aggregates=({"ram_weight_multiplier": "-1"},))
    assert hosts_of(decide(hosts)) == ["other", "small", "packed"]


def test_hosts_that_failed_lately_come_last_and_the_others_keep_their_order() -> None:
    hosts = table(sized("failing", 65536, failed_builds=1), *(sized(f"h{n}", 8192 + n) for n in range(3)), sized("vast", 10**6))
    assert hosts_of(decide(hosts, alternates=9)) == ["vast", "h2", "h1", "h0", "failing"]
    hosts.failed("id-failing", 0)
    assert hosts_of(decide(hosts, alternates=9))[1] == "failing"


@pytest.mark.parametrize(("policy", "order"), [("soft-affinity", ["b", "c", "a"]), ("soft-anti-affinity", ["a", "c", "b"])])
def test_soft_groups_draw_together_or_apart(policy, order) -> None:
    hosts = table(sized("a"), sized("b"), sized("c"))
    assert hosts_of(decide(hosts, request(group=Group(policy=policy, members={"b": 2, "c": 1})))) == order


def test_hosts_with_similar_images_are_better_when_that_counts() -> None:
    hosts = table(sized("a"), sized("b"))
    assert hosts_of(decide(hosts, request(alike={"b": 2.0}), multipliers={"ImagePropertiesWeigher": 1.0})) == ["b", "a"]


def test_metrics_are_weighed() -> None:
    hosts = table(sized("hot", facts={"metrics": {"heat": 90}}), sized("cool", facts={"metrics": {"heat": 20}}), sized("unknown"))
    assert hosts_of(decide(hosts, metric_weights={"heat": -1.0})) == ["cool", "hot", "unknown"]


def test_a_server_that_moves_had_better_stay_in_its_cell() -> None:
    hosts = table(sized("far", 10**6, cell="two"), sized("near", 8192, cell="one"))
    assert hosts_of(decide(hosts)) == ["far", "near"]
    assert hosts_of(decide(hosts, request(cell="one"))) == ["near", "far"]


def test_a_host_that_says_it_is_disabled_gets_nothing() -> None:
    hosts = table(sized("off", 10**6, traits=["COMPUTE_STATUS_DISABLED"]), sized("on"))
    decision = decide(hosts)
    assert (hosts_of(decision), decision.refusals["off"].reason) == (["on"], "it has the trait COMPUTE_STATUS_DISABLED")


def test_a_host_with_hyperthreads_is_nothing_for_threads_that_want_to_be_alone() -> None:
    hosts = table(sized("threads", traits=["HW_CPU_HYPERTHREADING"]), sized("none"))
    assert hosts_of(decide(hosts, request(extra_specs={"hw:cpu_thread_policy": "isolate"}))) == ["none"]


def test_hosts_with_fewer_operations_in_progress_are_better() -> None:
    hosts = table(sized("a"), sized("b"))
    hosts.began("one", "id-a")
    hosts.began("one", "id-a")
    hosts.began("two", "id-a")
    assert (hosts.states[0].row.operations, hosts_of(decide(hosts))) == (2, ["b", "a"])
    hosts.ended("one", "id-b")
    hosts.ended("one")
    hosts.ended("two", "id-a")
    assert (hosts.states[0].row.operations, hosts_of(decide(hosts))) == (0, ["a", "b"])


def test_newer_hypervisors_are_better() -> None:
    hosts = table(sized("old", facts={"hypervisor_version": 7000000}), sized("new", facts={"hypervisor_version": 8000000}))
    assert hosts_of(decide(hosts)) == ["new", "old"]


def test_scaling_looks_only_at_hosts_that_passed() -> None:
    """However many are refused: the whole column is worked on, or only the rows that are left."""
    for refused in (1, 50):
        full = [sized(f"full{n}", 10**6, used=10**6) for n in range(refused)]
        decision = decide(table(*full, sized("small", 4096), sized("big", 8192)))
        assert [(c.host, c.weight) for c in decision.candidates] == [("big", 1.0), ("small", 0.0)], refused


def test_one_of_the_best_is_drawn() -> None:
    hosts = table(*(sized(f"h{n}", 8192 + n) for n in range(10)))
    first = {hosts_of(decide(hosts, host_subset_size=3))[0] for _ in range(60)}
    assert first == {"h9", "h8", "h7"}


def test_equal_hosts_take_turns_by_chance_if_asked() -> None:
    hosts = table(*(sized(f"h{n}") for n in range(4)), sized("small", 4096))
    assert {hosts_of(decide(hosts))[0] for _ in range(20)} == {"h0"}
    assert {hosts_of(decide(hosts, shuffle_best_same_weighed_hosts=True))[0] for _ in range(80)} == {"h0", "h1", "h2", "h3"}


def test_so_many_alternates_are_named() -> None:
    hosts = table(*(sized(f"h{n}", 8192 + n) for n in range(50)))
    assert hosts_of(decide(hosts, alternates=3)) == ["h49", "h48", "h47", "h46"]
    assert hosts_of(decide(hosts, alternates=29)) == [f"h{n}" for n in range(49, 19, -1)]


def test_no_valid_host_is_explained() -> None:
    decision = decide(table(sized("a"), sized("b", disabled=True)), request(resources={"MEMORY_MB": 9000, "VCPU": 1}))
    assert decision.candidates == []
    assert decision.counts == {"ComputeFilter": 1, "Capacity": 1}
    assert decision.refusals["a"].reason == "MEMORY_MB: needs 9000, the host has 8192 in all"
    assert "ComputeFilter refused 1 (disabled by an operator" in decision.summary()


def test_where_no_host_fits_each_is_held_against_every_filter() -> None:
    asked = request(resources={"MEMORY_MB": 9000, "VCPU": 1}, zone="east")
    refusal = decide(table(sized("a", disabled=True, disabled_reason="repair")), asked).refusals["a"]
    assert (refusal.filter, refusal.reason) == ("AvailabilityZone", "it is in nova, not east")
    assert refusal.others == [
        ("ComputeFilter", "disabled by an operator (repair)"),
        ("Capacity", "MEMORY_MB: needs 9000, the host has 8192 in all"),
    ]
    assert decide(table(sized("a", disabled=True), sized("b")), request()).refusals["a"].others == []


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"zone": "east"}, ["a"]),
        ({"zone": "nowhere"}, []),
        ({"requested_host": "b"}, ["b"]),
        ({"requested_node": "node-b"}, ["b"]),
        ({"requested_host": "a", "requested_node": "node-b"}, []),
        ({"requested_host": "off"}, []),
        ({"forced_host": "off"}, ["off"]),
        ({"forced_host": "b", "forced_node": "node-b"}, ["b"]),
        ({"forced_node": "node-off"}, ["off"]),
        ({"forced_host": "mars"}, []),
        ({"ignored_hosts": {"a": "it failed", "mars": "gone"}}, ["b"]),
        ({"required_traits": frozenset({"FAST"})}, ["b"]),
        ({"forbidden_traits": frozenset({"FAST"})}, ["a"]),
        ({"resources": {"VCPU": 1, "CUSTOM_FPGA": 1}}, []),
        ({"image_properties": {"trait:FAST": "required"}}, ["b"]),
        ({"extra_specs": {"accel:device_profile": "x"}}, []),
        ({"extra_specs": {"hw:sound_model": "virtio"}}, []),
        ({"extra_specs": {"hw:tpm_version": "2.0"}}, []),
        ({"extra_specs": {"hw:cpu_thread_policy": "require"}}, []),
        ({"image_properties": {"hw_maxphysaddr_mode": "emulate"}}, []),
        ({"extra_specs": {"hw:mem_encryption": "true"}}, []),
        ({"extra_specs": {"group_policy": "isolate", "resources1:VCPU": "1", "resources2:VCPU": "1"}}, []),
        ({"extra_specs": {"group_policy": "isolate", "resources1:VCPU": "1"}}, ["a", "b"]),
        ({"forced_host": "b", "group": Group(policy="anti-affinity", members={"b": 1})}, []),
        ({"forced_host": "b", "group": Group(policy="affinity", members={"a": 1})}, []),
    ],
)
def test_what_the_request_names_is_kept_to(fields, left) -> None:
    hosts = table(
        sized("a", availability_zone="east", facts={"hypervisor_hostname": "node-a"}),
        sized("b", facts={"hypervisor_hostname": "node-b"}, traits=["FAST"]),
        sized("off", disabled=True, facts={"hypervisor_hostname": "node-off"}),
    )
    decision = decide(hosts, request(**fields))
    assert sorted(hosts_of(decision)) == left
    assert sum(decision.counts.values()) + len(left) == 3
    assert all(refusal.reason for refusal in decision.refusals.values())


@pytest.mark.parametrize(
    ("metadata", "traits", "left"),
    [
        ({"trait:SECURE": "required"}, frozenset(), ["free"]),
        ({"trait:SECURE": "required"}, frozenset({"SECURE"}), ["kept"]),
        ({"trait:SECURE": "maybe"}, frozenset(), ["free", "kept"]),
    ],
)
def test_aggregates_may_be_kept_for_servers_with_their_traits(metadata, traits, left) -> None:
    hosts = table(sized("kept", aggregates=[1], traits=["SECURE"]), sized("free"), aggregates=(metadata,))
    decision = decide(hosts, request(required_traits=traits), enable_isolated_aggregate_filtering=True)
    assert sorted(hosts_of(decision)) == left
    assert len(hosts_of(decide(hosts, request()))) == 2


def test_projects_may_be_limited_to_their_aggregates() -> None:
    hosts = table(sized("theirs", aggregates=[1]), sized("free"), aggregates=({"filter_tenant_id1": "p"},))
    assert hosts_of(decide(hosts, request(project_id="p"), limit_tenants_to_aggregate=True)) == ["theirs"]
    assert len(hosts_of(decide(hosts, request(project_id="q"), limit_tenants_to_aggregate=True))) == 2
    required = decide(hosts, request(project_id="q"), limit_tenants_to_aggregate=True, aggregate_required_for_tenants=True)
    assert (hosts_of(required), required.counts) == ([], {"TenantAggregates": 2})


@pytest.mark.parametrize(
    ("options", "fields", "passes"),
    [
        ({"image_type_support_required": True}, {"disk_format": "qcow2"}, True),
        ({"image_type_support_required": True}, {"disk_format": "vmdk"}, False),
        ({}, {"disk_format": "vmdk"}, True),
        ({"image_metadata_prefilter": True}, {"image_properties": {"hw_disk_bus": "virtio"}}, True),
        ({"image_metadata_prefilter": True}, {"image_properties": {"hw_vif_model": "e1000"}}, False),
        ({}, {"image_properties": {"hw_vif_model": "e1000"}}, True),
    ],
)
def test_what_the_image_needs_may_be_asked_of_hosts(options, fields, passes) -> None:
    hosts = table(sized("a", traits=["COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_STORAGE_BUS_VIRTIO"]))
    assert bool(hosts_of(decide(hosts, request(**fields), **options))) == passes


def test_a_claim_is_seen_by_the_next_decision() -> None:
    hosts = table(sized("a", 1024))
    asked = request(resources={"MEMORY_MB": 1024})
    assert hosts_of(decide(hosts, asked)) == ["a"]
    hosts.took("id-a", asked.resources)
    assert hosts_of(decide(hosts, asked)) == []
    hosts.took("id-a", asked.resources, -1)
    assert hosts_of(decide(hosts, asked)) == ["a"]


def test_changed_rows_and_labels_are_seen() -> None:
    hosts = table(sized("a"), sized("b"))
    hosts.load([sized("a", availability_zone="east", aggregates=[7]), sized("b", 4096)])
    assert hosts_of(decide(hosts, request(zone="east"))) == ["a"]
    hosts.load([sized("b", 16384)], complete=True)
    assert hosts_of(decide(hosts)) == ["b"]
    assert decide(hosts).hosts == 1


def test_an_empty_table_says_so() -> None:
    assert decide(table()).summary() == "No valid host was found. No host has reported yet."


def test_a_weigher_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid, match=r"scheduler\.weighers"):
        decide(table(), weighers=("HeightWeigher",))
    with pytest.raises(Invalid, match=r"scheduler\.multipliers"):
        decide(table(), multipliers={"HeightWeigher": 1.0})


def of_cells(name: str, memory: int, full: bool = False, **fields: Any) -> HostRow:
    """A host with one cell of four dedicated CPUs, free or given away."""
    cell = HostCell(id=0, memory_mib=memory, dedicated=(0, 1, 2, 3))
    given = Fit(cells=(FittedCell(host_cell=0, cpus=(0, 1, 2), memory_mib=1, pins=((0, 0), (1, 1), (2, 3))),))
    facts = {"topology": msgspec.to_builtins(HostTopology(cells=(cell,)))}
    inventory = {"PCPU": [8, 0, 1.0, 0], "VCPU": [8, 0, 4.0, 0], "MEMORY_MB": [memory, 0, 1.0, 0], "DISK_GB": [100, 0, 1.0, 0]}
    return row(name, facts=facts, inventory=inventory, fits=[msgspec.to_builtins(given)] if full else [], **fields)


def pinned(**fields: Any) -> Request:
    wanted = GuestTopology(cells=(GuestCell(cpus=(0, 1), dedicated=(0, 1), memory_mib=64),))
    return request(topology=wanted, resources={"PCPU": 2, "MEMORY_MB": 64}, **fields)


@pytest.mark.parametrize("full", [0, 1, 3, 4, 5, 17, 58, 60])
def test_hosts_without_free_cpus_are_passed_over_however_many_come_first(full) -> None:
    hosts = table(*(of_cells(f"h{n:02}", 8192 - n, full=n < full) for n in range(60)))
    decision = decide(hosts, pinned())
    assert hosts_of(decision) == [f"h{n:02}" for n in range(full, min(60, full + 4))]
    assert decision.counts.get("NUMATopologyFilter", 0) == full
    if full:
        assert decision.refusals["h00"].reason.endswith("dedicated CPUs: needs 2, 1 of 4 free")


def test_equal_hosts_of_which_not_all_were_looked_at_take_turns_among_those_that_were() -> None:
    hosts = table(*(of_cells(f"h{n:02}", 8192, full=n % 2 == 0) for n in range(40)))
    drawn = {hosts_of(decide(hosts, pinned(), shuffle_best_same_weighed_hosts=True))[0] for _ in range(60)}
    assert len(drawn) > 1
    assert all(int(name[1:]) % 2 for name in drawn)


def test_a_forced_host_must_have_the_cpus_too() -> None:
    hosts = table(of_cells("full", 8192, full=True), of_cells("free", 4096))
    assert hosts_of(decide(hosts, pinned(forced_host="free"))) == ["free"]
    assert decide(hosts, pinned(forced_host="full")).counts == {"RequestedHost": 1, "NUMATopologyFilter": 1}


def test_hosts_that_give_cpus_away_are_seen_to_have_fewer() -> None:
    hosts = table(of_cells("a", 8192), of_cells("b", 4096))
    for left in (["a", "b"], ["a", "b"], ["b"]):
        assert hosts_of(decide(hosts, pinned())) == left
        given = numa.fit(hosts.states[0].topology, hosts.states[0].used, pinned().topology)
        if isinstance(given, Fit):
            hosts.fitted("id-a", given)


def test_hosts_that_do_not_reach_a_network_say_which() -> None:
    hosts = table(*(row(name) for name in ("both", "one", "none")))
    reached = {"net-a": ["both", "one"], "net-b": ["both"]}
    assert hosts_of(decide(hosts, request(reached=reached))) == ["both"]
    decision = decide(hosts, request(reached=reached | {"net-c": []}))
    assert decision.counts == {"Networks": 3}
    assert decision.refusals["one"].reason == "it reaches no segment of the network net-b, net-c that has the server's subnet"
    assert hosts_of(decide(hosts, request(reached=reached, forced_host="one"))) == [], "nobody can force a cable"
