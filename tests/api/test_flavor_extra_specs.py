"""Extra specs of flavors, and who may use private flavors, from outside."""

import time
from pathlib import Path

import pytest

from nova_async.api import extra_specs
from nova_async.errors import Invalid
from tests.api.conftest import MISSING_PROJECT, OTHER_PROJECT, PROJECT
from tests.api.samples import SAMPLES, samples, shape

KNOWN = SAMPLES.parent / "flavor-extra-specs.tsv"
PATH = "/flavors/1/os-extra_specs"


async def test_extra_specs_are_added_changed_and_deleted(api) -> None:
    await api.flavor("1")
    assert (await api.get(PATH, "reader")).body == {"extra_specs": {}}
    added = await api.post(PATH, {"extra_specs": {"key1": "value1", "hw:numa_nodes": 1, "ratio": 1.5}}, "admin")
    assert (added.status, added.body) == (200, {"extra_specs": {"key1": "value1", "hw:numa_nodes": "1", "ratio": "1.5"}})
    changed = await api.put(f"{PATH}/key1", {"key1": "value2"}, "admin")
    assert (changed.status, changed.body) == (200, {"key1": "value2"})
    assert (await api.get(f"{PATH}/key1", "reader")).body == {"key1": "value2"}
    assert (await api.get("/flavors/1", "reader", "2.61")).body["flavor"]["extra_specs"]["key1"] == "value2"
    gone = await api.delete(f"{PATH}/key1", "admin")
    assert (gone.status, gone.raw) == (200, b"")
    for answer in (await api.get(f"{PATH}/key1"), await api.delete(f"{PATH}/key1", "admin")):
        assert (answer.status, answer.message) == (404, "Flavor 1 has no extra specs with key key1.")
    assert (await api.get(PATH, "reader")).body == {"extra_specs": {"hw:numa_nodes": "1", "ratio": "1.5"}}


async def test_only_administrators_change_extra_specs(api) -> None:
    await api.flavor("1")
    assert (await api.post(PATH, {"extra_specs": {"a": "1"}}, "manager")).status == 403
    assert (await api.put(f"{PATH}/a", {"a": "1"}, "manager")).status == 403
    assert (await api.delete(f"{PATH}/a", "manager")).status == 403
    assert (await api.get(PATH, "nobody")).status == 403
    assert "extra_specs" not in (await api.get("/flavors/1", "nobody", "2.61")).body["flavor"]
    assert (await api.post("/flavors/2/os-extra_specs", {"extra_specs": {"a": "1"}}, "admin")).status == 404


async def test_wrong_bodies_are_refused(api) -> None:
    await api.flavor("1")
    for body in (
        {"extra_specs": {"a/b": "1"}},
        {"extra_specs": {"": "1"}},
        {"extra_specs": {"a" * 256: "1"}},
        {"extra_specs": {"a": "1" * 256}},
        {"extra_specs": {"a": None}},
        {"extra_specs": {"a": True}},
        {"extra_specs": {"a": ["1"]}},
        {"extra_specs": []},
        {"a": "1"},
        None,
    ):
        assert (await api.post(PATH, body, "admin")).status == 400


async def test_one_spec_is_changed_at_a_time_and_the_one_in_the_path(api) -> None:
    await api.flavor("1")
    for body in (
        {},
        {"a": "1", "b": "2"},
        {"b": "1"},
        {"extra_specs": {"a": "1"}},
    ):
        assert (await api.put(f"{PATH}/a", body, "admin")).status == 400


