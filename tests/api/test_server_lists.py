"""Lists of servers, from outside: pages, order, filters, and what is no list."""

import pytest

from tests.api.conftest import IMAGE, PROJECT


async def names(api, query: str, caller: str = "member", version: str | None = None) -> list[str]:
    answer = await api.get(f"/servers{query}", caller, version)
    assert answer.status == 200, answer
    return [s["name"] for s in answer.body["servers"]]


async def test_pages_follow_each_other_newest_first(api) -> None:
    for name in ("a", "b", "c"):
        await api.server(name=name)
    page = (await api.get("/servers?limit=2")).body
    assert [s["name"] for s in page["servers"]] == ["c", "b"]
    (link,) = page["servers_links"]
    assert link["rel"] == "next"
    assert await names(api, "?" + link["href"].partition("?")[2]) == ["a"]
    assert await names(api, "?limit=0") == []
    assert "servers_links" not in (await api.get("/servers?limit=4")).body
    assert (await api.get("/servers?marker=0ba0ba0b-a0ba-0ba0-ba0b-a0ba0ba0ba00")).status == 400
    assert (await api.get("/servers?marker=x")).message == "marker [x] not found"


async def test_lists_are_sorted_by_keys_in_turn(api) -> None:
    for name, key in (("a", "x"), ("b", "y"), ("c", "x")):
        server = await api.server(name=name)
        await api.starter.finish(server, availability_zone=key)
    query = "?sort_key=availability_zone&sort_dir=asc&sort_key=display_name&sort_dir=desc"
    assert await names(api, query) == ["c", "a", "b"]
    first = (await api.get(f"/servers{query}&limit=1")).body
    assert await names(api, "?" + first["servers_links"][0]["href"].partition("?")[2]) == ["a"]
    assert await names(api, "?sort_key=display_name&sort_dir=asc") == ["a", "b", "c"]
    assert await names(api, "?sort_key=locked&sort_dir=asc") == ["c", "b", "a"]
    assert (await api.get("/servers?sort_key=host")).message == "Only administrators can sort servers by host"
    assert (await api.get("/servers?sort_key=secret")).status == 400
    assert (await api.get("/servers?sort_key=vcpus", version="2.75")).status == 400


async def test_lists_are_filtered(api) -> None:
    web = await api.server(name="web1")
    database = await api.server(name="db1", metadata={"a": "b"})
    await api.settle(database, "stopped")
    await api.starter.finish(database, tags=["blue", "red"], hostname="special")
    assert await names(api, "?name=web") == ["web1"]
    assert await names(api, "?name=^d.1$") == ["db1"]
    assert await names(api, "?status=SHUTOFF") == ["db1"]
    assert await names(api, "?status=SHUTOFF&status=active") == ["db1", "web1"]
    assert await names(api, "?status=nonsense") == []
    assert (await api.get("/servers?status=nonsense", version="2.38")).message == "Invalid status value"
    assert await names(api, "?flavor=1&image=" + IMAGE) == ["db1", "web1"]
    assert await names(api, "?flavor=2") == []
    assert await names(api, "?ip=10.0.0") == ["db1", "web1"]
    assert await names(api, "?ip=10.1") == []
    assert await names(api, "?tags=blue,red", version="2.26") == ["db1"]
    assert await names(api, "?tags-any=blue,green", version="2.26") == ["db1"]
    assert await names(api, "?not-tags=blue", version="2.26") == ["web1"]
    assert await names(api, "?not-tags-any=green", version="2.26") == ["db1", "web1"]
    assert await names(api, "?hostname=special", version="2.89") == ["db1", "web1"]
    assert await names(api, "?hostname=special", version="2.90") == ["db1"]
    assert await names(api, "?uuid=" + web, "admin") == ["web1"]
    assert await names(api, "?host=host1&vm_state=stopped", "admin") == ["db1"]
    assert await names(api, "?power_state=1&vm_state=stopped", version="2.83") == ["db1"]
    assert await names(api, "?changes-since=2100-01-01T00:00:00Z") == []
    assert await names(api, "?changes-before=2100-01-01T00:00:00Z", version="2.66") == ["db1", "web1"]


