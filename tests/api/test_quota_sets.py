"""Limits of projects, users and classes, and their summary, from outside."""

import asyncio

import pytest

from tests.api.conftest import MISSING_PROJECT, OTHER_PROJECT, PROJECT
from tests.api.samples import samples, shape

PATH = f"/os-quota-sets/{PROJECT}"


async def server(api, user="member-user", project=PROJECT, vm_state="active", deleted=False):
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO instances (uuid, project_id, user_id, reservation_id, display_name, hostname, vm_state, flavor, flavor_id,"
            " vcpus, memory_mb, deleted) VALUES (gen_random_uuid(), $1, $2, 'r', 'n', 'n', $3, '{}', 1, 2, 512, $4)",
            *(project, user, vm_state, deleted),
        )


async def test_limits_are_set_over_the_defaults_and_forgotten(api) -> None:
    before = (await api.get(PATH, "reader", "2.57")).body["quota_set"]
    assert before == {
        **{"id": PROJECT, "instances": 10, "cores": 20, "ram": 51200, "metadata_items": 128, "key_pairs": 100},
        **{"server_groups": 10, "server_group_members": 10},
    }
    changed = await api.put(PATH, {"quota_set": {"cores": "45", "ram": -1}}, "admin", "2.57")
    assert changed.status == 200, changed
    assert changed.body["quota_set"] == {k: v for k, v in before.items() if k != "id"} | {"cores": 45, "ram": -1}
    assert (await api.get(PATH, "reader")).body["quota_set"]["cores"] == 45
    assert (await api.get(f"{PATH}/defaults", "nobody")).body["quota_set"]["cores"] == 20
    assert (await api.get(f"/os-quota-sets/{OTHER_PROJECT}", "stranger")).body["quota_set"]["cores"] == 20
    gone = await api.delete(PATH, "admin")
    assert (gone.status, gone.raw) == (202, b"")
    assert (await api.get(PATH, "reader")).body["quota_set"]["cores"] == 20


async def test_users_have_shares_of_their_project(api) -> None:
    await api.put(PATH, {"quota_set": {"cores": 20}}, "admin")
    assert (await api.put(f"{PATH}?user_id=one", {"quota_set": {"cores": 8}}, "admin")).body["quota_set"]["cores"] == 8
    assert (await api.get(f"{PATH}?user_id=one", "reader")).body["quota_set"]["cores"] == 8
    assert (await api.get(f"{PATH}?user_id=two", "reader")).body["quota_set"]["cores"] == 20
    too_much = await api.put(f"{PATH}?user_id=two", {"quota_set": {"cores": 13}}, "admin")
    assert (too_much.status, too_much.message) == (400, "Quota limit 13 for cores must be less than or equal to 12.")
    endless = await api.put(f"{PATH}?user_id=two", {"quota_set": {"cores": -1}}, "admin")
    assert endless.status == 400
    assert (await api.put(f"{PATH}?user_id=one", {"quota_set": {"cores": 20}}, "admin")).status == 200
    too_little = await api.put(PATH, {"quota_set": {"cores": 19}}, "admin")
    assert "greater than or equal to already used and reserved 20" in too_little.message
    await api.delete(f"{PATH}?user_id=one", "admin")
    assert (await api.get(f"{PATH}?user_id=one", "reader")).body["quota_set"]["cores"] == 20


async def test_limits_do_not_fall_below_use_unless_forced(api) -> None:
    await server(api)
    await server(api, user="colleague-user")
    await server(api, deleted=True)
    await server(api, vm_state="soft-delete")
    await server(api, project=OTHER_PROJECT)
    used = (await api.get(f"{PATH}/detail", "reader", "2.57")).body["quota_set"]
    assert used["cores"] == {"limit": 20, "in_use": 4, "reserved": 0}
    assert used["instances"]["in_use"] == 2
    assert used["ram"]["in_use"] == 1024
    mine = (await api.get(f"{PATH}/detail?user_id=member-user", "reader")).body["quota_set"]
    assert mine["cores"]["in_use"] == 2
    refused = await api.put(PATH, {"quota_set": {"cores": 3}}, "admin")
    assert refused.message == "Quota limit 3 for cores must be greater than or equal to already used and reserved 4."
    assert (await api.put(PATH, {"quota_set": {"cores": 3, "force": "True"}}, "admin")).body["quota_set"]["cores"] == 3
    assert (await api.put(PATH, {"quota_set": {"cores": 3, "force": False}}, "admin")).status == 400