async def test_known_names_are_checked_since_2_86(api) -> None:
    await api.flavor("1")
    for name, value, message in (
        ("hw:cpu_policy", "sometimes", "Validation failed; 'sometimes' is not one of: dedicated, shared, mixed."),
        ("hw:numa_nodes", "zero", "Validation failed; 'zero' is not a valid integer value."),
        ("hw:numa_nodes", "0", "Validation failed; '0' is less than the min value of '1'."),
        ("hw:redirected_usb_ports", "16", "Validation failed; '16' is greater than the max value of '15'."),
        ("hw:pmu", "perhaps", "Validation failed; 'perhaps' is not a valid boolean-like value."),
        ("hw:bananas", "1", "Validation failed; extra spec 'hw:bananas' does not appear to be a valid extra spec."),
        ("resources:BANANAS", "1", "Validation failed; extra spec 'resources:BANANAS' does not appear to be a valid extra spec."),
        ("trait:CUSTOM_X", "wanted", "Validation failed; 'wanted' is not one of: required, forbidden."),
    ):
        refused = await api.post(PATH, {"extra_specs": {name: value}}, "admin", "2.86")
        assert (refused.status, refused.message) == (400, message)
        assert (await api.put(f"{PATH}/{name}", {name: value}, "admin", "2.86")).status == 400
        assert (await api.post(PATH, {"extra_specs": {name: value}}, "admin", "2.85")).status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw:cpu_policy", "mixed"),
        ("hw:numa_cpus.0", "0-3,^2,7"),
        ("hw:mem_page_size", "2MB"),
        ("hw:pmem", "6GB,8GB"),
        ("hw:watchdog_action", "reset"),
        ("quota:disk_read_bytes_sec", "1000"),
        ("quota:vif_inbound_burst", "7"),
        ("resources:CUSTOM_GOLD", "1"),
        ("resources_A1:VGPU", "1"),
        ("trait:HW_CPU_X86_AVX2", "required"),
        ("trait1:CUSTOM_X", "forbidden"),
        ("capabilities:cpu_info:features", "<in> avx"),
        ("aggregate_instance_extra_specs:ssd", "true"),
        ("pci_passthrough:alias", "a1:2,b1:1"),
        ("own:thing", "whatever"),
        ("thing", "whatever"),
    ],
)
def test_what_names_take(name: str, value: str) -> None:
    extra_specs.check(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hw:cpu_realtime_mask", "0" + ",1-1" * 60 + "x"),
        ("hw:pmem", "a" * 250 + "!"),
        ("pci_passthrough:alias", "a:1" + " , " * 80),
        ("pci_passthrough:alias", " " * 250),
        ("hw:numa_nodes", "9" * 255),
        ("resources" + "a" * 200 + ":" + "B" * 50, "1"),
    ],
)
def test_hostile_texts_take_no_time(name: str, value: str) -> None:
    started = time.monotonic()
    try:
        extra_specs.check(name, value)
    except Invalid:
        pass
    assert time.monotonic() - started < 0.5


@pytest.mark.skipif(not KNOWN.is_file(), reason="the list of known names is not here")
def test_every_known_name_is_known() -> None:
    names = [line.partition("\t")[0] for line in Path(KNOWN).read_text().splitlines()[1:] if not line.startswith("#")]
    unknown = [name for name in names if name not in extra_specs.KNOWN and not name.startswith(("resources{group}", "trait{group}"))]
    assert unknown == []
    assert len(names) > 100


@pytest.mark.parametrize("kind", ["list", "create"])
async def test_extra_specs_have_the_keys_of_the_sample(api, kind) -> None:
    ((version, sample),) = [p.values for p in samples(f"flavor-extra-specs-{kind}-resp", "flavor-extra-specs")]
    if not sample:
        pytest.skip("the API's samples are not here")
    await api.flavor("1")
    made = await api.post(PATH, sample, "admin", version)
    assert made.body == sample
    assert (await api.get(PATH, "reader", version)).body == sample


@pytest.mark.parametrize(("version", "sample"), samples("flavor-create-post-resp", "flavor-manage"))
async def test_a_new_flavor_has_the_keys_of_the_sample(api, version, sample) -> None:
    made = await api.post("/flavors", {"flavor": {"name": "a", "ram": 1, "vcpus": 1, "disk": 1}}, "admin", version)
    assert shape(made.body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("flavors-detail-resp", "flavors"))
async def test_details_have_the_keys_of_the_sample(api, version, sample) -> None:
    await api.flavor("1")
    flavor = (await api.get("/flavors/detail", version=version)).body["flavors"][0]
    assert set(flavor) == set(sample["flavors"][0])


async def private(api, flavorid="1"):
    return await api.flavor(flavorid, **{"os-flavor-access:is_public": False})