@pytest.mark.parametrize("filter", ["name", "hostname", "ip", "description", "tags"])
async def test_a_pattern_that_has_no_end_is_not_begun(api, filter: str) -> None:
    """SEC-062: with references back the database tries every way to part the name, for minutes; without them it reads it once."""
    await api.server(name="a" * 253 + "!")
    for pattern in (r"^(a*)(a*)(a*)(a*)(a*)\1\2\3\4\5!$", r"(a*)\\\1", r"([\]a]*)\1"):
        refused = await api.get("/servers", version="2.90", params={filter: pattern})
        assert (refused.status, "is not a 'regex'" in refused.message) == (400, True), refused
    for pattern in ("^(a+)+$", "(a*)*b", "^" + "(a|aa)*" * 100 + "$", r"a\\1"):
        assert (await api.get("/servers", version="2.90", params={filter: pattern})).status == 200


@pytest.mark.parametrize(
    ("query", "caller", "version", "status", "message"),
    [
        ("?foo=1", "member", "2.75", 400, "'foo' does not match any of the regexes: '^_'"),
        ("?name=[", "member", "2.1", 400, "Invalid input for query parameters name. Value: [. '[' is not a 'regex'"),
        ("?name=" + "(" * 500 + ")" * 500, "member", "2.1", 400, "is not a 'regex'"),
        ("?name=a{99999999999}", "member", "2.1", 400, "is not a 'regex'"),
        ("?name=(?i", "member", "2.1", 400, "is not a 'regex'"),
        ("?name=a(?P<x>b)", "member", "2.1", 400, "A filter is no valid regular expression"),
        (r"?name=(a*)\1", "member", "2.1", 400, "is not a 'regex'"),
        ("?limit=-1", "member", "2.1", 400, "Invalid input for query parameters limit. Value: -1. '-1' does not match '^[0-9]*$'"),
        ("?changes-since=yesterday", "member", "2.1", 400, "'yesterday' is not a 'date-time'"),
        ("?changes-since=2020-01-02T00:00:00&changes-before=2020-01-01T00:00:00", "member", "2.66", 400, "must be less than or equal"),
        ("?changes-since=0001-01-01T00:00:00%2B23:59", "member", "2.1", 400, "is not a 'date-time'"),
        ("?status=deleted", "member", "2.1", 403, "Only administrators may list deleted instances"),
        ("?all_tenants=1", "member", "2.1", 403, "os_compute_api:servers:index:get_all_tenants"),
        ("?all_tenants=maybe", "admin", "2.1", 400, "all_tenants"),
        ("?metadata=x", "admin", "2.1", 400, "Invalid filter field: metadata."),
        ("?_x=x", "admin", "2.1", 400, "Invalid filter field: _x."),
        ("?name=%00", "member", "2.1", 400, "NUL"),
        ("?sort_dir=up&sort_key=uuid", "member", "2.1", 400, "sort direction"),
    ],
)
async def test_wrong_queries_are_refused(api, query, caller, version, status, message) -> None:
    await api.server()
    answer = await api.get(f"/servers{query}", caller, version)
    assert answer.status == status
    assert message in answer.message


async def test_administrators_see_all_projects_and_what_is_deleted(api) -> None:
    mine = await api.server(name="mine")
    await api.server("stranger", name="theirs")
    assert await names(api, "", "admin") == ["mine"]
    assert await names(api, "?all_tenants=1", "admin") == ["theirs", "mine"]
    assert await names(api, "?all_tenants", "admin") == ["theirs", "mine"]
    assert await names(api, f"?all_tenants=1&project_id={PROJECT}", "admin") == ["mine"]
    assert await names(api, "?tenant_id=whatever", "admin") == ["mine"]
    await api.starter.finish(mine, vm_state="deleted", deleted=True)
    assert await names(api, "?deleted=true", "admin") == ["mine"]
    assert await names(api, "?status=deleted", "admin") == ["mine"]
    assert await names(api, "?deleted=true") == []
    assert await names(api, "?changes-since=2020-01-01T00:00:00Z") == ["mine"]