async def test_the_default_class_holds_for_all_without_limits_of_their_own(api) -> None:
    await api.put(PATH, {"quota_set": {"ram": 1000}}, "admin")
    changed = await api.put("/os-quota-class-sets/default", {"quota_class_set": {"cores": 5, "ram": 5}}, "admin", "2.50")
    assert (changed.status, changed.body["quota_class_set"]["cores"]) == (200, 5)
    assert "id" not in changed.body["quota_class_set"]
    assert (await api.get("/os-quota-class-sets/default", "admin")).body["quota_class_set"]["id"] == "default"
    mine = (await api.get(PATH, "reader")).body["quota_set"]
    assert (mine["cores"], mine["ram"]) == (5, 1000)
    assert (await api.get(f"{PATH}/defaults", "reader")).body["quota_set"]["ram"] == 5


async def test_everything_shown_of_a_class_can_be_set(api) -> None:
    shown = (await api.get("/os-quota-class-sets/default", "admin")).body["quota_class_set"]
    del shown["id"]
    more = {name: limit + 100 for name, limit in shown.items()}
    assert (await api.put("/os-quota-class-sets/default", {"quota_class_set": more}, "admin")).body["quota_class_set"] == more
    assert (await api.get(PATH, "reader")).body["quota_set"]["floating_ips"] == 99


async def test_other_classes_are_kept_and_hold_for_nobody(api) -> None:
    await api.put("/os-quota-class-sets/gold", {"quota_class_set": {"cores": 5}}, "admin")
    assert (await api.get("/os-quota-class-sets/gold", "admin")).body["quota_class_set"]["cores"] == 5
    assert (await api.get("/os-quota-class-sets/default", "admin")).body["quota_class_set"]["cores"] == 20
    assert (await api.get(f"{PATH}?user_id=gold", "reader")).body["quota_set"]["cores"] == 20


async def test_who_may(api) -> None:
    for method, path, caller, status in (
        ("GET", PATH, "stranger", 403),
        ("GET", PATH, "nobody", 403),
        ("GET", f"{PATH}/detail", "stranger", 403),
        ("GET", f"{PATH}/defaults", "stranger", 200),
        ("PUT", PATH, "manager", 403),
        ("DELETE", PATH, "manager", 403),
        ("GET", "/os-quota-class-sets/default", "manager", 403),
        ("GET", "/limits", "nobody", 200),
        ("GET", f"/limits?tenant_id={OTHER_PROJECT}", "manager", 403),
        ("GET", f"/limits?tenant_id={OTHER_PROJECT}", "admin", 200),
    ):
        body = {"quota_set": {}} if method == "PUT" else None
        assert (await api.ask(method, path, caller, body=body)).status == status


async def test_limits_are_checked(api) -> None:
    for limits, version, status in (
        ({"cores": -2}, "2.1", 400),
        ({"cores": 2**31}, "2.1", 400),
        ({"cores": "99999999999999999999"}, "2.1", 400),
        ({"cores": "1e3"}, "2.1", 400),
        ({"cores": None}, "2.1", 400),
        ({"cores": 1.5}, "2.1", 400),
        ({"cores": True}, "2.1", 400),
        ({"bananas": 1}, "2.1", 400),
        ({"floating_ips": 1}, "2.35", 200),
        ({"floating_ips": 1}, "2.36", 400),
        ({"injected_files": 1}, "2.56", 200),
        ({"injected_files": 1}, "2.57", 400),
        ({"force": "maybe"}, "2.57", 400),
        ({}, "2.57", 200),
    ):
        answer = await api.put(PATH, {"quota_set": limits}, "admin", version)
        assert answer.status == status, answer