async def let_in(api, project, version=None, caller="admin", flavor="1"):
    return await api.post(f"/flavors/{flavor}/action", {"addTenantAccess": {"tenant": project}}, caller, version)


async def test_projects_are_let_in_and_kept_out(api) -> None:
    await private(api)
    assert (await api.get("/flavors/1", "stranger")).status == 404
    added = await let_in(api, OTHER_PROJECT)
    assert (added.status, added.body) == (200, {"flavor_access": [{"flavor_id": "1", "tenant_id": OTHER_PROJECT}]})
    assert (await api.get("/flavors/1", "stranger")).status == 200
    assert (await api.get("/flavors/1", "member")).status == 404
    assert (await api.get("/flavors/1/os-flavor-access", "admin")).body == added.body
    again = await let_in(api, OTHER_PROJECT)
    assert again.status == 409
    assert again.message == f"Flavor access already exists for flavor 1 and project {OTHER_PROJECT} combination."
    body = {"removeTenantAccess": {"tenant": OTHER_PROJECT}}
    removed = await api.post("/flavors/1/action", body, "admin")
    assert (removed.status, removed.body) == (200, {"flavor_access": []})
    assert (await api.get("/flavors/1", "stranger")).status == 404
    gone = await api.post("/flavors/1/action", body, "admin")
    assert (gone.status, gone.message) == (404, f"Flavor access not found for 1 / {OTHER_PROJECT} combination.")


async def test_a_project_that_is_not_there_is_not_let_in(api) -> None:
    await private(api)
    answer = await let_in(api, MISSING_PROJECT)
    assert (answer.status, answer.message) == (400, f"Project ID {MISSING_PROJECT} is not a valid project.")


async def test_public_flavors_have_no_list_of_projects(api) -> None:
    await api.flavor("1")
    answer = await api.get("/flavors/1/os-flavor-access", "admin")
    assert (answer.status, answer.message) == (404, "Access list not available for public flavors.")
    assert (await let_in(api, PROJECT, "2.6")).status == 200
    refused = await let_in(api, PROJECT, "2.7")
    assert (refused.status, refused.message) == (409, "Can not add access to a public flavor.")


async def test_only_administrators_let_projects_in(api) -> None:
    await private(api)
    assert (await let_in(api, PROJECT, caller="manager")).status == 403
    assert (await api.post("/flavors/1/action", {"removeTenantAccess": {"tenant": PROJECT}}, "manager")).status == 403
    assert (await api.get("/flavors/1/os-flavor-access", "manager")).status == 403
    assert (await let_in(api, PROJECT, flavor="2")).status == 404


async def test_wrong_actions_are_refused(api) -> None:
    await private(api)
    for body in (
        {"addTenantAccess": {}},
        {"addTenantAccess": {"tenant": ""}},
        {"addTenantAccess": {"tenant": 5}},
        {"addTenantAccess": {"tenant": "x" * 256}},
        {"addTenantAccess": None},
        {"addTenantAccess": {"tenant": "x"}, "removeTenantAccess": {"tenant": "x"}},
        {"giveTenantAccess": {"tenant": "x"}},
        {},
    ):
        assert (await api.post("/flavors/1/action", body, "admin")).status == 400


async def test_patterns_that_the_database_does_not_take_are_refused_or_match_nothing(api) -> None:
    await api.flavor("1")
    for pattern in (
        "(?P<x>a)",
        "a{1,2}{3}",
        "\\1",
        "(" * 50 + ")" * 50,
        "a{70000}",
        "(?#x)a",
    ):
        answer = await api.get("/flavors", version="2.102", params={"name": pattern})
        assert answer.status in (200, 400), answer


async def test_flavors_are_found_by_a_pattern_since_2_102(api) -> None:
    await api.flavor("1", name="m1.small")
    await api.flavor("2", name="m1.large")
    assert [f["id"] for f in (await api.get("/flavors?name=lar", version="2.102")).body["flavors"]] == ["2"]
    assert [f["id"] for f in (await api.get("/flavors?name=%5Em1", version="2.102")).body["flavors"]] == ["1", "2"]
    assert (await api.get("/flavors?limit=0", version="2.1")).body == {"flavors": []}