async def test_strange_queries_are_refused(api) -> None:
    for query in (
        "?user_id=%00",
        "?user_id=a&x=1",
        "?force=1",
    ):
        assert (await api.get(PATH + query, "reader", "2.75")).status == 400


async def test_two_who_share_out_a_project_at_once_do_not_share_out_more_than_there_is(api) -> None:
    answers = await asyncio.gather(*(api.put(f"{PATH}?user_id=u{i}", {"quota_set": {"cores": 15}}, "admin") for i in range(4)))
    assert sorted(a.status for a in answers) == [200, 400, 400, 400]


@pytest.mark.parametrize(("version", "sample"), samples("quotas-show-get-resp", "os-quota-sets"))
async def test_a_set_has_the_keys_of_the_sample(api, version, sample) -> None:
    assert shape((await api.get(PATH, "reader", version)).body) == shape(sample)
    assert shape((await api.get(f"{PATH}/defaults", "reader", version)).body) == shape(sample)
    del sample["quota_set"]["id"]
    assert shape((await api.put(PATH, {"quota_set": {}}, "admin", version)).body) == shape(sample)


@pytest.mark.parametrize(("version", "sample"), samples("quotas-show-detail-get-resp", "os-quota-sets"))
async def test_details_have_the_keys_of_the_sample(api, version, sample) -> None:
    assert shape((await api.get(f"{PATH}/detail", "reader", version)).body) == shape(sample)


@pytest.mark.parametrize(
    ("version", "without"),
    [
        ("2.1", {"server_groups", "server_group_members"}),
        ("2.50", {"fixed_ips", "floating_ips", "security_groups", "security_group_rules"}),
        ("2.57", {"fixed_ips", "injected_files", "injected_file_path_bytes"}),
    ],
)
async def test_classes_show_less_or_more_by_version(api, version, without) -> None:
    assert not without & set((await api.get("/os-quota-class-sets/default", "admin", version)).body["quota_class_set"])


async def test_the_summary_counts_what_the_project_uses(api) -> None:
    await server(api)
    async with api.database.connection() as conn:
        await conn.execute(
            "INSERT INTO server_groups (id, project_id, user_id, name, policy) VALUES (gen_random_uuid(), $1, 'u', 'g', 'affinity')",
            PROJECT,
        )
    limits = (await api.get("/limits?reserved=1", "reader")).body["limits"]
    assert limits["rate"] == []
    assert limits["absolute"] == {
        **{"maxTotalInstances": 10, "maxTotalCores": 20, "maxTotalRAMSize": 51200, "maxServerMeta": 128, "maxImageMeta": 128},
        **{"maxTotalKeypairs": 100, "maxServerGroups": 10, "maxServerGroupMembers": 10, "maxPersonality": 5},
        **{"maxPersonalitySize": 10240, "maxSecurityGroups": -1, "maxSecurityGroupRules": -1, "maxTotalFloatingIps": -1},
        **{"totalInstancesUsed": 1, "totalCoresUsed": 2, "totalRAMUsed": 512, "totalServerGroupsUsed": 1},
        **{"totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 0},
    }
    assert len((await api.get("/limits", "reader", "2.57")).body["limits"]["absolute"]) == 11
    assert (await api.get("/limits?reserved=1", "reader", "2.75")).status == 400
    other = (await api.get(f"/limits?tenant_id={OTHER_PROJECT}", "admin")).body["limits"]["absolute"]
    assert other["totalInstancesUsed"] == 0


async def test_a_project_that_is_not_there_has_no_limits_to_set_but_may_be_forgotten(api) -> None:
    path = f"/os-quota-sets/{MISSING_PROJECT}"
    message = f"Project ID {MISSING_PROJECT} is not a valid project."
    for answer in (
        await api.get(path, "admin"),
        await api.get(f"{path}/detail", "admin"),
        await api.get(f"{path}/defaults", "nobody"),
        await api.put(path, {"quota_set": {"cores": 1}}, "admin"),
    ):
        assert (answer.status, answer.message) == (400, message)
    assert (await api.get(path, "manager")).status == 403
    assert (await api.delete(path, "admin")).status == 202
